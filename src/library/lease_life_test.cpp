#include "library/lease_life.hpp"

#include "library/held_lease.hpp"

#include <gtest/gtest.h>

#include <random>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;

// A lease of 30 s that was granted at `start_` by an engine of this process; renewed every 10 s, with 2 s to
// stop in.
class LeaseLife : public testing::Test {
 protected:
  static constexpr duration believed = 30s - 2ms;

  lease_life granted(lease_life::terms terms) const {
    return lease_life(terms, start_ + std::min(terms.ttl, terms.max_hold.value_or(terms.ttl)) - 2ms);
  }
  lease_life granted() const { return granted({.ttl = 30s, .every = 10s, .margin = 2s, .max_hold = {}}); }
  lease_life granted_once() const { return granted({.ttl = 30s, .every = 0s, .margin = 2s, .max_hold = {}}); }
  // Looks whenever it asks to be looked at, until `until`; no renewal is sent.
  static void pass(lease_life& life, instant from, instant until) {
    for (auto at = from; at <= until;) {
      const auto next = life.look(at);
      if (next.renew) life.sent(at);
      const auto look_at = life.look(at).look_at;
      if (look_at == never) return;
      ASSERT_GT(look_at, at) << "it would spin";
      at = look_at;
    }
    (void)life.look(until);
  }

  const instant start_ = from_microseconds(1'800'000'000'000'000);
};

TEST_F(LeaseLife, IsRenewedAfterAThirdOfItsTtl) {
  auto life = granted();
  EXPECT_FALSE(life.look(start_ + 9s).renew);
  EXPECT_TRUE(life.look(start_ + 10s).renew);
  EXPECT_LE(life.look(start_).look_at, start_ + 10s);
}

TEST_F(LeaseLife, IsNotRenewedTwiceAtATime) {
  auto life = granted();
  life.sent(start_ + 10s);
  EXPECT_FALSE(life.look(start_ + 29s).renew);
}

TEST_F(LeaseLife, IsRenewedAtLeastEveryHalfOfItsTtl) {
  auto life = granted({.ttl = 30s, .every = 1h, .margin = 2s, .max_hold = {}});
  EXPECT_TRUE(life.look(start_ + 15s).renew);
}

TEST_F(LeaseLife, WithoutRenewalsItIsHeldUntilItHasToStop) {
  auto life = granted_once();
  (void)life.look(start_ + believed - 2s - 1us);
  EXPECT_EQ(life.stage(), lease_stage::held) << "nothing is wrong with a lease that nobody wants to renew";
  EXPECT_FALSE(life.look(start_ + 20s).renew);
  (void)life.look(start_ + believed - 2s);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
}

TEST_F(LeaseLife, GoesDownItsStagesInOrderWhenNoRenewalSucceeds) {
  auto life = granted();
  life.sent(start_ + 10s);
  life.renewal_failed(start_ + 10s);

  (void)life.look(start_ + believed - 15s - 1us);
  EXPECT_EQ(life.stage(), lease_stage::held) << "more than half of the ttl is left";
  (void)life.look(start_ + believed - 15s);
  EXPECT_EQ(life.stage(), lease_stage::expiring);
  (void)life.look(start_ + believed - 2s - 1us);
  EXPECT_EQ(life.stage(), lease_stage::expiring);
  (void)life.look(start_ + believed - 2s);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
  (void)life.look(start_ + believed - 1us);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
  (void)life.look(start_ + believed);
  EXPECT_EQ(life.stage(), lease_stage::lost);
  EXPECT_EQ(life.cause(), loss_cause::expired);
}

TEST_F(LeaseLife, ARenewalThatHangsIsTroubleToo) {
  auto life = granted();
  life.sent(start_ + 10s);
  (void)life.look(start_ + 16s);
  EXPECT_EQ(life.stage(), lease_stage::expiring);
}

TEST_F(LeaseLife, ARenewalThatSucceedsAfterAllTakesExpiringBack) {
  auto life = granted();
  life.sent(start_ + 10s);
  life.renewal_failed(start_ + 10s);
  (void)life.look(start_ + 20s);
  ASSERT_EQ(life.stage(), lease_stage::expiring);
  life.sent(start_ + 20s);

  life.renewed(start_ + 21s, start_ + 51s);

  EXPECT_EQ(life.stage(), lease_stage::held);
  EXPECT_EQ(life.valid_until(), start_ + 51s);
  EXPECT_FALSE(life.look(start_ + 21s).renew);
  EXPECT_TRUE(life.look(start_ + 31s).renew);
}

TEST_F(LeaseLife, ARenewalNeverTakesMustStopBackButKeepsTheLockMeanwhile) {
  auto life = granted();
  (void)life.look(start_ + 29s);
  ASSERT_EQ(life.stage(), lease_stage::must_stop);
  EXPECT_TRUE(life.look(start_ + 29s).renew) << "nobody else gets the lock while the holder winds down";

  life.sent(start_ + 29s);
  life.renewed(start_ + 29s, start_ + 59s);

  EXPECT_EQ(life.stage(), lease_stage::must_stop);
  (void)life.look(start_ + 40s);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
}

TEST_F(LeaseLife, ARenewalNeverTakesLostBack) {
  auto life = granted();
  life.sent(start_ + 10s);
  life.renewed(start_ + believed, start_ + 60s);  // the answer came as the lease ended
  EXPECT_EQ(life.stage(), lease_stage::lost);
}

TEST_F(LeaseLife, ARenewalNeverShortens) {
  auto life = granted();
  life.sent(start_ + 10s);
  life.renewed(start_ + 10s, start_ + 5s);
  EXPECT_EQ(life.valid_until(), start_ + believed);
}

TEST_F(LeaseLife, TriesAgainUntilTheValidityEnds) {
  auto life = granted();
  int tries = 0;
  instant last{};
  for (auto at = start_; life.stage() != lease_stage::lost;) {
    if (life.look(at).renew) {
      ++tries;
      last = at;
      life.sent(at);
      life.renewal_failed(at);
    }
    const auto next = life.look(at).look_at;
    if (next == never) break;
    ASSERT_GT(next, at);
    at = next;
  }
  EXPECT_GT(tries, 15);
  EXPECT_LT(tries, 25) << "a failed renewal is not repeated in a loop";
  EXPECT_GT(last, start_ + believed - 2s);
}

TEST_F(LeaseLife, ASuspendedProcessFindsItsLeaseLost) {
  auto life = granted();
  (void)life.look(start_ + 1h);  // nobody has looked in between
  EXPECT_EQ(life.stage(), lease_stage::lost);
  EXPECT_EQ(life.cause(), loss_cause::expired);
  EXPECT_EQ(life.look(start_ + 1h).look_at, never);
  EXPECT_FALSE(life.look(start_ + 1h).renew);
}

TEST_F(LeaseLife, AShortSuspensionWithinTheMarginMeansToStop) {
  auto life = granted();
  (void)life.look(start_ + 29s);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
}

TEST_F(LeaseLife, MaxHoldEndsItHoweverOftenItIsRenewed) {
  auto life = granted({.ttl = 30s, .every = 10s, .margin = 2s, .max_hold = 60s});
  for (auto at = start_ + 10s; at <= start_ + 50s; at += 10s) {
    ASSERT_TRUE(life.look(at).renew);
    life.sent(at);
    life.renewed(at, std::min(at + 30s, start_ + 60s) - 2ms);  // the engine does not go beyond it
    ASSERT_EQ(life.stage(), lease_stage::held);
  }
  (void)life.look(start_ + 58s);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
  EXPECT_EQ(life.cause(), loss_cause::max_hold);
  (void)life.look(start_ + 60s);
  EXPECT_EQ(life.stage(), lease_stage::lost);
  EXPECT_EQ(life.cause(), loss_cause::max_hold);
}

TEST_F(LeaseLife, MaxHoldIsTheReasonToStopAlsoWhereTheEngineDoesNotSay) {
  auto life = granted({.ttl = 30s, .every = 10s, .margin = 2s, .max_hold = 60s});
  life.renewed(start_ + 20s, start_ + 80s);
  EXPECT_EQ(life.stop_at(), start_ + 58s - 2ms);
  (void)life.look(start_ + 58s);
  EXPECT_EQ(life.stage(), lease_stage::must_stop);
}

TEST_F(LeaseLife, AMaxHoldThatIsShorterThanTheTtlLeavesTimeToWork) {
  auto life = granted({.ttl = 30s, .every = 10s, .margin = 2s, .max_hold = 1s});
  (void)life.look(start_);
  EXPECT_EQ(life.stage(), lease_stage::held);
  EXPECT_GE(life.stop_at(), start_ + 400ms);
  (void)life.look(start_ + 1s);
  EXPECT_EQ(life.cause(), loss_cause::max_hold);
}

TEST_F(LeaseLife, TheMarginIsAtMostHalfOfTheTtl) {
  auto life = granted({.ttl = 100ms, .every = 33ms, .margin = 10s, .max_hold = {}});
  EXPECT_EQ(life.stop_at(), start_ + 98ms - 50ms);
}

TEST_F(LeaseLife, TheFirstCauseStays) {
  auto life = granted();
  life.stop(loss_cause::stop_request);
  life.stop(loss_cause::max_hold);
  EXPECT_EQ(life.cause(), loss_cause::stop_request);
  life.end(loss_cause::forced);
  life.end(loss_cause::closed);
  EXPECT_EQ(life.cause(), loss_cause::forced) << "lost is news, and has a cause of its own";
}

// Whatever happens to it: the stages only go down, but for expiring; lost comes no later than the end of
// belief, and must_stop the margin before.
TEST_F(LeaseLife, AsAPropertyOfManyHistories) {
  for (unsigned seed = 0; seed < 2'000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto ms = [&](int least, int most) {
      return duration(std::chrono::milliseconds(std::uniform_int_distribution(least, most)(random)));
    };
    lease_life::terms terms{
        .ttl = ms(100, 60'000), .every = ms(0, 20'000), .margin = ms(0, 5'000), .max_hold = {}};
    if (seed % 3 == 0) terms.max_hold = ms(100, 120'000);
    auto life = granted(terms);
    auto now = start_;
    bool under_way = false;
    auto before = life.stage();
    for (int step = 0; step < 100 && life.stage() != lease_stage::lost; ++step) {
      const auto next = life.look(now);
      if (next.renew && !under_way) {
        life.sent(now);
        under_way = true;
      }
      const auto look_at = life.look(now).look_at;
      if (life.stage() != lease_stage::lost) {
        ASSERT_GT(look_at, now);
        ASSERT_LE(look_at, life.valid_until());
        ASSERT_LT(now, life.valid_until());
      }
      if (life.stage() < lease_stage::must_stop) {
        ASSERT_LE(look_at, life.stop_at());
        ASSERT_LT(now, life.stop_at());
      }
      ASSERT_TRUE(life.stage() >= before ||
                  (before == lease_stage::expiring && life.stage() == lease_stage::held));
      before = life.stage();
      // As told, or late, or an answer in between.
      now = random() % 4 == 0 ? now + ms(1, 3'000) : std::max(now, look_at == never ? now : look_at);
      if (under_way && random() % 2 == 0) {
        under_way = false;
        if (random() % 2 == 0)
          life.renewal_failed(now);
        else
          life.renewed(now, now + terms.ttl - ms(0, 3));
        ASSERT_TRUE(life.stage() >= before ||
                    (before == lease_stage::expiring && life.stage() == lease_stage::held));
        before = life.stage();
      }
    }
  }
}

TEST(EndOfBelief, PassesWithTheTimeAndForGood) {
  const auto end = from_microseconds(1'000);
  end_of_belief belief(end);
  EXPECT_FALSE(belief.passed(end - 1us));
  EXPECT_TRUE(belief.passed(end));
  EXPECT_TRUE(belief.passed(end - 1us)) << "who was told that it is over is not told otherwise";
  EXPECT_FALSE(belief.move_to(end + 1h));
  EXPECT_EQ(belief.at(), end);
}

TEST(EndOfBelief, IsMovedByARenewalThatComesInTime) {
  end_of_belief belief(from_microseconds(1'000));
  EXPECT_FALSE(belief.passed(from_microseconds(999)));
  EXPECT_TRUE(belief.move_to(from_microseconds(2'000)));
  EXPECT_FALSE(belief.passed(from_microseconds(1'999)));
}

// The holder's own questions, while nobody of ours runs.
class HeldLease : public testing::Test {
 protected:
  HeldLease() {
    held_lease::facts is;
    is.lock = "a";
    lease_ = std::make_shared<held_lease>(
        std::weak_ptr<core>(), boottime_clock(), &time_, std::move(is),
        lease_life::terms{.ttl = 30s, .every = 10s, .margin = 2s, .max_hold = {}}, time_.now() + 30s - 2ms);
  }

  manual_clock time_;
  std::shared_ptr<held_lease> lease_;
};

TEST_F(HeldLease, AnswersByTheClockWhenNobodyHasLooked) {
  EXPECT_TRUE(lease_->held());
  EXPECT_EQ(lease_->remaining(), 28s - 2ms);
  time_.advance(28s);
  EXPECT_FALSE(lease_->held());
  EXPECT_EQ(lease_->remaining(), 0s);
  EXPECT_EQ(lease_->stage_now(), lease_stage::must_stop);
  EXPECT_EQ(lease_->cause_now(), loss_cause::expired);
  time_.advance(2s);
  EXPECT_EQ(lease_->stage_now(), lease_stage::lost);
  EXPECT_TRUE(lease_->lost().stop_requested());
}

TEST_F(HeldLease, OnceToldThatItIsOverNoRenewalBringsItBack) {
  time_.advance(28s);
  ASSERT_FALSE(lease_->held());
  lease_->life.sent(time_.now());
  lease_->life.renewed(time_.now() - 1s, time_.now() + 30s);  // it was in time, but the holder has asked
  lease_->publish();
  EXPECT_FALSE(lease_->held());
  EXPECT_EQ(lease_->life.stage(), lease_stage::must_stop);
}

TEST_F(HeldLease, AStopRequestReachesEveryTokenAlsoThoseOfLater) {
  const auto before = lease_->lost();
  std::stop_source group;
  lease_->also_stop(group);
  EXPECT_FALSE(before.stop_requested());
  lease_->request_stop();
  EXPECT_TRUE(before.stop_requested());
  EXPECT_TRUE(group.stop_requested());
  EXPECT_TRUE(lease_->lost().stop_requested());
  std::stop_source late;
  lease_->also_stop(late);
  EXPECT_TRUE(late.stop_requested());
}

}  // namespace
}  // namespace dislock::library
