#include "dislock/task.hpp"

namespace dislock::library {

task_run::~task_run() {
  if (top_) top_.destroy();
}

void task_run::go_on(std::coroutine_handle<> next) noexcept {
  const auto keep = shared_from_this();
  std::function<void()> tell;
  std::coroutine_handle<> last;
  {
    std::unique_lock guard(mutex_);
    if (cancelled_ || ended_) return;
    if (inside_ != std::thread::id()) {
      pending_ = next;
      return;
    }
    inside_ = std::this_thread::get_id();
    while (next && !cancelled_) {
      guard.unlock();
      while (next) {
        next_ = {};
        next.resume();
        next = next_;
      }
      guard.lock();
      next = std::exchange(pending_, {});
    }
    inside_ = {};
    if (leaves_nothing_) last = std::exchange(top_, {});
    if (ended_ && !cancelled_) tell = std::move(on_end_);
  }
  changed_.notify_all();
  if (last) last.destroy();
  if (tell) tell();
}

void task_run::end() noexcept {
  const std::lock_guard guard(mutex_);
  ended_ = true;
}

bool task_run::runs_here() const noexcept {
  const std::lock_guard guard(mutex_);
  return inside_ == std::this_thread::get_id();
}

// Not before the last thread is out of it.
bool task_run::ended() const noexcept {
  const std::lock_guard guard(mutex_);
  return ended_ && inside_ == std::thread::id();
}

void task_run::wait() const noexcept {
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [this] { return ended_ && inside_ == std::thread::id(); });
}

bool task_run::on_end(std::function<void()> then) {
  const auto keep = shared_from_this();  // whoever is told may let go of it
  const std::lock_guard guard(mutex_);
  if (ended_ && inside_ == std::thread::id()) return false;
  on_end_ = std::move(then);
  return true;
}

void task_run::cancel() noexcept {
  std::function<void()> nobody;
  std::coroutine_handle<> top;
  {
    std::unique_lock guard(mutex_);
    cancelled_ = true;
    nobody = std::move(on_end_);
    if (inside_ == std::this_thread::get_id()) {
      leaves_nothing_ = true;
      return;
    }
    changed_.wait(guard, [this] { return inside_ == std::thread::id(); });
    top = std::exchange(top_, {});
  }
  if (top) top.destroy();
}

}  // namespace dislock::library
