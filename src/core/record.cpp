#include "core/record.hpp"

#include <type_traits>

namespace dislock::core {
namespace {

constexpr std::uint32_t most32 = 0xffffffff;
constexpr std::size_t most_locks = 32;
constexpr std::size_t most_items = 100'000;

template <class T>
std::optional<T> whole(const record_reader& in, T record) {
  if (!in.good()) return std::nullopt;
  return record;
}

// A semaphore has a limit and takes some of it; nothing else does.
template <class Record>
bool sound(const Record& r) noexcept {
  if (r.mode == lock_mode::semaphore) return r.permits >= 1 && r.permits <= r.limit;
  return r.permits == 1 && r.limit == 0;
}

void append_slot(record_writer& out, const lease_slot& s) {
  out.number(to_number(s.token));
  out.number(static_cast<std::uint64_t>(s.how));
}

slot_record read_slot(record_reader& in) {
  slot_record s;
  s.token = fencing_token{in.upto(latest_plausible)};
  s.how = in.upto(end_reason::undelivered);
  return s;
}

// A refusal as it is remembered: without the holders of the time, which a repeat would not want to see.
void append_refusal(record_writer& out, const refusal_ptr& r) {
  out.number(r ? 1 : 0);
  if (!r) return;
  out.string(to_string(r->code));
  out.span(r->waited);
  out.string(r->lock);
  out.number(r->holder_count);
  out.number(r->queue_length);
  out.number(r->ended ? 1 + static_cast<std::uint64_t>(*r->ended) : 0);
  out.number(r->mode ? 1 + static_cast<std::uint64_t>(*r->mode) : 0);
  out.number(r->limit);
  out.number(r->cycle.size());
  for (const auto& step : r->cycle) {
    out.string(step.client);
    out.string(step.lock);
    out.string(step.blocker);
    out.number(step.behind);
  }
}

refusal_ptr read_refusal(record_reader& in) {
  if (!in.upto(1)) return nullptr;
  auto r = std::make_shared<refusal>();
  // A code that a later version no longer knows still reads as a refusal.
  r->code = errc_from_string(in.string()).value_or(errc::lock_not_acquired);
  r->waited = in.span();
  r->lock = in.string();
  r->holder_count = in.number();
  r->queue_length = in.number();
  if (const auto e = in.upto(std::uint64_t{9})) r->ended = static_cast<end_reason>(e - 1);
  if (const auto m = in.upto(std::uint64_t{3})) r->mode = static_cast<lock_mode>(m - 1);
  r->limit = in.upto(most32);
  const auto steps = in.upto(most_items);
  for (std::size_t i = 0; i < steps && !in.failed(); ++i) {
    auto& step = r->cycle.emplace_back();
    step.client = in.string();
    step.lock = in.string();
    step.blocker = in.string();
    step.behind = in.upto(1) != 0;
  }
  return r;
}

memo_record read_memo(record_reader& in) {
  memo_record r;
  r.number = in.upto(highest_number);
  r.fingerprint = in.number();
  r.table_wide = in.upto(1) != 0;
  r.lock = in.string();
  r.client = in.string();
  r.request = in.string();
  r.since = in.time();
  r.kind = in.upto(memo_kind::session_closed);
  switch (r.kind) {
    case memo_kind::cancelled:
      break;
    case memo_kind::lease:
    case memo_kind::leases:
    case memo_kind::reentered: {
      const auto slots = in.upto(most_locks);
      for (std::size_t i = 0; i < slots && !in.failed(); ++i) r.slots.push_back(read_slot(in));
      if (r.slots.empty() || (r.kind != memo_kind::leases && r.slots.size() != 1)) return in.refuse(), r;
      break;
    }
    case memo_kind::released:
    case memo_kind::refused:
    case memo_kind::releases:
    case memo_kind::renewals:
    case memo_kind::forced: {
      const auto count = in.upto(most_items);
      for (std::size_t i = 0; i < count && !in.failed(); ++i) {
        auto& o = r.outcomes.emplace_back();
        o.value = in.number();
        o.flag = in.upto(1) != 0;
        o.refused = read_refusal(in);
      }
      const bool one = r.kind == memo_kind::released || r.kind == memo_kind::refused;
      if (one && r.outcomes.size() != 1) return in.refuse(), r;
      if (r.kind == memo_kind::refused && !r.outcomes[0].refused) return in.refuse(), r;
      break;
    }
    case memo_kind::session_opened:
      r.session.id = in.bits<session_id>();
      r.session.public_id = in.number();
      r.session.ttl = in.span();
      break;
    case memo_kind::session_kept:
      r.session.end = in.time();
      break;
    case memo_kind::session_closed:
      r.session.public_id = in.number();
      break;
  }
  if (r.request.empty() || r.table_wide != r.lock.empty()) return in.refuse(), r;
  return r;
}

}  // namespace

void append(std::string& bytes, const table_record& r) {
  record_writer out(bytes);
  out.time(r.written);
  out.number(r.last_token);
  out.number(r.last_number);
  out.time(r.kept_from);
  out.time(r.kept_until);
}

std::optional<table_record> parse_table_record(std::string_view bytes) {
  record_reader in(bytes);
  table_record r;
  r.written = in.time();
  r.last_token = in.upto(latest_plausible);
  r.last_number = in.upto(highest_number);
  r.kept_from = in.time();
  r.kept_until = in.time();
  if (microseconds_since_1970(r.written) > static_cast<std::int64_t>(latest_plausible)) return std::nullopt;
  return whole(in, std::move(r));
}

void append(std::string& bytes, const session& s) {
  record_writer out(bytes);
  out.number(s.public_id);
  out.bits(s.id);
  out.string(s.owner->id.view());
  out.time(s.end);
  out.span(s.ttl);
  out.number(s.moved_ms);
}

std::optional<session_record> parse_session_record(std::string_view bytes) {
  record_reader in(bytes);
  session_record r;
  r.public_id = in.upto(highest_number);
  r.id = in.bits<session_id>();
  r.client = in.string();
  r.end = in.time();
  r.ttl = in.span();
  r.moved_ms = in.upto(most32);
  if (r.public_id == 0) return std::nullopt;
  return whole(in, std::move(r));
}

void append(std::string& bytes, const lease& l) {
  record_writer out(bytes);
  out.string(l.on->name.view());
  out.string(l.owner->id.view());
  out.string(l.metadata.view());
  out.number(to_number(l.token));
  out.bits(l.id);
  out.bits(l.renewal);
  out.number(static_cast<std::uint64_t>(l.mode));
  out.number((l.auto_renew ? 1u : 0u) | (l.provisional ? 2u : 0u) | (l.group ? 4u : 0u));
  out.number(l.on->limit);
  out.number(l.permits);
  out.number(l.hold_count);
  out.number(l.lock_delay_ms);
  out.number(l.moved_ms);
  out.number(l.bound ? l.bound->public_id : 0);
  out.time(l.acquired_at);
  out.time(l.at);
  out.time(l.hold_limit);
  out.span(l.ttl);
  const memo* grant = l.remembered;  // the last of the chain
  while (grant && grant->older) grant = grant->older;
  const bool here = grant && grant->in_lease;
  out.number(here ? 1 : 0);
  if (!here) return;
  out.number(grant->fingerprint);
  out.number(grant->scope == nullptr);
  out.string(grant->request.view());
  out.time(grant->when);
}

std::optional<lease_record> parse_lease_record(std::string_view bytes) {
  record_reader in(bytes);
  lease_record r;
  r.lock = in.string();
  r.client = in.string();
  r.metadata = in.string();
  r.token = fencing_token{in.upto(latest_plausible)};
  r.id = in.bits<lock_id>();
  r.renewal = in.bits<renewal_token>();
  r.mode = in.upto(lock_mode::semaphore);
  const auto flags = in.upto(std::uint64_t{7});
  r.auto_renew = flags & 1;
  r.provisional = flags & 2;
  r.group = flags & 4;
  r.limit = in.upto(most32);
  r.permits = in.upto(most32);
  r.hold_count = in.upto(most32);
  r.lock_delay_ms = in.upto(most32);
  r.moved_ms = in.upto(most32);
  r.session = in.number();
  r.acquired_at = in.time();
  r.end = in.time();
  r.hold_limit = in.time();
  r.ttl = in.span();
  if (in.upto(1)) {
    auto& grant = r.grant.emplace();
    grant.fingerprint = in.number();
    grant.table_wide = in.upto(1) != 0;
    grant.request = in.string();
    grant.since = in.time();
    if (grant.request.empty() || r.group) return std::nullopt;
  }
  if (r.lock.empty() || r.client.empty() || r.hold_count == 0 || to_number(r.token) == 0 || !sound(r))
    return std::nullopt;
  return whole(in, std::move(r));
}

void append(std::string& bytes, const waiter& w) {
  record_writer out(bytes);
  const memo& m = *w.remembered;
  out.number(static_cast<std::uint64_t>(w.arrival));
  out.number(m.number);
  out.number(m.fingerprint);
  out.number(w.terms.bound ? w.terms.bound->public_id : 0);
  out.string(w.who->id.view());
  out.string(m.request.view());
  out.string(w.metadata.view());
  out.number((w.multi ? 1u : 0u) | (w.terms.auto_renew ? 2u : 0u));
  out.number(w.entry_count);
  for (const auto& e : w.wanted()) {
    out.string(e.on->name.view());
    out.number(static_cast<std::uint64_t>(e.mode));
    out.number(e.limit);
    out.number(e.permits);
  }
  out.time(w.since);
  out.time(w.deadline);
  out.span(w.terms.ttl);
  out.span(w.terms.lock_delay);
  out.number(w.terms.max_hold ? 1 : 0);
  out.span(w.terms.max_hold.value_or(duration::zero()));
}

std::optional<waiter_record> parse_waiter_record(std::string_view bytes) {
  record_reader in(bytes);
  waiter_record r;
  r.arrival = in.upto(highest_number);
  r.memo = in.upto(highest_number);
  r.fingerprint = in.number();
  r.session = in.number();
  r.client = in.string();
  r.request = in.string();
  r.metadata = in.string();
  const auto flags = in.upto(std::uint64_t{3});
  r.multi = flags & 1;
  r.auto_renew = flags & 2;
  const auto wants = in.upto(most_locks);
  for (std::size_t i = 0; i < wants && !in.failed(); ++i) {
    auto& w = r.wants.emplace_back();
    w.lock = in.string();
    w.mode = in.upto(lock_mode::semaphore);
    w.limit = in.upto(most32);
    w.permits = in.upto(most32);
    if (w.lock.empty() || !sound(w)) return std::nullopt;
  }
  r.since = in.time();
  r.deadline = in.time();
  r.ttl = in.span();
  r.lock_delay = in.span();
  const bool limited = in.upto(1) != 0;
  const auto max_hold = in.span();
  if (limited) r.max_hold = max_hold;
  if (r.wants.empty() || r.client.empty() || r.request.empty()) return std::nullopt;
  if (!r.multi && r.wants.size() != 1) return std::nullopt;
  return whole(in, std::move(r));
}

void append_over(std::string& bytes, const memo& m) {
  record_writer out(bytes);
  out.number(m.in_lease);
  out.number(m.older ? 2 : 1);
  append(bytes, m);
  if (m.older) append(bytes, *m.older);
}

std::optional<std::vector<memo_record>> parse_over_record(std::string_view bytes) {
  record_reader in(bytes);
  std::vector<memo_record> memos;
  const bool in_lease = in.upto(1) != 0;
  for (auto left = in.upto(2); left > 0 && !in.failed(); --left) {
    memos.push_back(read_memo(in));
    memos.back().in_lease = in_lease;
    memos.back().over = true;
  }
  if (memos.empty() || !whole(in, true)) return std::nullopt;
  for (const auto& m : memos)  // nothing that lives
    for (const auto& s : m.slots)
      if (s.how == end_reason::none) return std::nullopt;
  const bool pair =
      in_lease && memos[0].kind != memo_kind::released && memos.back().kind == memo_kind::released;
  if (memos.size() == 2 && !pair) return std::nullopt;
  return memos;
}

void append(std::string& bytes, const memo& m) {
  record_writer out(bytes);
  out.number(m.number);
  out.number(m.fingerprint);
  out.number(m.scope == nullptr);
  out.string(m.scope ? m.scope->name.view() : std::string_view{});
  out.string(m.who->id.view());
  out.string(m.request.view());
  out.time(m.over ? instant{} : m.when);

  const auto kind = [&](memo_kind k) { out.number(static_cast<std::uint64_t>(k)); };
  const auto one = [&](std::uint64_t value, bool flag, const refusal_ptr& refused) {
    out.number(value);
    out.number(flag);
    append_refusal(out, refused);
  };
  const auto settled_outcome = [&](const auto& v) {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_same_v<T, refusal_ptr>) {
      kind(memo_kind::refused);
      out.number(1);
      one(0, false, v);
    } else if constexpr (std::is_same_v<T, release_answers>) {
      kind(memo_kind::releases);
      out.number(v.size());
      for (const auto& a : v) a ? one(a->hold_count, a->ended, nullptr) : one(0, false, a.error_ptr());
    } else if constexpr (std::is_same_v<T, std::vector<renewal_slot>>) {
      kind(memo_kind::renewals);
      out.number(v.size());
      for (const auto& s : v) one(to_number(s.token), false, s.refused);
    } else if constexpr (std::is_same_v<T, forced>) {
      kind(memo_kind::forced);
      out.number(v.tokens.size());
      for (const auto t : v.tokens) one(to_number(t), false, nullptr);
    } else if constexpr (std::is_same_v<T, session_opened>) {
      kind(memo_kind::session_opened);
      out.bits(v.id);
      out.number(v.public_id);
      out.span(v.ttl);
    } else if constexpr (std::is_same_v<T, session_kept>) {
      kind(memo_kind::session_kept);
      out.time(v.end);
    } else {
      static_assert(std::is_same_v<T, session_closed>);
      kind(memo_kind::session_closed);
      out.number(v.released);
    }
  };
  const auto outcome = [&](const auto& v) {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_same_v<T, was_cancelled>) {
      kind(memo_kind::cancelled);
    } else if constexpr (std::is_same_v<T, lease_slot>) {
      kind(memo_kind::lease);
      out.number(1);
      append_slot(out, v);
    } else if constexpr (std::is_same_v<T, std::unique_ptr<std::vector<lease_slot>>>) {
      kind(memo_kind::leases);
      out.number(v->size());
      for (const auto& s : *v) append_slot(out, s);
    } else if constexpr (std::is_same_v<T, reentered>) {
      kind(memo_kind::reentered);
      out.number(1);
      append_slot(out, v.slot);
    } else if constexpr (std::is_same_v<T, released>) {
      kind(memo_kind::released);
      out.number(1);
      one(v.hold_count, v.ended, nullptr);
    } else if constexpr (std::is_same_v<T, std::unique_ptr<settled>>) {
      std::visit(settled_outcome, *v);
    } else {
      static_assert(std::is_same_v<T, waiter*>);  // its record is the waiter's
    }
  };
  std::visit(outcome, m.outcome);
}

std::optional<memo_record> parse_memo_record(std::string_view bytes) {
  record_reader in(bytes);
  auto r = read_memo(in);
  return whole(in, std::move(r));
}

void append_lock_delay(std::string& bytes, instant until) {
  record_writer(bytes).time(until);
}

std::optional<instant> parse_lock_delay_record(std::string_view bytes) {
  record_reader in(bytes);
  const auto until = in.time();
  return whole(in, until);
}

}  // namespace dislock::core
