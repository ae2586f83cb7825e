// Whether the store's clock still goes as ours does.
#pragma once

#include "dislock/clock.hpp"

#include <cstdint>
#include <optional>

namespace dislock::redis {

/// Leases end by the wall clock of the store, which somebody can set. We have a clock that nobody sets: from
/// each answer follows by how much the two differ, within the time that the answer took. When that changes by
/// more than clocks drift, the store's clock was set.
///
/// Pure. The store's instants are microseconds since 1970.
class clock_guard {
 public:
  /// A smaller step goes unnoticed: what a server that is busy, or a clock that is corrected slowly, may make
  /// of it.
  static constexpr duration slack = std::chrono::milliseconds(500);

  enum class finding : std::uint8_t { agrees, ahead, behind };

  /// What it would mean that the store showed `shown` between `sent` and `received`.
  [[nodiscard]] finding judge(instant sent, instant received, std::int64_t shown) const noexcept;
  /// As `judge`, and learns from it, unless it is ahead: that has to be told to the store first, and
  /// `accept`ed then.
  finding observe(instant sent, instant received, std::int64_t shown) noexcept;
  void accept(instant sent, instant received, std::int64_t shown) noexcept;

  /// The latest instant that the store can show at `now`, if its clock is not set; nothing while nobody
  /// knows.
  [[nodiscard]] std::optional<std::int64_t> latest(instant now) const noexcept;
  /// The earliest one. REQUIRES: something was observed.
  [[nodiscard]] std::int64_t earliest(instant now) const noexcept;

 private:
  // By how much the store is ahead of us: between these, `at_` ago.
  [[nodiscard]] duration drift(instant now) const noexcept;

  bool known_ = false;
  std::int64_t least_ = 0, most_ = 0;
  instant at_{};
};

}  // namespace dislock::redis
