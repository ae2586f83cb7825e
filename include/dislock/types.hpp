// Small values that everybody who uses locks talks about.
#pragma once

#include "dislock/clock.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock {

/// Minted with each grant; larger for every later grant of that lock, for ever. Not a secret, grants no
/// right. A whole number below 2^53, so that every JSON reader keeps it exact.
enum class fencing_token : std::uint64_t {};

[[nodiscard]] constexpr std::uint64_t to_number(fencing_token t) noexcept {
  return static_cast<std::uint64_t>(t);
}

/// `exclusive` and `shared` are one family and queue for each other; semaphores of one limit are another.
enum class lock_mode : std::uint8_t { exclusive, shared, semaphore };

[[nodiscard]] constexpr std::string_view to_string(lock_mode m) noexcept {
  constexpr std::string_view names[] = {"exclusive", "shared", "semaphore"};
  return names[static_cast<std::size_t>(m)];
}

/// How a lease ended.
enum class end_reason : std::uint8_t {
  none,             ///< it lives
  released,         ///< by its owner
  cancelled,        ///< by its owner, who named the request instead of the lease
  expired,          ///< nobody renewed it
  max_hold,         ///< it reached the longest hold that it was granted for
  forced,           ///< by an administrator
  session_closed,   ///< with its session, by the session's owner
  session_expired,  ///< with its session, which nobody kept alive
  undelivered,      ///< the grant never reached the client
};

[[nodiscard]] constexpr std::string_view to_string(end_reason r) noexcept {
  constexpr std::string_view names[] = {"unknown",        "released",        "cancelled",
                                        "expired",        "max_hold",        "forced",
                                        "session_closed", "session_expired", "undelivered"};
  return names[static_cast<std::size_t>(r)];
}

/// A moment for display. Belief about a lease is never computed from it: see `lease::remaining`.
using wall_time = std::chrono::sys_time<std::chrono::microseconds>;

/// Somebody who holds a lock, as everybody may see it.
struct holder {
  std::string client;
  fencing_token token{};
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t permits = 1;
  std::uint32_t hold_count = 1;
  wall_time acquired_at{};
  wall_time expires_at{};
  bool auto_renew = false;     ///< the service renews it
  bool session_bound = false;  ///< it ends with a session
  std::string metadata;        ///< a JSON object, or empty
};

/// Somebody who waits for a lock.
struct queued_client {
  std::string client;
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t permits = 1;
  std::size_t position = 0;  ///< 1 = next
  wall_time since{};
  bool connected = true;  ///< false: keeps its place for the grace
};

/// A lock as everybody may see it.
struct lock_state {
  std::string name;
  bool locked = false;
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;  ///< semaphore: how many permits there are
  std::uint32_t used = 0;   ///< semaphore: how many are taken
  std::vector<holder> holders;
  std::size_t holder_count = 0;  ///< holders may be a part of them
  std::vector<queued_client> waiters;
  std::size_t queue_length = 0;               ///< waiters may be a part of them
  std::optional<fencing_token> latest_token;  ///< the last token minted, while the lock is in use
  std::optional<wall_time> closed_until;      ///< lock-delay
};

/// One step of a deadlock: `client` waits for `lock`, which `blocker` holds or waits for in front of it.
struct cycle_step {
  std::string client;
  std::string lock;
  std::string blocker;
  bool behind = false;  ///< the blocker is an earlier waiter, not a holder
};

}  // namespace dislock
