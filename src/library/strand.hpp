// One at a time, on whatever thread is there: the callers', or the client's own.
#pragma once

#include "base/unique_function.hpp"
#include "dislock/clock.hpp"

#include <cstddef>
#include <cstdint>

namespace dislock::library {

/// Where a client's state lives. Whoever calls `run` becomes the strand for that long, so that a decision of
/// an engine in this process costs no change of threads; alarms, and what comes from other threads, run on
/// one thread that the strand owns.
///
/// What wakes up somebody else (a caller that blocks, a coroutine, a user's callback) is put into
/// `afterwards` and runs when the strand has been left, in order, on the same thread: no user's code ever
/// runs inside.
///
/// Thread safety: `run`, `post` and `now` from any thread; the rest only inside.
class strand {
 public:
  virtual ~strand() = default;
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// Runs `work` inside, on this thread, at once or when the others are done. Not from inside.
  virtual void run(unique_function<void()> work) = 0;
  /// Runs `work` inside, on the strand's own thread, soon. From inside too.
  virtual void post(unique_function<void()> work) = 0;
  /// Runs `work` after the strand has been left. Only from inside.
  virtual void afterwards(unique_function<void()> work) = 0;
  /// Runs `work` inside once, at `at` or a little later; a new call replaces the alarm of the same `which`.
  enum class alarm : std::uint8_t { slices, leases, settling, closing, sleepers };
  static constexpr std::size_t alarms = 5;
  virtual void wake_at(alarm which, instant at, unique_function<void()> work) = 0;
};

}  // namespace dislock::library
