#include "dislock/task.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dislock {
namespace {

// A wait that the test ends, on whatever thread it likes.
class signal {
 public:
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> who) {
    who_ = who;
    run_ = who.promise().run()->shared_from_this();
  }
  void await_resume() const noexcept {}
  void set() {
    const auto run = run_;
    run->go_on(who_);
  }

 private:
  std::coroutine_handle<> who_;
  std::shared_ptr<library::task_run> run_;
};

// Tells of its end.
struct witness {
  explicit witness(bool& d) : destroyed(d) {}
  ~witness() { destroyed = true; }
  witness(const witness&) = delete;
  bool& destroyed;
};

// Somebody else's coroutine, which knows nothing of ours.
struct foreign {
  struct promise_type {
    foreign get_return_object() { return foreign{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
  explicit foreign(std::coroutine_handle<promise_type> h) : it(h) {}
  foreign(const foreign&) = delete;
  ~foreign() { it.destroy(); }
  std::coroutine_handle<promise_type> it;
};

task<int> number(int n) {
  co_return n;
}

task<int> after(signal& s, int n) {
  co_await s;
  co_return n;
}

TEST(Task, DoesNothingBeforeSomebodyAwaitsIt) {
  bool begun = false;
  const auto work = [](bool& b) -> task<void> {
    b = true;
    co_return;
  };

  auto t = work(begun);
  EXPECT_FALSE(begun);
  sync_wait(std::move(t));

  EXPECT_TRUE(begun);
}

TEST(Task, GivesItsResultToWhoAwaitsIt) {
  const auto sum = []() -> task<int> {
    const int a = co_await number(1);
    const int b = co_await number(2);
    co_return a + b;
  };

  EXPECT_EQ(sync_wait(sum()), 3);
}

TEST(Task, CarriesAResultThatCanOnlyBeMoved) {
  const auto make = []() -> task<std::unique_ptr<int>> {
    auto out = std::make_unique<int>(7);
    co_return out;
  };

  EXPECT_EQ(*sync_wait(make()), 7);
}

TEST(Task, ThrowsWhatItThrewWhereItIsAwaited) {
  const auto fail = [](bool really) -> task<int> {
    if (really) throw std::runtime_error("no");
    co_return 1;
  };
  const auto caught = [](task<int> work) -> task<std::string> {
    std::string what;
    try {
      (void)co_await std::move(work);
    } catch (const std::runtime_error& e) {
      what = e.what();
    }
    co_return what;
  };

  EXPECT_EQ(sync_wait(caught(fail(true))), "no");
  EXPECT_THROW(sync_wait(fail(true)), std::runtime_error);
}

TEST(Task, AwaitsAMillionOthersOnAFewBytesOfStack) {
  const auto sum = []() -> task<std::int64_t> {
    std::int64_t out = 0;
    for (int i = 0; i < 1'000'000; ++i) {
      const int one = co_await number(1);
      out += one;
    }
    co_return out;
  };

  EXPECT_EQ(sync_wait(sum()), 1'000'000);
}

task<int> nested(int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await nested(depth - 1);
  co_return below + 1;
}

TEST(Task, NestsDeeplyOnAFewBytesOfStack) {
  EXPECT_EQ(sync_wait(nested(400'000)), 400'000);
}

TEST(RunningTask, RunsToItsFirstWaitAtOnceAndGoesOnWhenThatEnds) {
  signal s;

  auto running = start(after(s, 5));
  EXPECT_FALSE(running.done());
  s.set();

  EXPECT_TRUE(running.done());
  EXPECT_EQ(std::move(running).get(), 5);
}

TEST(RunningTask, IsDestroyedWhereItWaitsWithWhatItHolds) {
  signal s;
  bool outer = false, inner = false, went_on = false;
  const auto below = [](signal& until, bool& d) -> task<void> {
    const witness w(d);
    co_await until;
  };
  const auto above = [](task<void> child, bool& d, bool& on) -> task<void> {
    const witness w(d);
    co_await std::move(child);
    on = true;
  };

  {
    const auto running = start(above(below(s, inner), outer, went_on));
    EXPECT_FALSE(outer || inner);
  }
  EXPECT_TRUE(outer && inner);
  s.set();  // too late: nobody is there

  EXPECT_FALSE(went_on);
}

TEST(RunningTask, ThatWasDestroyedBeforeItsWaitEndedTellsNobody) {
  signal s;
  bool told = false;
  {
    auto running = start(after(s, 1));
    EXPECT_TRUE(running.on_end([&told] { told = true; }));
  }
  s.set();

  EXPECT_FALSE(told);
}

TEST(RunningTask, MayEndItself) {
  signal s;
  bool destroyed = false, went_on = false;
  std::optional<running_task<>> running;
  const auto work = [](signal& until, bool& d, bool& on, std::optional<running_task<>>& self) -> task<void> {
    const witness w(d);
    co_await until;
    self.reset();
    EXPECT_FALSE(d);  // it is still here, until its next wait
    co_await until;
    on = true;
  };

  running.emplace(start(work(s, destroyed, went_on, running)));
  s.set();

  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(went_on);
}

TEST(RunningTask, SeveralRunSideBySideAndAreAwaitedTogether) {
  signal a, b;
  const auto both = [](signal& x, signal& y) -> task<int> {
    auto first = start(after(x, 1));
    auto second = start(after(y, 2));
    const int one = co_await std::move(first);
    const int two = co_await std::move(second);
    co_return one * 10 + two;
  };

  auto running = start(both(a, b));
  b.set();
  EXPECT_FALSE(running.done());
  a.set();

  EXPECT_EQ(std::move(running).get(), 12);
}

TEST(RunningTask, TellsWhetherThereIsOne) {
  running_task<int> none;
  EXPECT_FALSE(none);
  EXPECT_TRUE(none.done());

  none = start(number(1));

  EXPECT_TRUE(none);
  none.stop();
  EXPECT_FALSE(none);
}

TEST(SyncWait, BlocksUntilAnotherThreadHasEndedIt) {
  signal s;
  std::atomic<bool> armed{false};
  const auto work = [](signal& until, std::atomic<bool>& is_armed) -> task<int> {
    auto running = start(after(until, 9));
    is_armed = true;
    is_armed.notify_one();
    const int out = co_await std::move(running);
    co_return out;
  };
  std::thread other([&] {
    armed.wait(false);
    s.set();
  });

  EXPECT_EQ(sync_wait(work(s, armed)), 9);
  other.join();
}

TEST(Task, IsAwaitedByCoroutinesOfOtherTypes) {
  signal s;
  int got = 0;
  const auto theirs = [](signal& until, int& out) -> foreign {
    const int first = co_await number(1);  // is there at once
    const int second = co_await after(until, 2);
    auto running = start(number(3));
    const int third = co_await std::move(running);
    out = first * 100 + second * 10 + third;
  };

  const auto f = theirs(s, got);
  EXPECT_EQ(got, 0);
  s.set();

  EXPECT_EQ(got, 123);
  EXPECT_TRUE(f.it.done());
}

TEST(Task, EndsWithACoroutineOfAnotherTypeThatIsDestroyedWhileItWaits) {
  signal s;
  bool destroyed = false;
  const auto below = [](signal& until, bool& d) -> task<void> {
    const witness w(d);
    co_await until;
  };
  const auto theirs = [](task<void> child) -> foreign { co_await std::move(child); };

  {
    const auto f = theirs(below(s, destroyed));
    EXPECT_FALSE(destroyed);
  }
  EXPECT_TRUE(destroyed);
  s.set();
}

TEST(RunningTask, IsDestroyedSafelyWhileAnotherThreadLetsItGoOn) {
  const auto work = [](signal& until, std::atomic<int>& alive) -> task<void> {
    struct counted {
      explicit counted(std::atomic<int>& n) : of(n) { ++of; }
      ~counted() { --of; }
      std::atomic<int>& of;
    };
    const counted here(alive);
    for (;;) {
      co_await until;
      const int n = co_await number(1);
      alive += n - 1;
    }
  };
  for (int round = 0; round < 2'000; ++round) {
    signal s;
    std::atomic<int> alive{0};
    std::atomic<bool> go{false};
    auto running = start(work(s, alive));
    std::thread other([&] {
      go = true;
      for (int i = 0; i < round % 5; ++i) s.set();
    });
    while (!go) std::this_thread::yield();
    running.stop();
    EXPECT_EQ(alive, 0) << "nothing of it is left when `stop` returns";
    other.join();
  }
}

}  // namespace
}  // namespace dislock
