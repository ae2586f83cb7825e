// The least that a strand can be, for tests of what is told in one.
#pragma once

#include "library/strand.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace dislock::library {

/// A mutex, and a thread for what is posted. No alarms: the remote backend sets none.
class test_strand final : public strand {
 public:
  test_strand() : thread_([this] { work_off(); }) {}
  ~test_strand() override {
    {
      const std::lock_guard held(post_mutex_);
      ending_ = true;
    }
    posted_more_.notify_one();
    thread_.join();
  }

  [[nodiscard]] instant now() const noexcept override { return time_.now(); }
  void run(unique_function<void()> work) override {
    std::vector<unique_function<void()>> then;
    {
      const std::lock_guard held(mutex_);
      work();
      then = std::exchange(after_, {});
    }
    for (auto& each : then) each();
  }
  void post(unique_function<void()> work) override {
    {
      const std::lock_guard held(post_mutex_);
      posted_.push_back(std::move(work));
    }
    posted_more_.notify_one();
  }
  void afterwards(unique_function<void()> work) override { after_.push_back(std::move(work)); }
  void wake_at(alarm, instant, unique_function<void()>) override {}

 private:
  void work_off() {
    std::unique_lock held(post_mutex_);
    while (true) {
      posted_more_.wait(held, [this] { return ending_ || !posted_.empty(); });
      if (posted_.empty()) return;
      auto work = std::move(posted_.front());
      posted_.pop_front();
      held.unlock();
      run(std::move(work));
      held.lock();
    }
  }

  boottime_clock time_;
  std::mutex mutex_, post_mutex_;
  std::condition_variable posted_more_;
  std::vector<unique_function<void()>> after_;
  std::deque<unique_function<void()>> posted_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace dislock::library
