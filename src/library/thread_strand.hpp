#pragma once

#include "engine/loop.hpp"
#include "library/strand.hpp"

#include <boost/container/small_vector.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace dislock::library {

/// A mutex as the strand, and one thread of its own; the loop of an engine that lives on it.
///
/// What an engine defers runs when a caller leaves the strand and nobody else is about to enter it: so a
/// caller that is alone sends its own group of decisions to the disk, and callers that come in together share
/// one. Work that keeps deferring itself goes on on the strand's own thread.
///
/// With a `manual_clock` no thread waits for the time: alarms ring in `advance`, and what is posted runs when
/// whoever posted it leaves the strand. Only another thread's `notify` is heard on the strand's own thread.
///
/// Thread safety: as `strand` and `loop`; the rest from any thread, outside.
class thread_strand final : public strand, public loop {
 public:
  /// `moved`: null, or `time` itself when somebody moves it by hand.
  thread_strand(const clock& time, manual_clock* moved);
  /// Not on the strand's own thread: see `end_here`.
  ~thread_strand() override;
  thread_strand(const thread_strand&) = delete;
  thread_strand& operator=(const thread_strand&) = delete;

  [[nodiscard]] instant now() const noexcept override { return time_.now(); }

  void run(unique_function<void()> work) override;
  void post(unique_function<void()> work) override;
  void afterwards(unique_function<void()> work) override;
  void wake_at(alarm which, instant at, unique_function<void()> work) override;

  void wake_at(instant at) override;
  void on_wake(unique_function<void()> listener) override { woken_ = std::move(listener); }
  void defer(unique_function<void()> work) override;
  void notify() override;
  void on_notify(unique_function<void()> listener) override { noticed_ = std::move(listener); }

  /// Moves the clock that was given, alarm by alarm. REQUIRES: there is one.
  void advance(duration by);

  [[nodiscard]] bool on_own_thread() const noexcept { return own_thread_ == std::this_thread::get_id(); }
  /// Does one thing that is due on the strand's own thread, or waits for one. REQUIRES: on that thread,
  /// outside.
  void help();
  /// Makes `help` return.
  void ring() { bell_.ring(); }
  /// After everything was made that a strand's own thread may use until `end_here` has ended it: the process
  /// waits for that thread before it takes those things down.
  static void prepare_end();
  /// Has `last`, which may destroy this, run when the strand's own thread has nothing else to do any more.
  /// The thread then ends by itself; the process joins it at its end. For whoever cannot `stop`: from that
  /// thread, or from one that `last` joins. Outside.
  void end_here(unique_function<void()> last);
  /// Joins the strand's own thread; no alarm and no post is heard any more. Not on that thread.
  void stop();

 private:
  struct turn {
    boost::container::small_vector<unique_function<void()>, 4> after;
  };
  struct set_alarm {
    instant at = never;
    unique_function<void()> work;
  };

  // Wakes the own thread, once for any number of rings.
  class bell {
   public:
    void ring();
    /// Waits at most for `longest`; forever if that is negative.
    void wait(duration longest);

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool rung_ = false;
  };

  void enter(turn& here);
  void leave();
  void run_deferred();
  [[nodiscard]] bool run_posted();
  [[nodiscard]] instant next_alarm() const noexcept;
  void ring_due(instant at);
  void armed(instant at);
  void main();
  void own_turn();

  const clock& time_;
  manual_clock* const moved_;

  std::mutex mutex_;            // the strand
  std::atomic<int> coming_{0};  // who waits for it
  turn* here_ = nullptr;
  std::vector<unique_function<void()>> deferred_, running_;
  int put_off_ = 0;  // how often those who left have left what is deferred to the next
  std::array<set_alarm, alarms> alarms_;
  instant engine_alarm_ = never;
  unique_function<void()> woken_, noticed_;
  instant asleep_until_ = never;  // the own thread; in the past while it is up

  bell bell_;
  std::atomic<bool> notified_{false};
  std::mutex post_mutex_;
  std::vector<unique_function<void()>> posted_;

  // The own thread's alone.
  std::deque<unique_function<void()>> after_;
  instant sleep_until_ = never;

  std::atomic<bool> ending_{false};
  unique_function<void()> last_;
  std::thread thread_;
  std::atomic<std::thread::id> own_thread_;
};

}  // namespace dislock::library
