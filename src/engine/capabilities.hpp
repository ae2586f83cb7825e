// What an engine guarantees, as data: programs ask before they rely on it.
#pragma once

#include "dislock/clock.hpp"

#include <array>
#include <string_view>

namespace dislock {

/// Classes of docs/guarantees.md. A: fencing always, exclusion while clocks run at nearly the same rate.
/// B: the same through failover, at the price of a pause. C: exclusion may break in a failover; fencing
/// stands.
enum class guarantee_class : char { a = 'A', b = 'B', c = 'C' };

struct capabilities {
  std::string_view engine;
  guarantee_class grade = guarantee_class::a;
  bool fifo = false;
  bool shared = false;
  bool semaphore = false;
  bool multi = false;
  bool sessions = false;
  bool lock_delay = false;
  bool durable = false;        ///< what was answered survives a crash of the service
  bool durable_fence = false;  ///< tokens never go back, whatever crashes
  bool failover_safe_exclusion = false;
  duration min_ttl = std::chrono::milliseconds(100);
  duration max_ttl = duration::max();  ///< what the engine itself sets as a limit
  duration ttl_resolution = std::chrono::milliseconds(1);

  struct named {
    std::string_view name;
    bool capabilities::*has;
  };
  /// The names that a request may `require`.
  static constexpr std::array<named, 9> names{
      {{"fifo", &capabilities::fifo},
       {"shared", &capabilities::shared},
       {"semaphore", &capabilities::semaphore},
       {"multi", &capabilities::multi},
       {"sessions", &capabilities::sessions},
       {"lockDelay", &capabilities::lock_delay},
       {"durable", &capabilities::durable},
       {"durableFence", &capabilities::durable_fence},
       {"failoverSafeExclusion", &capabilities::failover_safe_exclusion}}};
};

}  // namespace dislock
