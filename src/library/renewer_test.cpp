#include "library/renewer.hpp"

#include "library/test_doubles.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;

class Renewer : public testing::Test, private lease_listener {
 protected:
  ~Renewer() override {
    for (auto& l : leases_) renewer_.drop(*l);
  }

  held_lease& add(duration ttl = 30s, std::string lock = {}) {
    held_lease::facts is;
    is.lock = lock.empty() ? "lock/" + std::to_string(leases_.size()) : std::move(lock);
    is.client = "me";
    is.id = lock_id{{1, leases_.size() + 1}};
    auto made = std::make_shared<held_lease>(
        std::weak_ptr<core>(), boottime_clock(), &on_.time, std::move(is),
        lease_life::terms{.ttl = ttl, .every = ttl / 3, .margin = ttl / 10, .max_hold = {}},
        on_.now() + ttl - 2ms);
    leases_.push_back(made);
    renewer_.add(*made);
    return *made;
  }
  scripted_backend::asked_renewal take() {
    auto out = std::move(where_.renewals.front());
    where_.renewals.pop_front();
    return out;
  }
  void refuse(scripted_backend::asked_renewal asked, errc code, end_reason how = end_reason::none) {
    auto why = scripted_backend::failed(code);
    why.ended = how;
    std::vector<result<renewed_lease>> out(asked.which.size(), result<renewed_lease>(why));
    asked.done(std::move(out));
    on_.settle();
  }

  void stage_changed(held_lease& of) override { told_[&of].push_back(of.life.stage()); }
  void renewal_ended(held_lease&, duration, bool succeeded) override {
    ++(succeeded ? renewed_ : not_renewed_);
  }

  turned_strand on_;
  scripted_backend where_{on_.time};
  renewer renewer_{where_, on_, *this};
  std::vector<std::shared_ptr<held_lease>> leases_;
  std::map<held_lease*, std::vector<lease_stage>> told_;
  int renewed_ = 0, not_renewed_ = 0;
};

TEST_F(Renewer, RenewsAfterAThirdOfTheTtlAndThenAgain) {
  where_.renew_at_once = true;
  auto& l = add();
  const auto start = on_.now();
  on_.advance(10s - 3ms);
  EXPECT_TRUE(where_.renewals.empty());
  on_.advance(5min);
  ASSERT_GE(where_.renewals.size(), 29u);
  EXPECT_LE(where_.renewals.size(), 31u);
  EXPECT_NEAR(std::chrono::duration<double>(where_.renewals.front().at - start).count(), 10, 0.01);
  EXPECT_EQ(where_.renewals.front().ttls.front(), 30s);
  EXPECT_TRUE(l.held());
  EXPECT_TRUE(told_.empty()) << "nothing to tell";
}

TEST_F(Renewer, RenewsTogetherWhatIsDueTogetherUpTo32) {
  where_.renew_at_once = true;
  for (int i = 0; i < 70; ++i) (void)add();
  on_.advance(10s);
  std::multiset<std::size_t> sizes;
  std::set<std::string> names;
  for (const auto& r : where_.renewals) {
    sizes.insert(r.which.size());
    for (const auto& key : r.which) names.insert(key.lock);
  }
  EXPECT_EQ(sizes, (std::multiset<std::size_t>{32, 32, 6}));
  EXPECT_EQ(names.size(), 70u);
}

TEST_F(Renewer, AnswersGoToTheLeasesThatTheyAreAbout) {
  auto& first = add(30s);
  auto& second = add(30s);
  on_.advance(10s);
  auto asked = take();
  ASSERT_EQ(asked.which.size(), 2u);
  ASSERT_EQ(asked.which[0].lock, first.is.lock);
  std::vector<result<renewed_lease>> out;
  auto why = scripted_backend::failed(errc::lock_not_held);
  why.ended = end_reason::forced;
  out.emplace_back(why);
  out.emplace_back(renewed_lease{on_.now() + 30s});
  asked.done(std::move(out));
  EXPECT_EQ(first.stage_now(), lease_stage::lost);
  EXPECT_EQ(first.cause_now(), loss_cause::forced);
  EXPECT_EQ(second.stage_now(), lease_stage::held);
  EXPECT_EQ(second.told_valid_until.at(), on_.now() + 30s);
}

TEST_F(Renewer, TriesAgainUntilTheValidityEnds) {
  auto& l = add();
  const auto end = l.told_valid_until.at();
  instant last{};
  int tries = 0;
  while (on_.next_alarm() != never) {
    on_.advance(on_.next_alarm() - on_.now());
    if (where_.renewals.empty()) continue;
    ++tries;
    last = on_.now();
    refuse(take(), errc::engine_unavailable);
  }
  EXPECT_EQ(on_.now(), end);
  EXPECT_GT(tries, 15);
  EXPECT_GT(last, end - 3s) << "also while the holder winds down";
  EXPECT_EQ(told_[&l], (std::vector{lease_stage::expiring, lease_stage::must_stop, lease_stage::lost}));
  EXPECT_EQ(not_renewed_, tries);
  EXPECT_EQ(renewed_, 0);
}

TEST_F(Renewer, ASuccessAfterFailuresTakesExpiringBack) {
  auto& l = add();
  while (l.life.stage() == lease_stage::held) {
    on_.advance(on_.next_alarm() - on_.now());
    if (!where_.renewals.empty()) refuse(take(), errc::outcome_unknown);
  }
  ASSERT_EQ(l.stage_now(), lease_stage::expiring);
  where_.renew_at_once = true;
  on_.advance(2s);
  EXPECT_EQ(told_[&l], (std::vector{lease_stage::expiring, lease_stage::held}));
  on_.advance(5min);
  EXPECT_TRUE(l.held());
}

TEST_F(Renewer, TheStagesAreToldWhileARenewalHangs) {
  auto& l = add();
  on_.advance(1min);
  EXPECT_EQ(where_.renewals.size(), 1u);
  EXPECT_EQ(told_[&l], (std::vector{lease_stage::expiring, lease_stage::must_stop, lease_stage::lost}));
}

TEST_F(Renewer, AnAnswerThatComesTooLateBringsNothingBack) {
  auto& l = add();
  on_.advance(1min);
  where_.answer_renewal(take());
  on_.settle();
  EXPECT_EQ(l.stage_now(), lease_stage::lost);
  EXPECT_TRUE(l.outlived) << "the engine thinks that it lives";
  on_.advance(5min);
  EXPECT_TRUE(where_.renewals.empty()) << "nobody renews it any more";
}

TEST_F(Renewer, WhatIsDroppedIsNotRenewed) {
  where_.renew_at_once = true;
  auto& gone = add();
  (void)add();
  renewer_.drop(gone);
  on_.advance(10s);
  ASSERT_EQ(where_.renewals.size(), 1u);
  EXPECT_EQ(where_.renewals.front().which.size(), 1u);
  EXPECT_NE(where_.renewals.front().which.front().lock, gone.is.lock);
}

TEST_F(Renewer, AnAnswerForALeaseThatWasGivenBackMeanwhileChangesNothing) {
  auto& l = add();
  on_.advance(10s);
  l.over = true;
  renewer_.drop(l);
  where_.answer_renewal(take());
  on_.settle();
  on_.advance(5min);
  EXPECT_EQ(renewed_, 0);
  EXPECT_TRUE(where_.renewals.empty());
  EXPECT_TRUE(told_.empty());
}

TEST_F(Renewer, ALeaseLivesUntilTheAnswerToItsRenewalIsHere) {
  (void)add();
  on_.advance(10s);
  std::weak_ptr<held_lease> seen = leases_.front();
  renewer_.drop(*leases_.front());
  leases_.front()->over = true;
  leases_.clear();
  EXPECT_FALSE(seen.expired());
  where_.answer_renewal(take());
  on_.settle();
  EXPECT_TRUE(seen.expired());
}

TEST_F(Renewer, ARenewalByTheHoldersWishMovesTheNextOne) {
  auto& l = add();
  on_.advance(9s);
  std::optional<result<void>> out;
  renewer_.renew(leases_.front(), 60s, [&](result<void> r) { out = std::move(r); });
  ASSERT_EQ(where_.renewals.size(), 1u);
  EXPECT_EQ(where_.renewals.front().ttls.front(), 60s);
  where_.answer_renewal(take());
  on_.settle();
  ASSERT_TRUE(out && *out);
  EXPECT_EQ(l.told_valid_until.at(), on_.now() + 60s - 2ms);
  on_.advance(9s);
  EXPECT_TRUE(where_.renewals.empty());
  on_.advance(1s);
  EXPECT_EQ(where_.renewals.size(), 1u);
}

TEST_F(Renewer, ARenewalByTheHoldersWishThatFailsLeavesTheLeaseAsItWas) {
  auto& l = add();
  const auto before = l.told_valid_until.at();
  std::optional<result<void>> out;
  renewer_.renew(leases_.front(), 60s, [&](result<void> r) { out = std::move(r); });
  refuse(take(), errc::engine_unavailable);
  ASSERT_TRUE(out && !*out);
  EXPECT_EQ(out->error().code, errc::engine_unavailable);
  EXPECT_EQ(l.told_valid_until.at(), before);
  EXPECT_EQ(l.stage_now(), lease_stage::held);
}

TEST_F(Renewer, TenThousandLeasesAreAllKeptAndNoneIsRenewedMoreOftenThanNeeded) {
  where_.renew_at_once = true;
  for (int i = 0; i < 10'000; ++i) {
    (void)add();
    on_.advance(1ms);
  }
  on_.advance(1min);
  std::size_t sent = 0;
  for (const auto& r : where_.renewals) sent += r.which.size();
  for (const auto& l : leases_) ASSERT_TRUE(l->held());
  // Each of them once in 10 s, over 60 to 70 s.
  EXPECT_GE(sent, 60'000u);
  EXPECT_LE(sent, 70'000u);
}

TEST_F(Renewer, AThousandThatComeDueAtOnceAreRenewedWithoutDelay) {
  where_.renew_at_once = true;
  for (int i = 0; i < 1'000; ++i) (void)add();
  const auto start = on_.now();
  on_.advance(10s);
  std::size_t sent = 0;
  for (const auto& r : where_.renewals) {
    sent += r.which.size();
    EXPECT_LE(r.at, start + 10s);
  }
  EXPECT_EQ(sent, 1'000u);
  EXPECT_EQ(where_.renewals.size(), 32u);
}

}  // namespace
}  // namespace dislock::library
