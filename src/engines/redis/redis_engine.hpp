#pragma once

#include "engine/engine.hpp"
#include "engine/loop.hpp"
#include "engines/redis/store_checks.hpp"
#include "engines/redis/wire/url.hpp"

#include <memory>
#include <string>

namespace dislock {

struct redis_engine_options {
  redis::store_url url;
  duration waiter_grace = std::chrono::seconds(5);
  duration request_memory = std::chrono::seconds(30);
  std::size_t queue_max = 10'000;
  bool detect_deadlocks = true;
  /// Who asks this engine lives in its process and dies with it, so that what is granted to him here need not
  /// be claimed before he is told: if the process ends in between, a holder has died, and no caller is left
  /// that somebody else could have served.
  bool callers_are_here = false;
  std::size_t event_log_size = 10'000;
  duration call_timeout = std::chrono::seconds(5);  ///< of one question to the store
  redis::failover_terms failover;                   ///< unless the URL says otherwise
  // For tests of the tests:
  bool plant_plain_counter = false;  ///< no watermark, no pause after a failover
  bool plant_trusted_moves = false;  ///< on a Cluster, a failover is taken for a slot that was moved
};

/// `redis://`, `redis+sentinel://`, `redis+cluster://`: the rules of core/lock_table, written a second time
/// as scripts that run inside of Redis. Any number of these on one store behave as one.
///
/// The engine's instants are those of `where`, onto which the store's are put answer by answer. `io` is run
/// by the strand's thread.
[[nodiscard]] result<std::unique_ptr<engine>> make_redis_engine(boost::asio::io_context& io, loop& where,
                                                                const clock& time,
                                                                redis_engine_options options);

/// For tests: brings `counts()` up to date, which otherwise are up to a second old.
void count_now(engine& e);
/// For tests: nothing is on its way to the store, or back. REQUIRES: an engine that was made here.
[[nodiscard]] bool is_at_rest(const engine& e);

}  // namespace dislock
