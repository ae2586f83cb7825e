#pragma once

#include "dislock/clock.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dislock::server {

/// Durations in log-linear buckets: 64 per power of two, so that what is read back is at most 1.6 % too
/// large.
///
/// Fixed memory (19 KiB). `record` costs a shift and three additions. `count`, `sum` and `max` are exact.
/// Past 50 days the last bucket takes everything. One thread: plain counters.
class histogram {
 public:
  /// A negative duration (a clock stepped back) counts as zero.
  void record(duration value) noexcept;
  void merge(const histogram& other) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] duration sum() const noexcept { return duration(sum_); }
  [[nodiscard]] duration max() const noexcept { return duration(max_); }

  /// What a share `q` (0 to 1) of the values does not exceed; zero when empty.
  [[nodiscard]] duration quantile(double q) const noexcept;

  /// For each bound how many values are at most that long, as Prometheus has it. A value that is up to 1.6 %
  /// longer than a bound may count as within. REQUIRES: rising bounds, below 50 days.
  [[nodiscard]] std::vector<std::uint64_t> cumulative(std::span<const duration> bounds) const;

 private:
  static constexpr unsigned step_bits = 6;
  static constexpr std::size_t steps = std::size_t{1} << step_bits;  // per power of two
  static constexpr unsigned value_bits = 42;                         // of microseconds: 50 days

  static std::size_t bucket_of(std::int64_t us) noexcept;
  static std::int64_t largest_of(std::size_t bucket) noexcept;

  // The values below 2 * `steps` have a bucket each; after those every power of two has `steps` of them.
  std::array<std::uint64_t, (value_bits - step_bits + 1) * steps> buckets_{};
  std::uint64_t count_ = 0;
  std::int64_t sum_ = 0;
  std::int64_t max_ = 0;
};

}  // namespace dislock::server
