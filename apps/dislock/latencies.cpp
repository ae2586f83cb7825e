#include "latencies.hpp"

#include <algorithm>
#include <cmath>

namespace dislock::cli {

percentiles percentiles_of(std::vector<duration>& values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto at = [&](double part) {
    const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(values.size())));
    return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
  };
  return {at(0.5), at(0.9), at(0.99), at(0.999), values.back()};
}

boost::json::object to_json(const percentiles& p) {
  const auto s = [](duration d) { return static_cast<double>(d.count()) / 1e6; };
  return {
      {"p50", s(p.p50)}, {"p90", s(p.p90)}, {"p99", s(p.p99)}, {"p999", s(p.p999)}, {"max", s(p.longest)}};
}

}  // namespace dislock::cli
