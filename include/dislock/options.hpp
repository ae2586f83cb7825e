// What a caller can ask for.
#pragma once

#include "dislock/clock.hpp"
#include "dislock/errc.hpp"
#include "dislock/types.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace dislock {

class lease;

/// How far a lease is on its way out. It only ever goes down this list, but for `expiring`, which a renewal
/// that succeeds after all takes back.
enum class lease_stage : std::uint8_t {
  held,       ///< all is well
  expiring,   ///< renewals have failed since half of the ttl; there is still time
  must_stop,  ///< the work has to end now: `lost()` is requested, the margin before the end has begun
  lost,       ///< this process can no longer believe that it holds the lock; somebody else may
  released,   ///< given back by us
};

/// Why a lease was lost, or has to be given up.
enum class loss_cause : std::uint8_t {
  none,
  expired,       ///< it could not be renewed in time, or this process was stopped or suspended for too long
  max_hold,      ///< it reached the longest hold that was asked for
  forced,        ///< an administrator ended it
  not_held,      ///< the service says that it is not held any more
  stop_request,  ///< the caller's stop token was triggered
  closed,        ///< its client was closed
};

[[nodiscard]] constexpr std::string_view to_string(lease_stage s) noexcept {
  constexpr std::string_view names[] = {"held", "expiring", "must_stop", "lost", "released"};
  return names[static_cast<std::size_t>(s)];
}
[[nodiscard]] constexpr std::string_view to_string(loss_cause c) noexcept {
  constexpr std::string_view names[] = {"none",     "expired",      "max_hold", "forced",
                                        "not_held", "stop_request", "closed"};
  return names[static_cast<std::size_t>(c)];
}

/// How a lock is asked for. Everything has a default; `{.wait = 5s}` is a whole request.
struct acquire_options {
  /// How long to wait for the lock before `lock_not_acquired`. At most 600 s. `try_acquire` ignores it.
  duration wait = std::chrono::seconds(30);
  /// How long the lease lives without a renewal: 100 ms to the service's MAX_TIMEOUT. Nothing: the client's
  /// default.
  std::optional<duration> ttl{};
  lock_mode mode = lock_mode::exclusive;
  /// Semaphore only: how many permits the lock has, and how many are wanted. All users of a semaphore name
  /// the same limit.
  std::uint32_t limit = 0;
  std::uint32_t permits = 1;
  /// Keep the lease alive until it is given back. Off: it ends after one ttl.
  bool renew = true;
  /// The longest time that the lock may be held, renewals included. The engine enforces it.
  std::optional<duration> max_hold{};
  /// After an end that was not a release the lock stays closed that long: at most 60 s.
  duration lock_delay{};
  /// A JSON object of at most 4 KiB that everybody who looks at the lock can see.
  std::string metadata{};
  /// The flow of control that asks, for deadlock detection: clients of one flow do not wait for each other.
  /// Each acquire is a flow of its own unless it names one here or comes from inside a held lease (`within`).
  std::string client_id{};
  /// A lease that the caller holds while it asks: same flow.
  const lease* within = nullptr;
  /// Hold the lock of `within` once more: same lease, same token, and it has to be given back once more.
  bool reenter = false;
  /// Ends the wait (`request_cancelled`); in `with_lock` it also asks the running function to stop.
  std::stop_token stop{};
  /// Told of every change of stage, in order, on the client's thread. Must not block.
  std::function<void(lease_stage, loss_cause)> on_stage{};
};

/// One lock of several that are wanted together.
struct lock_request {
  std::string name{};
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;
  std::uint32_t permits = 1;
};

/// Something that happened in this client, for whoever counts.
struct measurement {
  enum class kind : std::uint8_t {
    acquired,  ///< `took`: waited
    failed,    ///< an acquire; `code` says why, `took`: waited
    released,  ///< `took`: held
    renewed,   ///< a renewal that succeeded; `took`: until its answer
    renewal_failed,
    lost,  ///< `cause` says why, `took`: held
  };
  kind what{};
  std::string_view lock;  ///< valid during the call
  duration took{};
  errc code{};
  loss_cause cause = loss_cause::none;
};

/// How a client behaves. Times are lower-bounded by what makes sense; `connect` says which field is wrong.
struct client_options {
  /// Part of every client id of this process: host-pid-random if empty. 1-64 of [A-Za-z0-9._~:@+=,-].
  std::string instance{};
  duration ttl = std::chrono::seconds(30);  ///< of leases that do not say
  /// How often a lease is renewed, but at least every half of its ttl. Nothing: a third of it.
  std::optional<duration> renewal_interval{};
  /// How long before a lease can be lost its holder is told to stop, but at most half of its ttl. Nothing: a
  /// tenth of it, at most 2 s.
  std::optional<duration> stop_margin{};
  /// Remember every mutating call under an id, so that a lost answer can be asked for again. Always so over a
  /// network; in process it only costs.
  bool request_ids = false;
  /// Asks for the service's health before each acquire and fails at once if it is not ready.
  bool ping_before_acquire = false;
  /// Called for everything that can be counted, on whatever thread it happens. Must not block or throw.
  std::function<void(const measurement&)> on_measurement{};

  // http: only.
  std::size_t connections = 64;  ///< kept open at a time
  // http: and redis: only.
  duration connect_timeout = std::chrono::seconds(2);
  duration request_timeout = std::chrono::seconds(5);  ///< beyond the time that the call waits for a lock
  // embedded: only.
  bool async_durability = false;  ///< an answer does not wait for the disk; see docs/guarantees.md

  /// The time by which leases end and are believed in. Null: the machine's. A `manual_clock` makes `memory:`
  /// stand still until `client::advance`.
  manual_clock* time = nullptr;
};

}  // namespace dislock
