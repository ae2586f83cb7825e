#pragma once

#include "server/config.hpp"

namespace dislock::server {

/// Runs dislockd until it is told to end; the exit code.
///
/// Says `dislockd listening on http://ADDRESS:PORT` on stdout once it serves. SIGTERM or SIGINT begin the
/// shutdown:
///  1. no new connections, no new waits; waiting calls are answered 503 `draining`, streams end
///  2. calls that are being answered get `drain_timeout`
///  3. what was decided becomes durable, and the engine closes
/// Leases stay. A second signal ends at once (nothing that was answered is lost by that).
/// 0 after a shutdown, 1 when the service cannot start.
[[nodiscard]] int run_daemon(const config& settings);

}  // namespace dislock::server
