#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace dislock::load {

/// Durations in log-linear buckets: 128 per power of two, so a percentile is at most 0.8 % off.
///
/// `max()` and `mean()` are exact. Recording costs a shift and an addition; nothing is allocated.
class histogram {
 public:
  using duration = std::chrono::nanoseconds;

  /// A negative duration counts as zero.
  void record(duration value) noexcept;
  void merge(const histogram& other) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] duration max() const noexcept { return duration(max_); }
  [[nodiscard]] duration mean() const noexcept;

  /// The smallest recorded value that a share `q` (0 to 1) of all values does not exceed; zero when empty.
  [[nodiscard]] duration percentile(double q) const noexcept;

 private:
  static constexpr unsigned bucket_bits = 7;
  static constexpr std::size_t buckets_per_octave = std::size_t{1} << bucket_bits;

  static std::size_t bucket_of(std::uint64_t value) noexcept;
  static std::uint64_t middle_of(std::size_t bucket) noexcept;

  std::array<std::uint64_t, buckets_per_octave * (64 - bucket_bits + 1)> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::int64_t max_ = 0;
};

}  // namespace dislock::load
