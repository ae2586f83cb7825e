// The client over three real Redis servers that know nothing of each other: what is different from one server
// is that nobody knows everything, and that a lease can be lost although most of it still works.
#include "library/store/test_store_client.hpp"

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace dislock::library {
namespace {

using redis::comes_true;
using redis::test_redis;
using std::chrono::steady_clock;
using testing::HasSubstr;

const std::vector<std::string> remembers{"--appendonly", "yes", "--appendfsync", "always"};

class RedlockClient : public testing::Test {
 protected:
  explicit RedlockClient(const std::vector<std::string>& flags = {}) {
    for (auto& n : nodes_) n = std::make_unique<test_redis>(flags);
  }

  [[nodiscard]] std::string url(const std::string& rest = {}) const {
    std::string out = "redlock://";
    for (const auto& n : nodes_) out += (n == nodes_[0] ? "" : ",") + n->place();
    return out + rest;
  }
  [[nodiscard]] client open(client_options options = {}, const std::string& rest = {}) const {
    return client::connect(url(rest), std::move(options)).value();
  }
  /// On how many nodes.
  [[nodiscard]] std::size_t held_on(const std::string& lock) const {
    return static_cast<std::size_t>(std::ranges::count_if(nodes_, [&](const auto& n) {
      return n->process().running() && n->say({"EXISTS", "lock:" + lock}).number == 1;
    }));
  }
  [[nodiscard]] bool nothing_is_held() const {
    return comes_true([&] {
      return std::ranges::all_of(nodes_, [](const auto& n) {
        const auto keys = n->say({"KEYS", "lock:*"});
        return !n->process().running() || (keys.is == redis::reply::kind::array && keys.items.empty());
      });
    });
  }
  void kill_connections() const {
    for (const auto& n : nodes_) n->say({"CLIENT", "KILL", "TYPE", "normal"});
  }

  std::array<std::unique_ptr<test_redis>, 3> nodes_;
};

/// When a lease went through the stages of its end.
class witness {
 public:
  [[nodiscard]] acquire_options watching(acquire_options how) {
    how.on_stage = [this](lease_stage at, loss_cause) {
      const std::lock_guard g(guard_);
      if (at == lease_stage::must_stop && !told_) told_ = steady_clock::now();
      if (at == lease_stage::lost) lost_ = steady_clock::now();
    };
    return how;
  }
  [[nodiscard]] std::optional<steady_clock::time_point> told() const {
    const std::lock_guard g(guard_);
    return told_;
  }
  [[nodiscard]] std::optional<steady_clock::time_point> lost() const {
    const std::lock_guard g(guard_);
    return lost_;
  }

 private:
  mutable std::mutex guard_;
  std::optional<steady_clock::time_point> told_, lost_;
};

TEST_F(RedlockClient, TakesALockThatEveryNodeHolds) {
  auto locks = open();
  EXPECT_EQ(locks.about().value().engine, "redlock");
  auto mine = locks.acquire("a").value();
  EXPECT_TRUE(mine.held());
  const auto now = boottime_clock().now();
  EXPECT_GT(mine.valid_until() - now, 29s);
  EXPECT_LT(mine.valid_until() - now, 30s - 300ms) << "their clocks may go faster than ours";
  EXPECT_TRUE(comes_true([&] { return held_on("a") == 3; }));
  EXPECT_TRUE(mine.renew());
  EXPECT_TRUE(mine.is_held().value());
  EXPECT_TRUE(locks.validate("a", mine.fencing_token()).value());
  EXPECT_TRUE(mine.release());
  EXPECT_FALSE(locks.is_locked("a").value());
  EXPECT_TRUE(nothing_is_held());
  EXPECT_TRUE(locks.ping());
}

TEST_F(RedlockClient, ClientsKeepEachOtherOutAndTokensRise) {
  auto one = open(), other = open();
  fencing_token last{};
  for (int i = 0; i < 20; ++i) {
    auto& first = i % 2 == 0 ? one : other;
    auto& second = i % 2 == 0 ? other : one;
    auto mine = first.acquire("a").value();
    EXPECT_GT(mine.fencing_token(), last);
    last = mine.fencing_token();
    const auto refused = second.acquire("a", with_wait(0ms));
    EXPECT_EQ(code_of(refused), errc::lock_not_acquired);
    ASSERT_EQ(refused.error().holders.size(), 1u);
    EXPECT_EQ(refused.error().holders[0].client, mine.client_id());
    EXPECT_FALSE(second.try_acquire("a").value());
    EXPECT_TRUE(mine.release());
  }
}

TEST_F(RedlockClient, ManyThreadsOfSeveralClientsNeverShareALock) {
  std::array<client, 3> clients{open(), open(), open()};
  std::atomic<int> inside{0}, most{0}, grants{0};
  std::atomic<bool> falls{false};
  std::uint64_t last = 0;  // guarded by the lock that is tested
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 9; ++i)
    threads.emplace_back([&, i] {
      for (int n = 0; n < 15; ++n) {
        auto mine = clients[i % clients.size()].acquire("a");
        if (!mine) continue;
        const auto now = ++inside;
        if (now > most) most = now;
        if (to_number(mine->fencing_token()) <= last) falls = true;
        last = to_number(mine->fencing_token());
        ++grants;
        --inside;
        EXPECT_TRUE(mine->release());
      }
    });
  for (auto& each : threads) each.join();
  EXPECT_EQ(most, 1);
  EXPECT_FALSE(falls);
  EXPECT_EQ(grants, 9 * 15);
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(RedlockClient, WaitersOfOneClientAreServedInTheOrderOfTheirArrival) {
  auto holder = open(), locks = open();
  auto held = holder.acquire("a").value();
  std::mutex guard;
  std::string order;
  std::vector<std::thread> waiters;
  for (std::size_t i = 0; i < 4; ++i) {
    waiters.emplace_back([&, i] {
      auto mine = locks.acquire("a").value();
      const std::lock_guard g(guard);
      order += std::to_string(i);
    });
    until_waiting(locks, "a", i + 1);
  }
  EXPECT_TRUE(held.release());
  for (auto& each : waiters) each.join();
  EXPECT_EQ(order, "0123");
}

TEST_F(RedlockClient, ALockOfAProcessThatDiedComesFreeWithItsLease) {
  auto locks = open();
  std::array<int, 2> line{};
  ASSERT_EQ(::pipe(line.data()), 0);
  const auto child = ::fork();
  if (child == 0) {
    auto theirs = client::connect(url());
    auto mine = theirs ? theirs->acquire("a", with_ttl(600ms)) : result<lease>(error());
    (void)!::write(line[1], mine ? "y" : "n", 1);
    ::pause();
    ::_exit(0);
  }
  char said = 0;
  ASSERT_EQ(::read(line[0], &said, 1), 1);
  ASSERT_EQ(said, 'y');
  EXPECT_EQ(code_of(locks.acquire("a", with_wait(1s))), errc::lock_not_acquired) << "it is renewed";
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto died = steady_clock::now();
  EXPECT_TRUE(locks.acquire("a"));
  EXPECT_LT(steady_clock::now() - died, 2s);
}

// --- nodes that end

TEST_F(RedlockClient, ANodeThatIsKilledChangesNothing) {
  auto locks = open(), others = open();
  auto mine = locks.acquire("a", with_ttl(600ms)).value();
  nodes_[1]->process().kill();
  const auto killed = steady_clock::now();
  EXPECT_EQ(code_of(others.acquire("a", with_wait(1500ms))), errc::lock_not_acquired);
  EXPECT_TRUE(mine.held()) << "it was renewed " << (steady_clock::now() - killed) / 600ms << " times over";
  EXPECT_FALSE(mine.lost().stop_requested());
  EXPECT_TRUE(mine.release());
  const auto token = mine.fencing_token();
  auto late = open();  // to a set of which one is not there
  auto theirs = late.acquire("a").value();
  EXPECT_GT(theirs.fencing_token(), token);
  EXPECT_TRUE(theirs.release());
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(RedlockClient, ANodeThatStandsStillDelaysNobody) {
  auto locks = open();
  nodes_[2]->process().freeze();
  const auto began = steady_clock::now();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(locks.acquire("a", with_ttl(2s)).value().release());
  EXPECT_LT(steady_clock::now() - began, 2s) << "the patience with one question is longer";
  EXPECT_TRUE(locks.close());
  nodes_[2]->process().thaw();
  EXPECT_TRUE(nothing_is_held()) << "what it still does later came too late";
}

class RedlockLosses : public RedlockClient {
 protected:
  explicit RedlockLosses(const std::vector<std::string>& flags = {}) : RedlockClient(flags) {}

  /// Two of three are killed, and are there again after `away`, while somebody else asks without a pause.
  /// Whether he got the lock; then its holder had been told.
  bool passes_on(duration away, duration ttl, const std::string& rest) {
    auto locks = open({}, rest), others = open(impatient(), rest);
    witness sees;
    auto mine = locks.acquire("a", sees.watching(with_ttl(ttl))).value();
    EXPECT_TRUE(comes_true([&] { return held_on("a") == 3; }));
    std::atomic<bool> over{false}, passed{false};
    std::optional<steady_clock::time_point> theirs;
    fencing_token token{};
    std::thread rival([&] {
      while (!over && !passed) {
        auto got = others.try_acquire("a", with_ttl(1s));
        if (!got || !*got) continue;
        theirs = steady_clock::now();
        token = (**got).fencing_token();
        passed = true;
      }
    });
    for (const std::size_t i : {0u, 1u}) nodes_[i]->process().kill();
    const auto back = steady_clock::now() + away;
    std::this_thread::sleep_until(back);
    for (const std::size_t i : {0u, 1u}) nodes_[i]->process().start();
    // Longer than the lock is closed to anybody else.
    (void)comes_true([&] { return passed.load(); },
                     std::chrono::ceil<std::chrono::milliseconds>(ttl) + 800ms);
    over = true;
    rival.join();
    if (!theirs) {
      EXPECT_TRUE(mine.held());
      return false;
    }
    EXPECT_TRUE(sees.told() && *sees.told() < *theirs);
    EXPECT_TRUE(sees.lost() && *sees.lost() < *theirs);
    EXPECT_FALSE(mine.held());
    EXPECT_GT(token, mine.fencing_token());
    return true;
  }
};

class RedlockLossesOnDisk : public RedlockLosses {
 protected:
  RedlockLossesOnDisk() : RedlockLosses(remembers) {}
};

TEST_F(RedlockLossesOnDisk, AMajorityThatComesBackInTimeCostsNobodyHisLease) {
  EXPECT_FALSE(passes_on(300ms, 2s, {}));
}

TEST_F(RedlockLossesOnDisk, AMajorityThatWasAwayForTooLongPassesTheLockOnAfterItsHolderWasTold) {
  EXPECT_TRUE(passes_on(1s, 1s, {}));
}

TEST_F(RedlockLosses, AMajorityThatComesBackEmptyPassesTheLockOnAfterItsHolderWasTold) {
  EXPECT_TRUE(passes_on(0s, 1s, "?max-ttl=1"));
}

TEST_F(RedlockClient, WithoutAMajorityCallsFailSoonAndSayWhichNodesAreMissing) {
  for (auto& n : nodes_) n = std::make_unique<test_redis>(remembers);
  auto locks = open(impatient());
  for (const std::size_t i : {0u, 2u}) nodes_[i]->process().kill();
  const auto refused = locks.try_acquire("a");
  EXPECT_EQ(code_of(refused), errc::engine_unavailable);
  EXPECT_THAT(refused.error().detail, HasSubstr(nodes_[0]->place()));
  EXPECT_THAT(refused.error().detail, HasSubstr(nodes_[2]->place()));
  EXPECT_EQ(code_of(locks.inspect("a")), errc::engine_unavailable);
  EXPECT_FALSE(locks.ping());
  EXPECT_EQ(code_of(client::connect(url(), impatient())), errc::engine_unavailable);
  EXPECT_TRUE(nothing_is_held());

  std::thread patient([&] { EXPECT_TRUE(locks.acquire("b", with_wait(20s))); });
  std::this_thread::sleep_for(300ms);
  for (const std::size_t i : {0u, 2u}) nodes_[i]->process().start();
  patient.join();
}

TEST_F(RedlockClient, AReleaseThatNobodyHearsEndsInTimeAndDoesNotRace) {
  auto options = impatient();
  options.request_timeout = 1s;
  auto locks = open(options);
  auto mine = locks.acquire("a").value();
  for (const auto& n : nodes_) n->process().kill();
  const auto began = steady_clock::now();
  const auto busy = std::clock();
  EXPECT_EQ(code_of(mine.release()), errc::outcome_unknown);
  EXPECT_LT(steady_clock::now() - began, 3s);
  EXPECT_LT(std::clock() - busy, CLOCKS_PER_SEC / 3) << "of the processor's time";
  EXPECT_FALSE(mine.held());
  const auto closing = steady_clock::now();
  EXPECT_TRUE(locks.close(300ms));
  EXPECT_LT(steady_clock::now() - closing, 3s);
}

TEST_F(RedlockClient, WhatFrozenNodesStillDoLaterIsTakenBack) {
  auto locks = open(impatient());
  auto held = locks.acquire("held", with_ttl(20s)).value();
  EXPECT_TRUE(comes_true([&] { return held_on("held") == 3; }));
  for (const std::size_t i : {0u, 1u}) nodes_[i]->process().freeze();
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i)
    callers.emplace_back([&, i] { EXPECT_FALSE(locks.try_acquire("a/" + std::to_string(i))); });
  for (auto& each : callers) each.join();
  EXPECT_FALSE(held.release());
  EXPECT_FALSE(held.held());
  for (const std::size_t i : {0u, 1u}) nodes_[i]->process().thaw();
  EXPECT_TRUE(nothing_is_held());
}

// --- connections that end

TEST_F(RedlockClient, NothingStaysLockedByCallsWhoseConnectionsWereKilled) {
  auto locks = open();
  std::atomic<bool> over{false};
  std::atomic<int> done{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 6; ++i)
    callers.emplace_back([&, i] {
      for (int n = 0; !over; ++n) {
        auto how = with_wait(n % 2 == 0 ? 0ms : 2s);
        how.ttl = 4min;  // only what is given back comes free before the test is over
        const auto name = "a/" + std::to_string((i + n) % 5);
        auto mine = locks.acquire(name, how);
        if (mine && n % 5 == 1) {
          how.within = &*mine;
          how.reenter = true;
          (void)locks.acquire(name, how);
        }
        if (mine && mine->release()) ++done;
      }
    });
  for (int i = 0; i < 40; ++i) {
    std::this_thread::sleep_for(30ms);
    kill_connections();
  }
  over = true;
  for (auto& each : callers) each.join();
  EXPECT_GT(done, 10);
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(RedlockClient, AReleaseGoesThroughAlthoughItsConnectionsWereKilled) {
  auto locks = open();
  int done = 0;
  for (int i = 0; i < 8; ++i) {
    auto mine = locks.acquire("a");
    if (!mine) continue;  // the connections that were killed are not yet known to be gone
    std::thread killer([&] { kill_connections(); });
    const auto given_back = mine->release();
    EXPECT_TRUE(given_back) << given_back.error().message();
    ++done;
    killer.join();
    EXPECT_TRUE(comes_true([&] { return held_on("a") < 2; }, 2s));
  }
  EXPECT_GT(done, 3);
  EXPECT_TRUE(nothing_is_held());
}

// --- leaving

TEST_F(RedlockClient, ADetachedLeaseLivesOnInTheHandsOfAnother) {
  lease_ticket ticket;
  {
    auto leaving = open();
    ticket = std::move(leaving.acquire("a", with_ttl(1500ms)).value()).detach();
  }
  EXPECT_EQ(held_on("a"), 3u) << "its client was closed";
  auto locks = open();
  EXPECT_EQ(code_of(locks.acquire("a", with_wait(0ms))), errc::lock_not_acquired);
  const auto extended = locks.renew(ticket, 20s);
  ASSERT_TRUE(extended) << extended.error().message();
  EXPECT_GT(*extended, 19s);
  EXPECT_EQ(code_of(locks.acquire("a", with_wait(2s))), errc::lock_not_acquired);
  EXPECT_TRUE(locks.validate("a", ticket.token).value());
  EXPECT_TRUE(locks.release(ticket));
  EXPECT_TRUE(nothing_is_held());
  EXPECT_EQ(code_of(locks.renew(ticket, 20s)), errc::lock_not_held);
}

TEST_F(RedlockClient, ClosingGivesLeasesBackAndSendsThoseWhoWaitAway) {
  auto locks = open();
  std::vector<lease> held;
  for (int i = 0; i < 10; ++i) held.push_back(locks.acquire("a/" + std::to_string(i)).value());
  std::thread waiter([&] { EXPECT_EQ(code_of(locks.acquire("a/0")), errc::engine_unavailable); });
  until_waiting(locks, "a/0", 1);
  EXPECT_TRUE(locks.close());
  waiter.join();
  EXPECT_FALSE(held.front().held());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(held_on("a/" + std::to_string(i)), 0u) << "on all nodes";
}

TEST_F(RedlockClient, AStopTokenEndsTheWaitAndLeavesTheQueue) {
  auto locks = open(), others = open();
  auto held = others.acquire("a").value();
  std::stop_source stop;
  std::thread waiter([&] {
    auto how = with_wait(60s);
    how.stop = stop.get_token();
    EXPECT_EQ(code_of(locks.acquire("a", std::move(how))), errc::request_cancelled);
  });
  until_waiting(locks, "a", 1);
  stop.request_stop();
  waiter.join();
  until_waiting(locks, "a", 0);
  EXPECT_TRUE(held.release());
  EXPECT_TRUE(nothing_is_held());
}

// --- the rest

TEST_F(RedlockClient, ALeaseTakenByForceIsNoticedWithTheNextRenewal) {
  auto mine = open(), others = open();
  auto held = mine.acquire("a", with_ttl(600ms)).value();
  EXPECT_EQ(others.force_release("a", std::nullopt, "test")->size(), 1u);
  EXPECT_TRUE(comes_true([&] { return held.lost().stop_requested(); }));
  EXPECT_FALSE(held.held());
  EXPECT_NE(held.why_lost(), loss_cause::expired);
}

TEST_F(RedlockClient, ReentersAndGivesBackAsOften) {
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
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(RedlockClient, SaysByTheFieldsNameWhatItCannotDo) {
  auto locks = open();
  const auto refused = [](const auto& got, const std::string& field) {
    EXPECT_EQ(code_of(got), errc::unsupported_by_engine);
    EXPECT_THAT(detail_of(got), testing::StartsWith(field + ": "));
  };
  refused(locks.acquire("a", {.mode = lock_mode::shared}), "mode");
  refused(locks.acquire("a", {.mode = lock_mode::semaphore, .limit = 3}), "mode");
  refused(locks.acquire("a", {.lock_delay = 1s}), "lock_delay");
  refused(locks.acquire_all({"a", "b"}), "locks");
  refused(locks.acquire("a", {.ttl = 301s}), "ttl");
  auto short_ones = open({}, "?max-ttl=2.5");
  refused(short_ones.acquire("a", {.ttl = 3s}), "ttl");
  auto mine = short_ones.acquire("a", {.ttl = 2s}).value();
  refused(mine.renew(3s), "ttl");
  EXPECT_TRUE(mine.held());
}

TEST(ConnectingToRedlock, RefusesWhatItDoesNotKnowByName) {
  for (const auto& [url, part] :
       std::vector<std::pair<std::string, std::string>>{{"redlock://h1,h2", "odd number"},
                                                        {"redlock://h1,h2,h3,h4", "odd number"},
                                                        {"redlock://h1,h1,h2", "twice"},
                                                        {"redlock://h1,h2,h3?flavour=mild", "flavour"},
                                                        {"redlock://h1,h2,h3?founding=soon", "founding"},
                                                        {"redlock://h1,h2,h3?max-ttl=0", "max-ttl"},
                                                        {"redlock://h1,h2,h3?max-ttl=long", "max-ttl"},
                                                        {"redlocks://h1,h2,h3?cert=x", "belong together"},
                                                        {"redlock://h1,h2,h3?ca=x", "TLS"}}) {
    const auto got = client::connect(url, impatient());
    EXPECT_EQ(code_of(got), errc::invalid_field) << url;
    EXPECT_THAT(detail_of(got), testing::AllOf(testing::StartsWith("url: "), HasSubstr(part)));
  }
  const auto secret = client::connect("redlock://:hunter2@h1:port,h2,h3");
  EXPECT_EQ(secret.error().message().find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace dislock::library
