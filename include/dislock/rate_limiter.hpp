// So many per window, among all processes.
#pragma once

#include "dislock/async_client.hpp"
#include "dislock/client.hpp"

#include <cstdint>
#include <stop_token>
#include <string>

namespace dislock {

/// Lets at most `limit` pass in any stretch of time as long as `window`: a sliding window, exact, with no
/// burst where two windows meet.
///
/// Each pass takes a permit of a semaphore of that name, for exactly one window; nobody renews it and nobody
/// gives it back, so what has passed counts until its window is over, also when its process is gone. So up to
/// `limit` may pass at once; after that each next one passes one window after the one that it follows by
/// `limit`. Those who wait do so in order of arrival. The permits that are out are state of the engine: one
/// record each, so this is for limits of up to some thousands. An engine that notices the end of a lease late
/// lets the next one pass late, never early.
///
/// All who use a name say the same limit; another one is `lock_mode_conflict`. The window is the ttl of a
/// lease: 100 ms to the service's MAX_TIMEOUT (`invalid_field` else).
///
/// Thread safety: all members from any thread.
class DISLOCK_API rate_limiter {
 public:
  /// Asks nobody.
  rate_limiter(client with, std::string name, std::uint32_t limit, duration window);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
  [[nodiscard]] duration window() const noexcept { return window_; }

  /// Whether `weight` may pass now; if so, it has. False: the limit is reached, or somebody waits.
  [[nodiscard]] result<bool> try_pass(std::uint32_t weight = 1);
  /// Waits, at most `wait`, until `weight` may pass. How long that was. `lock_not_acquired`: it may not yet;
  /// `request_cancelled`: the stop token.
  result<duration> pass(duration wait = std::chrono::seconds(30), std::uint32_t weight = 1,
                        std::stop_token stop = {});

  /// The same as coroutines.
  [[nodiscard]] task<result<bool>> async_try_pass(std::uint32_t weight = 1) const;
  [[nodiscard]] task<result<duration>> async_pass(duration wait = std::chrono::seconds(30),
                                                  std::uint32_t weight = 1, std::stop_token stop = {}) const;

 private:
  [[nodiscard]] acquire_options wanting(std::uint32_t weight) const;

  client client_;
  std::string name_;
  std::uint32_t limit_;
  duration window_;
};

}  // namespace dislock
