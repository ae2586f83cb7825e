#include "dislock/rate_limiter.hpp"

#include "library/test_conveniences.hpp"

#include <deque>

namespace dislock::library {
namespace {

using RateLimiter = conveniences_test;

TEST_F(RateLimiter, LetsSoManyPassInAWindowAndNoMore) {
  rate_limiter calls(locks_, "calls", 3, 10s);

  EXPECT_TRUE(*calls.try_pass());
  EXPECT_TRUE(*calls.try_pass());
  EXPECT_TRUE(*calls.try_pass());
  EXPECT_FALSE(*calls.try_pass());
}

TEST_F(RateLimiter, LetsTheNextPassWhenTheFirstIsAWindowAgo) {
  rate_limiter calls(locks_, "calls", 2, 10s);
  EXPECT_TRUE(*calls.try_pass());
  locks_.advance(4s);
  EXPECT_TRUE(*calls.try_pass());

  locks_.advance(6s - 1us);
  EXPECT_FALSE(*calls.try_pass());
  locks_.advance(1us);
  EXPECT_TRUE(*calls.try_pass());
  EXPECT_FALSE(*calls.try_pass());  // the second is only 6 s ago
}

TEST_F(RateLimiter, HasNoBurstWhereWindowsMeet) {
  rate_limiter calls(locks_, "calls", 5, 1s);
  std::deque<instant> passed;
  for (int i = 0; i < 500; ++i) {
    if (*calls.try_pass()) {
      passed.push_back(time_.now());
      while (passed.front() <= time_.now() - 1s) passed.pop_front();
      ASSERT_LE(passed.size(), 5u);
    }
    locks_.advance(std::chrono::milliseconds(7 + i * 37 % 101));
  }
}

TEST_F(RateLimiter, WaitsForItsTurnInOrderOfArrival) {
  rate_limiter calls(locks_, "calls", 1, 10s);
  EXPECT_EQ(*calls.pass(), 0s);

  auto second = start(calls.async_pass());
  auto third = start(calls.async_pass());
  EXPECT_FALSE(*calls.try_pass());  // others wait
  locks_.advance(10s);
  ASSERT_TRUE(second.done());
  EXPECT_FALSE(third.done());
  EXPECT_EQ(*std::move(second).get(), 10s);
  locks_.advance(10s);

  ASSERT_TRUE(third.done());
  EXPECT_EQ(*std::move(third).get(), 20s);
}

TEST_F(RateLimiter, GivesUpAfterItsPatience) {
  rate_limiter calls(locks_, "calls", 1, 10s);
  EXPECT_TRUE(*calls.try_pass());

  auto second = start(calls.async_pass(9s));
  locks_.advance(9s);
  EXPECT_EQ(code_of(std::move(second).get()), errc::lock_not_acquired);
  std::stop_source stop;
  auto third = start(calls.async_pass(9s, 1, stop.get_token()));
  stop.request_stop();

  EXPECT_EQ(code_of(std::move(third).get()), errc::request_cancelled);
  EXPECT_EQ(code_of(calls.pass(0s)), errc::lock_not_acquired);
}

TEST_F(RateLimiter, WeighsWhatCostsMore) {
  rate_limiter calls(locks_, "calls", 10, 10s);

  EXPECT_TRUE(*calls.try_pass(7));
  EXPECT_FALSE(*calls.try_pass(4));
  EXPECT_TRUE(*sync_wait(calls.async_try_pass(3)));
  EXPECT_FALSE(*sync_wait(calls.async_try_pass()));
}

TEST_F(RateLimiter, CountsWhatPassedAlsoWhenItsProcessIsGone) {
  { EXPECT_TRUE(*rate_limiter(locks_, "calls", 1, 10s).try_pass()); }

  EXPECT_FALSE(*rate_limiter(locks_, "calls", 1, 10s).try_pass());
}

TEST_F(RateLimiter, RefusesAWindowThatIsNoTtl) {
  EXPECT_EQ(code_of(rate_limiter(locks_, "calls", 1, 99ms).try_pass()), errc::invalid_field);
  EXPECT_EQ(code_of(rate_limiter(locks_, "calls", 0, 1s).pass()), errc::invalid_field);
}

}  // namespace
}  // namespace dislock::library
