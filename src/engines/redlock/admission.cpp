#include "engines/redlock/admission.hpp"

#include "core/quorum.hpp"

#include <algorithm>

namespace dislock::redlock {
namespace {

// Several replicas found a set at the same time: what one has founded a moment ago does not make the rest of
// the set look old to the other.
constexpr std::int64_t fresh = 10'000'000;

bool is_fresh(const node_memory& n) {
  return n.run == n.incarnation && n.born > 0 && n.now - n.born < fresh && n.now >= n.born;
}

}  // namespace

std::vector<admission> plan_admissions(std::span<const node_memory> nodes, founding_rule rule, bool patient,
                                       std::int64_t now_us) {
  using step = admission::step;
  const auto count = [&](auto holds) {
    return static_cast<std::size_t>(std::count_if(nodes.begin(), nodes.end(), holds));
  };
  const auto answer = count([](const node_memory& n) { return n.answers; });
  const auto new_ones =
      count([](const node_memory& n) { return n.answers && (n.is_virgin() || is_fresh(n)); });
  const auto seen = count([](const node_memory& n) { return n.seen && !is_fresh(n); });
  const auto needed = rule == founding_rule::all ? nodes.size() : core::majority_of(nodes.size());
  const bool brand_new = rule != founding_rule::never && seen == 0 && answer == new_ones && answer >= needed;

  std::uint64_t largest = static_cast<std::uint64_t>(std::max<std::int64_t>(now_us, 0));
  for (const auto& n : nodes)
    if (n.answers) largest = std::max(largest, n.high);

  std::vector<admission> out;
  for (const auto& n : nodes) {
    const auto needs = [&] {
      if (!n.answers || n.incarnation.empty() || n.is_admitted()) return step::none;
      if (brand_new && n.is_virgin()) return step::found;
      if (n.run == n.incarnation) return n.quiet_until <= n.now ? step::raise : step::none;
      if (!n.run.empty() && n.was_safe && n.quiet_until == 0) return step::prove;
      // The rest of a brand-new set may be about to answer.
      if (patient && n.is_virgin() && answer < nodes.size() && answer == new_ones) return step::none;
      return step::silence;
    }();
    out.push_back({needs, needs == step::found || needs == step::raise ? largest : 0});
  }
  return out;
}

}  // namespace dislock::redlock
