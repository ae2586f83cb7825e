// Waits that are longer than one call may wait.
#pragma once

#include "dislock/clock.hpp"

namespace dislock::library {

/// The longest that one acquire waits (DESIGN 3). Who waits on after it queues again.
constexpr duration longest_wait = std::chrono::seconds(600);

}  // namespace dislock::library
