#include "engines/redis/clock_guard.hpp"

#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;
using finding = clock_guard::finding;

class ClockGuard : public testing::Test {
 protected:
  static std::int64_t micros(instant at) { return at.time_since_epoch().count(); }
  // What the store shows in the middle of a question that takes `takes`.
  finding ask(duration takes = 2ms) {
    const auto sent = now_;
    now_ += takes;
    return guard_.observe(sent, now_, micros(now_ - takes / 2) + ahead_.count());
  }

  clock_guard guard_;
  instant now_{1'000s};
  duration ahead_ = 1'700'000'000s;
};

TEST_F(ClockGuard, KnowsNothingBeforeTheFirstAnswer) {
  EXPECT_FALSE(guard_.latest(now_));
  EXPECT_EQ(ask(), finding::agrees);
  EXPECT_TRUE(guard_.latest(now_));
}

TEST_F(ClockGuard, AllowsTheSlackBeyondWhatItHasSeen) {
  ask(2ms);
  const auto shows = micros(now_) + ahead_.count();
  EXPECT_EQ(*guard_.latest(now_), shows + duration(1ms + 500ms).count());
  EXPECT_EQ(guard_.earliest(now_), shows - duration(1ms).count());
}

TEST_F(ClockGuard, AgreesWithAClockThatDriftsOrIsSlewed) {
  ask();
  for (int i = 0; i < 1'000; ++i) {
    now_ += 10s;
    ahead_ += 5ms;
    ASSERT_EQ(ask(), finding::agrees);
  }
}

TEST_F(ClockGuard, NoticesAStepInEitherDirectionAndOnlyThen) {
  const struct {
    duration step;
    finding what;
  } cases[] = {
      {31s, finding::ahead},   {600ms, finding::ahead},     {400ms, finding::agrees},
      {0s, finding::agrees},   {-400ms, finding::agrees},   {-600ms, finding::behind},
      {-31s, finding::behind}, {24h * 365, finding::ahead},
  };
  for (const auto& c : cases) {
    guard_ = {};
    ask();
    ahead_ += c.step;
    EXPECT_EQ(ask(), c.what) << c.step.count();
  }
}

TEST_F(ClockGuard, LearnsAStepAheadOnlyWhenItIsAccepted) {
  ask();
  const auto before = *guard_.latest(now_);
  ahead_ += 31s;
  EXPECT_EQ(ask(), finding::ahead);
  EXPECT_EQ(ask(), finding::ahead) << "nobody has told the store yet";
  EXPECT_LT(*guard_.latest(now_) - before, duration(1s).count());
  guard_.accept(now_, now_, micros(now_) + ahead_.count());
  EXPECT_EQ(ask(), finding::agrees);
}

TEST_F(ClockGuard, LearnsAStepBackAtOnce) {
  ask();
  ahead_ -= 31s;
  EXPECT_EQ(ask(), finding::behind);
  EXPECT_EQ(ask(), finding::agrees);
}

TEST_F(ClockGuard, DoesNotTakeASlowAnswerForAStep) {
  ask();
  EXPECT_EQ(ask(20s), finding::agrees);
}

TEST_F(ClockGuard, KnowsAfterASlowAnswerWhatItKnewBefore) {
  ask();
  const auto most = *guard_.latest(now_) - micros(now_);
  ask(20s);
  EXPECT_LT(*guard_.latest(now_) - micros(now_) - most, duration(100ms).count());
}

}  // namespace
}  // namespace dislock::redis
