// Coming back after a restart.
#include "core/lock_table.hpp"

#include <algorithm>
#include <functional>
#include <limits>

namespace dislock::core {
namespace {

std::uint64_t number_in(std::string_view eight_bytes) noexcept {
  std::uint64_t v = 0;
  for (int i = 0; i < 8; ++i)
    v = v << 8 | static_cast<unsigned char>(eight_bytes[static_cast<std::size_t>(i)]);
  return v;
}

}  // namespace

bool lock_table::load(std::string_view key, std::string_view value) {
  if (!loaded_) loaded_ = std::make_unique<loaded_records>();
  if (key.empty()) return false;
  auto& in = *loaded_;
  // A record under another one's key would come back a second time.
  const auto take = [&](auto& list, auto record, auto number) {
    if (!record || record_key(record_kind{key[0]}, std::invoke(number, *record)) != key) return false;
    list.push_back(std::move(*record));
    return true;
  };
  switch (record_kind{key[0]}) {
    case record_kind::table:
      if (key.size() == 1) in.table = parse_table_record(value);
      return key.size() == 1 && in.table.has_value();
    case record_kind::session:
      return take(in.sessions, parse_session_record(value), &session_record::public_id);
    case record_kind::lease:
      return take(in.leases, parse_lease_record(value),
                  [](const lease_record& r) { return to_number(r.token); });
    case record_kind::over: {
      auto memos = parse_over_record(value);
      const auto forgotten = key.size() == 17 ? number_in(key.substr(1)) : 0;
      if (!memos || forgotten > latest_plausible) return false;
      for (auto& m : *memos) {
        m.forgotten = from_microseconds(static_cast<std::int64_t>(forgotten));
        if (over_key(m.forgotten, m.number) != key) return false;
        in.memos.push_back(std::move(m));
      }
      return true;
    }
    case record_kind::waiter:
      return take(in.waiters, parse_waiter_record(value), &waiter_record::arrival);
    case record_kind::memo:
      return take(in.memos, parse_memo_record(value), &memo_record::number);
    case record_kind::lock_delay: {
      const auto until = parse_lock_delay_record(value);
      if (until && key.size() > 1) in.delays.emplace_back(key.substr(1), *until);
      return until.has_value() && key.size() > 1;
    }
  }
  return false;
}

instant lock_table::latest_known() const noexcept {
  if (!loaded_ || !loaded_->table) return instant::min();
  // A fencing token is a time too, and no later one may be smaller.
  return std::max(loaded_->table->written,
                  from_microseconds(static_cast<std::int64_t>(loaded_->table->last_token)));
}

bool lock_table::start(instant now) {
  const auto in = std::exchange(loaded_, nullptr);
  if (!in) return true;
  if (!in->table)
    return in->leases.empty() && in->waiters.empty() && in->sessions.empty() && in->memos.empty() &&
           in->delays.empty();
  last_token_ = in->table->last_token;
  last_number_ = in->table->last_number;
  const auto away = std::max(now - in->table->written, duration::zero());

  // An end moves by the time away; all moves since the last grant or renewal together by no more than a ttl.
  const auto move = [](instant& end, duration wanted, duration ttl, std::uint32_t& moved_ms) {
    using std::chrono::milliseconds;
    const auto left = std::max<duration>(ttl - milliseconds(moved_ms), duration::zero());
    const auto by = std::clamp(wanted, duration::zero(), left);
    end = later(end, by);
    // Rounded up: in doubt a lease is moved less.
    const auto moved = moved_ms + static_cast<std::uint64_t>(std::chrono::ceil<milliseconds>(by).count());
    moved_ms =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(moved, std::numeric_limits<std::uint32_t>::max()));
    return by;
  };

  boost::unordered_flat_map<std::uint64_t, core::session*> by_public_id;
  for (const auto& r : in->sessions) {
    auto* s = new core::session;
    s->public_id = r.public_id;
    s->id = r.id;
    s->owner = &obtain_client(client_id(r.client));
    ++s->owner->references;
    s->ttl = r.ttl;
    s->end = r.end;
    s->moved_ms = r.moved_ms;
    move(s->end, away, s->ttl, s->moved_ms);
    if (by_public_id.contains(s->public_id) || !sessions_.emplace(s->id.bits[1], s).second) {
      let_go(*s->owner);
      delete s;
      return false;
    }
    by_public_id.emplace(s->public_id, s);
    last_number_ = std::max(last_number_, s->public_id);
    deadlines_.schedule(*s, s->end);
    keep(*s);
  }
  const auto session_of = [&](std::uint64_t public_id) -> core::session* {
    const auto it = by_public_id.find(public_id);
    return it == by_public_id.end() ? nullptr : it->second;
  };

  boost::unordered_flat_map<std::uint64_t, lease*> by_token;
  std::sort(in->leases.begin(), in->leases.end(),
            [](const auto& a, const auto& b) { return a.token < b.token; });
  for (const auto& r : in->leases) {
    if (leases_.contains(r.id) || by_token.contains(to_number(r.token))) return false;
    auto* bound = session_of(r.session);
    auto& on = obtain_lock(lock_name(r.lock));
    const bool room =
        on.lease_count == 0 || (on.limit == r.limit && r.mode != lock_mode::exclusive && on.mode == r.mode);
    const bool permits_fit = r.limit == 0 || on.used <= r.limit - r.permits;
    if (!room || !permits_fit) {
      touch(on);
      return false;
    }
    auto* l = lease_pool_.create();
    l->mode = r.mode;
    l->auto_renew = r.auto_renew;
    l->provisional = r.provisional;
    l->group = r.group;
    l->times_written = 1;
    l->id = r.id;
    l->renewal = r.renewal;
    l->token = r.token;
    l->acquired_at = std::min(r.acquired_at, now);
    auto end = r.end;
    l->hold_limit = r.hold_limit;
    l->ttl = r.ttl;
    l->lock_delay_ms = static_cast<std::uint16_t>(std::min<std::uint32_t>(r.lock_delay_ms, 60'000));
    l->moved_ms = r.moved_ms;
    l->hold_count = r.hold_count;
    l->permits = r.permits;
    l->on = &on;
    l->owner = &obtain_client(client_id(r.client));
    l->metadata = text(r.metadata);
    if (l->provisional) {
      // Its client could not have come while nobody was here.
      move(end, later(now, options_.waiter_grace) - end, l->ttl, l->moved_ms);
    } else if (r.session == 0) {
      const auto by = move(end, away, l->ttl, l->moved_ms);
      if (l->hold_limit != never) l->hold_limit = later(l->hold_limit, by);
    }
    on.mode = r.mode;
    on.limit = r.limit;
    if (r.limit > 0) on.used += r.permits;
    ++on.lease_count;
    on.latest = std::max(on.latest, l->token);
    on.leases.push_back(*l);
    ++l->owner->references;
    ++l->owner->leases;
    leases_.insert(l);
    last_token_ = std::max(last_token_, to_number(l->token));
    by_token.emplace(to_number(l->token), l);
    if (bound) {
      l->bound = bound;
      bound->leases.emplace(l->token, l);
      ++bound->lease_count;
    } else if (r.session != 0) {
      end = now;  // its session's end was on disk, its own was not yet
    }
    schedule(*l, end);
    if (r.grant) {
      memo_record m;
      m.number = to_number(r.token);
      m.in_lease = true;
      m.fingerprint = r.grant->fingerprint;
      m.table_wide = r.grant->table_wide;
      if (!m.table_wide) m.lock = r.lock;
      m.client = r.client;
      m.request = r.grant->request;
      m.since = r.grant->since;
      m.kind = memo_kind::lease;
      m.slots.push_back({r.token, end_reason::none});
      in->memos.push_back(std::move(m));
    } else {
      keep(*l);
    }
    touch(on);
  }

  for (const auto& [name, until] : in->delays) {
    auto& l = obtain_lock(lock_name(name));
    close_until(l, later(until, std::min<duration>(away, std::chrono::seconds(60))));
    keep_delay(l);
    touch(l);
  }

  // A grant comes before the re-entries of its lease, and what lives before what is over. Of that the newest
  // comes first; a grant in one record with a release stays before that.
  std::stable_sort(in->memos.begin(), in->memos.end(), [](const auto& a, const auto& b) {
    if (a.over || b.over) return a.over == b.over ? a.number > b.number : b.over;
    return std::pair(!a.in_lease, a.number) < std::pair(!b.in_lease, b.number);
  });
  // What was to be forgotten by the time that the table was last known to be alive has been.
  const auto& last = *in->table;
  kept_from_ = last.written < last.kept_until ? last.kept_from : last.written;
  kept_until_ = later(now, options_.request_memory);
  std::erase_if(in->memos, [&](const auto& r) { return r.over && r.forgotten <= kept_from_; });
  memo* before = nullptr;
  for (const auto& r : in->memos) {
    if (r.in_lease && r.kind == memo_kind::lease && to_number(r.slots[0].token) != r.number) return false;
    const call_id call{r.table_wide, lock_name(r.lock), client_id(r.client), request_id(r.request)};
    if (find_memo(call)) {
      if (!r.over) return false;
      before = nullptr;
      continue;  // forgotten in the meantime, and the id used again
    }
    auto& m = remember(r.since, call, r.fingerprint);
    m.number = r.number;
    m.in_lease = r.in_lease;
    if (!r.in_lease) last_number_ = std::max(last_number_, r.number);
    const bool second = r.over && r.in_lease && before && before->number == m.number;
    if (second) before->older = &m;
    before = r.in_lease ? &m : nullptr;
    bool lives = false;
    bool sound = true;
    bool changed = false;
    const auto slot_of = [&](const slot_record& s) {
      last_token_ = std::max(last_token_, to_number(s.token));
      if (s.how != end_reason::none) return lease_slot{nullptr, s.token, s.how};
      const auto it = by_token.find(to_number(s.token));
      if (it == by_token.end()) {  // its lease's end was on disk, its own was not yet
        changed = true;
        return lease_slot{nullptr, s.token, end_reason::expired};
      }
      lives = true;
      // Its grant is the first thing that is remembered of a lease, and happened once.
      sound = sound && (r.kind == memo_kind::reentered || it->second->remembered == nullptr);
      m.older = it->second->remembered;
      it->second->remembered = &m;
      return lease_slot{it->second, s.token, end_reason::none};
    };
    switch (r.kind) {
      case memo_kind::cancelled:
        m.outcome = was_cancelled{};
        break;
      case memo_kind::lease:
        m.outcome = slot_of(r.slots[0]);
        break;
      case memo_kind::reentered:
        m.outcome = reentered{slot_of(r.slots[0])};
        break;
      case memo_kind::leases: {
        auto slots = std::make_unique<std::vector<lease_slot>>();
        for (const auto& s : r.slots) slots->push_back(slot_of(s));
        m.older = nullptr;  // shared by its leases, it ends each chain
        m.outcome = std::move(slots);
        break;
      }
      case memo_kind::released:
        m.outcome = released{r.outcomes[0].flag, static_cast<std::uint32_t>(r.outcomes[0].value)};
        break;
      case memo_kind::refused:
        m.outcome = std::make_unique<settled>(r.outcomes[0].refused);
        break;
      case memo_kind::releases: {
        release_answers all;
        for (const auto& o : r.outcomes)
          o.refused ? all.push_back(o.refused)
                    : all.push_back(released{o.flag, static_cast<std::uint32_t>(o.value)});
        m.outcome = std::make_unique<settled>(std::move(all));
        break;
      }
      case memo_kind::renewals: {
        std::vector<renewal_slot> all;
        for (const auto& o : r.outcomes) all.push_back({fencing_token{o.value}, o.refused});
        m.outcome = std::make_unique<settled>(std::move(all));
        break;
      }
      case memo_kind::forced: {
        forced all;
        for (const auto& o : r.outcomes) all.tokens.push_back(fencing_token{o.value});
        m.outcome = std::make_unique<settled>(std::move(all));
        break;
      }
      case memo_kind::session_opened:
        m.outcome = std::make_unique<settled>(r.session);
        break;
      case memo_kind::session_kept:
        m.outcome = std::make_unique<settled>(session_kept{r.session.end});
        break;
      case memo_kind::session_closed:
        m.outcome = std::make_unique<settled>(session_closed{r.session.public_id});
        break;
    }
    if (!sound) return false;
    if (!lives && !second) forget_later(now, m);
    if (lives && r.in_lease) keep(*by_token.at(r.number));
    if (m.over && !r.over) {
      erase(record_kind::memo, m.number);
      keep(m);
    } else if (changed) {
      keep(m);
    }
  }

  std::sort(in->waiters.begin(), in->waiters.end(),
            [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  for (const auto& r : in->waiters) {
    const call_id call{r.multi, r.multi ? lock_name() : lock_name(r.wants[0].lock), client_id(r.client),
                       request_id(r.request)};
    if (find_memo(call) || waiters_.contains(r.arrival)) return false;
    last_number_ = std::max({last_number_, r.arrival, r.memo});
    auto* bound = session_of(r.session);
    if (r.session != 0 && !bound) {  // its session's end was on disk, its own was not yet
      auto& m = remember(r.since, call, r.fingerprint);
      m.outcome = std::make_unique<settled>(refuse(errc::session_not_found));
      erase(record_kind::waiter, r.arrival);
      forget_later(now, m);
      keep(m);
      continue;
    }
    std::vector<lock_want> wants;
    std::vector<lock*> locks;
    for (const auto& w : r.wants) {
      auto& l = obtain_lock(lock_name(w.lock));
      const bool idle = l.lease_count == 0 && l.queue_length == 0;
      const bool twice = std::find(locks.begin(), locks.end(), &l) != locks.end();
      if (twice || (!idle && l.limit != w.limit)) return false;
      wants.push_back({lock_name(w.lock), w.mode, w.limit, w.permits});
      locks.push_back(&l);
    }
    auto* w = new waiter;
    w->arrival = ticket{r.arrival};
    w->who = &obtain_client(client_id(r.client));
    ++w->who->references;
    w->who->waits.push_front(*w);
    w->multi = r.multi;
    w->since = std::min(r.since, now);
    w->deadline = later(r.deadline, away);
    w->attached = false;
    w->grace_end = later(now, options_.waiter_grace);
    w->terms = {r.ttl, r.lock_delay, r.max_hold, bound, r.auto_renew};
    w->metadata = text(r.metadata);
    if (bound) bound->waiters.push_back(*w);
    waiters_.emplace(r.arrival, w);
    join_queues(*w, wants, locks);
    auto& m = remember(r.since, call, r.fingerprint);
    m.number = r.memo;
    m.outcome = w;
    w->remembered = &m;
    schedule(*w);
    keep(*w);
    for (auto* l : locks) touch(*l);
  }

  for (auto* l : slots_) {
    if (!l || l->queue_length == 0 || l->ready) continue;
    l->ready = true;  // whoever can start does so with the first `advance`
    ready_.push_back(l);
  }
  checkpoint(now);
  return true;
}

}  // namespace dislock::core
