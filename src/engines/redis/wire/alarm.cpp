#include "engines/redis/wire/alarm.hpp"

#include <boost/asio/basic_waitable_timer.hpp>

#include <algorithm>
#include <chrono>

namespace dislock::redis {

namespace asio = boost::asio;

struct alarm::state {
  state(asio::io_context& io, const clock& t, unique_function<void()> r)
      : time(t), timer(io), ring(std::move(r)) {}

  // The timer counts on a clock that stops in suspend, so it is never set for longer than this.
  static constexpr duration longest = std::chrono::seconds(1);

  static void arm(const std::shared_ptr<state>& self) {
    self->timer.expires_after(std::clamp<duration>(self->at - self->time.now(), duration::zero(), longest));
    self->timer.async_wait([self, setting = self->setting](const boost::system::error_code&) {
      if (setting != self->setting) return;  // set anew, silenced, or the end
      if (self->time.now() < self->at) return arm(self);
      self->at = never;
      ++self->setting;
      self->ring();
    });
  }

  const clock& time;
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                             asio::io_context::executor_type>
      timer;
  unique_function<void()> ring;
  instant at = never;
  unsigned setting = 0;
};

alarm::alarm(asio::io_context& io, const clock& time, unique_function<void()> ring)
    : state_(std::make_shared<state>(io, time, std::move(ring))) {}

alarm::~alarm() {
  silence();
}

void alarm::set(instant at) {
  ++state_->setting;
  state_->at = at;
  if (at != never) state::arm(state_);
}

void alarm::silence() noexcept {
  ++state_->setting;
  if (state_->at == never) return;
  state_->at = never;
  state_->timer.cancel();
}

instant alarm::at() const noexcept {
  return state_->at;
}

}  // namespace dislock::redis
