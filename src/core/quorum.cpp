#include "core/quorum.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace dislock::core {

duration life_for(duration wanted, duration patience) noexcept {
  using std::chrono::milliseconds;
  const auto net = wanted + patience + milliseconds(2);
  const duration exact((net.count() * 100 + 98) / 99);  // a hundredth of it is lost to drift
  return std::chrono::ceil<milliseconds>(exact);
}

std::uint64_t next_proposal(std::uint64_t largest_seen, instant now) noexcept {
  const auto time = static_cast<std::uint64_t>(std::max<std::int64_t>(microseconds_since_1970(now), 0));
  return std::max(largest_seen + 1, time);
}

round::round(std::size_t nodes, duration life, duration wanted)
    : votes_(nodes, vote::silent), life_(life), wanted_(wanted) {
  counts_[static_cast<std::size_t>(vote::silent)] = nodes;
}

void round::take(std::size_t node, vote v, std::uint64_t last) {
  DISLOCK_ASSERT(votes_.at(node) == vote::silent && v != vote::silent, "a node votes once");
  --counts_[static_cast<std::size_t>(vote::silent)];
  ++counts_[static_cast<std::size_t>(v)];
  votes_[node] = v;
  if (v == vote::refused) largest_last_ = std::max(largest_last_, last);
}

verdict round::judge(duration elapsed) const noexcept {
  const auto needed = majority_of(nodes());
  if (valid_for(life_, elapsed) < wanted_) return verdict::lost;
  if (count(vote::accepted) >= needed) return verdict::won;
  return count(vote::accepted) + count(vote::silent) < needed ? verdict::lost : verdict::undecided;
}

}  // namespace dislock::core
