// The client over a real Redis: what is different from `memory:` is that others use the store too, that
// answers can be lost, and that the store can end.
#include "dislock/async_client.hpp"
#include "dislock/client.hpp"
#include "library/store/test_store_client.hpp"
#include "library/test_stress.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace dislock::library {
namespace {

using redis::comes_true;
using testing::HasSubstr;

class StoreClient : public testing::Test {
 protected:
  [[nodiscard]] client open(client_options options = {}) const {
    return client::connect(server_.url(), std::move(options)).value();
  }

  redis::test_redis server_;
};

// --- connecting

TEST_F(StoreClient, TakesALockThatAllSeeInTheStore) {
  auto locks = open();
  EXPECT_EQ(locks.about().value().engine, "redis");
  auto mine = locks.acquire("a").value();
  EXPECT_TRUE(mine.held());
  const auto now = boottime_clock().now();
  EXPECT_GT(mine.valid_until() - now, 29s);
  EXPECT_LT(mine.valid_until() - now, 30s - 300ms) << "the store's clock may go faster than ours";
  EXPECT_FALSE(server_.say({"GET", "lock:a"}).text.empty());
  EXPECT_TRUE(mine.renew());
  EXPECT_TRUE(locks.validate("a", mine.fencing_token()).value());
  EXPECT_TRUE(mine.release());
  EXPECT_FALSE(locks.is_locked("a").value());
  EXPECT_TRUE(server_.say({"GET", "lock:a"}).text.empty());
  EXPECT_TRUE(locks.ping());
}

TEST(ConnectingToAStore, FailsSoonAndSaysWhyWhereThereIsNone) {
  const auto port = std::to_string(redis::free_port());
  const auto began = std::chrono::steady_clock::now();
  const auto out = client::connect("redis://127.0.0.1:" + port, impatient());
  EXPECT_EQ(code_of(out), errc::engine_unavailable);
  EXPECT_THAT(out.error().detail, HasSubstr(port));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

TEST(ConnectingToAStore, RefusesWhatItDoesNotKnowByName) {
  EXPECT_THAT(client::connect("redis://127.0.0.1/?flavour=mild").error().detail, HasSubstr("flavour"));
  EXPECT_EQ(code_of(client::connect("redis://127.0.0.1/?flavour=mild")), errc::invalid_field);
  const auto wrong = client::connect("redis://:hunter2@127.0.0.1:port");
  EXPECT_EQ(code_of(wrong), errc::invalid_field);
  EXPECT_EQ(wrong.error().message().find("hunter2"), std::string::npos);
  manual_clock moved;
  client_options o;
  o.time = &moved;
  EXPECT_THAT(client::connect("redis://127.0.0.1", o).error().detail, HasSubstr("time"));
}

TEST(ConnectingToAStore, SaysThatThePasswordIsWrongButNotWhichItWas) {
  redis::test_redis server({"--requirepass", "right"});
  const auto out = client::connect(server.url(":hunter2@"), impatient());
  EXPECT_EQ(code_of(out), errc::engine_unavailable);
  EXPECT_THAT(out.error().detail, HasSubstr("WRONGPASS"));
  EXPECT_EQ(out.error().message().find("hunter2"), std::string::npos);
  EXPECT_TRUE(client::connect(server.url(":right@"), impatient()));
}

// --- several clients

TEST_F(StoreClient, ClientsWaitInTheOrderOfTheirArrival) {
  auto holder = open(), one = open(), two = open();
  auto held = holder.acquire("a").value();
  std::mutex guard;
  std::string order;
  std::vector<std::thread> waiters;
  for (std::size_t i = 0; i < 6; ++i) {
    waiters.emplace_back([&, i] {
      auto mine = (i % 2 == 0 ? one : two).acquire("a").value();
      const std::lock_guard g(guard);
      order += std::to_string(i);
    });
    until_waiting(holder, "a", i + 1);
  }
  EXPECT_TRUE(held.release());
  for (auto& each : waiters) each.join();
  EXPECT_EQ(order, "012345");
}

TEST_F(StoreClient, ProcessesExcludeEachOther) {
  auto* const counter = static_cast<volatile int*>(
      ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  constexpr int processes = 3, times = 60;
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    const auto child = ::fork();
    if (child == 0) {
      auto locks = client::connect(server_.url());
      for (int n = 0; locks && n < times; ++n) {
        auto mine = locks->acquire("counter");
        if (!mine) ::_exit(2);
        const int seen = *counter;
        std::this_thread::sleep_for(100us);
        *counter = seen + 1;
        if (!mine->release()) ::_exit(3);
      }
      ::_exit(locks ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const auto child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
  }
  EXPECT_EQ(*counter, processes * times);
}

TEST_F(StoreClient, ALeaseTakenByForceIsNoticedWithTheNextRenewal) {
  auto mine = open(), others = open();
  std::mutex guard;
  std::vector<std::pair<lease_stage, loss_cause>> told;
  acquire_options how;
  how.ttl = 600ms;
  how.on_stage = [&](lease_stage at, loss_cause why) {
    const std::lock_guard g(guard);
    told.emplace_back(at, why);
  };
  auto held = mine.acquire("a", std::move(how)).value();
  EXPECT_EQ(others.force_release("a", std::nullopt, "test")->size(), 1u);
  EXPECT_TRUE(comes_true([&] { return held.lost().stop_requested(); }));
  EXPECT_FALSE(held.held());
  EXPECT_TRUE(comes_true([&] {
    const std::lock_guard g(guard);
    return !told.empty() && told.back() == std::pair{lease_stage::lost, loss_cause::forced};
  }));
}

TEST_F(StoreClient, ManyThreadsNeverShareALockAndLeaveNoneBehind) {
  everything_at_once(open(), 8, 100);
}

TEST_F(StoreClient, KeepsALeaseAliveUntilItIsGivenBack) {
  auto locks = open(), others = open();
  acquire_options how;
  how.ttl = 300ms;
  auto mine = locks.acquire("a", how).value();
  EXPECT_EQ(code_of(others.acquire("a", with_wait(1s))), errc::lock_not_acquired);
  EXPECT_TRUE(mine.held());
  EXPECT_TRUE(mine.release());
}

TEST_F(StoreClient, ReentersAndGivesBackAsOften) {
  auto locks = open();
  auto outer = locks.acquire("a").value();
  acquire_options how;
  how.within = &outer;
  how.reenter = true;
  auto inner = locks.acquire("a", how).value();
  EXPECT_EQ(inner.fencing_token(), outer.fencing_token());
  EXPECT_TRUE(inner.release());
  EXPECT_TRUE(locks.is_locked("a").value());
  EXPECT_TRUE(outer.release());
  EXPECT_FALSE(locks.is_locked("a").value());
}

// --- coroutines, and the thread on which they go on

TEST_F(StoreClient, WhoGoesOnOnTheStoresThreadMayUseTheBlockingForms) {
  auto locks = open();
  int inside = 0, most = 0, done = 0;
  const auto work = [&](async_client with) -> task<void> {
    for (int i = 0; i < 20; ++i) {
      auto waited = co_await with.acquire("a");
      if (!waited) co_return;
      most = std::max(most, ++inside);
      auto nested = locks.acquire("b/" + std::to_string(i));
      (void)locks.inspect("a");
      if (nested) ++done;
      --inside;
      auto given_back = co_await with.release(*waited);
      if (!given_back) co_return;
    }
  };
  std::vector<running_task<void>> all;
  for (int i = 0; i < 5; ++i) all.push_back(start(work(locks.async())));
  for (auto& each : all) std::move(each).get();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(done, 100);
}

TEST_F(StoreClient, ACoroutineMayBeTheLastOwnerOfItsClient) {
  for (int i = 0; i < 10; ++i) {
    auto leaving = start([](std::unique_ptr<client> last) -> task<void> {
      auto mine = co_await last->async().acquire("a");
      (void)mine.has_value();
      last.reset();
    }(std::make_unique<client>(open())));
    std::move(leaving).get();
  }
  auto locks = open();
  EXPECT_TRUE(nothing_is_locked(locks));
}

TEST_F(StoreClient, AStopTokenEndsTheWaitAndLeavesTheQueue) {
  auto locks = open();
  auto held = locks.acquire("a").value();
  std::stop_source stop;
  std::thread waiter([&] {
    acquire_options how;
    how.stop = stop.get_token();
    EXPECT_EQ(code_of(locks.acquire("a", std::move(how))), errc::request_cancelled);
  });
  until_waiting(locks, "a", 1);
  stop.request_stop();
  waiter.join();
  until_waiting(locks, "a", 0);
  EXPECT_TRUE(held.release());
  EXPECT_TRUE(nothing_is_locked(locks));
}

TEST_F(StoreClient, ClosingGivesLeasesBackAndSendsThoseWhoWaitAway) {
  auto locks = open(), others = open();
  auto held = locks.acquire("a").value();
  std::thread waiter([&] { EXPECT_EQ(code_of(locks.acquire("a")), errc::engine_unavailable); });
  until_waiting(others, "a", 1);
  EXPECT_TRUE(locks.close());
  waiter.join();
  EXPECT_FALSE(held.held());
  EXPECT_TRUE(nothing_is_locked(others));
}

// --- what can go wrong

// When the store has ended, a lease must be lost here before it could be anybody else's.
TEST_F(StoreClient, AKilledServerCostsHoldersTheirLeasesInTimeAndNobodyWaitsForEver) {
  auto locks = open(impatient());
  acquire_options how;
  how.ttl = 1s;
  auto held = locks.acquire("a", how).value();
  std::vector<std::thread> waiters;
  std::atomic<int> ended{0};
  for (int i = 0; i < 5; ++i)
    waiters.emplace_back([&, i] {
      const auto out = locks.acquire(i == 4 ? "b" : "a", with_wait(1500ms));
      if (i < 4) EXPECT_EQ(code_of(out), errc::outcome_unknown);
      ++ended;
    });
  until_waiting(locks, "a", 4);
  EXPECT_TRUE(comes_true([&] { return ended == 1; }));
  server_.process().kill();
  const auto killed = std::chrono::steady_clock::now();

  EXPECT_TRUE(comes_true([&] { return held.lost().stop_requested(); }));
  EXPECT_FALSE(held.held());
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 1s);
  EXPECT_FALSE(held.renew());
  EXPECT_EQ(code_of(locks.try_acquire("c")), errc::engine_unavailable);
  EXPECT_FALSE(locks.inspect("a"));
  EXPECT_FALSE(locks.ping());
  for (auto& each : waiters) each.join();
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 5s);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(locks.close(500ms));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 3s);
}

TEST_F(StoreClient, IsThereAgainWhenTheServerIs) {
  auto locks = client::connect(server_.url({}, "/?failover=fence-only")).value();
  auto held = locks.acquire("a").value();
  server_.process().kill();
  std::thread patient([&] { EXPECT_TRUE(locks.acquire("b", with_wait(20s))); });
  std::this_thread::sleep_for(300ms);
  server_.process().start();
  ASSERT_TRUE(server_.comes_up());
  patient.join();
  EXPECT_EQ(code_of(held.renew()), errc::lock_not_held) << "the store came back empty";
  EXPECT_FALSE(held.held());
  EXPECT_TRUE(locks.acquire("a"));
}

TEST_F(StoreClient, WhatAFrozenServerStillDoesLaterIsTakenBack) {
  auto locks = open(impatient());
  auto others = open();
  auto held = locks.acquire("held", {.ttl = 20s}).value();
  server_.process().freeze();
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i)
    callers.emplace_back([&, i] {
      const auto out = locks.try_acquire("a/" + std::to_string(i));
      EXPECT_EQ(effect_of(code_of(out)), effect::unknown) << to_string(code_of(out));
    });
  for (auto& each : callers) each.join();
  std::thread releases([&] { EXPECT_FALSE(held.release()); });
  releases.join();
  EXPECT_FALSE(held.held());
  server_.process().thaw();
  EXPECT_TRUE(nothing_is_locked(others));
}

TEST_F(StoreClient, AFrozenServerDoesNotHoldUpTheEnd) {
  auto locks = open(impatient());
  auto held = locks.acquire("a").value();
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) callers.emplace_back([&] { EXPECT_FALSE(locks.acquire("a", with_wait(60s))); });
  until_waiting(locks, "a", 4);
  server_.process().freeze();
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(locks.close(300ms));
  for (auto& each : callers) each.join();
  { const auto last = std::move(locks); }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  server_.process().thaw();
}

TEST_F(StoreClient, NothingStaysLockedByCallsWhoseConnectionWasKilled) {
  auto locks = open();
  std::atomic<bool> over{false};
  std::atomic<int> doubtful{0}, done{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i)
    callers.emplace_back([&, i] {
      for (int n = 0; !over; ++n) {
        acquire_options how = with_wait(n % 2 == 0 ? 0ms : 2s);
        how.ttl = 10min;  // only a settled acquire comes free before the test is over
        const auto name = [&](int which) { return "a/" + std::to_string((i + n + which) % 6); };
        if (n % 5 == 0) {
          auto both = locks.acquire_all({name(0), name(1)}, how);
          if (!both && both.error().code == errc::outcome_unknown) ++doubtful;
          continue;
        }
        auto mine = locks.acquire(name(0), how);
        if (!mine && mine.error().code == errc::outcome_unknown) ++doubtful;
        if (mine && n % 5 == 1) {
          how.within = &*mine;
          how.reenter = true;
          (void)locks.acquire(name(0), how);
        }
        if (mine && mine->release()) ++done;
      }
    });
  for (int i = 0; i < 60; ++i) {
    std::this_thread::sleep_for(30ms);
    server_.say({"CLIENT", "KILL", "TYPE", "normal"});
  }
  over = true;
  for (auto& each : callers) each.join();
  EXPECT_GT(done, 10);
  EXPECT_GT(doubtful, 0);
  auto others = open();
  EXPECT_TRUE(nothing_is_locked(others));
}

// Not only that it is given back: its holder is told what became of it.
TEST_F(StoreClient, AReleaseGoesThroughAlthoughItsConnectionWasKilled) {
  auto locks = open();
  int done = 0;
  for (int i = 0; i < 30; ++i) {
    auto mine = locks.acquire("a");
    if (!mine) continue;  // the connection that was killed is not yet known to be gone
    std::thread killer([&] { server_.say({"CLIENT", "KILL", "TYPE", "normal"}); });
    const auto given_back = mine->release();
    EXPECT_TRUE(given_back) << given_back.error().message();
    ++done;
    killer.join();
    EXPECT_FALSE(locks.is_locked("a").value());
  }
  EXPECT_GT(done, 5);
}

TEST_F(StoreClient, TellsEventsOfAllClients) {
  auto locks = open(), others = open();
  const auto from = locks.events_after(0).value().newest;
  ASSERT_TRUE(others.acquire("a"));
  std::vector<std::string> seen;
  auto at = from;
  EXPECT_TRUE(comes_true([&] {
    const auto page = locks.events_after(at, "", 1s);
    if (!page) return false;
    at = page->newest;
    for (const auto& e : page->events) seen.push_back(e.type);
    return seen.size() >= 2;
  }));
  EXPECT_THAT(seen, testing::IsSupersetOf({"acquired", "released"}));
}

}  // namespace
}  // namespace dislock::library
