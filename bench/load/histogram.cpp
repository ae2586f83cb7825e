#include "histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace dislock::load {

void histogram::record(duration value) noexcept {
  const auto nanoseconds = std::max<std::int64_t>(value.count(), 0);
  ++buckets_[bucket_of(static_cast<std::uint64_t>(nanoseconds))];
  ++count_;
  sum_ += static_cast<std::uint64_t>(nanoseconds);
  max_ = std::max(max_, nanoseconds);
}

void histogram::merge(const histogram& other) noexcept {
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

histogram::duration histogram::mean() const noexcept {
  return duration(count_ == 0 ? 0 : static_cast<std::int64_t>(sum_ / count_));
}

histogram::duration histogram::percentile(double q) const noexcept {
  if (count_ == 0) return duration::zero();
  const auto wanted =
      std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return duration(std::min(static_cast<std::int64_t>(middle_of(i)), max_));
  }
  return duration(max_);
}

std::size_t histogram::bucket_of(std::uint64_t value) noexcept {
  if (value < buckets_per_octave) return value;
  const auto shift = static_cast<unsigned>(std::bit_width(value)) - (bucket_bits + 1);
  return shift * buckets_per_octave + (value >> shift);
}

std::uint64_t histogram::middle_of(std::size_t bucket) noexcept {
  if (bucket < 2 * buckets_per_octave) return bucket;
  const auto shift = bucket / buckets_per_octave - 1;
  const auto step = bucket - shift * buckets_per_octave;
  return (step << shift) + (std::uint64_t{1} << shift) / 2;
}

}  // namespace dislock::load
