// A number of permits that processes share.
#pragma once

#include "dislock/async_client.hpp"
#include "dislock/client.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace dislock {

/// At most `limit` permits of a name are out at a time, among all processes. Waiters are served in order of
/// arrival, also one who wants many permits: nobody overtakes it.
///
/// What an acquire gives is the guard: a `lease` over so many permits, renewed until it is released or
/// destroyed, and lost as any lease is (`lease::lost`).
///
/// All who use a semaphore say the same limit; another one is `lock_mode_conflict` as long as permits are out
/// or somebody waits. Invariant: `name()` and `limit()` never change.
///
/// Thread safety: all members from any thread.
class DISLOCK_API semaphore {
 public:
  /// `defaults`: how permits are asked for; its `mode`, `limit` and `permits` do not count. Asks nobody: a
  /// limit that is not allowed (1 to 1,000,000 are) makes each acquire `invalid_field`.
  semaphore(client with, std::string name, std::uint32_t limit, acquire_options defaults = {});

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint32_t limit() const noexcept { return defaults_.limit; }

  /// Waits for `permits` at once, as long as `defaults.wait` says, or `wait`. `lock_not_acquired`: that time
  /// is over; `invalid_field`: none, or more than the limit; else as `client::acquire`.
  [[nodiscard]] result<lease> acquire(std::uint32_t permits = 1);
  [[nodiscard]] result<lease> acquire_for(duration wait, std::uint32_t permits = 1);
  /// One attempt. Nothing: there are not as many left, or somebody waits.
  [[nodiscard]] result<std::optional<lease>> try_acquire(std::uint32_t permits = 1);
  /// How many could be had at the moment, if nobody waited; out of date when it is back.
  [[nodiscard]] result<std::uint32_t> available();

  /// The same as coroutines.
  [[nodiscard]] task<result<lease>> async_acquire(std::uint32_t permits = 1) const;
  [[nodiscard]] task<result<lease>> async_acquire_for(duration wait, std::uint32_t permits = 1) const;
  [[nodiscard]] task<result<std::optional<lease>>> async_try_acquire(std::uint32_t permits = 1) const;

 private:
  [[nodiscard]] acquire_options wanting(std::uint32_t permits) const;

  client client_;
  std::string name_;
  acquire_options defaults_;
};

}  // namespace dislock
