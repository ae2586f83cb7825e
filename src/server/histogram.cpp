#include "server/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace dislock::server {

void histogram::record(duration value) noexcept {
  const auto us = std::max<std::int64_t>(value.count(), 0);
  ++buckets_[bucket_of(us)];
  ++count_;
  sum_ += us;
  max_ = std::max(max_, us);
}

void histogram::merge(const histogram& other) noexcept {
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

duration histogram::quantile(double q) const noexcept {
  const auto share = std::ceil(q * static_cast<double>(count_));
  const auto wanted =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(share), 1, std::max<std::uint64_t>(count_, 1));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i + 1 < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return duration(std::min(largest_of(i), max_));
  }
  return max();
}

std::vector<std::uint64_t> histogram::cumulative(std::span<const duration> bounds) const {
  std::vector<std::uint64_t> out;
  out.reserve(bounds.size());
  std::uint64_t seen = 0;
  std::size_t next = 0;
  for (const auto bound : bounds) {
    for (const auto last = bucket_of(bound.count()); next <= last; ++next) seen += buckets_[next];
    out.push_back(seen);
  }
  return out;
}

std::size_t histogram::bucket_of(std::int64_t us) noexcept {
  constexpr auto largest = (std::uint64_t{1} << value_bits) - 1;
  const auto value = std::min(static_cast<std::uint64_t>(us), largest);
  if (value < steps) return value;
  const auto shift = static_cast<unsigned>(std::bit_width(value)) - (step_bits + 1);
  return shift * steps + (value >> shift);
}

std::int64_t histogram::largest_of(std::size_t bucket) noexcept {
  if (bucket < 2 * steps) return static_cast<std::int64_t>(bucket);
  const auto shift = bucket / steps - 1;
  return static_cast<std::int64_t>(((bucket - shift * steps + 1) << shift) - 1);
}

}  // namespace dislock::server
