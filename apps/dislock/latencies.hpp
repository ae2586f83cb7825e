// Percentiles of what a load test measured.
#pragma once

#include "dislock/clock.hpp"

#include <boost/json/object.hpp>

#include <vector>

namespace dislock::cli {

struct percentiles {
  duration p50{}, p90{}, p99{}, p999{}, longest{};
};

/// By rank: the smallest value that at least that part of them does not exceed. Sorts `values`.
[[nodiscard]] percentiles percentiles_of(std::vector<duration>& values);

/// In seconds.
[[nodiscard]] boost::json::object to_json(const percentiles& p);

}  // namespace dislock::cli
