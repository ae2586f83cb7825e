// Time as leases see it: microseconds since 1970 on a clock that nobody can set while the process lives.
#pragma once

#include "dislock/export.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>

namespace dislock {

/// The time line on which leases end and fencing tokens are minted. It starts at the wall clock's reading and
/// then follows CLOCK_BOOTTIME, so that it counts suspend and ignores whoever sets the wall clock.
struct engine_timeline {
  using duration = std::chrono::microseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<engine_timeline>;
  static constexpr bool is_steady = true;
};

using instant = engine_timeline::time_point;
using duration = engine_timeline::duration;

constexpr instant never = instant::max();

[[nodiscard]] constexpr std::int64_t microseconds_since_1970(instant t) noexcept {
  return t.time_since_epoch().count();
}
[[nodiscard]] constexpr instant from_microseconds(std::int64_t us) noexcept {
  return instant(duration(us));
}

/// `t + d`, or `never` where that does not fit.
[[nodiscard]] constexpr instant later(instant t, duration d) noexcept {
  return d > never - t ? never : t + d;
}

/// Where time comes from. Decisions never ask: they are told. Thread safety: `now()` from any thread.
class clock {
 public:
  virtual ~clock() = default;
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// Moves the clock forward, if need be, so that it never reads earlier than `t`. Before anybody else has
  /// it.
  virtual void not_before(instant t) noexcept = 0;
};

/// The machine's time: the wall clock's reading at construction plus what CLOCK_BOOTTIME has counted since.
class DISLOCK_API boottime_clock final : public clock {
 public:
  boottime_clock() noexcept;
  [[nodiscard]] instant now() const noexcept override;
  void not_before(instant t) noexcept override;

 private:
  std::int64_t offset_us_;  // engine time minus boot time
};

/// A clock that stands still until a test moves it. Moved by one thread at a time.
class manual_clock final : public clock {
 public:
  explicit manual_clock(instant start = from_microseconds(1'800'000'000'000'000)) noexcept : now_(start) {}
  manual_clock(const manual_clock& other) noexcept : clock(), now_(other.now()) {}
  manual_clock& operator=(const manual_clock& other) noexcept {
    now_ = other.now();
    return *this;
  }
  [[nodiscard]] instant now() const noexcept override { return now_.load(std::memory_order_relaxed); }
  void not_before(instant t) noexcept override {
    if (t > now()) now_ = t;
  }
  void advance(duration d) noexcept { now_ = now() + d; }

 private:
  std::atomic<instant> now_;
};

}  // namespace dislock
