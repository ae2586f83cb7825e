#pragma once

#include "core/lock_table.hpp"
#include "engine/engine.hpp"
#include "engine/loop.hpp"
#include "engines/redis/wire/url.hpp"

#include <memory>
#include <string>

namespace dislock {

struct redlock_engine_options {
  redis::store_url url;  ///< of kind redlock. `?founding=all|majority|never`: see README.md
  core::table_options table;
  std::size_t event_log_size = 10'000;
  /// The longest lease that any replica on these nodes grants. A node that may have forgotten something does
  /// not vote for so long.
  duration max_ttl = std::chrono::seconds(300);
};

/// `redlock://`: exclusive locks that a majority of independent Redis servers holds. Queues, request memory
/// and deadlock detection are those of a lock table in this process; what is granted is decided by the nodes.
///
/// `invalid_field` for a URL of another kind or with parameters that mean nothing. `io` is run by the
/// strand's thread.
[[nodiscard]] result<std::unique_ptr<engine>> make_redlock_engine(boost::asio::io_context& io, loop& where,
                                                                  const clock& time,
                                                                  redlock_engine_options options);

/// For tests: nothing is on its way to a node, or back. REQUIRES: an engine that was made here.
[[nodiscard]] bool redlock_at_rest(const engine& e);
/// On how many nodes a lease is known to be held; 0 for a token of nobody here.
[[nodiscard]] std::size_t nodes_that_hold(const engine& e, fencing_token token);

}  // namespace dislock
