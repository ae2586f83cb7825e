// Queues: joining, leaving, handing on; and what ends by itself.
#include "core/lock_table.hpp"
#include "core/wait_for_graph.hpp"

#include <algorithm>
#include <limits>

namespace dislock::core {
namespace {

constexpr std::size_t ends_per_step = 2'048;
constexpr std::size_t session_piece = 128;

}  // namespace

// A session's lease has no end of its own but that of its longest hold.
void lock_table::schedule(lease& l, instant end) {
  const auto at = l.bound && !l.provisional ? l.hold_limit : std::min(end, l.hold_limit);
  at == never ? deadlines_.cancel(l) : deadlines_.schedule(l, at);
}

void lock_table::schedule(waiter& w) {
  if (w.turn == waiter::turn_state::trying) return deadlines_.cancel(w);
  deadlines_.schedule(w, w.attached ? w.deadline : std::min(w.deadline, w.grace_end));
}

void lock_table::join_queues(waiter& w, std::span<const lock_want> wants, std::span<lock* const> locks) {
  w.entries = std::make_unique<queue_entry[]>(wants.size());
  w.entry_count = static_cast<std::uint32_t>(wants.size());
  for (std::size_t i = 0; i < wants.size(); ++i) {
    auto& e = w.entries[i];
    auto& l = *locks[i];
    e.who = &w;
    e.on = &l;
    e.mode = wants[i].mode;
    e.limit = e.mode == lock_mode::semaphore ? wants[i].limit : 0;
    e.permits = e.mode == lock_mode::semaphore ? wants[i].permits : 1;
    if (l.lease_count == 0 && l.queue_length == 0) l.limit = e.limit;
    l.queue.push_back(e);
    ++l.queue_length;
  }
}

void lock_table::leave_queues(waiter& w, std::vector<lock*>& touched) {
  for (auto& e : w.wanted()) {
    e.on->queue.erase(e.on->queue.iterator_to(e));
    --e.on->queue_length;
    touched.push_back(e.on);
  }
}

// REQUIRES: out of its queues.
void lock_table::discard(waiter& w) {
  deadlines_.cancel(w);
  waiters_.erase(static_cast<std::uint64_t>(w.arrival));
  w.who->waits.erase(w.who->waits.iterator_to(w));
  if (w.terms.bound) w.terms.bound->waiters.erase(w.terms.bound->waiters.iterator_to(w));
  let_go(*w.who);
  delete &w;
}

void lock_table::close_until(lock& l, instant until) {
  if (!l.delay) l.delay = std::make_unique<lock_delay>(l);
  deadlines_.schedule(*l.delay, until);
}

void lock_table::open(lock& l) {
  deadlines_.cancel(*l.delay);
  l.delay.reset();
}

void lock_table::announce(instant now, waiter& w) {
  w.announced = true;
  for (const auto& e : w.wanted()) {
    event told;
    told.type = event_type::queued;
    told.at = now;
    told.lock = e.on->name.view();
    told.client = w.who->id.view();
    observer_.on_event(told);
  }
}

// Ends a wait without a grant, tells whoever waits, and hands on the locks that the waiter stood in front of.
void lock_table::drop(instant now, waiter& w, refusal_ptr why, event_type type, std::string_view reason) {
  for (auto& e : w.wanted()) {
    event told;
    told.type = type;
    told.at = now;
    told.lock = e.on->name.view();
    told.client = w.who->id.view();
    told.reason = reason;
    told.took = now - w.since;
    observer_.on_event(told);
  }
  std::vector<lock*> left;
  leave_queues(w, left);
  if (auto* m = w.remembered) {
    auto kept = std::make_shared<refusal>(*why);
    kept->holders.clear();
    kept->holder_count = 0;
    m->outcome = std::make_unique<settled>(refusal_ptr(std::move(kept)));
    erase(record_kind::waiter, static_cast<std::uint64_t>(w.arrival));
    forget_later(now, *m);
    keep(*m);
  }
  if (w.attached) observer_.on_resolved(w.arrival, w.epoch, std::move(why));
  discard(w);
  for (auto* l : left) hand_on(now, *l);
  for (auto* l : left) touch(*l);
}

// A request heads every queue that it is in, and fits into every lock. Who could not take the grant any more,
// because the grace or the session is over, is about to be dropped and only stands in the way until then.
bool lock_table::can_start(const waiter& w, instant now) const noexcept {
  if (!w.attached && w.grace_end <= now) return false;
  if (const auto* s = w.terms.bound; s && (s->ended != end_reason::none || s->end <= now)) return false;
  const auto wanted = w.wanted();
  return std::all_of(wanted.begin(), wanted.end(), [&](const queue_entry& e) {
    return &e.on->queue.front() == &e && fits(*e.on, e.mode, e.permits, now);
  });
}

void lock_table::grant_to(instant now, waiter& w, const minted* as) {
  std::vector<lock*> left;
  leave_queues(w, left);
  granted out;
  out.waited = now - w.since;
  auto* m = w.remembered;
  std::vector<lease_slot> slots;
  for (auto& e : w.wanted()) {
    auto& l = make_lease(now, *e.on, *w.who, e.mode, e.permits, e.limit, w.terms, w.metadata.view(), as);
    l.group = w.entry_count > 1;
    l.remembered = m;
    if (m && !l.group) {
      erase(record_kind::waiter, static_cast<std::uint64_t>(w.arrival));
      remember_in(*m, l);
    }
    l.provisional = !w.attached;
    schedule(l, l.provisional ? w.grace_end : later(now, l.ttl));
    keep(l);
    out.leases.push_back(as_grant(l));
    if (m && l.group) slots.push_back({&l, l.token, end_reason::none});

    event told;
    told.type = event_type::acquired;
    told.at = now;
    told.lock = e.on->name.view();
    told.client = w.who->id.view();
    told.token = l.token;
    told.mode = l.mode;
    told.took = out.waited;
    observer_.on_event(told);
  }
  if (!slots.empty()) {
    m->outcome = std::make_unique<std::vector<lease_slot>>(std::move(slots));
    erase(record_kind::waiter, static_cast<std::uint64_t>(w.arrival));
    keep(*m);
  }
  if (w.attached) observer_.on_resolved(w.arrival, w.epoch, std::move(out));
  discard(w);
}

// Serves the head of the queue for as long as it fits. A multi request that starts frees the heads of its
// other queues, so those are looked at too. A step grants a bounded number; the rest follows with `advance`.
void lock_table::hand_on(instant now, lock& first) {
  if (first.queue_length == 0) return;
  work_.assign(1, &first);
  while (!work_.empty()) {
    auto& l = *work_.back();
    work_.pop_back();
    while (l.queue_length > 0) {
      auto& w = *l.queue.front().who;
      if (!can_start(w, now)) break;
      if (options_.by_turns) {
        offer(w);
        break;
      }
      if (grants_left_ == 0) {
        if (!l.ready) ready_.push_back(&l);
        l.ready = true;
        break;
      }
      --grants_left_;
      for (auto& e : w.wanted())
        if (e.on != &l) work_.push_back(e.on);
      grant_to(now, w);
    }
  }
}

void lock_table::detach(instant now, ticket id, std::uint32_t epoch) {
  begin(now);
  const auto it = waiters_.find(static_cast<std::uint64_t>(id));
  if (it == waiters_.end() || it->second->epoch != epoch || !it->second->attached) return;
  auto& w = *it->second;
  w.attached = false;
  if (!w.remembered)
    return drop(now, w, refuse(errc::request_cancelled), event_type::cancelled, "disconnected");
  w.grace_end = later(now, options_.waiter_grace);
  schedule(w);
}

// The start of every decision: what is over is over before it is asked about.
void lock_table::begin(instant now) {
  grants_left_ = options_.grants_per_step;
  ends_.forget_due(now, ends_per_step);
  std::size_t budget = ends_per_step;
  while (auto* m = budget ? memory_.take_due(now) : nullptr) {
    forget(*m);
    --budget;
  }
  if (deadlines_.next() > now) return;
  for (budget = ends_per_step; budget > 0; --budget) {
    auto* t = deadlines_.due(now);
    if (!t) return;
    end_due(now, *t);
  }
}

// Why a lease that is over is over.
end_reason lock_table::why_over(const lease& l) const noexcept {
  if (l.bound && l.bound->ended != end_reason::none) return l.bound->ended;
  if (l.provisional) return end_reason::undelivered;
  if (l.hold_limit == l.effective_end()) return end_reason::max_hold;
  return l.bound ? end_reason::session_expired : end_reason::expired;
}

// So much ended at once that `begin` stopped early: at least this lock is looked at as it is now. Never lets
// the lock go: the caller has plans with it.
void lock_table::settle(instant now, lock& l) {
  if (deadlines_.next() > now && ending_sessions_.empty()) return;
  for (auto it = l.leases.begin(); it != l.leases.end();) {
    auto& each = *it++;
    if (!each.lives(now)) end(now, each, why_over(each));
  }
  if (l.delay && l.delay->at <= now) {
    open(l);
    keep_delay(l);
  }
  hand_on(now, l);
}

void lock_table::end_due(instant now, timed& t) {
  switch (t.kind) {
    case timer_kind::lease: {
      auto& l = static_cast<lease&>(t);
      auto& on = *l.on;
      end(now, l, why_over(l));
      hand_on(now, on);
      touch(on);
      return;
    }
    case timer_kind::lock_delay: {
      auto& l = *static_cast<lock_delay&>(t).on;
      open(l);
      keep_delay(l);
      hand_on(now, l);
      touch(l);
      return;
    }
    case timer_kind::session:
      start_ending(now, static_cast<core::session&>(t), end_reason::session_expired);
      return;
    case timer_kind::waiter:
      give_up(now, static_cast<waiter&>(t));
      return;
  }
}

// Ends a wait whose patience or grace is over.
void lock_table::give_up(instant now, waiter& w) {
  const auto wanted = w.wanted();
  const auto in_the_way = std::find_if(wanted.begin(), wanted.end(), [&](const queue_entry& e) {
    return &e.on->queue.front() != &e || !fits(*e.on, e.mode, e.permits, now);
  });
  const bool patience_over = w.deadline <= now;
  auto why =
      explain(now, *(in_the_way == wanted.end() ? wanted.front() : *in_the_way).on, errc::lock_not_acquired);
  why->waited = now - w.since;
  why->queue_length -= 1;  // without this request
  drop(now, w, std::move(why), patience_over ? event_type::refused : event_type::cancelled,
       patience_over ? "lock_not_acquired" : "disconnected");
}

// From here on the session and its leases count as ended; taking them apart may need several steps.
void lock_table::start_ending(instant now, core::session& s, end_reason how) {
  s.ended = how;
  deadlines_.cancel(s);
  sessions_.erase(s.id.bits[1]);
  erase(record_kind::session, s.public_id);
  event told;
  told.type = how == end_reason::session_closed ? event_type::session_closed : event_type::session_expired;
  told.at = now;
  told.client = s.owner->id.view();
  observer_.on_event(told);
  if (!end_pieces(now, s)) ending_sessions_.push_back(&s);
}

bool lock_table::end_pieces(instant now, core::session& s) {
  std::size_t budget = session_piece;
  while (!s.waiters.empty() && budget > 0) {
    drop(now, s.waiters.front(), refuse(errc::session_not_found), event_type::refused, to_string(s.ended));
    --budget;
  }
  while (!s.leases.empty() && budget > 0) {
    auto& l = *s.leases.begin()->second;
    auto& on = *l.on;
    end(now, l, s.ended);
    hand_on(now, on);
    touch(on);
    --budget;
  }
  if (!s.waiters.empty() || !s.leases.empty()) return false;
  let_go(*s.owner);
  delete &s;
  return true;
}

bool lock_table::advance(instant now) {
  begin(now);
  for (auto* l : std::exchange(ready_, {})) {
    l->ready = false;
    hand_on(now, *l);
    touch(*l);
  }
  for (auto* s : std::exchange(ending_sessions_, {}))
    if (!end_pieces(now, *s)) ending_sessions_.push_back(s);
  return has_leftovers() || deadlines_.next() <= now || memory_.next() <= now;
}

// Builds the part of the wait-for graph that the newest wait can reach, and looks for a way back to it.
//
// In a queue each waiter needs the one in front of it to be served, which stands for all earlier ones, and
// the holders to leave room. A lock-delay ends by itself and blocks nobody for ever.
std::optional<std::vector<cycle_step>> lock_table::find_cycle(waiter& newest) const {
  // Nobody can wait for a client that holds nothing and stands at the end of every queue.
  if (newest.who->leases == 0 && std::next(newest.who->waits.begin()) == newest.who->waits.end())
    return std::nullopt;

  wait_for_graph graph;
  std::vector<const core::client*> clients;
  std::vector<const lock*> locks;
  boost::unordered_flat_map<const core::client*, std::uint32_t> numbers;
  const auto number_of = [&](const core::client* c) {
    const auto [it, fresh] = numbers.try_emplace(c, static_cast<std::uint32_t>(clients.size()));
    if (fresh) clients.push_back(c);
    return it->second;
  };
  number_of(newest.who);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    std::vector<wait_for_graph::need> needs;
    boost::unordered_flat_map<const lock*, std::uint64_t>
        permits;  // that this client waits for so far, by lock
    for (const auto& w : clients[i]->waits) {
      for (const auto& e : w.wanted()) {
        const auto& l = *e.on;
        const auto lock_number = static_cast<std::uint32_t>(locks.size());
        locks.push_back(&l);
        wait_for_graph::need holders{lock_number, 0, {}};
        if (e.mode == lock_mode::semaphore) {
          const auto room = l.limit - l.used;
          const auto wanted = permits[&l] += e.permits;
          if (wanted > room)
            holders.enough = static_cast<std::uint32_t>(
                std::min<std::uint64_t>(wanted - room, std::numeric_limits<std::uint32_t>::max()));
        }
        const bool all =
            e.mode == lock_mode::exclusive || (e.mode == lock_mode::shared && l.mode == lock_mode::exclusive);
        if (l.lease_count > 0 && (all || holders.enough > 0))
          for (const auto& held : l.leases)
            holders.blockers.push_back({number_of(held.owner), held.permits, false});
        if (e.mode == lock_mode::semaphore && permits[&l] > l.limit)
          holders.blockers.push_back(
              {static_cast<std::uint32_t>(i), 0, true});  // its own waits want more than there is
        if (!holders.blockers.empty()) needs.push_back(std::move(holders));
        const auto it = l.queue.iterator_to(e);
        if (it == l.queue.begin()) continue;
        const auto& before = *std::prev(it);
        // Two waits of one client do not stand in each other's way where both can be granted.
        const bool together = e.mode != lock_mode::exclusive && before.mode != lock_mode::exclusive;
        if (before.who->who != clients[i] || !together)
          needs.push_back({lock_number, 0, {{number_of(before.who->who), 0, true}}});
      }
    }
    graph.clients.push_back(std::move(needs));
  }

  const auto cycle = find_deadlock(graph, 0);
  if (!cycle) return std::nullopt;
  std::vector<cycle_step> out;
  for (const auto& step : *cycle)
    out.push_back({std::string(clients[step.client]->id.view()), std::string(locks[step.lock]->name.view()),
                   std::string(clients[step.blocker]->id.view()), step.behind});
  return out;
}

}  // namespace dislock::core
