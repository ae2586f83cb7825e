#include "library/test_client.hpp"

#include <future>
#include <random>
#include <stdexcept>

namespace dislock::library {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Client : public moved_client {};

// --- taking and giving back

TEST_F(Client, TakesALockAndGivesItBack) {
  auto mine = take("jobs/nightly", {.metadata = R"({"host":"a"})"});
  EXPECT_TRUE(mine.held());
  EXPECT_EQ(mine.lock(), "jobs/nightly");
  EXPECT_EQ(mine.metadata(), R"({"host":"a"})");
  EXPECT_EQ(mine.mode(), lock_mode::exclusive);
  EXPECT_EQ(mine.stage(), lease_stage::held);
  EXPECT_EQ(mine.why_lost(), loss_cause::none);
  EXPECT_EQ(mine.remaining(), 28s - 2ms);
  EXPECT_EQ(mine.valid_until(), time_.now() + 30s - 2ms);
  EXPECT_TRUE(mine.is_held().value());
  EXPECT_FALSE(is_free("jobs/nightly"));

  EXPECT_TRUE(mine.release());

  EXPECT_FALSE(mine.held());
  EXPECT_EQ(mine.stage(), lease_stage::released);
  EXPECT_FALSE(mine.is_held().value());
  EXPECT_EQ(mine.remaining(), 0s);
  EXPECT_TRUE(is_free("jobs/nightly"));
  EXPECT_TRUE(mine.release()) << "a second time does nothing and succeeds";
}

TEST_F(Client, ALaterGrantHasALargerToken) {
  const auto first = take("a").fencing_token();
  EXPECT_GT(take("a").fencing_token(), first);
}

TEST_F(Client, GivesTheLockBackWhenTheLeaseIsDestroyed) {
  { const auto mine = take("a"); }
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Client, AMovedLeaseIsGivenBackOnce) {
  auto mine = take("a");
  auto other = take("b");
  lease moved(std::move(mine));
  EXPECT_TRUE(moved.held());
  moved = std::move(other);  // gives `a` back
  EXPECT_TRUE(is_free("a"));
  EXPECT_FALSE(is_free("b"));
  EXPECT_EQ(moved.lock(), "b");
}

TEST_F(Client, ALeaseThatHoldsNothingSaysSo) {
  lease none;
  EXPECT_FALSE(none);
  EXPECT_FALSE(none.held());
  EXPECT_EQ(none.stage(), lease_stage::released);
  EXPECT_TRUE(none.release());
  EXPECT_EQ(none.renew().error().code, errc::lock_not_held);
  EXPECT_FALSE(none.lost().stop_possible());
}

TEST_F(Client, WaitsForItsTurnInTheOrderOfArrival) {
  auto mine = take("a");
  auto second = start("a"), third = start("a");
  time_.advance(3s);
  ASSERT_TRUE(second->open());

  EXPECT_TRUE(mine.release());

  ASSERT_TRUE(second->got());
  EXPECT_EQ(second->mine().waited(), 3s);
  EXPECT_GT(second->mine().fencing_token(), mine.fencing_token());
  EXPECT_TRUE(third->open());
  EXPECT_TRUE(second->mine().release());
  ASSERT_TRUE(third->got());
}

TEST_F(Client, GivesUpWhenItsPatienceIsOverAndSaysWhoIsInTheWay) {
  const auto mine = take("a", {.client_id = "alice"});
  auto second = start("a", {.wait = 5s});
  locks_.advance(5s - 1us);
  ASSERT_TRUE(second->open());
  locks_.advance(1us);
  ASSERT_EQ(second->code(), errc::lock_not_acquired);
  const auto& why = second->outcome->error();
  EXPECT_EQ(why.lock, "a");
  EXPECT_EQ(why.waited, 5s);
  ASSERT_EQ(why.holders.size(), 1u);
  EXPECT_EQ(why.holders.front().client, "alice");
  EXPECT_TRUE(why.retryable());
  EXPECT_THAT(why.message(), HasSubstr("a: lock_not_acquired"));
  EXPECT_THAT(why.message(), HasSubstr("alice"));
  EXPECT_THAT(why.message(), HasSubstr("5 s"));
  EXPECT_EQ(locks_.inspect("a")->queue_length, 0u);
}

TEST_F(Client, TriesOnceWithoutWaiting) {
  auto got = locks_.try_acquire("a");
  ASSERT_TRUE(got && *got);
  const auto again = locks_.try_acquire("a", {.wait = 1h});
  ASSERT_TRUE(again);
  EXPECT_FALSE(*again) << "somebody else has it, which is no error";
  EXPECT_TRUE((*got)->release());
  EXPECT_TRUE(*locks_.try_acquire("a"));
}

TEST_F(Client, ATryDoesNotOvertakeWhoeverWaits) {
  auto reader = take("a", {.mode = lock_mode::shared});
  auto writer = start("a");
  EXPECT_FALSE(*locks_.try_acquire("a", {.mode = lock_mode::shared}));
}

TEST_F(Client, NamesTheFieldThatIsWrongAndTheLock) {
  const auto why = locks_.acquire("a", {.ttl = 1ms});
  ASSERT_FALSE(why);
  EXPECT_EQ(why.error().code, errc::invalid_field);
  EXPECT_EQ(why.error().lock, "a");
  EXPECT_THAT(why.error().detail, HasSubstr("ttl"));
  EXPECT_EQ(locks_.acquire("a//b").error().code, errc::invalid_lock_name);
  EXPECT_EQ(locks_.try_acquire("").error().code, errc::invalid_lock_name);
  EXPECT_EQ(locks_.inspect("..").error().code, errc::invalid_lock_name);
  EXPECT_EQ(locks_.validate("..", {}).error().code, errc::invalid_lock_name);
  EXPECT_EQ(locks_.force_release("..", {}, "").error().code, errc::invalid_lock_name);
  EXPECT_EQ(locks_.force_release("a", {}, "\n").error().code, errc::invalid_field);
  auto mine = take("a");
  EXPECT_EQ(mine.renew(-1s).error().code, errc::invalid_field);
  EXPECT_EQ(mine.renew(1'000h).error().code, errc::invalid_field);
  EXPECT_TRUE(mine.held());
}

TEST_F(Client, WhatValueThrowsSaysWhy) {
  const auto mine = take("a");
  try {
    (void)locks_.acquire("a", {.wait = 0s}).value();
    FAIL() << "it is held";
  } catch (const exception& e) {
    EXPECT_EQ(e.code(), errc::lock_not_acquired);
    EXPECT_EQ(e.what(), e.why().message());
  }
}

TEST(Connecting, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(client::connect("postgres://host").error().code, errc::invalid_field);
  EXPECT_EQ(client::connect("memory:", {.ttl = 1us}).error().code, errc::invalid_field);
  manual_clock time;
  client_options o;
  o.time = &time;
  EXPECT_EQ(client::connect("http://127.0.0.1:1", o).error().code, errc::invalid_field);
}

// --- modes

TEST_F(Client, ReadersShareAndAWriterWaitsForThemAll) {
  auto one = take("a", {.mode = lock_mode::shared}), two = take("a", {.mode = lock_mode::shared});
  EXPECT_EQ(one.mode(), lock_mode::shared);
  auto writer = start("a");
  EXPECT_TRUE(one.release());
  EXPECT_TRUE(writer->open());
  EXPECT_TRUE(two.release());
  EXPECT_TRUE(writer->got());
}

TEST_F(Client, ASemaphoreHasAsManyPermitsAsItsLimit) {
  const auto permits = [](std::uint32_t n) {
    return acquire_options{.wait = 0s, .mode = lock_mode::semaphore, .limit = 3, .permits = n};
  };
  auto two = take("pool", permits(2));
  EXPECT_FALSE(locks_.acquire("pool", permits(2)));
  auto one = take("pool", permits(1));
  const auto state = locks_.inspect("pool").value();
  EXPECT_EQ(state.limit, 3u);
  EXPECT_EQ(state.used, 3u);
  EXPECT_EQ(state.holder_count, 2u);
  EXPECT_TRUE(two.release());
  EXPECT_TRUE(locks_.acquire("pool", permits(2)));
}

TEST_F(Client, AnotherModeIsAConflictThatSaysWhatItIsInUseAs) {
  const auto mine = take("a", {.mode = lock_mode::semaphore, .limit = 3});
  const auto why = locks_.acquire("a", {.mode = lock_mode::exclusive});
  ASSERT_EQ(why.error().code, errc::lock_mode_conflict);
  EXPECT_THAT(why.error().detail, HasSubstr("semaphore with a limit of 3"));
}

// --- several

TEST_F(Client, AGroupIsAllOrNothingWhateverTheOrderOfTheNames) {
  auto b = take("b");
  auto group = start({{"a"}, {"b"}, {"c"}}, true);
  ASSERT_TRUE(group->open());
  EXPECT_TRUE(is_free("a")) << "it holds nothing while it waits";
  EXPECT_TRUE(b.release());
  ASSERT_TRUE(group->got());
  ASSERT_EQ((*group->outcome)->size(), 3u);
  EXPECT_EQ((**group->outcome)[0].lock(), "a");
  EXPECT_EQ((**group->outcome)[1].lock(), "b");
  EXPECT_EQ((**group->outcome)[2].lock(), "c");
}

TEST_F(Client, AGroupIsGivenBackTogether) {
  auto all = locks_.acquire_all({"b", "a"}).value();
  EXPECT_EQ(all.size(), 2u);
  EXPECT_TRUE(all.held());
  EXPECT_EQ(all[0].lock(), "b");
  EXPECT_TRUE(all.release());
  EXPECT_FALSE(all.held());
  EXPECT_TRUE(is_free("a") && is_free("b"));
}

TEST_F(Client, AGroupMixesModes) {
  const std::vector<lock_request> wanted{{"a", lock_mode::shared}, {"b", lock_mode::semaphore, 5, 2}, {"c"}};
  const auto all = locks_.acquire_all(wanted).value();
  EXPECT_EQ(all[0].mode(), lock_mode::shared);
  EXPECT_EQ(all[1].mode(), lock_mode::semaphore);
  EXPECT_EQ(locks_.inspect("b")->used, 2u);
  EXPECT_EQ(locks_.acquire_all({"a", "a"}).error().code, errc::invalid_field);
  EXPECT_EQ(locks_.acquire_all({}).error().code, errc::invalid_field);
}

TEST_F(Client, AGroupHasToStopAsSoonAsOneOfItIsLost) {
  auto all = locks_.acquire_all({"a", "b"}).value();
  const auto stop = all.lost();
  EXPECT_FALSE(stop.stop_requested());
  ASSERT_TRUE(locks_.force_release("b", all[1].fencing_token(), "a test"));
  locks_.advance(10s);
  EXPECT_TRUE(stop.stop_requested());
  EXPECT_FALSE(all.held());
  EXPECT_TRUE(all[0].held());
  EXPECT_EQ(all.release().error().code, errc::lock_not_held);
  EXPECT_TRUE(is_free("a")) << "the others are given back all the same";
}

TEST_F(Client, AGroupOfASuspendedProcessHasToStop) {
  const auto all = locks_.acquire_all({"a", "b"}).value();
  time_.advance(1h);  // nobody has run meanwhile
  EXPECT_FALSE(all.held());
  EXPECT_TRUE(all.lost().stop_requested());
}

// --- work under a lock

TEST_F(Client, RunsWorkUnderTheLockAndGivesItBack) {
  const auto out = locks_.with_lock("a", [&](lease& mine) {
    EXPECT_TRUE(mine.held());
    EXPECT_FALSE(is_free("a"));
    return 7;
  });
  EXPECT_EQ(out.value(), 7);
  EXPECT_TRUE(is_free("a"));
  EXPECT_TRUE(locks_.with_lock("a", [](lease&) {}));
}

TEST_F(Client, GivesTheLockBackWhenTheWorkThrows) {
  EXPECT_THROW((void)locks_.with_lock("a", [](lease&) { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_TRUE(is_free("a"));
  EXPECT_THROW((void)locks_.try_with_lock("a", [](lease&) { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Client, DoesNotRunTheWorkWithoutTheLock) {
  const auto mine = take("a");
  bool ran = false;
  const auto out = locks_.with_lock("a", {.wait = 0s}, [&](lease&) { ran = true; });
  EXPECT_EQ(out.error().code, errc::lock_not_acquired);
  EXPECT_FALSE(locks_.try_with_lock("a", [&](lease&) { ran = true; }).value());
  EXPECT_FALSE(ran);
  EXPECT_TRUE(locks_.try_with_lock("b", [&](lease&) { ran = true; }).value());
  EXPECT_TRUE(ran);
}

TEST_F(Client, AStopRequestTellsTheWorkToEnd) {
  std::stop_source stop;
  const auto out = locks_.with_lock("a", {.stop = stop.get_token()}, [&](lease& mine) {
    const auto lost = mine.lost();
    EXPECT_FALSE(lost.stop_requested());
    stop.request_stop();
    EXPECT_TRUE(lost.stop_requested());
    EXPECT_FALSE(mine.held());
    EXPECT_EQ(mine.stage(), lease_stage::must_stop);
    EXPECT_EQ(mine.why_lost(), loss_cause::stop_request);
    EXPECT_FALSE(is_free("a")) << "nobody else has it while the work winds down";
    locks_.advance(5min);
    EXPECT_FALSE(is_free("a"));
  });
  EXPECT_TRUE(out) << "the work was told in time and the lock was held to the end";
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Client, SaysThatTheLockWasLostWhileTheWorkRan) {
  const auto out = locks_.with_lock("a", {.renew = false}, [&](lease&) {
    locks_.advance(31s);
    return 7;
  });
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, errc::lock_not_held);
  EXPECT_EQ(out.error().ended, end_reason::expired);
}

// --- stop tokens

TEST_F(Client, AStopTokenEndsTheWaitAndLeavesTheQueue) {
  auto mine = take("a");
  std::stop_source stop;
  auto second = start("a", {.stop = stop.get_token()}), third = start("a");
  time_.advance(2s);
  stop.request_stop();
  EXPECT_EQ(second->code(), errc::request_cancelled);
  EXPECT_EQ(second->outcome->error().lock, "a");
  EXPECT_EQ(second->outcome->error().waited, 2s);
  EXPECT_EQ(locks_.inspect("a")->queue_length, 1u);
  EXPECT_TRUE(mine.release());
  ASSERT_TRUE(third->got());
}

TEST_F(Client, AStopTokenThatIsTriggeredAlreadyAcquiresNothing) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(locks_.acquire("a", {.stop = stop.get_token()}).error().code, errc::request_cancelled);
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Client, AStopRequestAfterTheGrantDoesNothingToALease) {
  std::stop_source stop;
  const auto mine = take("a", {.stop = stop.get_token()});
  stop.request_stop();
  EXPECT_TRUE(mine.held());
}

TEST_F(Client, AStopRequestFromInsideAnAnswerIsHeard) {
  auto mine = take("a");
  std::stop_source stop;
  auto second = start("a", {.stop = stop.get_token()});
  std::optional<errc> first;
  core_->acquire({{"a"}}, false, false, {.wait = 1s}, [&](result<std::vector<lease>> out) {
    first = out.error().code;
    stop.request_stop();
  });
  locks_.advance(1s);
  EXPECT_EQ(first, errc::lock_not_acquired);
  EXPECT_EQ(second->code(), errc::request_cancelled);
}

// To leave can be the step in which the time that has passed is noticed, and the lock comes to whoever
// leaves.
TEST_F(Client, WhoLeavesInTheMomentOfItsGrantGetsNothingAndLeavesNothing) {
  auto reader = take("a", {.mode = lock_mode::shared});
  std::stop_source stop;
  auto writer = start("a", {.wait = 5s});
  auto behind = start("a", {.mode = lock_mode::shared, .stop = stop.get_token()});
  time_.advance(5s);  // the writer's patience is over, and nobody has noticed
  stop.request_stop();
  EXPECT_EQ(behind->code(), errc::request_cancelled);
  EXPECT_EQ(writer->code(), errc::lock_not_acquired);
  EXPECT_EQ(locks_.inspect("a")->holder_count, 1u);
}

// --- re-entry

TEST_F(Client, HoldsALockOnceMoreAndGivesItBackAsOften) {
  auto outer = take("a");
  auto inner = take("a", {.within = &outer, .reenter = true});
  EXPECT_EQ(inner.fencing_token(), outer.fencing_token());
  EXPECT_EQ(inner.hold_count(), 2u);
  EXPECT_TRUE(inner.release());
  EXPECT_FALSE(is_free("a"));
  EXPECT_TRUE(outer.held());
  EXPECT_TRUE(outer.release());
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Client, ReentersOnlyTheLockThatItHolds) {
  auto outer = take("a");
  EXPECT_EQ(locks_.acquire("b", {.within = &outer, .reenter = true}).error().code, errc::invalid_field);
  auto shared = take("s", {.mode = lock_mode::shared});
  auto again = take("s", {.within = &shared, .reenter = true});
  EXPECT_EQ(again.mode(), lock_mode::shared) << "the mode is the lease's";
}

// --- deadlock

TEST_F(Client, AWaitThatWouldCloseACycleIsRefusedWithTheCycle) {
  auto a = take("a", {.client_id = "alice"}), b = take("b", {.client_id = "bob"});
  auto alice = start("b", {.client_id = "alice"});
  ASSERT_TRUE(alice->open());
  const auto bob = locks_.acquire("a", {.client_id = "bob"});
  ASSERT_EQ(bob.error().code, errc::deadlock_detected);
  ASSERT_EQ(bob.error().cycle.size(), 2u);
  EXPECT_THAT(bob.error().message(), HasSubstr("bob waits for a, held by alice"));
  EXPECT_THAT(bob.error().message(), HasSubstr("alice waits for b, held by bob"));
  ASSERT_EQ(locks_.deadlocks()->size(), 1u);
  EXPECT_EQ(locks_.deadlocks()->front().victim, "bob");
  EXPECT_EQ(locks_.graph()->size(), 1u);
  EXPECT_TRUE(b.release());
  EXPECT_TRUE(alice->got());
}

TEST_F(Client, WhoWaitsForItsOwnLockIsToldAtOnce) {
  auto mine = take("a");
  EXPECT_EQ(locks_.acquire("a", {.within = &mine}).error().code, errc::deadlock_detected);
}

TEST_F(Client, EveryAcquireIsAFlowOfItsOwnUnlessItComesFromInsideALease) {
  const auto one = take("a"), two = take("b");
  EXPECT_NE(one.client_id(), two.client_id());
  EXPECT_EQ(take("c", {.within = &one}).client_id(), one.client_id());
  EXPECT_EQ(locks_.acquire("c", {.client_id = "other", .within = &one}).error().code, errc::invalid_field);
}

// --- renewal and loss

TEST_F(Client, KeepsALeaseAliveUntilItIsGivenBack) {
  auto mine = take("a");
  for (int i = 0; i < 100; ++i) {
    locks_.advance(7s);
    ASSERT_TRUE(mine.held());
    ASSERT_GE(mine.remaining(), 17s);
  }
  EXPECT_FALSE(is_free("a"));
  EXPECT_TRUE(mine.release());
}

TEST_F(Client, ALeaseThatNobodyRenewsEndsAfterOneTtl) {
  std::vector<std::pair<lease_stage, loss_cause>> told;
  auto mine = take("a", {.ttl = 10s, .renew = false, .on_stage = [&](lease_stage s, loss_cause c) {
                           told.emplace_back(s, c);
                         }});
  const auto lost = mine.lost();
  locks_.advance(9s - 2ms);
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_EQ(mine.stage(), lease_stage::must_stop);
  EXPECT_FALSE(is_free("a"));
  locks_.advance(1s);
  EXPECT_EQ(mine.stage(), lease_stage::lost);
  locks_.advance(2ms);
  EXPECT_TRUE(is_free("a"));
  EXPECT_THAT(told, ElementsAre(std::pair(lease_stage::must_stop, loss_cause::expired),
                                std::pair(lease_stage::lost, loss_cause::expired)));
  const auto out = mine.release();
  EXPECT_EQ(out.error().code, errc::lock_not_held);
  EXPECT_EQ(out.error().ended, end_reason::expired);
  EXPECT_EQ(mine.renew().error().code, errc::lock_not_held);
}

TEST_F(Client, ASuspendedProcessFindsItsLeaseLostBeforeItCanActUnderIt) {
  auto mine = take("a");
  const auto lost = mine.lost();
  auto second = start("a");
  time_.advance(1h);  // nobody has run meanwhile
  EXPECT_FALSE(mine.held());
  EXPECT_EQ(mine.remaining(), 0s);
  EXPECT_EQ(mine.stage(), lease_stage::lost);
  EXPECT_EQ(mine.why_lost(), loss_cause::expired);
  locks_.advance(0s);
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_EQ(mine.release().error().code, errc::lock_not_held);
}

TEST_F(Client, RenewsByHand) {
  auto mine = take("a", {.ttl = 10s, .renew = false});
  locks_.advance(5s);
  EXPECT_TRUE(mine.renew());
  EXPECT_EQ(mine.valid_until(), time_.now() + 10s - 2ms);
  EXPECT_TRUE(mine.renew(1min));
  EXPECT_EQ(mine.valid_until(), time_.now() + 1min - 2ms);
  EXPECT_TRUE(mine.renew(1s)) << "never shortens";
  EXPECT_EQ(mine.valid_until(), time_.now() + 1min - 2ms);
}

TEST_F(Client, MaxHoldEndsALeaseHoweverOftenItIsRenewed) {
  std::vector<std::pair<lease_stage, loss_cause>> told;
  auto mine = take(
      "a", {.max_hold = 1min, .on_stage = [&](lease_stage s, loss_cause c) { told.emplace_back(s, c); }});
  locks_.advance(57s);
  EXPECT_TRUE(mine.held());
  locks_.advance(1s);
  EXPECT_FALSE(mine.held());
  EXPECT_FALSE(is_free("a"));
  locks_.advance(2s);
  EXPECT_TRUE(is_free("a"));
  EXPECT_EQ(mine.why_lost(), loss_cause::max_hold);
  EXPECT_THAT(told, ElementsAre(std::pair(lease_stage::must_stop, loss_cause::max_hold),
                                std::pair(lease_stage::lost, loss_cause::max_hold)));
  EXPECT_EQ(mine.release().error().ended, end_reason::max_hold);
}

TEST_F(Client, AShortMaxHoldLeavesTimeToWork) {
  const auto mine = take("a", {.max_hold = 1s});
  EXPECT_TRUE(mine.held());
}

TEST_F(Client, AnAdministratorEndsALeaseAndItsHolderLearnsItWithTheNextRenewal) {
  auto mine = take("a");
  const auto lost = mine.lost();
  auto second = start("a");
  EXPECT_EQ(locks_.force_release("a", mine.fencing_token(), "node 7 is gone").value(),
            std::vector{mine.fencing_token()});
  EXPECT_TRUE(second->got());
  locks_.advance(10s);
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_EQ(mine.stage(), lease_stage::lost);
  EXPECT_EQ(mine.why_lost(), loss_cause::forced);
  const auto out = mine.release();
  EXPECT_EQ(out.error().code, errc::lock_not_held);
  EXPECT_EQ(out.error().ended, end_reason::forced);
  EXPECT_TRUE(second->mine().is_held().value()) << "the next owner's lease is another one";
}

TEST_F(Client, ALockDelayKeepsTheLockClosedAfterALoss) {
  auto mine = take("a", {.ttl = 10s, .renew = false, .lock_delay = 20s});
  auto second = start("a", {.wait = 10min});
  locks_.advance(20s);
  EXPECT_TRUE(second->open());
  EXPECT_TRUE(locks_.inspect("a")->closed_until);
  locks_.advance(11s);
  EXPECT_TRUE(second->got());
}

// For as long as somebody may believe in a lease nobody else gets the lock, and who has to stop is told
// before.
TEST_F(Client, NobodyGetsALockBeforeItsHolderWasToldToStop) {
  int lost_in_all = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](int most) { return std::uniform_int_distribution(0, most - 1)(random); };
    struct held_here {
      lease mine;
      std::stop_token lost;
      bool given_back = false;
    };
    std::vector<std::unique_ptr<held_here>> all;
    const std::string name = "property/" + std::to_string(seed);
    int grants = 0, lost = 0;
    const auto granted = [&](result<std::vector<lease>> out) {
      if (!out) return;
      ++grants;
      for (const auto& each : all) {
        if (each->given_back) continue;
        EXPECT_FALSE(each->mine.held());
        EXPECT_TRUE(each->lost.stop_requested()) << "somebody else has it, and its holder was not told";
        lost += each->mine.stage() == lease_stage::lost;
      }
      auto made = std::make_unique<held_here>();
      made->mine = std::move(out->front());
      made->lost = made->mine.lost();
      all.push_back(std::move(made));
    };
    for (int step = 0; step < 300; ++step) {
      acquire_options how{.wait = std::chrono::milliseconds(pick(100'000))};
      how.ttl = std::chrono::milliseconds(100 + pick(30'000));
      how.renew = pick(2) == 0;
      if (pick(3) == 0) how.max_hold = std::chrono::milliseconds(100 + pick(60'000));
      switch (pick(4)) {
        case 0:
          core_->acquire({{name}}, false, false, std::move(how), granted);
          break;
        case 1:
          if (!all.empty() && pick(2) == 0) {
            all.back()->given_back = true;
            (void)all.back()->mine.release();
          }
          break;
        case 2:
          if (!all.empty()) (void)all.back()->mine.renew();
          break;
        default:
          locks_.advance(std::chrono::milliseconds(pick(pick(10) == 0 ? 60'000 : 3'000)));
      }
    }
    EXPECT_GT(grants, 5);
    lost_in_all += lost;
    for (std::size_t i = 0; i < all.size(); ++i) {  // which grants more
      all[i]->given_back = true;
      (void)all[i]->mine.release();
    }
  }
  EXPECT_GT(lost_in_all, 100);
}

// --- tickets

TEST_F(Client, ADetachedLeaseGoesOnByItsTicket) {
  auto mine = take("a", {.ttl = 10s});
  const auto token = mine.fencing_token();
  const auto ticket = std::move(mine).detach();
  EXPECT_FALSE(mine) << "holds nothing afterwards";
  EXPECT_EQ(ticket.lock, "a");
  EXPECT_EQ(ticket.token, token);
  EXPECT_EQ(ticket.ttl, 10s);
  locks_.advance(9s);
  EXPECT_EQ(locks_.renew(ticket).value(), 10s - 2ms);
  EXPECT_EQ(locks_.renew(ticket, 20s).value(), 20s - 2ms);
  EXPECT_EQ(locks_.renew(ticket, 1us).error().code, errc::invalid_field);
  locks_.advance(15s);
  EXPECT_FALSE(is_free("a"));
  EXPECT_TRUE(locks_.release(ticket));
  EXPECT_TRUE(is_free("a"));
  EXPECT_EQ(locks_.release(ticket).error().code, errc::lock_not_held);
  EXPECT_EQ(locks_.renew(ticket).error().code, errc::lock_not_held);
}

TEST_F(Client, NobodyRenewsADetachedLease) {
  auto mine = take("a", {.ttl = 10s});
  const auto ticket = std::move(mine).detach();
  locks_.advance(10s);
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Client, AForgedTicketDoesNothingAndIsNotRepeated) {
  auto mine = take("a");
  lease_ticket forged{
      .lock = "a", .client_id = {}, .lock_id = "hunter2", .token = mine.fencing_token(), .ttl = 10s};
  EXPECT_EQ(locks_.release(forged).error().code, errc::invalid_field);
  EXPECT_EQ(locks_.release(forged).error().message().find("hunter2"), std::string::npos);
  forged.lock_id = std::string(32, '0');
  EXPECT_EQ(locks_.release(forged).error().code, errc::lock_not_held);
  EXPECT_EQ(locks_.renew(forged).error().code, errc::lock_not_held);
  EXPECT_TRUE(mine.is_held().value());
}

// --- the end

TEST_F(Client, ClosingGivesLeasesBackAndSendsThoseWhoWaitAway) {
  std::vector<std::pair<lease_stage, loss_cause>> told;
  auto mine = take("a", {.on_stage = [&](lease_stage s, loss_cause c) { told.emplace_back(s, c); }});
  const auto lost = mine.lost();
  auto second = start("a");
  time_.advance(3s);

  EXPECT_TRUE(locks_.close());

  EXPECT_EQ(second->code(), errc::engine_unavailable);
  EXPECT_EQ(second->outcome->error().lock, "a");
  EXPECT_EQ(second->outcome->error().waited, 3s);
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_FALSE(mine.held());
  EXPECT_EQ(mine.why_lost(), loss_cause::closed);
  EXPECT_THAT(told, ElementsAre(std::pair(lease_stage::lost, loss_cause::closed)));
  EXPECT_EQ(mine.release().error().code, errc::lock_not_held);
}

TEST_F(Client, AClosedClientRefusesEverything) {
  auto other = take("b");
  lease_ticket ticket = std::move(other).detach();
  auto mine = take("a");
  EXPECT_TRUE(locks_.close());
  EXPECT_TRUE(locks_.close()) << "once is enough";
  const auto refused = errc::engine_unavailable;
  EXPECT_EQ(locks_.acquire("a").error().code, refused);
  EXPECT_EQ(locks_.try_acquire("a").error().code, refused);
  EXPECT_EQ(locks_.acquire_all({"a"}).error().code, refused);
  EXPECT_EQ(locks_.is_locked("a").error().code, refused);
  EXPECT_EQ(locks_.list().error().code, refused);
  EXPECT_EQ(locks_.force_release("a", {}, "").error().code, refused);
  EXPECT_EQ(locks_.graph().error().code, refused);
  EXPECT_EQ(locks_.events_after(0).error().code, refused);
  EXPECT_EQ(locks_.about().error().code, refused);
  EXPECT_EQ(locks_.ping().error().code, refused);
  EXPECT_EQ(locks_.renew(ticket).error().code, refused);
  EXPECT_EQ(locks_.release(ticket).error().code, refused);
  EXPECT_EQ(mine.renew().error().code, refused);
  EXPECT_EQ(mine.is_held().error().code, refused);
  locks_.advance(1h);
}

TEST_F(Client, ALeaseOutlivesItsClientAndIsLost) {
  auto mine = take("a");
  const auto lost = mine.lost();
  drop_client();
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_FALSE(mine.held());
  EXPECT_EQ(mine.stage(), lease_stage::lost);
  EXPECT_EQ(mine.why_lost(), loss_cause::closed);
  EXPECT_EQ(mine.lock(), "a");
  EXPECT_EQ(mine.release().error().code, errc::lock_not_held);
  EXPECT_FALSE(mine.renew());
  EXPECT_FALSE(mine.is_held());
}

TEST_F(Client, CopiesShareOneConnectionThatLivesAsLongAsOneOfThem) {
  auto copy = locks_;
  auto mine = take("a");
  drop_client();
  EXPECT_TRUE(mine.held());
  EXPECT_TRUE(copy.is_locked("a").value());
  EXPECT_FALSE(*copy.try_acquire("a"));
  client moved(std::move(copy));
  copy = moved;
  EXPECT_TRUE(copy.close());
  EXPECT_FALSE(moved.acquire("b"));
}

TEST_F(Client, MayBeEndedByWhatItTells) {
  auto mine = take("a");
  auto inside = std::make_shared<std::optional<client>>(locks_);
  core_->acquire({{"a"}}, false, false, {.wait = 1s}, [inside](result<std::vector<lease>> out) {
    EXPECT_FALSE(out);
    inside->reset();
  });
  auto last = std::make_unique<client>(std::move(locks_));
  core_.reset();
  auto* moving = last.get();
  (*inside)->advance(0s);
  moving->advance(1s);
  EXPECT_FALSE(*inside);
  EXPECT_TRUE(mine.held());
  last.reset();
  EXPECT_FALSE(mine.held());
}

// --- callbacks

TEST_F(Client, ACallbackMayCallTheClient) {
  std::optional<lease> other;
  auto mine = take("a", {.ttl = 10s, .renew = false, .on_stage = [&](lease_stage at, loss_cause) {
                           if (at != lease_stage::must_stop) return;
                           other = locks_.acquire("b").value();
                           EXPECT_FALSE(locks_.is_locked("c").value());
                         }});
  locks_.advance(9s);
  ASSERT_TRUE(other);
  EXPECT_TRUE(other->held());
}

TEST_F(Client, ACallbackMayGiveTheLeaseBack) {
  lease mine;
  mine = take("a", {.ttl = 10s, .renew = false, .on_stage = [&](lease_stage at, loss_cause) {
                      if (at == lease_stage::must_stop) EXPECT_TRUE(mine.release());
                    }});
  auto second = start("a");
  locks_.advance(9s);
  EXPECT_EQ(mine.stage(), lease_stage::released);
  EXPECT_TRUE(second->got());
}

TEST_F(Client, WhoeverHearsLostMayCallTheClient) {
  lease mine = take("a", {.ttl = 10s, .renew = false});
  bool heard = false;
  const std::stop_callback on_lost(mine.lost(), [&] {
    heard = true;
    EXPECT_TRUE(mine.release());
  });
  locks_.advance(9s);
  EXPECT_TRUE(heard);
  EXPECT_TRUE(is_free("a"));
}

// In real time: the client's own thread is the one that has to notice what its callback waits for.
TEST(AClientOnTheMachinesClock, LetsACallbackWaitForWhatItsOwnThreadHasToNotice) {
  auto locks = client::connect("memory:").value();
  (void)std::move(*locks.acquire("a", {.ttl = 300ms})).detach();
  std::promise<bool> got;
  bool asked = false;  // lost follows must_stop, or takes its place when this machine is busy
  auto told = locks.acquire("b", {.ttl = 100ms, .renew = false, .on_stage = [&](lease_stage, loss_cause) {
                                    if (!std::exchange(asked, true))
                                      got.set_value(locks.acquire("a").has_value());
                                  }});
  auto answer = got.get_future();
  ASSERT_EQ(answer.wait_for(20s), std::future_status::ready);
  EXPECT_TRUE(answer.get());
}

// --- looking

TEST_F(Client, ShowsWhoHoldsAndWhoWaitsButNoSecret) {
  auto mine = take("a", {.metadata = R"({"k":1})", .client_id = "alice"});
  auto second = start("a", {.client_id = "bob"});
  const auto state = locks_.inspect("a").value();
  EXPECT_TRUE(state.locked);
  ASSERT_EQ(state.holders.size(), 1u);
  EXPECT_EQ(state.holders.front().client, "alice");
  EXPECT_EQ(state.holders.front().token, mine.fencing_token());
  EXPECT_EQ(state.holders.front().metadata, R"({"k":1})");
  ASSERT_EQ(state.waiters.size(), 1u);
  EXPECT_EQ(state.waiters.front().client, "bob");
  EXPECT_EQ(state.waiters.front().position, 1u);
  EXPECT_EQ(state.latest_token, mine.fencing_token());
  EXPECT_TRUE(locks_.validate("a", mine.fencing_token()).value());
  EXPECT_FALSE(locks_.validate("a", fencing_token{1}).value());
}

TEST_F(Client, ListsLocksByPrefixAndClientAndNotMoreThanWanted) {
  std::vector<lease> all;
  for (int i = 0; i < 5; ++i)
    all.push_back(take("jobs/" + std::to_string(i), {.client_id = "c" + std::to_string(i)}));
  all.push_back(take("other"));
  EXPECT_EQ(locks_.list()->size(), 6u);
  EXPECT_EQ(locks_.list("jobs/")->size(), 5u);
  EXPECT_EQ(locks_.list("", "c3")->size(), 1u);
  EXPECT_EQ(locks_.list("jobs/", "", 2)->size(), 2u);
  EXPECT_EQ(locks_.list("jobs/", "", 0)->size(), 0u);
}

TEST_F(Client, TellsEventsFromWhereOneHasLeftOff) {
  { const auto before = take("z"); }
  const auto from = locks_.events_after(0)->newest;
  auto mine = take("jobs/1");
  { const auto other = take("other"); }
  EXPECT_TRUE(mine.release());
  const auto page = locks_.events_after(from, "jobs/").value();
  ASSERT_EQ(page.events.size(), 2u);
  EXPECT_EQ(page.events[0].type, "acquired");
  EXPECT_EQ(page.events[1].type, "released");
  EXPECT_FALSE(page.reset);
  EXPECT_TRUE(locks_.events_after(page.newest, "jobs/")->events.empty());
}

TEST_F(Client, WaitsForAnEvent) {
  { const auto before = take("z"); }
  const auto from = locks_.events_after(0)->newest;
  std::optional<result<event_page>> page, nothing;
  const auto ask = [&](std::string prefix, std::optional<result<event_page>>& out) {
    core_->query<event_page>(
        [&](backend& where, auto answer) { where.events_after(from, prefix, 5s, std::move(answer)); },
        [&out](result<event_page> r) { out = std::move(r); });
  };
  ask("jobs/", page);
  ask("never/", nothing);
  EXPECT_FALSE(page);
  const auto mine = take("jobs/1");
  ASSERT_TRUE(page && *page);
  EXPECT_EQ((*page)->events.size(), 1u);
  EXPECT_FALSE(nothing);
  locks_.advance(5s);
  ASSERT_TRUE(nothing && *nothing);
  EXPECT_TRUE((*nothing)->events.empty());
}

TEST_F(Client, SaysWhatItsEngineIs) {
  const auto about = locks_.about().value();
  EXPECT_EQ(about.engine, "memory");
  EXPECT_TRUE(about.fifo && about.shared && about.semaphore && about.multi);
  EXPECT_FALSE(about.durable);
  EXPECT_TRUE(locks_.ping());
}

// --- measurements

struct seen_measurement {
  measurement::kind what{};
  std::string lock;
  duration took{};
  errc code{};
  loss_cause cause{};
};

class MeasuredClient : public moved_client {
 protected:
  MeasuredClient() : moved_client(with_listener(seen_)) {}
  static client_options with_listener(std::vector<seen_measurement>& seen) {
    client_options o;
    o.on_measurement = [&seen](const measurement& m) {
      seen.push_back({m.what, std::string(m.lock), m.took, m.code, m.cause});
    };
    return o;
  }
  [[nodiscard]] std::vector<seen_measurement> of(measurement::kind what) const {
    std::vector<seen_measurement> out;
    for (const auto& m : seen_)
      if (m.what == what) out.push_back(m);
    return out;
  }

  std::vector<seen_measurement> seen_;
};
using kind = measurement::kind;

TEST_F(MeasuredClient, CountsAcquiresAndHolds) {
  auto mine = take("a");
  auto second = start("a");
  locks_.advance(4s);
  EXPECT_TRUE(mine.release());
  ASSERT_EQ(of(kind::acquired).size(), 2u);
  EXPECT_EQ(of(kind::acquired)[0].lock, "a");
  EXPECT_EQ(of(kind::acquired)[0].took, 0s);
  EXPECT_EQ(of(kind::acquired)[1].took, 4s);
  ASSERT_EQ(of(kind::released).size(), 1u);
  EXPECT_EQ(of(kind::released)[0].lock, "a");
  EXPECT_NEAR(static_cast<double>(of(kind::released)[0].took.count()), 4e6, 3e3);
}

TEST_F(MeasuredClient, CountsFailuresWithTheirReason) {
  const auto mine = take("a");
  EXPECT_FALSE(locks_.acquire("a", {.wait = 0s}));
  EXPECT_FALSE(locks_.acquire("a", {.ttl = 1us}));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(locks_.acquire("a", {.stop = stop.get_token()}));
  const auto failed = of(kind::failed);
  ASSERT_EQ(failed.size(), 3u);
  EXPECT_EQ(failed[0].code, errc::lock_not_acquired);
  EXPECT_EQ(failed[1].code, errc::invalid_field);
  EXPECT_EQ(failed[2].code, errc::request_cancelled);
  for (const auto& each : failed) EXPECT_EQ(each.lock, "a");
}

TEST_F(MeasuredClient, CountsRenewalsAndLosses) {
  auto mine = take("a");
  locks_.advance(10s);
  ASSERT_EQ(of(kind::renewed).size(), 1u);
  EXPECT_EQ(of(kind::renewed)[0].lock, "a");
  ASSERT_TRUE(locks_.force_release("a", {}, ""));
  locks_.advance(10s);
  EXPECT_EQ(of(kind::renewal_failed).size(), 1u);
  ASSERT_EQ(of(kind::lost).size(), 1u);
  EXPECT_EQ(of(kind::lost)[0].lock, "a");
  EXPECT_EQ(of(kind::lost)[0].cause, loss_cause::forced);
  EXPECT_NEAR(static_cast<double>(of(kind::lost)[0].took.count()), 20e6, 10e3);
  EXPECT_TRUE(of(kind::released).empty());
}

// --- with request ids

class ClientWithRequestIds : public moved_client {
 protected:
  ClientWithRequestIds() : moved_client({.request_ids = true}) {}
};

TEST_F(ClientWithRequestIds, DoesTheSame) {
  auto mine = take("a");
  std::stop_source stop;
  auto second = start("a", {.stop = stop.get_token()}), third = start("a");
  stop.request_stop();
  EXPECT_EQ(second->code(), errc::request_cancelled);
  EXPECT_EQ(locks_.inspect("a")->queue_length, 1u) << "it does not keep its place for the grace";
  EXPECT_TRUE(mine.release());
  ASSERT_TRUE(third->got());
  EXPECT_TRUE(third->mine().release());
  EXPECT_TRUE(locks_.acquire_all({"a", "b"})->release());
  EXPECT_TRUE(is_free("a"));
}

TEST_F(ClientWithRequestIds, WhoLeavesInTheMomentOfItsGrantGetsNothingAndLeavesNothing) {
  auto reader = take("a", {.mode = lock_mode::shared});
  std::stop_source stop;
  auto writer = start("a", {.wait = 5s});
  auto behind = start("a", {.mode = lock_mode::shared, .stop = stop.get_token()});
  time_.advance(5s);
  stop.request_stop();
  EXPECT_EQ(behind->code(), errc::request_cancelled) << "it was told that it has a lease that was cancelled";
  EXPECT_EQ(writer->code(), errc::lock_not_acquired);
  EXPECT_EQ(locks_.inspect("a")->holder_count, 1u);
}

}  // namespace
}  // namespace dislock::library
