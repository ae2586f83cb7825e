#include "library/reaper.hpp"

#include "library/test_doubles.hpp"

#include <gtest/gtest.h>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;

class Reaper : public testing::Test {
 protected:
  // Answers whatever is asked next, in `advance`.
  void answer_cancels(std::optional<errc> code) {
    for (auto& each : std::exchange(where_.cancels, {})) {
      ++cancels_;
      each.done(code ? result<void>(scripted_backend::failed(*code)) : result<void>());
    }
  }
  void answer_releases(std::optional<errc> code) {
    for (auto& each : std::exchange(where_.releases, {})) {
      ++releases_;
      each.done(code ? result<void>(scripted_backend::failed(*code)) : result<void>());
    }
  }
  // Lets the time run until there is nothing to do any more; every attempt gets this answer.
  void run_out(std::optional<errc> code) {
    answer_cancels(code);
    answer_releases(code);
    while (on_.next_alarm() != never) {
      on_.advance(on_.next_alarm() - on_.now());
      answer_cancels(code);
      answer_releases(code);
    }
  }

  turned_strand on_;
  scripted_backend where_{on_.time};
  reaper reaper_{where_, on_};
  int cancels_ = 0, releases_ = 0;
};

TEST_F(Reaper, SettlesAnAcquireOfWhichNobodyKnowsHowItEnded) {
  reaper_.cancel("a", true, "me", "r1", 30s);
  ASSERT_EQ(where_.cancels.size(), 1u);
  EXPECT_EQ(where_.cancels.front().lock, "a");
  EXPECT_EQ(where_.cancels.front().client, "me");
  EXPECT_EQ(where_.cancels.front().request, "r1");
  EXPECT_TRUE(where_.cancels.front().multi);
  EXPECT_FALSE(reaper_.idle());
  answer_cancels(std::nullopt);
  EXPECT_TRUE(reaper_.idle());
}

TEST_F(Reaper, TriesAgainWithTheSameRequestUntilItSucceeds) {
  reaper_.cancel("a", false, "me", "r1", 30s);
  for (int i = 0; i < 5; ++i) {
    answer_cancels(errc::outcome_unknown);
    EXPECT_TRUE(where_.cancels.empty()) << "not at once";
    on_.advance(reaper_pause(i));
    ASSERT_EQ(where_.cancels.size(), 1u);
    EXPECT_EQ(where_.cancels.front().request, "r1");
  }
  answer_cancels(std::nullopt);
  EXPECT_TRUE(reaper_.idle());
  on_.advance(1h);
  EXPECT_TRUE(where_.cancels.empty());
}

TEST_F(Reaper, ARefusalThatWouldNotChangeSettlesIt) {
  reaper_.release({"a", "me", lock_id{{1, 2}}}, "r1", on_.now() + 30s);
  answer_releases(errc::lock_not_held);
  EXPECT_TRUE(reaper_.idle());
  on_.advance(1h);
  EXPECT_TRUE(where_.releases.empty());
}

TEST_F(Reaper, GivesUpOnALeaseThatHasEndedByItself) {
  const auto end = on_.now() + 30s;
  reaper_.release({"a", "me", lock_id{{1, 2}}}, "r1", end);
  run_out(errc::engine_unavailable);
  EXPECT_TRUE(reaper_.idle());
  EXPECT_GT(releases_, 8);
  EXPECT_LT(releases_, 20) << "with growing pauses";
  EXPECT_GE(on_.now(), end);
  EXPECT_LE(on_.now(), end + 5s);
}

TEST_F(Reaper, DoesNotGiveUpOnAnAcquireBeforeItsLeaseCouldHaveEnded) {
  const auto start = on_.now();
  reaper_.cancel("a", false, "me", "r1", 10min);
  run_out(errc::engine_unavailable);
  EXPECT_GE(on_.now(), start + 10min);
  EXPECT_TRUE(reaper_.idle());
}

TEST_F(Reaper, SettlesManyThingsEachInItsTime) {
  for (int i = 0; i < 100; ++i) {
    reaper_.cancel("a", false, "me", "c" + std::to_string(i), 30s);
    reaper_.release({"b", "me", lock_id{{1, 2}}}, "r" + std::to_string(i), on_.now() + 30s);
  }
  answer_cancels(errc::overloaded);
  answer_releases(std::nullopt);
  EXPECT_FALSE(reaper_.idle());
  on_.advance(50ms);
  EXPECT_EQ(where_.cancels.size(), 100u);
  EXPECT_TRUE(where_.releases.empty());
  answer_cancels(std::nullopt);
  EXPECT_TRUE(reaper_.idle());
}

TEST_F(Reaper, SaysWhenNothingIsLeft) {
  int idle = 0;
  reaper_.on_idle([&] { ++idle; });
  reaper_.cancel("a", false, "me", "r1", 30s);
  reaper_.cancel("b", false, "me", "r2", 30s);
  answer_cancels(std::nullopt);
  EXPECT_EQ(idle, 1);
}

TEST_F(Reaper, AttemptsNothingAfterItsEnd) {
  reaper_.cancel("a", false, "me", "r1", 30s);
  reaper_.cancel("b", false, "me", "r2", 30s);
  auto second = std::move(where_.cancels.back());
  where_.cancels.pop_back();
  answer_cancels(errc::engine_unavailable);  // the first rests
  reaper_.stop();
  second.done(scripted_backend::failed(errc::engine_unavailable));
  reaper_.cancel("c", false, "me", "r3", 30s);
  on_.advance(1h);
  EXPECT_TRUE(where_.cancels.empty());
}

TEST(ReaperPause, GrowsToFiveSeconds) {
  EXPECT_EQ(reaper_pause(0), 50ms);
  EXPECT_EQ(reaper_pause(1), 100ms);
  EXPECT_EQ(reaper_pause(6), 3'200ms);
  EXPECT_EQ(reaper_pause(7), 5s);
  EXPECT_EQ(reaper_pause(1'000), 5s);
}

}  // namespace
}  // namespace dislock::library
