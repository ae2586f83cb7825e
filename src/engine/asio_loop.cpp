#include "engine/loop.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>

namespace dislock {
namespace {

namespace asio = boost::asio;

class asio_loop final : public loop {
 public:
  asio_loop(asio::io_context& context, const clock& time) : context_(context), time_(time), timer_(context) {}

  instant now() const noexcept override { return time_.now(); }

  void wake_at(instant at) override {
    if (at >= armed_for_) return;  // the alarm that is set rings earlier, and whoever hears it sets the next
    armed_for_ = at;
    arm();
  }
  void on_wake(unique_function<void()> listener) override { woken_ = std::move(listener); }
  void defer(unique_function<void()> work) override { asio::post(context_, std::move(work)); }
  void notify() override {
    if (!notified_.exchange(true, std::memory_order_acq_rel))
      asio::post(context_, [this] {
        notified_.store(false, std::memory_order_release);
        if (noticed_) noticed_();
      });
  }
  void on_notify(unique_function<void()> listener) override { noticed_ = std::move(listener); }

 private:
  // The timer counts on a clock that stops in suspend, so it is never set for longer than this.
  static constexpr duration longest = std::chrono::seconds(1);

  void arm() {
    const auto left = std::clamp<duration>(armed_for_ - time_.now(), duration::zero(), longest);
    timer_.expires_after(left);
    timer_.async_wait([this](boost::system::error_code error) {
      if (error) return;  // replaced, or the end
      if (time_.now() < armed_for_) return arm();
      armed_for_ = never;
      if (woken_) woken_();
    });
  }

  asio::io_context& context_;
  const clock& time_;
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                             asio::io_context::executor_type>
      timer_;
  instant armed_for_ = never;
  unique_function<void()> woken_, noticed_;
  std::atomic<bool> notified_{false};
};

}  // namespace

std::unique_ptr<loop> make_asio_loop(asio::io_context& context, const clock& time) {
  return std::make_unique<asio_loop>(context, time);
}

}  // namespace dislock
