// A strand that a test turns by hand.
#pragma once

#include "engine/loop.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace dislock::testing_engines {

/// Does nothing by itself: the test says when it runs what is ready, and moves the clock from alarm to alarm.
/// It waits only for other threads (a commit thread), on a condition variable, and gives up after `patience`.
///
/// All members but `notify` from the test's thread. `time` must outlive the loop.
class manual_loop final : public loop {
 public:
  explicit manual_loop(const clock& time) : time_(time) {}

  instant now() const noexcept override { return time_.now(); }
  void wake_at(instant at) override { alarm_ = std::min(alarm_, at); }
  void on_wake(unique_function<void()> listener) override { woken_ = std::move(listener); }
  void defer(unique_function<void()> work) override { ready_.push_back(std::move(work)); }
  void notify() override {
    {
      const std::lock_guard guard(mutex_);
      notified_ = true;
    }
    changed_.notify_one();
  }
  void on_notify(unique_function<void()> listener) override { noticed_ = std::move(listener); }

  [[nodiscard]] instant alarm() const noexcept { return alarm_; }

  /// Runs what is ready, and what that makes ready.
  void run_ready() {
    for (;;) {
      if (take_notification()) {
        if (noticed_) noticed_();
      } else if (!ready_.empty()) {
        auto work = std::move(ready_.front());
        ready_.pop_front();
        work();
      } else if (alarm_ <= now()) {
        alarm_ = never;
        if (woken_) woken_();
      } else {
        return;
      }
    }
  }

  /// Runs until `done()`. False: for as long as `patience` no thread has brought it about.
  [[nodiscard]] bool run_until(const std::function<bool()>& done) {
    for (;;) {
      run_ready();
      if (done()) return true;
      std::unique_lock guard(mutex_);
      if (!changed_.wait_for(guard, patience, [this] { return notified_; })) return false;
    }
  }

  /// Moves `time` by `d`, stopping at each alarm on the way; `settle` lets what it set off come to an end.
  template <class Clock, class Settle>
  void pass(Clock& time, duration d, Settle settle) {
    const auto until = time.now() + d;
    for (settle(); alarm_ <= until; settle()) time.advance(std::max(alarm_ - time.now(), duration::zero()));
    time.advance(until - time.now());
    settle();
  }

 private:
  static constexpr std::chrono::seconds patience{30};  // only a bug waits that long

  bool take_notification() {
    const std::lock_guard guard(mutex_);
    return std::exchange(notified_, false);
  }

  const clock& time_;
  instant alarm_ = never;
  unique_function<void()> woken_, noticed_;
  std::deque<unique_function<void()>> ready_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool notified_ = false;
};

}  // namespace dislock::testing_engines
