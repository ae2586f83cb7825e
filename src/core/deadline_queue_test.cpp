#include "core/deadline_queue.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace dislock::core {
namespace {

using namespace std::chrono_literals;

constexpr auto start = from_microseconds(1'000'000);

class DeadlineQueue : public testing::Test {
 protected:
  timed* take(instant now) {
    auto* t = queue_.due(now);
    if (t) queue_.cancel(*t);
    return t;
  }
  deadline_queue queue_;
  timed a_{timer_kind::waiter}, b_{timer_kind::waiter};
};

TEST_F(DeadlineQueue, HasNothingDueWhenEmpty) {
  EXPECT_EQ(queue_.due(never), nullptr);
  EXPECT_EQ(queue_.next(), never);
}

TEST_F(DeadlineQueue, IsDueAtTheInstantAndNotBefore) {
  queue_.schedule(a_, start);

  EXPECT_EQ(queue_.due(start - 1us), nullptr);
  EXPECT_EQ(queue_.due(start), &a_);
  EXPECT_EQ(queue_.next(), start);
}

TEST_F(DeadlineQueue, GivesTheEarliestFirst) {
  queue_.schedule(a_, start + 2s);
  queue_.schedule(b_, start + 1s);

  EXPECT_EQ(take(never), &b_);
  EXPECT_EQ(take(never), &a_);
}

TEST_F(DeadlineQueue, MovesWhatIsScheduledAgain) {
  queue_.schedule(a_, start + 1s);
  queue_.schedule(b_, start + 2s);
  queue_.schedule(a_, start + 3s);

  EXPECT_EQ(take(never), &b_);
  EXPECT_EQ(take(never), &a_);
  EXPECT_EQ(queue_.next(), never);
}

TEST_F(DeadlineQueue, CancelTakesItOutAndMayBeRepeated) {
  queue_.schedule(a_, start);
  queue_.cancel(a_);
  queue_.cancel(a_);

  EXPECT_EQ(queue_.due(never), nullptr);
  EXPECT_FALSE(a_.scheduled);
}

TEST_F(DeadlineQueue, EndsLeasesBeforeWaitsOfTheSameInstant) {
  timed lease{timer_kind::lease}, delay{timer_kind::lock_delay}, session{timer_kind::session};
  queue_.schedule(a_, start);
  queue_.schedule(session, start);
  queue_.schedule(delay, start);
  queue_.schedule(lease, start);

  EXPECT_EQ(take(start), &lease);
  EXPECT_EQ(take(start), &delay);
  EXPECT_EQ(take(start), &session);
  EXPECT_EQ(take(start), &a_);
}

TEST_F(DeadlineQueue, StaysInOrderUnderRandomMoves) {
  std::mt19937 random(7);
  std::deque<timed> all;
  for (int i = 0; i < 200; ++i) all.emplace_back(timer_kind{static_cast<std::uint8_t>(random() % 4)});
  for (int i = 0; i < 5'000; ++i) {
    auto& t = all[random() % all.size()];
    random() % 4 == 0 ? queue_.cancel(t)
                      : queue_.schedule(t, start + std::chrono::milliseconds(random() % 50));
  }
  const auto scheduled = std::count_if(all.begin(), all.end(), [](const auto& t) { return t.scheduled; });

  int taken = 0;
  for (auto last = instant::min(); queue_.next() != never; ++taken) {
    EXPECT_GE(queue_.next(), last);
    last = queue_.next();
    ASSERT_NE(take(last), nullptr);
  }
  EXPECT_EQ(taken, scheduled);
}

}  // namespace
}  // namespace dislock::core
