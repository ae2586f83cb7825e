#pragma once

#include "event_loop.hpp"
#include "lock_calls.hpp"
#include "report.hpp"

#include <chrono>
#include <cstdint>

namespace dislock::load {

/// What every mode needs to know.
struct run_options {
  endpoint server;
  call_options calls;
  unsigned connections = 32;
  std::chrono::milliseconds warm_up{1'000};
  std::chrono::milliseconds duration{5'000};
};

/// Each connection takes and gives back locks as fast as the replies come.
/// `names` > 0: the names rotate over that many; 0: each connection has its own.
[[nodiscard]] json_object run_pairs(const run_options& options, std::uint64_t names);

/// `rate` requests a second, evenly spaced, whether or not the server keeps up. Latency counts from the
/// instant at which a request was due, so that a stall is charged to every request that it delayed.
[[nodiscard]] json_object run_rate(const run_options& options, double rate);

/// `connections` clients that queue for one lock, give it back at once and queue again.
[[nodiscard]] json_object run_handoff(const run_options& options);

/// Takes `locks` locks, each by one of `clients` clients, and leaves them held.
[[nodiscard]] json_object run_hold(const run_options& options, std::uint64_t locks, std::uint64_t clients);

/// `connections` clients wait for a lock that is held, until standard input ends. Prints a line of JSON when
/// all of them are queued.
[[nodiscard]] json_object run_idle_waiters(const run_options& options);

}  // namespace dislock::load
