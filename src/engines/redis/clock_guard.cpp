#include "engines/redis/clock_guard.hpp"

#include <algorithm>

namespace dislock::redis {
namespace {

std::int64_t micros(instant at) noexcept {
  return at.time_since_epoch().count();
}

}  // namespace

// Clocks that run at nearly the same rate: 0.1 %, twice what NTP may slew.
duration clock_guard::drift(instant now) const noexcept {
  return std::max(duration::zero(), now - at_) / 1000;
}

clock_guard::finding clock_guard::judge(instant sent, instant received, std::int64_t shown) const noexcept {
  if (!known_) return finding::agrees;
  const auto may_be = drift(received) + slack;
  if (shown - micros(received) > most_ + may_be.count()) return finding::ahead;
  if (shown - micros(sent) < least_ - may_be.count()) return finding::behind;
  return finding::agrees;
}

clock_guard::finding clock_guard::observe(instant sent, instant received, std::int64_t shown) noexcept {
  const auto found = judge(sent, received, shown);
  if (found == finding::behind) accept(sent, received, shown);
  if (found != finding::agrees) return found;
  auto least = shown - micros(received), most = shown - micros(sent);
  if (known_) {
    // A slow answer says little: what was known before it still holds, but for the drift.
    const auto by = drift(received).count();
    const auto narrowed_least = std::max(least, least_ - by), narrowed_most = std::min(most, most_ + by);
    if (narrowed_least <= narrowed_most) {
      least = narrowed_least;
      most = narrowed_most;
    }
  }
  known_ = true;
  least_ = least;
  most_ = most;
  at_ = received;
  return found;
}

void clock_guard::accept(instant sent, instant received, std::int64_t shown) noexcept {
  known_ = true;
  least_ = shown - micros(received);
  most_ = shown - micros(sent);
  at_ = received;
}

std::optional<std::int64_t> clock_guard::latest(instant now) const noexcept {
  if (!known_) return std::nullopt;
  return micros(now) + most_ + (drift(now) + slack).count();
}

std::int64_t clock_guard::earliest(instant now) const noexcept {
  return micros(now) + least_ - drift(now).count();
}

}  // namespace dislock::redis
