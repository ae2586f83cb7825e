#include "twin.hpp"

namespace dislock::testing_engines {

void comparison::same(const char*, const holder_view& a, const holder_view& b) {
  same("the holder", a.client, b.client);
  same("the holder's token", a.token, b.token);
  same("the holder's mode", a.mode, b.mode);
  same("the holder's permits", a.permits, b.permits);
  same("the holder's count", a.hold_count, b.hold_count);
  same("held since", a.acquired_at, b.acquired_at);
  same("held until", a.end, b.end);
  same("session bound", a.session_bound, b.session_bound);
}

void comparison::same(const char*, const waiter_view& a, const waiter_view& b) {
  same("the waiter", a.client, b.client);
  same("the waiter's mode", a.mode, b.mode);
  same("the waiter's permits", a.permits, b.permits);
  same("the waiter's position", a.position, b.position);
  same("waits since", a.since, b.since);
  same("waits until", a.deadline, b.deadline);
  same("is connected", a.connected, b.connected);
}

void comparison::same(const char*, const lock_view& a, const lock_view& b) {
  same("the lock", a.name, b.name);
  same("locked", a.locked, b.locked);
  if (a.locked) same("the mode", a.mode, b.mode);
  if (a.locked || a.queue_length > 0) same("the limit", a.limit, b.limit);
  same("the permits in use", a.used, b.used);
  same_each("the holders", a.holders, b.holders);
  same("the number of holders", a.holder_count, b.holder_count);
  for (std::size_t i = 0; i < std::min(a.holders.size(), b.holders.size()); ++i)
    rises(a.name, a.holders[i].token, b.holders[i].token);
  same_each("the waiters", a.waiters, b.waiters);
  same("the queue", a.queue_length, b.queue_length);
  same("closed until", a.closed_until, b.closed_until);
}

void comparison::same(const char*, const place& a, const place& b) {
  same("the lock waited for", a.lock, b.lock);
  same("the place", a.position, b.position);
  same_each("who is in front", a.holders, b.holders);
}

void comparison::same(const char*, const cycle_step& a, const cycle_step& b) {
  same("in the cycle", a.client, b.client);
  same("lock in the cycle", a.lock, b.lock);
  same("blocker in the cycle", a.blocker, b.blocker);
  same("behind", a.behind, b.behind);
}

void comparison::same(const char*, const refusal& a, const refusal& b) {
  same("the code", to_string(a.code), to_string(b.code));
  same("the lock in the way", a.lock, b.lock);
  same("waited", a.waited, b.waited);
  same_each("the holders in the way", a.holders, b.holders);
  same("the number of holders in the way", a.holder_count, b.holder_count);
  same("the queue in the way", a.queue_length, b.queue_length);
  same_each("the cycle", a.cycle, b.cycle);
  // An explanation for who comes late may be lost in a restart; a wrong one may not be given.
  if (drift_ == duration::zero() || b.ended) same("how it ended", a.ended, b.ended);
  same("in use as", a.mode, b.mode);
  same("in use with limit", a.limit, b.limit);
}

void comparison::same(const char*, const grant& a, const grant& b) {
  same("the token", a.token, b.token);
  same("the mode", a.mode, b.mode);
  same("session bound", a.session_bound, b.session_bound);
  same("provisional", a.provisional, b.provisional);
  same("the permits", a.permits, b.permits);
  same("the limit", a.limit, b.limit);
  same("the hold count", a.hold_count, b.hold_count);
  same("the end", a.end, b.end);
  same("renewed until", a.renewed_until, b.renewed_until);
}

void comparison::same(const char* what, const acquire_answer& a, const acquire_answer& b) {
  if (a.index() != b.index()) {
    constexpr const char* kinds[] = {"granted", "queued", "refused"};
    const auto name = [&](const acquire_answer& x) {
      const auto refused = code(x);
      return std::string(kinds[x.index()]) + (refused ? " " + std::string(to_string(*refused)) : "");
    };
    return differ(std::string(what) + ": " + name(a) + " here, " + name(b) + " there");
  }
  if (const auto* got = std::get_if<granted>(&a)) {
    const auto& other = std::get<granted>(b);
    same("the number of leases", got->leases.size(), other.leases.size());
    for (std::size_t i = 0; i < std::min(got->leases.size(), other.leases.size()); ++i)
      same(what, got->leases[i], other.leases[i]);
    same("waited", got->waited, other.waited);
    same("repeated", got->repeated, other.repeated);
  } else if (const auto* q = std::get_if<queued>(&a)) {
    same("the deadline", q->deadline, std::get<queued>(b).deadline);
    same("the grace", q->grace, std::get<queued>(b).grace);
  } else {
    same(what, why(a), why(b));
  }
}

}  // namespace dislock::testing_engines
