// What an answer means for the call that got it, and how long to rest before another try. Pure.
#pragma once

#include "dislock/clock.hpp"
#include "engines/redis/wire/reply.hpp"

#include <cstdint>

namespace dislock::redis {

/// All but `deliver` mean that the command was not executed.
enum class verdict : std::uint8_t {
  deliver,         ///< the caller's business
  unknown_script,  ///< NOSCRIPT
  wrong_server,    ///< READONLY, MASTERDOWN, LOADING: this one cannot serve us now, perhaps another one can
  moved,           ///< MOVED slot host:port
  ask,             ///< ASK slot host:port
  try_again,       ///< TRYAGAIN: the keys of the call are on both sides of a migration
  cluster_down,    ///< CLUSTERDOWN
  busy,            ///< BUSY: a script runs for too long
};
[[nodiscard]] verdict judge(const reply& got) noexcept;

/// How long to rest after so many failures in a row: up to 20 ms after none, then 20 ms to 1 s, doubling, of
/// which `chance` from [0, 1) takes off up to a half, so that those who failed together do not come back
/// together.
[[nodiscard]] duration rest_after(unsigned failures, double chance) noexcept;

}  // namespace dislock::redis
