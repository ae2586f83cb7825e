#include "supervision/ending.hpp"

#include <gtest/gtest.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
using act = ending::act;

class Ending : public testing::Test {
 protected:
  static constexpr boot_time start{1000s};
  ending watch(loss_policy policy = loss_policy::kill) {
    ending out(policy, 5s);
    out.holds_until(start + 20s);
    return out;
  }
};

TEST_F(Ending, LeavesTheCommandAloneWhileTheLeaseHolds) {
  auto e = watch();
  EXPECT_EQ(e.due(start), act::none);
  EXPECT_EQ(e.due(start + 19'999ms), act::none);
  EXPECT_EQ(e.next(), start + 20s);
  EXPECT_FALSE(e.because_lost());
}

TEST_F(Ending, MovesWithARenewal) {
  auto e = watch();
  e.holds_until(start + 40s);
  EXPECT_EQ(e.due(start + 39s), act::none);
  EXPECT_EQ(e.due(start + 40s), act::terminate);
}

TEST_F(Ending, TellsOnceAndKillsWhenThatDidNotHelp) {
  auto e = watch();
  EXPECT_EQ(e.due(start + 20s), act::terminate);
  EXPECT_EQ(e.next(), start + 25s);
  EXPECT_EQ(e.due(start + 24'999ms), act::none);
  EXPECT_EQ(e.due(start + 25s), act::kill);
  EXPECT_EQ(e.due(start + 26s), act::kill) << "until nobody is left";
}

TEST_F(Ending, KillsAtTheLeasesEndHoweverLateTheCommandWasTold) {
  auto e = watch();
  EXPECT_EQ(e.due(start + 24s), act::terminate) << "nobody asked at 20 s";
  EXPECT_EQ(e.due(start + 25s), act::kill) << "not 5 s later";
}

TEST_F(Ending, KillsAtOnceWhenItWasStoppedUntilAfterTheLease) {
  auto e = watch();
  EXPECT_EQ(e.due(start + 300s), act::kill);
  EXPECT_TRUE(e.because_lost());
}

TEST_F(Ending, DoesNotBelieveInALeaseAgainThatItHasSeenEnd) {
  auto e = watch();
  EXPECT_EQ(e.due(start + 20s), act::terminate);
  e.holds_until(start + 60s);
  EXPECT_EQ(e.due(start + 25s), act::kill);
}

TEST_F(Ending, StopsAtOnceWhenToldTo) {
  auto e = watch();
  e.must_stop(start + 3s);
  EXPECT_EQ(e.due(start + 3s), act::terminate);
  EXPECT_EQ(e.due(start + 8s), act::kill);
}

TEST_F(Ending, LosesNoTimeWhenSomebodyElseMayHaveTheLock) {
  auto e = watch();
  e.lost(start + 3s);
  EXPECT_EQ(e.due(start + 3s), act::kill);
}

TEST_F(Ending, OnlyTellsWhereThatWasAskedFor) {
  auto e = watch(loss_policy::signal);
  EXPECT_EQ(e.due(start + 20s), act::terminate);
  EXPECT_EQ(e.due(start + 3000s), act::none);
  EXPECT_EQ(e.next(), boot_time::max());
  EXPECT_TRUE(e.because_lost());
}

TEST_F(Ending, IgnoresALossWhereThatWasAskedFor) {
  auto e = watch(loss_policy::ignore);
  EXPECT_EQ(e.due(start + 3000s), act::none);
  EXPECT_EQ(e.next(), boot_time::max());
}

TEST_F(Ending, EndsAnUnwatchedCommandWhateverThePolicyIs) {
  for (const auto policy : {loss_policy::kill, loss_policy::signal, loss_policy::ignore}) {
    auto e = watch(policy);
    e.unwatched(start + 1s);
    EXPECT_EQ(e.due(start + 1s), act::terminate);
    EXPECT_EQ(e.due(start + 6s), act::kill);
  }
}

TEST_F(Ending, EndsWhatACommandLeavesBehind) {
  for (const auto policy : {loss_policy::kill, loss_policy::signal, loss_policy::ignore}) {
    auto e = watch(policy);
    e.command_ended(start + 1s);
    EXPECT_FALSE(e.because_lost());
    EXPECT_EQ(e.due(start + 1s), act::terminate);
    EXPECT_EQ(e.due(start + 5s), act::none);
    EXPECT_EQ(e.next(), start + 6s);
    EXPECT_EQ(e.due(start + 6s), act::kill);
  }
}

TEST_F(Ending, DoesNotLetWhatIsLeftOutliveTheLease) {
  auto e = watch();
  e.command_ended(start + 19s);
  EXPECT_EQ(e.due(start + 19s), act::terminate);
  EXPECT_EQ(e.due(start + 24s), act::kill);
  auto late = watch();
  late.command_ended(start + 23s);
  EXPECT_EQ(late.due(start + 23s), act::terminate);
  EXPECT_EQ(late.due(start + 25s), act::kill);
}

TEST_F(Ending, ACommandThatEndedInTimeWasNotEndedByTheLoss) {
  auto e = watch();
  e.command_ended(start + 19s);
  (void)e.due(start + 21s);
  EXPECT_FALSE(e.because_lost());

  auto slow = watch();
  (void)slow.due(start + 20s);
  slow.command_ended(start + 21s);
  EXPECT_TRUE(slow.because_lost());
}

TEST_F(Ending, CountsACommandAsLostThatIsFoundEndedAfterTheLease) {
  auto e = watch();
  e.command_ended(start + 30s);  // we were stopped: nobody knows when it ended
  EXPECT_TRUE(e.because_lost());
}

TEST_F(Ending, ForgetsNothingWhenARenewalComesAfterTheEnd) {
  auto e = watch();
  e.command_ended(start + 1s);
  e.holds_until(start + 100s);
  EXPECT_EQ(e.due(start + 2s), act::terminate);
  EXPECT_EQ(e.due(start + 7s), act::kill);
}

}  // namespace
}  // namespace dislock::cli
