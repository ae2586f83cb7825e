// A redlock engine with three real redis-servers, whose clocks are the test's.
#pragma once

#include "engine_host.hpp"

namespace dislock::testing_engines {

[[nodiscard]] std::unique_ptr<engine_host> make_redlock_host(const host_settings& settings,
                                                             manual_clock& time, engine_listener& listener);

}  // namespace dislock::testing_engines
