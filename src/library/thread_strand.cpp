#include "library/thread_strand.hpp"

#include <algorithm>
#include <pthread.h>

namespace dislock::library {
namespace {

// Those who come in together leave what is deferred to the last of them, but not for ever.
constexpr int most_put_off = 64;
// How often one who leaves looks again whether something was deferred meanwhile.
constexpr int most_rounds = 4;
// A condition variable counts on a clock that stops in suspend, so nobody sleeps for longer than this.
constexpr duration longest_sleep = std::chrono::seconds(1);

// Threads that nobody could join when they ended: each by the next, the last when the process ends, so that
// none is still at work on what the process takes down then.
class unjoined {
 public:
  unjoined() = default;
  unjoined(const unjoined&) = delete;
  unjoined& operator=(const unjoined&) = delete;
  ~unjoined() { leave(std::thread()); }

  static unjoined& threads() {
    static unjoined all;
    return all;
  }
  void leave(std::thread one) {
    {
      const std::lock_guard guard(mutex_);
      std::swap(last_, one);
    }
    if (!one.joinable()) return;
    if (one.get_id() == std::this_thread::get_id()) return one.detach();  // it ends the process itself
    one.join();
  }

 private:
  std::mutex mutex_;
  std::thread last_;
};

}  // namespace

void thread_strand::bell::ring() {
  {
    const std::lock_guard guard(mutex_);
    if (rung_) return;
    rung_ = true;
  }
  changed_.notify_one();
}

void thread_strand::bell::wait(duration longest) {
  std::unique_lock guard(mutex_);
  if (longest < duration::zero()) {
    changed_.wait(guard, [this] { return rung_; });
  } else {
    changed_.wait_for(guard, longest, [this] { return rung_; });
  }
  rung_ = false;
}

thread_strand::thread_strand(const clock& time, manual_clock* moved) : time_(time), moved_(moved) {
  thread_ = std::thread([this] {
    own_thread_ = std::this_thread::get_id();
    main();
  });
  own_thread_ = thread_.get_id();
  ::pthread_setname_np(thread_.native_handle(), "dislock");
}

thread_strand::~thread_strand() {
  if (thread_.joinable()) stop();
}

void thread_strand::stop() {
  if (!thread_.joinable()) return;
  DISLOCK_ASSERT(!on_own_thread(), "a strand's thread does not join itself");
  ending_.store(true, std::memory_order_release);
  bell_.ring();
  thread_.join();
}

void thread_strand::enter(turn& here) {
  if (!mutex_.try_lock()) {
    coming_.fetch_add(1, std::memory_order_relaxed);
    mutex_.lock();
    coming_.fetch_sub(1, std::memory_order_relaxed);
  }
  here_ = &here;
}

void thread_strand::leave() {
  run_deferred();
  here_ = nullptr;
  mutex_.unlock();
}

// Whoever is about to enter will leave too, and finds what is left here.
void thread_strand::run_deferred() {
  if (moved_) {
    bool more = true;
    while (more) {
      more = run_posted();
      while (!deferred_.empty()) {
        more = true;
        std::swap(deferred_, running_);
        for (auto& each : running_) each();
        running_.clear();
      }
    }
    return;
  }
  if (deferred_.empty()) return;
  if (coming_.load(std::memory_order_relaxed) > 0 && ++put_off_ < most_put_off) return;
  put_off_ = 0;
  for (int round = 0; round < most_rounds && !deferred_.empty(); ++round) {
    std::swap(deferred_, running_);
    for (auto& each : running_) each();
    running_.clear();
  }
  if (!deferred_.empty()) armed(instant::min());
}

void thread_strand::run(unique_function<void()> work) {
  turn here;
  enter(here);
  work();
  leave();
  for (auto& each : here.after) each();
}

void thread_strand::post(unique_function<void()> work) {
  {
    const std::lock_guard guard(post_mutex_);
    posted_.push_back(std::move(work));
  }
  if (!moved_) bell_.ring();
}

void thread_strand::afterwards(unique_function<void()> work) {
  here_->after.push_back(std::move(work));
}

void thread_strand::defer(unique_function<void()> work) {
  deferred_.push_back(std::move(work));
}

void thread_strand::notify() {
  if (!notified_.exchange(true, std::memory_order_acq_rel)) bell_.ring();
}

void thread_strand::wake_at(alarm which, instant at, unique_function<void()> work) {
  auto& one = alarms_[static_cast<std::size_t>(which)];
  one.at = at;
  one.work = std::move(work);
  armed(at);
}

void thread_strand::wake_at(instant at) {
  if (at >= engine_alarm_) return;  // the alarm that is set rings earlier, and whoever hears it sets the next
  engine_alarm_ = at;
  armed(at);
}

void thread_strand::armed(instant at) {
  if (moved_ || at >= asleep_until_) return;
  asleep_until_ = at;
  bell_.ring();
}

bool thread_strand::run_posted() {
  std::vector<unique_function<void()>> work;
  {
    const std::lock_guard guard(post_mutex_);
    work.swap(posted_);
  }
  for (auto& each : work) each();
  return !work.empty();
}

instant thread_strand::next_alarm() const noexcept {
  auto next = engine_alarm_;
  for (const auto& one : alarms_) next = std::min(next, one.at);
  return next;
}

// Holders hear that their lease is over before the engine gives it to the next, also when both are late.
void thread_strand::ring_due(instant at) {
  const auto ring_one = [at](set_alarm& one) {
    if (one.at > at) return;
    one.at = never;
    auto work = std::move(one.work);  // which may set the alarm again
    work();
  };
  ring_one(alarms_[static_cast<std::size_t>(alarm::leases)]);
  if (engine_alarm_ <= at) {
    engine_alarm_ = never;
    if (woken_) woken_();
  }
  for (auto& one : alarms_) ring_one(one);
}

void thread_strand::advance(duration by) {
  DISLOCK_ASSERT(moved_ != nullptr, "a clock that is moved by hand");
  const auto until = later(time_.now(), by);
  for (bool more = true; more;) {
    run([&] {
      const auto at = next_alarm();
      more = at <= until;
      moved_->advance(std::max(duration::zero(), std::min(at, until) - time_.now()));
      if (more) ring_due(time_.now());
    });
  }
}

void thread_strand::own_turn() {
  turn here;
  enter(here);
  asleep_until_ = instant::min();  // nobody needs to wake us
  if (notified_.exchange(false, std::memory_order_acq_rel) && noticed_) noticed_();
  if (!moved_) {
    (void)run_posted();
    ring_due(time_.now());
  }
  sleep_until_ = asleep_until_ = moved_ ? never : next_alarm();  // who makes it earlier rings
  leave();
  for (auto& each : here.after) after_.push_back(std::move(each));
}

void thread_strand::help() {
  if (!after_.empty()) {
    auto next = std::move(after_.front());
    after_.pop_front();
    next();
    return;
  }
  const auto left = sleep_until_ == never ? duration(-1) : sleep_until_ - time_.now();
  bell_.wait(sleep_until_ == never ? left : std::clamp(left, duration::zero(), longest_sleep));
  own_turn();
}

void thread_strand::prepare_end() {
  (void)unjoined::threads();
}

void thread_strand::end_here(unique_function<void()> last) {
  last_ = std::move(last);
  auto own = std::move(thread_);
  ending_.store(true, std::memory_order_release);
  bell_.ring();  // from here on this may be gone
  unjoined::threads().leave(std::move(own));
}

void thread_strand::main() {
  while (!ending_.load(std::memory_order_acquire)) help();
  own_turn();  // what was posted before the end
  while (!after_.empty()) help();
  if (!last_) return;
  auto last = std::move(last_);
  last();
}

}  // namespace dislock::library
