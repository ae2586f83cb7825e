#include "dislock/async_client.hpp"

#include "library/test_conveniences.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace dislock::library {
namespace {

using AsyncClient = conveniences_test;

TEST_F(AsyncClient, AcquiresAndGivesBack) {
  const auto work = [](async_client locks) -> task<fencing_token> {
    auto held = co_await locks.acquire("a");
    const auto token = held->fencing_token();
    EXPECT_TRUE(held->held());
    auto still = co_await locks.is_held(*held);
    EXPECT_TRUE(*still);
    auto done = co_await locks.release(*held);
    EXPECT_TRUE(done);
    EXPECT_EQ(held->stage(), lease_stage::released);
    co_return token;
  };

  EXPECT_GT(to_number(sync_wait(work(async_))), 0u);

  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, TakesOptionsInBraces) {
  const auto work = [](async_client locks) -> task<bool> {
    // Not inside of the co_await: see the class comment.
    auto asking =
        locks.acquire("a", {.wait = 1s, .metadata = R"({"some":"text that is longer than a word"})"});
    auto held = co_await std::move(asking);
    co_return held->metadata() == R"({"some":"text that is longer than a word"})";
  };

  EXPECT_TRUE(sync_wait(work(async_)));
}

TEST_F(AsyncClient, WaitsForTheLockAndGoesOnWhenItIsGivenBack) {
  auto first = locks_.acquire("a");

  auto second = start(async_.acquire("a"));
  EXPECT_FALSE(second.done());
  EXPECT_EQ(state_of("a").queue_length, 1u);
  ASSERT_TRUE(first->release());

  ASSERT_TRUE(second.done());
  auto held = std::move(second).get();
  EXPECT_GT(held->fencing_token(), first->fencing_token());
}

TEST_F(AsyncClient, SaysWhyItDidNotGetTheLock) {
  auto first = locks_.acquire("a");

  auto second = start(async_.acquire("a", waiting(5s)));
  locks_.advance(5s);
  const auto refused = std::move(second).get();

  EXPECT_EQ(code_of(refused), errc::lock_not_acquired);
  EXPECT_EQ(refused.error().lock, "a");
  EXPECT_EQ(refused.error().waited, 5s);
  EXPECT_EQ(refused.error().holders.size(), 1u);
}

TEST_F(AsyncClient, RefusesWhatIsNotAllowedAtOnce) {
  EXPECT_EQ(code_of(sync_wait(async_.acquire("a//b"))), errc::invalid_lock_name);
  EXPECT_EQ(code_of(sync_wait(async_.inspect("a//b"))), errc::invalid_lock_name);
  EXPECT_EQ(code_of(sync_wait(async_.validate("", fencing_token{1}))), errc::invalid_lock_name);
}

TEST_F(AsyncClient, TriesOnceAndSaysThatSomebodyElseHasIt) {
  auto first = sync_wait(async_.try_acquire("a"));
  auto second = sync_wait(async_.try_acquire("a"));

  EXPECT_TRUE(first->has_value());
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->has_value());
}

TEST_F(AsyncClient, AcquiresAllOrNothing) {
  auto held = locks_.acquire("b");

  auto all = start(async_.acquire_all({"a", "b"}));
  EXPECT_FALSE(all.done());
  EXPECT_FALSE(*locks_.is_locked("a"));
  ASSERT_TRUE(held->release());
  auto group = std::move(all).get();
  ASSERT_TRUE(group);
  EXPECT_TRUE(group->held());

  EXPECT_TRUE(sync_wait(async_.release(*group)));
  EXPECT_TRUE(is_free("a") && is_free("b"));
}

TEST_F(AsyncClient, RenewsALease) {
  auto held = locks_.acquire("a", {.ttl = 10s, .renew = false});
  locks_.advance(8s);

  EXPECT_TRUE(sync_wait(async_.renew(*held, 20s)));

  locks_.advance(17s);
  EXPECT_TRUE(held->held());
  locks_.advance(3s);
  EXPECT_EQ(code_of(sync_wait(async_.renew(*held))), errc::lock_not_held);
}

TEST_F(AsyncClient, RenewsAndGivesBackADetachedLease) {
  auto held = locks_.acquire("a", {.ttl = 10s});
  const auto ticket = std::move(*held).detach();

  EXPECT_GT(*sync_wait(async_.renew(ticket)), 9s);
  EXPECT_TRUE(sync_wait(async_.release(ticket)));

  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, AsksWhatTheBlockingClientAsks) {
  auto held = locks_.acquire("a/1");
  const auto token = held->fencing_token();

  EXPECT_TRUE(*sync_wait(async_.is_locked("a/1")));
  EXPECT_EQ(sync_wait(async_.inspect("a/1"))->holders.size(), 1u);
  EXPECT_EQ(sync_wait(async_.list("a/"))->size(), 1u);
  EXPECT_TRUE(*sync_wait(async_.validate("a/1", token)));
  EXPECT_TRUE(sync_wait(async_.graph())->empty());
  EXPECT_TRUE(sync_wait(async_.deadlocks())->empty());
  EXPECT_EQ(sync_wait(async_.about())->engine, "memory");
  EXPECT_EQ(*sync_wait(async_.ping()), 0s);
  EXPECT_GT(sync_wait(async_.events_after(0))->newest, 0u);
  EXPECT_EQ(sync_wait(async_.force_release("a/1", token, "test"))->size(), 1u);
  EXPECT_FALSE(*sync_wait(async_.is_held(*held)));
}

TEST_F(AsyncClient, SleepsByTheClientsClock) {
  auto sleeping = start(async_.sleep(10s));
  auto longer = start(async_.sleep(20s));

  locks_.advance(9s);
  EXPECT_FALSE(sleeping.done());
  locks_.advance(1s);
  EXPECT_TRUE(sleeping.done());
  EXPECT_FALSE(longer.done());
  ASSERT_TRUE(locks_.close());

  ASSERT_TRUE(longer.done());
  EXPECT_EQ(code_of(std::move(longer).get()), errc::engine_unavailable);
  EXPECT_EQ(code_of(sync_wait(async_.sleep(1s))), errc::engine_unavailable);
}

TEST_F(AsyncClient, ClosesTheClient) {
  auto held = locks_.acquire("a");

  EXPECT_TRUE(sync_wait(async_.close()));

  EXPECT_FALSE(held->held());
  EXPECT_EQ(code_of(sync_wait(async_.acquire("a"))), errc::engine_unavailable);
}

// --- with_lock

TEST_F(AsyncClient, RunsACoroutineUnderTheLockAndGivesItsResult) {
  const auto work = [](lease& mine) -> task<int> {
    EXPECT_TRUE(mine.held());
    co_return 42;
  };

  EXPECT_EQ(*sync_wait(async_.with_lock("a", work)), 42);
  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, HoldsTheLockAsLongAsTheCoroutineWaits) {
  const auto work = [locks = async_](lease&) -> task<void> {
    auto slept = co_await locks.sleep(60s);
    EXPECT_TRUE(slept);
  };

  auto running = start(async_.with_lock("a", work));
  locks_.advance(59s);
  EXPECT_TRUE(state_of("a").locked);
  locks_.advance(1s);

  EXPECT_TRUE(std::move(running).get());
  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, RunsAPlainFunctionUnderTheLock) {
  int ran = 0;

  EXPECT_EQ(
      *sync_wait(async_.with_lock("a", [](lease& mine) { return to_number(mine.fencing_token()) > 0; })),
      true);
  EXPECT_TRUE(sync_wait(async_.with_lock("a", waiting(1s), [&ran](lease&) { ++ran; })));

  EXPECT_EQ(ran, 1);
  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, GivesTheLockBackWhenTheWorkThrows) {
  const auto work = [](lease& mine) -> task<int> {
    if (mine.held()) throw std::runtime_error("no");
    co_return 1;
  };

  EXPECT_THROW((void)sync_wait(async_.with_lock("a", work)), std::runtime_error);

  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, DoesNotRunWithoutTheLock) {
  auto other = locks_.acquire("a");
  bool ran = false;
  const auto work = [&ran](lease&) { ran = true; };

  EXPECT_FALSE(*sync_wait(async_.try_with_lock("a", work)));
  auto running = start(async_.with_lock("a", waiting(1s), work));
  locks_.advance(1s);
  EXPECT_EQ(code_of(std::move(running).get()), errc::lock_not_acquired);
  EXPECT_FALSE(ran);
  ASSERT_TRUE(other->release());

  EXPECT_TRUE(*sync_wait(async_.try_with_lock("a", work)));
  EXPECT_TRUE(ran);
}

TEST_F(AsyncClient, SaysThatTheLockWasLostWhileTheWorkRan) {
  const auto work = [locks = locks_](lease& mine) mutable -> task<int> {
    auto ended = locks.force_release(mine.lock(), mine.fencing_token(), "test");
    EXPECT_TRUE(ended);
    co_return 1;
  };

  EXPECT_EQ(code_of(sync_wait(async_.with_lock("a", work))), errc::lock_not_held);
}

TEST_F(AsyncClient, AsksTheRunningWorkToStop) {
  std::stop_source stop;
  bool asked = false;
  acquire_options how;
  how.stop = stop.get_token();
  const auto work = [&](lease& mine) -> task<void> {
    auto slept = co_await async_.sleep(1s);
    asked = slept && mine.lost().stop_requested();
  };

  auto running = start(async_.with_lock("a", how, work));
  stop.request_stop();
  locks_.advance(1s);

  EXPECT_TRUE(std::move(running).get());
  EXPECT_TRUE(asked);
}

// --- cancellation

TEST_F(AsyncClient, LeavesTheQueueWhenItsStopTokenSaysSo) {
  auto first = locks_.acquire("a");
  std::stop_source stop;
  acquire_options how;
  how.stop = stop.get_token();

  auto second = start(async_.acquire("a", how));
  stop.request_stop();

  ASSERT_TRUE(second.done());
  EXPECT_EQ(code_of(std::move(second).get()), errc::request_cancelled);
  EXPECT_EQ(state_of("a").queue_length, 0u);
}

TEST_F(AsyncClient, LeavesTheQueueWhenTheCoroutineIsDestroyed) {
  auto first = locks_.acquire("a");
  {
    const auto second = start(async_.acquire("a"));
    EXPECT_EQ(state_of("a").queue_length, 1u);
  }
  EXPECT_EQ(state_of("a").queue_length, 0u);
  ASSERT_TRUE(first->release());

  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, GivesBackWhatIsGrantedToACoroutineThatIsDestroyedBeforeItKnows) {
  test_executor loop;
  auto first = locks_.acquire("a");
  auto second = start(async_.resumed_on(loop.get()).acquire("a"));
  ASSERT_TRUE(first->release());
  EXPECT_TRUE(state_of("a").locked);
  EXPECT_EQ(loop.waiting(), 1u);

  second.stop();
  EXPECT_TRUE(is_free("a"));
  loop.run_all();

  EXPECT_TRUE(is_free("a"));
}

TEST_F(AsyncClient, GivesBackTheLockOfWorkThatIsDestroyedWhileItWaits) {
  const auto work = [locks = async_](lease&) -> task<void> {
    auto slept = co_await locks.sleep(60s);
    EXPECT_TRUE(slept);
  };

  auto running = start(async_.with_lock("a", work));
  EXPECT_TRUE(state_of("a").locked);
  running.stop();

  EXPECT_TRUE(is_free("a"));
  locks_.advance(60s);
}

// --- threads

TEST_F(AsyncClient, GoesOnOnTheExecutorThatItWasGiven) {
  test_executor loop;
  auto first = locks_.acquire("a");
  auto second = start(async_.resumed_on(loop.get()).acquire("a"));

  ASSERT_TRUE(first->release());
  EXPECT_FALSE(second.done());
  EXPECT_EQ(loop.waiting(), 1u);
  loop.run_all();

  EXPECT_TRUE(second.done());
}

TEST_F(AsyncClient, AsksNoExecutorWhenTheAnswerIsThereAtOnce) {
  test_executor loop;

  EXPECT_TRUE(sync_wait(async_.resumed_on(loop.get()).acquire("a")));

  EXPECT_EQ(loop.waiting(), 0u);
}

TEST_F(AsyncClient, AcquiresAHundredThousandTimesInALoop) {
  const auto work = [](async_client locks) -> task<int> {
    int out = 0;
    for (int i = 0; i < 100'000; ++i) {
      auto held = co_await locks.acquire("a");
      auto done = co_await locks.release(*held);
      out += done ? 1 : 0;
    }
    co_return out;
  };

  EXPECT_EQ(sync_wait(work(async_)), 100'000);
}

TEST(AsyncClientOnARealClock, NeverGoesOnInsideOfAnotherThreadsRelease) {
  auto locks = client::connect("memory:").value();
  const auto work = [](async_client with) -> task<std::thread::id> {
    auto held = co_await with.acquire("a");
    EXPECT_TRUE(held);
    co_return std::this_thread::get_id();
  };
  for (int i = 0; i < 100; ++i) {
    auto first = locks.acquire("a");
    auto second = start(work(locks.async()));
    ASSERT_TRUE(first->release());
    EXPECT_NE(std::move(second).get(), std::this_thread::get_id());
  }
}

TEST(AsyncClientOnARealClock, MayUseTheBlockingFormsWhereItGoesOn) {
  auto locks = client::connect("memory:").value();
  const auto work = [](async_client with) -> task<bool> {
    auto held = co_await with.acquire("a");
    auto more = with.blocking().acquire("b", waiting(0s));
    co_return held&& more;
  };
  auto first = locks.acquire("a");
  auto second = start(work(locks.async()));
  ASSERT_TRUE(first->release());

  EXPECT_TRUE(std::move(second).get());
}

TEST(AsyncClientOnARealClock, LeavesNoLockBehindHoweverItsCoroutinesAreDestroyed) {
  auto locks = client::connect("memory:").value();
  std::atomic<bool> over{false};
  std::thread others([&locks, &over] {
    while (!over) {
      auto held = locks.acquire("a", waiting(10s));
      EXPECT_TRUE(held);
      std::this_thread::yield();
    }
  });
  const auto work = [](async_client with) -> task<void> {
    for (;;) {
      auto held = co_await with.acquire("a", waiting(10s));
      EXPECT_TRUE(held);
      auto done = co_await with.release(*held);
      EXPECT_TRUE(done);
    }
  };
  for (int i = 0; i < 200; ++i) {
    auto a = start(work(locks.async()));
    auto b = start(work(locks.async()));
    for (int spin = i % 20; spin > 0; --spin) std::this_thread::yield();
    b.stop();
  }
  over = true;
  others.join();

  EXPECT_TRUE(locks.acquire("a", waiting(10s)));
}

TEST(AsyncClientOnARealClock, KeepsItsClientOpenAndMayBeTheLastOfIt) {
  std::optional<client> locks = client::connect("memory:").value();
  const auto work = [](async_client with) -> task<bool> {
    auto slept = co_await with.sleep(1ms);
    auto held = co_await with.acquire("a");
    co_return slept&& held;
  };

  auto running = start(work(locks->async()));
  locks.reset();

  EXPECT_TRUE(std::move(running).get());
}

}  // namespace
}  // namespace dislock::library
