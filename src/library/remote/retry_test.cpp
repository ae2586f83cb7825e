#include "library/remote/retry.hpp"

#include <gtest/gtest.h>

namespace dislock::library::remote {
namespace {

using namespace std::chrono_literals;
using kind = retries::step::kind;

TEST(Belief, CountsFromBeforeTheCallAndTakesOffOneInAHundredAndTwoMilliseconds) {
  const auto sent = from_microseconds(5'000'000);
  EXPECT_EQ(believable_until(sent, 0s, 30s), sent + 29'698ms);
  EXPECT_EQ(believable_until(sent, 10s, 20s), sent + 29'698ms) << "what the service took belongs to it";
  EXPECT_EQ(believable_until(sent, 0s, 0s), sent - 2ms) << "over when it arrives";
}

class Retries : public testing::Test {
 protected:
  instant now_ = from_microseconds(1'000'000'000);
  retry_terms wait_{.mutates = true, .persistent = true, .limit = now_ + 30s, .settle_limit = now_ + 35s};
  retry_terms once_{.mutates = true, .persistent = false, .limit = now_ + 5s, .settle_limit = now_ + 5s};

  retries::step after(retries& r, try_end how, std::size_t places = 1, std::optional<duration> header = {},
                      double chance = 0.999999) {
    return r.after(how, header, now_, places, chance);
  }
};

TEST_F(Retries, NothingThatWasNotSentIsADoubt) {
  retries r(wait_);
  (void)after(r, try_end::not_sent);
  EXPECT_FALSE(r.in_doubt());
}

TEST_F(Retries, WhatWasSentAndNotAnsweredIsADoubtForEver) {
  retries r(wait_);
  r.sent();
  EXPECT_TRUE(r.in_doubt());
  (void)after(r, try_end::no_answer);
  r.sent();
  (void)after(r, try_end::refused);
  EXPECT_TRUE(r.in_doubt());
}

TEST_F(Retries, ARefusalLeavesNoDoubt) {
  retries r(wait_);
  r.sent();
  (void)after(r, try_end::refused);
  EXPECT_FALSE(r.in_doubt());
}

TEST_F(Retries, WhatTheServiceDoubtsIsADoubt) {
  retries r(wait_);
  r.sent();
  (void)after(r, try_end::doubtful);
  EXPECT_TRUE(r.in_doubt());
}

TEST_F(Retries, AWaiterThatTheServiceKnowsOfIsADoubtUntilItIsDecided) {
  retries r(wait_);
  r.sent();
  r.answered_unfinished();
  (void)after(r, try_end::not_sent);
  EXPECT_TRUE(r.in_doubt());
  r.start_anew();
  EXPECT_FALSE(r.in_doubt());
}

TEST_F(Retries, AQuestionIsNeverADoubt) {
  once_.mutates = false;
  retries r(once_);
  r.sent();
  (void)after(r, try_end::no_answer);
  EXPECT_FALSE(r.in_doubt());
}

TEST_F(Retries, EachPlaceHasItsTurnBeforeAPause) {
  retries r(wait_);
  EXPECT_EQ(after(r, try_end::not_sent, 3).what, kind::at_once);
  EXPECT_EQ(after(r, try_end::refused, 3).what, kind::at_once);
  EXPECT_EQ(after(r, try_end::not_sent, 3).what, kind::later);
  EXPECT_EQ(after(r, try_end::not_sent, 3).what, kind::at_once);
}

TEST_F(Retries, OneAttemptEndsWhenAllPlacesHadTheirTurn) {
  retries r(once_);
  EXPECT_EQ(after(r, try_end::not_sent, 2).what, kind::at_once);
  EXPECT_EQ(after(r, try_end::no_answer, 2).what, kind::give_up);
}

TEST_F(Retries, AStaleConnectionCostsNoAttempt) {
  retries r(once_);
  r.sent();
  EXPECT_EQ(after(r, try_end::stale).what, kind::at_once);
  EXPECT_TRUE(r.in_doubt()) << "it may have closed after it had read us";
  r.sent();
  EXPECT_EQ(after(r, try_end::no_answer).what, kind::give_up);
}

TEST_F(Retries, PausesGrowFromFiftyMillisecondsToTwoSeconds) {
  retries r(wait_);
  for (const auto longest : {50ms, 100ms, 200ms, 400ms, 800ms, 1600ms, 2000ms, 2000ms}) {
    const auto step = after(r, try_end::not_sent);
    ASSERT_EQ(step.what, kind::later);
    EXPECT_LE(step.at - now_, longest);
    EXPECT_GT(step.at - now_, longest - 1ms);
  }
}

TEST_F(Retries, PausesAreSpreadOverHalfOfTheirLength) {
  retries r(wait_);
  EXPECT_EQ(after(r, try_end::not_sent, 1, {}, 0).at, now_ + 25ms);
}

TEST_F(Retries, PausesBeginAnewWhenTheServiceHasAnswered) {
  retries r(wait_);
  for (int i = 0; i < 5; ++i) (void)after(r, try_end::not_sent);
  r.sent();
  r.answered_unfinished();
  EXPECT_LE(after(r, try_end::not_sent).at, now_ + 50ms);
}

TEST_F(Retries, WaitsAsLongAsTheServiceAsksButNotLongerThanTwoSeconds) {
  retries r(wait_);
  EXPECT_EQ(after(r, try_end::refused, 1, 1s).at, now_ + 1s);
  EXPECT_EQ(after(r, try_end::refused, 1, 60s).at, now_ + 2s);
}

TEST_F(Retries, NeverPausesBeyondTheLimitButTriesOnceMoreBeforeIt) {
  retries r(wait_);
  now_ = wait_.limit - 100ms;
  const auto step = after(r, try_end::refused, 1, 1s);
  EXPECT_EQ(step.what, kind::later);
  EXPECT_EQ(step.at, now_ + 50ms);
  now_ = wait_.limit - 10ms;
  EXPECT_EQ(after(r, try_end::refused, 1, 1s).what, kind::give_up);
}

TEST_F(Retries, ADoubtIsPursuedBeyondTheEndOfTheWait) {
  retries clear(wait_), doubt(wait_);
  doubt.sent();
  now_ = wait_.limit;
  EXPECT_EQ(after(clear, try_end::not_sent).what, kind::give_up);
  EXPECT_EQ(after(doubt, try_end::no_answer).what, kind::later);
  now_ = wait_.settle_limit;
  EXPECT_EQ(after(doubt, try_end::no_answer).what, kind::give_up);
}

}  // namespace
}  // namespace dislock::library::remote
