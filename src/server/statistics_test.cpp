#include "server/statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace dislock::server {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(Histogram, SaysZeroWhileEmpty) {
  const histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.sum(), 0us);
  EXPECT_EQ(h.max(), 0us);
  EXPECT_EQ(h.quantile(0.99), 0us);
}

TEST(Histogram, KeepsCountSumAndMaximumExactly) {
  histogram h;
  for (const auto d : {3us, 1'234'567us, 0us}) h.record(d);
  EXPECT_EQ(h.count(), 3u);
  EXPECT_EQ(h.sum(), 1'234'570us);
  EXPECT_EQ(h.max(), 1'234'567us);
  EXPECT_EQ(h.quantile(1), 1'234'567us);
}

TEST(Histogram, NeverUnderstatesAQuantileAndIsAtMostASixtyFourthOff) {
  histogram h;
  std::vector<std::int64_t> values;
  std::mt19937_64 random(7);
  for (int i = 0; i < 10'000; ++i) {
    values.push_back(static_cast<std::int64_t>(random() >> (random() % 40 + 22)));
    h.record(duration(values.back()));
  }
  std::sort(values.begin(), values.end());
  for (const auto& [q, place] : {std::pair(0.5, 5'000), {0.9, 9'000}, {0.99, 9'900}, {0.999, 9'990}}) {
    const auto exact = values[static_cast<std::size_t>(place) - 1];
    EXPECT_GE(h.quantile(q).count(), exact) << q;
    EXPECT_LE(h.quantile(q).count(), exact + exact / 64) << q;
  }
}

TEST(Histogram, CountsAValueOnABoundAsWithinIt) {
  constexpr duration bounds[] = {1ms, 5ms, 10s, 21'600s};
  histogram h;
  for (const auto bound : bounds) h.record(bound);
  EXPECT_THAT(h.cumulative(bounds), ElementsAre(1, 2, 3, 4));
}

TEST(Histogram, CountsAValueClearlyAboveABoundAsBeyondIt) {
  constexpr duration bounds[] = {1ms, 10s};
  histogram h;
  h.record(1'020us);
  h.record(10'200ms);
  EXPECT_THAT(h.cumulative(bounds), ElementsAre(0, 1));
}

TEST(Histogram, TakesWhatIsNegativeForZeroAndWhatIsEndlessForItsLastBucket) {
  histogram h;
  h.record(-5s);
  EXPECT_EQ(h.max(), 0us);
  h.record(100 * 24h);
  EXPECT_EQ(h.quantile(1), 100 * 24h);
  EXPECT_EQ(h.count(), 2u);
}

TEST(Histogram, MergedIsAsIfRecordedInOne) {
  histogram a, b;
  a.record(1ms);
  b.record(1s);
  b.record(2s);
  a.merge(b);
  EXPECT_EQ(a.count(), 3u);
  EXPECT_EQ(a.sum(), 3'001ms);
  EXPECT_EQ(a.max(), 2s);
  EXPECT_GE(a.quantile(0.6), 1s);
}

TEST(ContendedLocks, OrdersByTheTimeWaited) {
  contended_locks locks;
  for (const auto* name : {"a", "b", "a"}) locks.on_queued(name);
  locks.on_waited("a", 1s);
  locks.on_waited("b", 5s);
  locks.on_waited("a", 1s);

  const auto top = locks.top(10);
  ASSERT_THAT(top, SizeIs(2));
  EXPECT_EQ(top[0].lock, "b");
  EXPECT_EQ(top[0].total, 5s);
  EXPECT_EQ(top[0].waits, 1u);
  EXPECT_EQ(top[1].lock, "a");
  EXPECT_EQ(top[1].total, 2s);
  EXPECT_EQ(top[1].waits, 2u);
}

TEST(ContendedLocks, ShowsALockWhoseFirstWaitIsNotOver) {
  contended_locks locks;
  locks.on_queued("a");
  ASSERT_THAT(locks.top(10), SizeIs(1));
  EXPECT_EQ(locks.top(10)[0].waits, 1u);
  EXPECT_EQ(locks.top(10)[0].total, 0s);
}

TEST(ContendedLocks, KeepsTheHotOnesInAFloodOfOthersAndNeverOverstates) {
  contended_locks locks;
  const auto one_off = [](int i) { return "orders/" + std::to_string(i); };
  for (int i = 0; i < 100'000; ++i) {
    locks.on_queued(one_off(i));
    locks.on_waited(one_off(i), 1ms);
    if (i % 50 != 0) continue;
    for (const auto* hot : {"hot/1", "hot/2", "hot/3"}) {
      locks.on_queued(hot);
      locks.on_waited(hot, 100ms);
    }
  }
  const auto top = locks.top(4);
  ASSERT_THAT(top, SizeIs(4));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(top[i].lock.substr(0, 4), "hot/");
    EXPECT_LE(top[i].total, 2'000 * 100ms);
    EXPECT_GE(top[i].total, 1'990 * 100ms);
    EXPECT_LE(top[i].waits, 2'000u);
  }
  EXPECT_LE(top[3].total, 1ms);
}

TEST(ContendedLocks, FollowsANewHotLockWhenAllPlacesAreTaken) {
  contended_locks locks;
  for (int i = 0; i < 300; ++i) locks.on_waited("old/" + std::to_string(i), 1s);
  for (int i = 0; i < 5; ++i) {
    locks.on_queued("new");
    locks.on_waited("new", 10s);
  }
  ASSERT_THAT(locks.top(1), SizeIs(1));
  EXPECT_EQ(locks.top(1)[0].lock, "new");
  EXPECT_EQ(locks.top(1)[0].total, 50s);
  EXPECT_EQ(locks.top(1)[0].waits, 5u);
}

TEST(ContendedLocks, GivesUpTheLightestFirst) {
  contended_locks locks;
  for (int i = 256; i > 0; --i) locks.on_waited("old/" + std::to_string(i), i * 1s);
  for (int i = 0; i < 56; ++i) locks.on_waited("new/" + std::to_string(i), 1h);
  const auto all = locks.top(256);
  ASSERT_THAT(all, SizeIs(256));
  EXPECT_EQ(all[56].lock, "old/256");
  EXPECT_EQ(all.back().lock, "old/57");
}

TEST(ContendedLocks, AgreesWithExactSumsWhileThereIsRoomForAll) {
  contended_locks locks;
  std::mt19937 random(3);
  std::vector<duration> exact(contended_locks::capacity);
  for (int i = 0; i < 20'000; ++i) {
    const auto which = random() % exact.size();
    const duration took(random() % 1'000 + 1);
    exact[which] += took;
    locks.on_waited(std::to_string(which), took);
  }
  const auto all = locks.top(1'000);
  ASSERT_THAT(all, SizeIs(exact.size()));
  for (const auto& each : all) EXPECT_EQ(each.total, exact[std::stoul(std::string(each.lock))]) << each.lock;
}

class Statistics : public testing::Test {
 protected:
  void happen(event_type type, duration took = {}, std::string_view reason = {},
              std::string_view lock = "orders/1") {
    event e;
    e.type = type;
    e.at = clock_.now();
    e.lock = lock;
    e.client = "worker-1";
    e.mode = lock_mode::exclusive;
    e.reason = reason;
    e.took = took;
    stats_.on_event(e);
  }
  [[nodiscard]] std::uint64_t ended(end_reason how) const {
    return stats_.counted().ended[static_cast<std::size_t>(how)];
  }
  [[nodiscard]] std::string stats_json(const table_counts& counts = {}) const {
    std::string out;
    http::json_writer json(out);
    stats_.write_stats(json, clock_.now(), counts, 4'000'000,
                       [](std::string_view) { return std::size_t{4}; });
    return out;
  }
  [[nodiscard]] std::string deadlocks_json() const {
    std::string out;
    http::json_writer json(out);
    stats_.write_deadlocks(json);
    return out;
  }

  manual_clock clock_{from_microseconds(1'795'226'400'000'000)};  // 2026-11-21T02:00:00Z
  statistics stats_{clock_.now()};
};

TEST_F(Statistics, ReadFreshAsTheContractShowsThem) {
  EXPECT_EQ(
      stats_json(),
      R"({"activeLocks":0,"heldLeases":0,"waiters":0,"sessions":0,"requestMemory":{"entries":0,"max":4000000},)"
      R"("rates":{"acquiredPerSecond":0,"releasedPerSecond":0,"refusedPerSecond":0},)"
      R"("waitTime":{"p50":null,"p90":null,"p99":null,"p999":null,"max":null,"count":0},)"
      R"("holdTime":{"p50":null,"p90":null,"p99":null,"p999":null,"max":null,"count":0},)"
      R"("mostContended":[],"since":"2026-11-21T02:00:00.000Z"})");
}

TEST_F(Statistics, ReadBusyAsTheContractShowsThem) {
  happen(event_type::queued);
  clock_.advance(2s);
  happen(event_type::released, 10s, "released");
  happen(event_type::acquired, 2s);
  EXPECT_EQ(
      stats_json({.active_locks = 5, .leases = 4, .waiters = 3, .sessions = 2, .remembered = 1}),
      R"({"activeLocks":5,"heldLeases":4,"waiters":3,"sessions":2,"requestMemory":{"entries":1,"max":4000000},)"
      R"("rates":{"acquiredPerSecond":0.5,"releasedPerSecond":0.5,"refusedPerSecond":0},)"
      R"("waitTime":{"p50":2,"p90":2,"p99":2,"p999":2,"max":2,"count":1},)"
      R"("holdTime":{"p50":10,"p90":10,"p99":10,"p999":10,"max":10,"count":1},)"
      R"("mostContended":[{"lockName":"orders/1","waits":1,"totalWaitTime":2,"queueLength":4}],)"
      R"("since":"2026-11-21T02:00:00.000Z"})");
}

TEST_F(Statistics, TellPercentilesBelowAMillisecond) {
  happen(event_type::acquired, 120us);
  EXPECT_THAT(stats_json(), HasSubstr(R"("waitTime":{"p50":0.00012,)"));
}

TEST_F(Statistics, CountGrantsByMode) {
  event e;
  e.type = event_type::acquired;
  for (const auto mode : {lock_mode::shared, lock_mode::shared, lock_mode::semaphore}) {
    e.mode = mode;
    stats_.on_event(e);
  }
  EXPECT_THAT(stats_.counted().acquired, ElementsAre(0, 2, 1));
}

TEST_F(Statistics, CountReentriesAsGrantsThatNobodyWaitedFor) {
  stats_.on_reentry(lock_mode::exclusive, clock_.now());
  EXPECT_THAT(stats_.counted().acquired, ElementsAre(1, 0, 0));
  EXPECT_EQ(stats_.rates_at(clock_.now()).acquired, 1);
  EXPECT_EQ(stats_.waits().count(), 0u);
}

TEST_F(Statistics, TellTheEndsOfLeasesApart) {
  happen(event_type::released, 1s, "released");
  happen(event_type::released, 1s, "cancelled");
  happen(event_type::released, 1s, "session_closed");
  happen(event_type::expired, 1s, "expired");
  happen(event_type::expired, 1s, "max_hold");
  happen(event_type::expired, 1s, "session_expired");
  happen(event_type::undelivered, 1s, "undelivered");
  for (auto how = end_reason::released; how <= end_reason::undelivered;
       how = static_cast<end_reason>(static_cast<int>(how) + 1))
    EXPECT_EQ(ended(how), how == end_reason::forced ? 0u : 1u) << to_string(how);
  EXPECT_EQ(stats_.holds().count(), 7u);
}

TEST_F(Statistics, DoNotTrustTheReasonThatAnAdministratorGave) {
  happen(event_type::forced, 1s, "expired");
  EXPECT_EQ(ended(end_reason::forced), 1u);
  EXPECT_EQ(ended(end_reason::expired), 0u);
}

TEST_F(Statistics, CountACancelledWaitAsNoEndOfALease) {
  happen(event_type::cancelled, 3s, "cancelled");
  EXPECT_EQ(ended(end_reason::cancelled), 0u);
  EXPECT_EQ(stats_.holds().count(), 0u);
  EXPECT_EQ(stats_.counted().events[static_cast<std::size_t>(event_type::cancelled)], 1u);
}

TEST_F(Statistics, KeepRefusedWaitsOutOfTheTimeToAGrant) {
  happen(event_type::acquired, 1s);
  happen(event_type::refused, 5s, "lock_not_acquired");
  EXPECT_EQ(stats_.waits_for_grants().count(), 1u);
  EXPECT_EQ(stats_.waits().count(), 2u);
  EXPECT_EQ(stats_.waits().max(), 5s);
}

TEST_F(Statistics, CallALockContendedOnlyWhenSomebodyWaited) {
  happen(event_type::acquired, 0s, {}, "idle");
  happen(event_type::refused, 0s, {}, "tried");
  EXPECT_THAT(stats_.most_contended(), IsEmpty());
}

TEST_F(Statistics, ShowTheTenMostContendedLocks) {
  for (int i = 1; i <= 12; ++i) happen(event_type::refused, i * 1s, {}, "lock/" + std::to_string(i));
  const auto top = stats_.most_contended();
  ASSERT_THAT(top, SizeIs(10));
  EXPECT_EQ(top.front().lock, "lock/12");
  EXPECT_EQ(top.back().lock, "lock/3");
}

TEST_F(Statistics, AskOnlyForTheQueuesThatTheyShow) {
  happen(event_type::acquired, 1s, {}, "a");
  happen(event_type::acquired, 2s, {}, "b");
  std::vector<std::string> asked;
  std::string out;
  http::json_writer json(out);
  stats_.write_stats(json, clock_.now(), {}, 0, [&](std::string_view lock) {
    asked.emplace_back(lock);
    return std::size_t{0};
  });
  EXPECT_THAT(asked, ElementsAre("b", "a"));
}

TEST_F(Statistics, DivideByTheTimeSinceTheyBeganWhileThatIsLessThanAMinute) {
  clock_.advance(10s);
  for (int i = 0; i < 20; ++i) happen(event_type::acquired);
  EXPECT_DOUBLE_EQ(stats_.rates_at(clock_.now()).acquired, 2);
}

TEST_F(Statistics, DoNotMakeARateOfThousandsOutOfTheFirstMillisecond) {
  clock_.advance(1ms);
  happen(event_type::refused);
  EXPECT_DOUBLE_EQ(stats_.rates_at(clock_.now()).refused, 1);
}

TEST_F(Statistics, ForgetInTheirRatesWhatIsAMinuteOld) {
  happen(event_type::acquired);
  clock_.advance(59s);
  EXPECT_GT(stats_.rates_at(clock_.now()).acquired, 0);
  clock_.advance(1s);
  EXPECT_EQ(stats_.rates_at(clock_.now()).acquired, 0);
}

TEST_F(Statistics, HoldASteadyRateOverHours) {
  for (int i = 0; i < 2 * 3'600 * 5; ++i) {
    clock_.advance(200ms);
    happen(event_type::acquired);
    happen(event_type::released, 1ms, "released");
  }
  EXPECT_NEAR(stats_.rates_at(clock_.now()).acquired, 5, 0.1);
  EXPECT_NEAR(stats_.rates_at(clock_.now()).released, 5, 0.1);
}

TEST_F(Statistics, DoNotCountInTheirRatesWhatAClockThatHasComeBackPutIntoTheFuture) {
  happen(event_type::acquired);
  clock_.advance(86'405s);
  happen(event_type::acquired);
  clock_.advance(-86'395s);
  for (int i = 0; i < 9; ++i) happen(event_type::acquired);
  EXPECT_DOUBLE_EQ(stats_.rates_at(clock_.now()).acquired, 1);  // 10 in 10 s
}

TEST_F(Statistics, CountOnAfterAClockHasComeBackFromTheFuture) {
  constexpr auto jump = 64 * 1'000s;  // a whole number of turns of the ring
  clock_.advance(jump);
  happen(event_type::acquired);
  clock_.advance(-jump);
  for (int i = 0; i < 9; ++i) happen(event_type::acquired);
  EXPECT_DOUBLE_EQ(stats_.rates_at(clock_.now()).acquired, 9);
}

TEST_F(Statistics, CountADeadlockAsRefused) {
  happen(event_type::deadlock);
  EXPECT_DOUBLE_EQ(stats_.rates_at(clock_.now()).refused, 1);
  EXPECT_EQ(stats_.waits().count(), 0u);
}

TEST_F(Statistics, CountRenewalsByWhoRenewed) {
  stats_.on_renewal(true);
  stats_.on_renewal(false);
  stats_.on_renewal(true, renewed_by::service);
  stats_.on_renewal(true, renewed_by::session, 128);
  EXPECT_THAT(stats_.counted().renewed, ElementsAre(1, 1, 128));
  EXPECT_THAT(stats_.counted().not_renewed, ElementsAre(1, 0, 0));
}

TEST_F(Statistics, CountRepliesByOperationAndClassOfStatus) {
  for (const auto status : {200, 202, 304, 409, 503})
    stats_.on_reply(request_operation::acquire, status, 1ms);
  EXPECT_THAT(stats_.counted().replies[static_cast<std::size_t>(request_operation::acquire)],
              ElementsAre(3, 1, 1));
  EXPECT_EQ(stats_.request_times(request_operation::acquire).count(), 5u);
  EXPECT_EQ(stats_.request_times(request_operation::release).count(), 0u);
}

TEST_F(Statistics, ReadWithoutDeadlocksAsTheContractShowsThem) {
  EXPECT_EQ(deadlocks_json(), R"({"deadlocks":[],"total":0})");
}

TEST_F(Statistics, SpellOutADeadlock) {
  stats_.on_deadlock(
      {clock_.now(), "b", "orders/1", {{"b", "orders/1", "a", false}, {"a", "orders/2", "b", true}}});
  EXPECT_EQ(
      deadlocks_json(),
      R"({"deadlocks":[{"at":"2026-11-21T02:00:00.000Z","victim":{"clientId":"b","lockName":"orders/1"},)"
      R"("cycle":[{"clientId":"b","waitsFor":"orders/1","heldBy":"a","waitsBehind":false},)"
      R"({"clientId":"a","waitsFor":"orders/2","heldBy":"b","waitsBehind":true}]}],"total":1})");
}

TEST_F(Statistics, KeepTheNewestHundredDeadlocksNewestFirst) {
  for (int i = 1; i <= 101; ++i) {
    const auto client = "client-" + std::to_string(i);
    stats_.on_deadlock({clock_.now(), client, "a", {{client, "a", "x", false}}});
  }
  const auto json = deadlocks_json();
  EXPECT_THAT(json, HasSubstr(R"("total":101)"));
  EXPECT_THAT(json, Not(HasSubstr(R"("client-1")")));
  EXPECT_LT(json.find("client-101"), json.find("client-2\""));
}

}  // namespace
}  // namespace dislock::server
