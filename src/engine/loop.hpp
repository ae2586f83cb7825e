// The strand that an engine lives on: time, one alarm, and "in a moment".
#pragma once

#include "base/unique_function.hpp"
#include "dislock/clock.hpp"

#include <memory>

namespace boost::asio {
class io_context;
}

namespace dislock {

/// All members but `notify` from the strand.
class loop {
 public:
  virtual ~loop() = default;
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// Calls the alarm's listener once, at `at` or a little later. Of several alarms the earliest rings, and
  /// the others are forgotten with it: whoever hears it sets the next.
  virtual void wake_at(instant at) = 0;
  virtual void on_wake(unique_function<void()> listener) = 0;
  /// Runs `work` after what is ready now, in the order of the calls.
  virtual void defer(unique_function<void()> work) = 0;
  /// From any thread: has the listener called on the strand, once for any number of notifications before
  /// that.
  virtual void notify() = 0;
  virtual void on_notify(unique_function<void()> listener) = 0;
};

/// On an io_context that one thread runs. `time` must outlive the loop. Outstanding work of the loop does not
/// keep the io_context running; destroy the loop after the io_context has stopped.
[[nodiscard]] std::unique_ptr<loop> make_asio_loop(boost::asio::io_context& context, const clock& time);

}  // namespace dislock
