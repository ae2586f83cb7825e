// Asking for locks.
#include "core/lock_table.hpp"

#include <algorithm>

namespace dislock::core {
namespace {

// Everything that makes a call what it is. Not the patience: the first call has set it, and a client that
// asks again naturally asks with what is left of it.
std::uint64_t print_of(const acquire_request& r) {
  if (r.request.empty()) return 0;
  fingerprint f("acquire");
  f.add(std::uint64_t{r.multi});
  for (const auto& w : r.wants)
    f.add(w.name.view())
        .add(static_cast<std::uint64_t>(w.mode))
        .add(std::uint64_t{w.limit})
        .add(std::uint64_t{w.permits});
  f.add(r.ttl).add(r.lock_delay).add(r.max_hold.value_or(duration(-1))).add(std::uint64_t{r.auto_renew});
  return f.add(r.session).add(r.reentry).add(r.metadata).value();
}

call_id call_of(const acquire_request& r) {
  return {r.multi, r.multi ? lock_name() : r.wants[0].name, r.client, r.request};
}

std::uint32_t limit_of(const lock_want& w) {
  return w.mode == lock_mode::semaphore ? w.limit : 0;
}

event about(event_type type, instant now, const lock& l, std::string_view client) {
  event e;
  e.type = type;
  e.at = now;
  e.lock = l.name.view();
  e.client = client;
  return e;
}

}  // namespace

acquire_answer lock_table::acquire(instant now, const acquire_request& r) {
  DISLOCK_ASSERT(!r.wants.empty() && (r.multi || r.wants.size() == 1), "a request names its locks");
  begin(now);
  const auto print = print_of(r);
  if (auto* m = find_memo(call_of(r))) return repeat(now, *m, print);
  if (memory_full(r.request)) return refuse(errc::request_memory_full);

  core::session* bound = nullptr;
  if (!r.session.empty() && (bound = find_session(now, r.session)) == nullptr)
    return remember_refusal(now, r, print, refuse(errc::session_not_found));
  if (!r.reentry.empty()) return reenter(now, r, print);

  boost::container::small_vector<lock*, 4> locks;
  for (const auto& w : r.wants) {
    auto& l = obtain_lock(w.name);
    settle(now, l);
    locks.push_back(&l);
  }
  const auto refused = [&](std::shared_ptr<refusal> why) -> acquire_answer {
    const auto& at = why->lock;
    auto* in_the_way =
        *std::find_if(locks.begin(), locks.end(), [&](lock* l) { return l->name.view() == at; });
    auto e = about(event_type::refused, now, *in_the_way, r.client.view());
    e.reason = to_string(why->code);
    observer_.on_event(e);
    auto out = remember_refusal(now, r, print, std::move(why));
    for (auto* l : locks) touch(*l);
    return out;
  };

  for (std::size_t i = 0; i < locks.size(); ++i) {
    const auto& l = *locks[i];
    if ((l.lease_count == 0 && l.queue_length == 0) || l.limit == limit_of(r.wants[i])) continue;
    auto why = explain(now, l, errc::lock_mode_conflict);
    why->mode = l.limit > 0 ? lock_mode::semaphore : l.lease_count > 0 ? l.mode : l.queue.front().mode;
    why->limit = l.limit;
    return refused(std::move(why));
  }
  const auto busy = std::find_if(locks.begin(), locks.end(), [&, i = std::size_t{0}](const lock* l) mutable {
    const auto& w = r.wants[i++];
    return l->queue_length > 0 || !fits(*l, w.mode, w.permits, now);
  });
  const bool free = busy == locks.end();
  if (free && !options_.by_turns) return grant_now(now, r, locks, bound, print);
  if (!free && r.wait <= duration::zero()) return refused(explain(now, **busy, errc::lock_not_acquired));
  for (auto* l : locks) {
    if (l->queue_length < options_.queue_max) continue;
    auto why = explain(now, *l, errc::queue_full);  // not remembered: nothing was decided about the lock
    for (auto* each : locks) touch(*each);
    return refusal_ptr(std::move(why));
  }
  return enqueue(now, r, locks, bound, print);
}

// Whether the lock's holders leave room. REQUIRES: the same family.
bool lock_table::fits(const lock& l, lock_mode mode, std::uint32_t permits, instant now) const noexcept {
  if (l.closed(now)) return false;
  if (l.lease_count == 0) return true;
  switch (mode) {
    case lock_mode::exclusive:
      return false;
    case lock_mode::shared:
      return l.mode == lock_mode::shared;
    case lock_mode::semaphore:
      return l.limit - l.used >= permits;
  }
  return false;
}

lease& lock_table::make_lease(instant now, lock& on, core::client& owner, lock_mode mode,
                              std::uint32_t permits, std::uint32_t limit, const lease_terms& terms,
                              std::string_view metadata, const minted* as) {
  auto& l = *lease_pool_.create();
  l.mode = mode;
  l.auto_renew = terms.auto_renew;
  l.id = as ? as->id : secrets_.make<lock_id>();
  l.renewal = as ? as->renewal : secrets_.make<renewal_token>();
  l.token = as ? as->token : mint(now);
  l.acquired_at = now;
  l.ttl = terms.bound ? terms.bound->ttl : terms.ttl;
  if (terms.max_hold) l.hold_limit = later(now, *terms.max_hold);
  l.lock_delay_ms = static_cast<std::uint16_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(terms.lock_delay).count());
  l.permits = mode == lock_mode::semaphore ? permits : 1;
  l.on = &on;
  l.owner = &owner;
  l.bound = terms.bound;
  l.metadata = text(metadata);

  on.mode = mode;
  on.limit = mode == lock_mode::semaphore ? limit : 0;
  if (mode == lock_mode::semaphore) on.used += permits;
  ++on.lease_count;
  on.latest = l.token;
  on.leases.push_back(l);
  ++owner.references;
  ++owner.leases;
  leases_.insert(&l);
  if (l.bound) {
    l.bound->leases.emplace(l.token, &l);
    ++l.bound->lease_count;
  }
  return l;
}

grant lock_table::as_grant(const lease& l) const {
  grant g;
  g.id = l.id;
  g.renewal = l.renewal;
  g.token = l.token;
  g.mode = l.mode;
  g.session_bound = l.bound != nullptr;
  g.provisional = l.provisional;
  g.permits = l.permits;
  g.limit = l.on->limit;
  g.hold_count = l.hold_count;
  g.told = l.told;
  g.end = l.effective_end();
  if (l.auto_renew) g.renewed_until = l.hold_limit;
  return g;
}

acquire_answer lock_table::grant_now(instant now, const acquire_request& r, std::span<lock* const> locks,
                                     core::session* bound, std::uint64_t print) {
  auto& owner = obtain_client(r.client);
  const lease_terms terms{r.ttl, r.lock_delay, r.max_hold, bound, r.auto_renew};
  memo* m =
      r.request.empty() ? nullptr : &remember(now, r.multi ? nullptr : locks[0], owner, r.request, print);
  acquire_answer answered(std::in_place_type<granted>);
  auto& out = std::get<granted>(answered);
  std::vector<lease_slot> slots;
  for (std::size_t i = 0; i < locks.size(); ++i) {
    const auto& w = r.wants[i];
    auto& l = make_lease(now, *locks[i], owner, w.mode, w.permits, w.limit, terms, r.metadata);
    l.group = locks.size() > 1;
    l.remembered = m;
    if (m && !l.group) remember_in(*m, l);
    schedule(l, later(now, l.ttl));
    keep(l);
    touch(*locks[i]);
    out.leases.push_back(as_grant(l));
    auto e = about(event_type::acquired, now, *locks[i], r.client.view());
    e.token = l.token;
    e.mode = l.mode;
    observer_.on_event(e);
    if (m && l.group) slots.push_back({&l, l.token, end_reason::none});
  }
  if (!slots.empty()) {
    m->outcome = std::make_unique<std::vector<lease_slot>>(std::move(slots));
    keep(*m);
  }
  return answered;
}

refusal_ptr lock_table::remember_refusal(instant now, const acquire_request& r, std::uint64_t print,
                                         refusal_ptr why) {
  if (!r.request.empty()) {
    auto& m = remember(now, call_of(r), print);
    auto kept = std::make_shared<refusal>(*why);
    kept->holders.clear();  // a repeat is told who holds the lock then
    kept->holder_count = 0;
    m.outcome = std::make_unique<settled>(refusal_ptr(std::move(kept)));
    forget_later(now, m);
    keep(m);
  }
  return why;
}

acquire_answer lock_table::enqueue(instant now, const acquire_request& r, std::span<lock* const> locks,
                                   core::session* bound, std::uint64_t print) {
  auto* w = new waiter;
  w->arrival = ticket{next_number()};
  w->who = &obtain_client(r.client);
  ++w->who->references;
  w->who->waits.push_front(*w);
  w->multi = r.multi;
  w->since = now;
  w->deadline = later(now, r.wait);
  w->terms = {r.ttl, r.lock_delay, r.max_hold, bound, r.auto_renew};
  w->metadata = text(r.metadata);
  if (bound) bound->waiters.push_back(*w);
  waiters_.emplace(static_cast<std::uint64_t>(w->arrival), w);
  join_queues(*w, r.wants, locks);

  if (options_.detect_deadlocks) {
    if (auto cycle = find_cycle(*w)) {
      auto why = explain(now, *find_lock(lock_name(cycle->front().lock)), errc::deadlock_detected);
      why->queue_length -= 1;  // without this request
      why->cycle = std::move(*cycle);
      observer_.on_deadlock({now, std::string(r.client.view()), why->lock, why->cycle});
      auto e = about(event_type::deadlock, now, *locks[0], r.client.view());
      e.lock = why->lock;
      observer_.on_event(e);
      auto out = remember_refusal(now, r, print, std::move(why));
      std::vector<lock*> left;
      leave_queues(*w, left);
      discard(*w);
      for (auto* l : left) touch(*l);
      return out;
    }
  }
  if (!r.request.empty()) {
    auto& m = remember(now, call_of(r), print);
    m.outcome = w;
    w->remembered = &m;
    keep(*w);
  }
  schedule(*w);
  for (auto* l : locks) touch(*l);
  if (options_.by_turns) hand_on(now, *locks.front());  // grants nothing by itself
  if (w->turn == waiter::turn_state::none) announce(now, *w);
  return queued{w->arrival, w->epoch, w->deadline, w->remembered != nullptr};
}

acquire_answer lock_table::repeat(instant now, memo& m, std::uint64_t print) {
  if (std::holds_alternative<was_cancelled>(m.outcome)) return refuse(errc::request_cancelled);
  if (m.fingerprint != print) return refuse(errc::request_id_reused);

  if (auto* const* waiting = std::get_if<waiter*>(&m.outcome)) {
    auto& w = **waiting;
    if (w.at <= now) {  // over, which `begin` had no time to notice
      give_up(now, w);
      return repeat(now, m, print);
    }
    if (w.attached) observer_.on_resolved(w.arrival, w.epoch, refuse(errc::superseded));
    ++w.epoch;
    w.attached = true;
    w.grace_end = never;
    schedule(w);
    return queued{w.arrival, w.epoch, w.deadline, true};
  }
  if (auto* box = std::get_if<std::unique_ptr<settled>>(&m.outcome)) {
    auto again = std::make_shared<refusal>(*std::get<refusal_ptr>(**box));
    if (const auto* l = find_lock(lock_name(again->lock))) {
      const auto current = explain(now, *l, again->code);
      again->holders = current->holders;
      again->holder_count = current->holder_count;
    }
    return refusal_ptr(std::move(again));
  }

  std::span<lease_slot> slots;
  if (auto* one = std::get_if<lease_slot>(&m.outcome)) slots = {one, 1};
  if (auto* again = std::get_if<reentered>(&m.outcome)) slots = {&again->slot, 1};
  if (auto* many = std::get_if<std::unique_ptr<std::vector<lease_slot>>>(&m.outcome)) slots = **many;
  DISLOCK_ASSERT(!slots.empty(), "an acquire is remembered as a waiter, leases or a refusal");

  const auto over = std::find_if(slots.begin(), slots.end(),
                                 [&](const lease_slot& s) { return !s.alive || !s.alive->lives(now); });
  if (over != slots.end()) {
    auto why = std::make_shared<refusal>();
    why->code = errc::lock_not_held;
    why->ended = over->alive ? why_over(*over->alive) : over->how;
    return refusal_ptr(std::move(why));
  }
  granted out;
  out.repeated = true;
  for (const auto& s : slots) {
    ++s.alive->told;
    out.claimed = out.claimed || s.alive->provisional;
    claim(now, *s.alive);
    out.leases.push_back(as_grant(*s.alive));
    out.waited = s.alive->acquired_at - m.when;
  }
  if (std::holds_alternative<reentered>(m.outcome)) out.waited = duration::zero();
  return out;
}

acquire_answer lock_table::reenter(instant now, const acquire_request& r, std::uint64_t print) {
  const auto& want = r.wants[0];
  auto* l = find_live(now, {want.name, r.reentry, {}}, r.client, false);
  if (!l) return remember_refusal(now, r, print, not_held(ends_.find(r.reentry, {})));
  const bool otherwise = l->mode != want.mode || l->on->limit != limit_of(want) ||
                         (want.mode == lock_mode::semaphore && l->permits != want.permits);
  if (otherwise && !r.reentry_as_held) {
    auto why = explain(now, *l->on, errc::lock_mode_conflict);
    why->mode = l->mode;
    why->limit = l->on->limit;
    return remember_refusal(now, r, print, std::move(why));
  }
  claim(now, *l);
  ++l->hold_count;
  if (!l->bound && later(now, r.ttl) > l->at) {
    l->ttl = r.ttl;
    l->moved_ms = 0;
    schedule(*l, later(now, r.ttl));
  }
  keep(*l);
  if (!r.request.empty()) {
    auto& m = remember(now, call_of(r), print);
    m.outcome = reentered{{l, l->token, end_reason::none}};
    m.older = l->remembered;
    l->remembered = &m;
    keep(m);
  }
  granted out;
  out.leases.push_back(as_grant(*l));
  return out;
}

std::shared_ptr<refusal> lock_table::explain(instant now, const lock& l, errc code) const {
  auto view = status(now, lock_name(l.name.view()), holders_shown, 0);
  auto why = std::make_shared<refusal>();
  why->code = code;
  why->lock = std::move(view.name);
  why->holders = std::move(view.holders);
  why->holder_count = view.holder_count;
  why->queue_length = view.queue_length;
  return why;
}

}  // namespace dislock::core
