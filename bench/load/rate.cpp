#include "modes.hpp"

#include <sys/prctl.h>

#include <deque>
#include <vector>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

constexpr auto completion_limit = 5s;

class rate_driver final : public driver {
 public:
  rate_driver(const run_options& options, double rate)
      : options_(options), interval_(1e9 / rate), loop_(options.server) {
    // The kernel may otherwise be 50 us late with every timer.
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    callers_.reserve(options.connections);
    for (unsigned i = 0; i < options.connections; ++i) {
      loop_.add();
      callers_.emplace_back(lock_calls(options.calls, i));
    }
    const auto per_second = static_cast<std::uint64_t>(rate);
    first_measured_ = per_second * static_cast<std::uint64_t>(options.warm_up.count()) / 1000;
    end_ = first_measured_ + per_second * static_cast<std::uint64_t>(options.duration.count()) / 1000;
  }

  json_object run() {
    loop_.run(*this);
    json_object out;
    add_common(out, watch_, latency_.count(), loop_.errors());
    out.add("offeredPerSecond", 1e9 / interval_)
        .add("unfinished", end_ - first_measured_ - std::min(finished_, end_ - first_measured_))
        .add("latency", latency_)
        .add("generatorLateness", lateness_);
    return out;
  }

 private:
  enum tag : int { send_due, give_up };

  struct caller {
    explicit caller(lock_calls requests) : calls(std::move(requests)) {}
    lock_calls calls;
    bool holds = false;
    std::uint64_t op = 0;
  };

  void on_open(connection& peer) override {
    free_.push_back(&peer);
    if (free_.size() < options_.connections) return;
    start_ = clock::now() + 1ms;
    loop_.call_at(start_, send_due);
  }

  void on_reply(connection& peer, const http_reply& reply, clock::time_point now) override {
    auto& me = callers_[peer.index()];
    if (const auto delay = back_off(reply)) {
      ++loop_.errors()[error_name(reply)];
      return loop_.resend(peer, *delay);
    }
    if (me.op >= first_measured_) {
      ++finished_;
      if (reply.ok()) latency_.record(now - due(me.op));
    }
    if (!reply.ok()) ++loop_.errors()[error_name(reply)];
    me.holds = !me.holds && reply.ok() && me.calls.learn_grant(reply.body);
    free_.push_back(&peer);
    send_what_is_due(now);
    if (next_ == end_ && free_.size() == options_.connections) finish();
  }

  void on_timer(int tag, clock::time_point now) override {
    if (tag == give_up) return finish();
    timer_set_ = false;
    send_what_is_due(now);
  }

  void finish() {
    watch_.stop();
    loop_.stop();
  }

  [[nodiscard]] clock::time_point due(std::uint64_t op) const {
    return start_ + std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(op) * interval_));
  }

  void send_what_is_due(clock::time_point now) {
    // Without a free connection the request waits for one, and its latency is counting already.
    while (next_ < end_ && !free_.empty() && due(next_) <= now) {
      if (next_ == first_measured_) watch_.start();
      auto& peer = *free_.front();
      free_.pop_front();
      auto& me = callers_[peer.index()];
      me.op = next_++;
      if (me.op >= first_measured_) lateness_.record(now - due(me.op));
      loop_.send(peer, me.holds ? me.calls.release(me.op) : me.calls.acquire(peer.index(), me.op));
      if (next_ == end_) loop_.call_at(now + completion_limit, give_up);
    }
    if (next_ < end_ && !free_.empty() && !timer_set_) {
      timer_set_ = true;
      loop_.call_at(due(next_), send_due);
    }
  }

  const run_options& options_;
  double interval_;  // nanoseconds
  event_loop loop_;
  std::vector<caller> callers_;
  std::deque<connection*> free_;
  clock::time_point start_{};
  stopwatch watch_;
  histogram latency_;
  histogram lateness_;
  std::uint64_t next_ = 0;
  std::uint64_t first_measured_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t finished_ = 0;
  bool timer_set_ = false;
};

}  // namespace

json_object run_rate(const run_options& options, double rate) {
  return rate_driver(options, rate).run();
}

}  // namespace dislock::load
