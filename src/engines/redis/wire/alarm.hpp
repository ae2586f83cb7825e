// Rings once at an instant of the injected clock.
#pragma once

#include "base/unique_function.hpp"
#include "dislock/clock.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>

namespace dislock::redis {

/// On the thread that runs the io_context. Silent once it is destroyed, also when it was about to ring. May
/// be set, silenced and destroyed while it rings.
class alarm {
 public:
  alarm(boost::asio::io_context& io, const clock& time, unique_function<void()> ring);
  ~alarm();
  alarm(const alarm&) = delete;
  alarm& operator=(const alarm&) = delete;

  /// Replaces what was set before. An instant that has passed rings soon, never from in here.
  void set(instant at);
  void silence() noexcept;
  [[nodiscard]] instant at() const noexcept;

 private:
  struct state;
  std::shared_ptr<state> state_;
};

}  // namespace dislock::redis
