// Taking, keeping and giving back one exclusive lock.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableAcquire : public LockTable {};

TEST_F(LockTableAcquire, GrantsAFreeLockAtOnceUntilNowPlusItsTtl) {
  const auto lease = hold("alice", {.ttl = 10s});

  EXPECT_EQ(lease.end, now_ + 10s);
  EXPECT_EQ(lease.hold_count, 1u);
  EXPECT_FALSE(lease.provisional);
  EXPECT_FALSE(lease.id.empty());
  EXPECT_NE(lease.id.bits, lease.renewal.bits);
  EXPECT_THAT(holders(), ElementsAre("alice"));
}

TEST_F(LockTableAcquire, RefusesASecondOwnerAndSaysWhoHoldsItSinceWhenAndUntilWhen) {
  const auto first = hold("alice", {.metadata = R"({"job":1})"});
  now_ += 1s;

  const auto second = acquire("", "bob");

  ASSERT_EQ(code(second), errc::lock_not_acquired);
  EXPECT_EQ(why(second).lock, "a");
  EXPECT_EQ(why(second).holder_count, 1u);
  ASSERT_EQ(why(second).holders.size(), 1u);
  const auto& holder = why(second).holders[0];
  EXPECT_EQ(holder.client, "alice");
  EXPECT_EQ(holder.acquired_at, now_ - 1s);
  EXPECT_EQ(holder.end, first.end);
  EXPECT_EQ(holder.metadata, R"({"job":1})");
}

TEST_F(LockTableAcquire, NamesAtMostTenHoldersAndCountsTheRest) {
  for (int i = 0; i < 12; ++i) hold("reader" + std::to_string(i), shared());

  const auto refused = acquire("", "writer");

  EXPECT_EQ(why(refused).holders.size(), 10u);
  EXPECT_EQ(why(refused).holder_count, 12u);
}

TEST_F(LockTableAcquire, IsStillHeldOneMicrosecondBeforeItsEnd) {
  hold("alice");
  now_ += 10s - 1us;

  EXPECT_EQ(code(acquire("", "bob")), errc::lock_not_acquired);
}

TEST_F(LockTableAcquire, GrantsAtTheInstantOfExpiryWithALargerToken) {
  const auto first = hold("alice");
  now_ += 10s;  // exactly the ttl: the boundary belongs to the next owner

  const auto second = hold("bob");

  EXPECT_GT(second.token, first.token);
  EXPECT_EQ(happened(event_type::expired), 1u);
}

TEST_F(LockTableAcquire, MintsTokensThatAreTimesButRiseAlsoWithinAnInstant) {
  const auto a = hold("alice", {.lock = "a"});
  const auto b = hold("alice", {.lock = "b"});

  EXPECT_EQ(to_number(a.token), static_cast<std::uint64_t>(microseconds_since_1970(now_)));
  EXPECT_EQ(to_number(b.token), to_number(a.token) + 1);
  EXPECT_LT(to_number(b.token), fencing_token_limit);
}

TEST_F(LockTableAcquire, KeepsLocksOfOtherNamesApart) {
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});

  EXPECT_THAT(holders("a"), ElementsAre("alice"));
  EXPECT_THAT(holders("b"), ElementsAre("bob"));
}

TEST_F(LockTableAcquire, ReleaseEndsTheLeaseAndFreesTheLock) {
  const auto lease = hold("alice");

  const auto out = release(lease.id);

  ASSERT_TRUE(out);
  EXPECT_TRUE(out->ended);
  EXPECT_EQ(out->hold_count, 0u);
  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableAcquire, ReleaseOfASecretThatNobodyHasIsRefused) {
  hold("alice");

  EXPECT_EQ(code(release(lock_id{{1, 2}})), errc::lock_not_held);
  EXPECT_EQ(code(release(lock_id{})), errc::lock_not_held);
  EXPECT_THAT(holders(), ElementsAre("alice"));
}

TEST_F(LockTableAcquire, ReleaseUnderAnotherLocksNameIsRefused) {
  const auto lease = hold("alice");

  EXPECT_EQ(code(release(lease.id, "b")), errc::lock_not_held);
  EXPECT_TRUE(status().locked);
}

TEST_F(LockTableAcquire, ReleaseByAWrongClientIsRefusedAndNoClientIsFine) {
  const auto lease = hold("alice");

  EXPECT_EQ(code(release(lease.id, "a", "", "bob")), errc::lock_not_held);
  EXPECT_TRUE(release(lease.id));
}

TEST_F(LockTableAcquire, ReleaseAfterTheEndChangesNothingForTheNextOwner) {
  const auto old = hold("alice");
  now_ += 10s;
  hold("bob");

  EXPECT_EQ(code(release(old.id)), errc::lock_not_held);
  EXPECT_EQ(code(renew(old.id)), errc::lock_not_held);
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_F(LockTableAcquire, ReleaseDoesNotTakeTheRenewalToken) {
  const auto lease = hold("alice");

  EXPECT_EQ(code(release(lock_id{lease.renewal.bits})), errc::lock_not_held);
  EXPECT_TRUE(status().locked);
}

TEST_F(LockTableAcquire, RenewalCountsFromNowAndKeepsTheToken) {
  const auto lease = hold("alice");
  now_ += 4s;

  const auto out = renew(lease.id);

  ASSERT_TRUE(out);
  EXPECT_EQ(out->end, now_ + 10s);
  EXPECT_EQ(out->token, lease.token);
}

TEST_F(LockTableAcquire, RenewalNeverShortens) {
  const auto lease = hold("alice", {.ttl = 30s});

  const auto out = renew(lease.id, 1s);

  EXPECT_EQ(out->end, lease.end);
  EXPECT_EQ(status().holders[0].end, lease.end);
}

TEST_F(LockTableAcquire, RenewalTakesTheRenewalTokenWithoutAClient) {
  const auto lease = hold("alice");
  now_ += 1s;

  EXPECT_TRUE(renew({lock_name("a"), {}, lease.renewal}));
  EXPECT_EQ(code(renew({lock_name("b"), {}, lease.renewal})), errc::lock_not_held);
  EXPECT_EQ(code(renew({lock_name("a"), {}, lease.renewal}, {}, "", "bob")), errc::lock_not_held);
  EXPECT_EQ(code(renew({lock_name("a"), {}, {}})), errc::lock_not_held);
}

TEST_F(LockTableAcquire, RenewalAtTheEndIsTooLate) {
  const auto lease = hold("alice");
  now_ = lease.end;

  EXPECT_EQ(code(renew(lease.id)), errc::lock_not_held);
}

TEST_F(LockTableAcquire, RenewalWithoutATimeoutRepeatsTheLastOneAskedFor) {
  const auto lease = hold("alice", {.ttl = 10s});
  now_ += 5s;
  ASSERT_EQ(renew(lease.id, 20s)->end, now_ + 20s);
  now_ += 5s;

  EXPECT_EQ(renew(lease.id)->end, now_ + 20s);
}

TEST_F(LockTableAcquire, MaxHoldCapsTheGrantAndEveryRenewal) {
  const auto lease = hold("alice", {.ttl = 10s, .max_hold = 15s});
  const auto until = now_ + 15s;
  EXPECT_EQ(hold("bob", {.lock = "b", .ttl = 10s, .max_hold = 4s}).end, now_ + 4s);
  now_ += 8s;

  EXPECT_EQ(renew(lease.id)->end, until);

  now_ = until;
  EXPECT_EQ(code(renew(lease.id)), errc::lock_not_held);
  EXPECT_TRUE(is_granted(acquire("", "bob")));
}

TEST_F(LockTableAcquire, AnEndByMaxHoldSaysSo) {
  hold("alice", {.ttl = 10s, .max_hold = 4s}, "r1");
  pass(4s);

  EXPECT_EQ(seen_.events.back().reason, "max_hold");
  EXPECT_EQ(why(acquire("r1", "alice", {.ttl = 10s, .max_hold = 4s})).ended, end_reason::max_hold);
}

TEST_F(LockTableAcquire, AnEndByTtlSaysSoEvenWhenItIsNoticedAfterTheLongestHold) {
  hold("alice", {.ttl = 3s, .max_hold = 4s});
  pass(10s);

  EXPECT_EQ(seen_.events.back().reason, "expired");
  EXPECT_EQ(seen_.events.back().took, 3s);
}

TEST_F(LockTableAcquire, AutoRenewIsAFieldOfTheLeaseWithAKnownLastInstant) {
  const auto lease = hold("alice", {.max_hold = 5min, .auto_renew = true});
  hold("bob", {.lock = "b"});

  EXPECT_EQ(lease.renewed_until, now_ + 5min);
  std::vector<std::string> names;
  table_->for_each_auto_renewed([&](const lease_proof& p, duration ttl, instant end) {
    names.emplace_back(p.name.view());
    EXPECT_EQ(p.id, lease.id);
    EXPECT_EQ(ttl, 10s);
    EXPECT_EQ(end, lease.end);
  });
  EXPECT_THAT(names, ElementsAre("a"));
}

TEST_F(LockTableAcquire, ReentryHoldsTheSameLeaseOnceMore) {
  const auto lease = hold("alice");
  now_ += 4s;

  const auto again = lease_of(acquire("r1", "alice", {.reentry = lease.id}));

  EXPECT_EQ(again.id, lease.id);
  EXPECT_EQ(again.token, lease.token);
  EXPECT_EQ(again.hold_count, 2u);
  EXPECT_EQ(again.end, now_ + 10s);
}

TEST_F(LockTableAcquire, ReentryNeverShortens) {
  const auto lease = hold("alice", {.ttl = 30s});

  EXPECT_EQ(lease_of(acquire("r1", "alice", {.ttl = 1s, .reentry = lease.id})).end, lease.end);
}

TEST_F(LockTableAcquire, AReenteredLeaseEndsWithItsLastRelease) {
  const auto lease = hold("alice");
  (void)acquire("r1", "alice", {.reentry = lease.id});

  const auto first = release(lease.id);
  EXPECT_FALSE(first->ended);
  EXPECT_EQ(first->hold_count, 1u);
  EXPECT_TRUE(status().locked);

  EXPECT_TRUE(release(lease.id)->ended);
  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableAcquire, ReentryOvertakesWaitersBecauseItNeedsNoNewGrant) {
  const auto lease = hold("alice");
  wait_for("r1", "bob");

  EXPECT_TRUE(is_granted(acquire("r2", "alice", {.reentry = lease.id})));
  EXPECT_THAT(waiters(), ElementsAre("bob"));
}

TEST_F(LockTableAcquire, ReentryOfALeaseThatIsOverOrOfAnotherClientIsRefused) {
  const auto lease = hold("alice");

  EXPECT_EQ(code(acquire("r1", "bob", {.reentry = lease.id})), errc::lock_not_held);
  EXPECT_EQ(code(acquire("r2", "alice", {.lock = "b", .reentry = lease.id})), errc::lock_not_held);
  now_ += 10s;
  EXPECT_EQ(code(acquire("r3", "alice", {.reentry = lease.id})), errc::lock_not_held);
}

TEST_F(LockTableAcquire, ReentryInAnotherModeIsAConflict) {
  const auto lease = hold("alice");

  const auto out = acquire("r1", "alice", shared({.reentry = lease.id}));

  EXPECT_EQ(code(out), errc::lock_mode_conflict);
  EXPECT_EQ(why(out).mode, lock_mode::exclusive);
  EXPECT_EQ(status().holders[0].hold_count, 1u);
}

TEST_F(LockTableAcquire, LockDelayClosesTheLockAfterAnExpiryButNotAfterARelease) {
  const auto lease = hold("alice", {.lock_delay = 5s});
  ASSERT_TRUE(release(lease.id));
  hold("alice", {.lock_delay = 5s});
  const auto bob = wait_for("", "bob");

  pass(10s);
  EXPECT_THAT(holders(), IsEmpty());
  EXPECT_EQ(status().closed_until, now_ + 5s);
  EXPECT_THAT(waiters(), ElementsAre("bob"));
  EXPECT_EQ(code(acquire("", "carol")), errc::lock_not_acquired);

  pass(5s);
  EXPECT_EQ(granted_to(bob).end, now_ + 10s);
}

TEST_F(LockTableAcquire, LockDelayCountsFromTheEndNotFromWhenItWasNoticed) {
  hold("alice", {.lock_delay = 5s});
  now_ += 13s;

  EXPECT_EQ(code(acquire("", "bob")), errc::lock_not_acquired);
  now_ += 2s;
  EXPECT_TRUE(is_granted(acquire("", "bob")));
}

TEST_F(LockTableAcquire, LockDelayFollowsForceMaxHoldAndSessionExpiry) {
  hold("alice", {.lock = "forced", .lock_delay = 5s});
  ASSERT_TRUE(force("forced"));
  EXPECT_TRUE(status("forced").closed_until);

  hold("alice", {.lock = "max", .lock_delay = 5s, .max_hold = 1s});
  hold("alice", {.lock = "session", .lock_delay = 5s, .session = open("alice", 1s).id});
  pass(1s);
  EXPECT_TRUE(status("max").closed_until);
  EXPECT_TRUE(status("session").closed_until);
}

TEST_F(LockTableAcquire, LockDelayDoesNotFollowCancelUndeliveredOrSessionClose) {
  hold("alice", {.lock = "cancelled", .lock_delay = 5s}, "r1");
  ASSERT_TRUE(cancel("r1", "alice", "cancelled"));
  table_->undelivered(now_, hold("alice", {.lock = "undelivered", .lock_delay = 5s}).id);
  const auto session = open("alice");
  hold("alice", {.lock = "closed", .lock_delay = 5s, .session = session.id});
  ASSERT_TRUE(close(session.id));

  for (const auto* name : {"cancelled", "undelivered", "closed"}) {
    EXPECT_FALSE(status(name).closed_until) << name;
    EXPECT_TRUE(is_granted(acquire("", "bob", {.lock = name}))) << name;
  }
}

TEST_F(LockTableAcquire, ForceReleaseEndsTheLeaseWithTheTokenOnly) {
  const auto one = hold("alice", shared());
  const auto two = hold("bob", shared());

  const auto out = force("a", one.token);

  ASSERT_TRUE(out);
  EXPECT_THAT(out->tokens, ElementsAre(one.token));
  EXPECT_THAT(holders(), ElementsAre("bob"));
  EXPECT_THAT(force("a", one.token)->tokens, IsEmpty()) << "there is nothing left to end";
  EXPECT_EQ(seen_.events.back().reason, "test");
  EXPECT_TRUE(renew(two.id));
}

TEST_F(LockTableAcquire, ForceReleaseWithoutATokenEndsEveryLeaseAndLeavesTheWaiters) {
  hold("alice", shared());
  hold("bob", shared());
  const auto carol = wait_for("", "carol");
  wait_for("", "dave");

  EXPECT_EQ(force()->tokens.size(), 2u);

  EXPECT_TRUE(is_granted(*told(carol)));
  EXPECT_THAT(holders(), ElementsAre("carol"));
  EXPECT_THAT(waiters(), ElementsAre("dave"));
}

TEST_F(LockTableAcquire, ForceReleaseOfAnIdleLockEndsNothing) {
  const auto out = force();

  ASSERT_TRUE(out);
  EXPECT_THAT(out->tokens, IsEmpty());
  EXPECT_TRUE(is_empty());
}

TEST_F(LockTableAcquire, ValidateKnowsOnlyTheTokenOfALiveLease) {
  const auto first = hold("alice");
  EXPECT_TRUE(table_->validate(now_, lock_name("a"), first.token).current);
  EXPECT_FALSE(table_->validate(now_, lock_name("b"), first.token).current);
  now_ += 10s;
  EXPECT_FALSE(table_->validate(now_, lock_name("a"), first.token).current)
      << "over, even if nobody has noticed";
  const auto second = hold("bob");

  const auto old = table_->validate(now_, lock_name("a"), first.token);
  EXPECT_FALSE(old.current);
  EXPECT_EQ(old.latest, second.token);
}

TEST_F(LockTableAcquire, ValidateOfAnIdleLockKnowsNoLatestToken) {
  const auto lease = hold("alice", {}, "r1");  // remembered, so that the name lives on
  ASSERT_TRUE(release(lease.id));

  EXPECT_EQ(table_->validate(now_, lock_name("a"), lease.token).latest, std::nullopt);
}

TEST_F(LockTableAcquire, AnUndeliveredGrantWithoutAnIdIsTakenBackAtOnce) {
  const auto lease = hold("alice");
  const auto bob = wait_for("", "bob");

  table_->undelivered(now_, lease.id);

  EXPECT_TRUE(is_granted(*told(bob)));
  EXPECT_EQ(happened(event_type::undelivered), 1u);
}

TEST_F(LockTableAcquire, AnUndeliveredGrantWithAnIdWaitsForItsClientForTheGrace) {
  const auto lease = hold("alice", {.ttl = 60s}, "r1");
  table_->undelivered(now_, lease.id);
  EXPECT_EQ(status().holders[0].end, now_ + options_.waiter_grace);
  now_ += 4s;

  const auto again = lease_of(acquire("r1", "alice", {.ttl = 60s}));

  EXPECT_EQ(again.id, lease.id);
  EXPECT_EQ(again.end, now_ + 60s) << "its ttl starts at the claim";
}

TEST_F(LockTableAcquire, AnUndeliveredGrantThatNobodyClaimsGoesOnAfterTheGrace) {
  const auto lease = hold("alice", {.ttl = 60s}, "r1");
  const auto bob = wait_for("", "bob");
  table_->undelivered(now_, lease.id);

  pass(5s - 1us);
  EXPECT_FALSE(told(bob));
  pass(1us);
  EXPECT_TRUE(is_granted(*told(bob)));
  EXPECT_EQ(why(acquire("r1", "alice", {.ttl = 60s})).ended, end_reason::undelivered);
}

TEST_F(LockTableAcquire, UndeliveredNeverProlongsALease) {
  const auto lease = hold("alice", {.ttl = 1s}, "r1");

  table_->undelivered(now_, lease.id);

  EXPECT_EQ(status().holders[0].end, lease.end);
}

TEST_F(LockTableAcquire, WhoShowsTheSecretHasReceivedTheGrant) {
  const auto lease = hold("alice", {}, "r1");
  table_->undelivered(now_, lease.id);
  now_ += 1s;

  EXPECT_EQ(renew(lease.id)->end, now_ + 10s);
}

TEST_F(LockTableAcquire, ALostReplyMeansNothingOnceItsOwnerWasToldAgain) {
  const auto first = hold("alice", {}, "r1");
  const auto again = lease_of(acquire("r1", "alice"));

  table_->undelivered(now_, first.id, first.told);
  EXPECT_EQ(status().holders[0].end, first.end);

  table_->undelivered(now_, first.id, again.told);
  EXPECT_EQ(status().holders[0].end, now_ + 5s);
}

TEST_F(LockTableAcquire, ALostReplyMeansNothingOnceItsOwnerHasRenewed) {
  const auto lease = hold("alice", {}, "r1");
  ASSERT_TRUE(renew(lease.id));

  table_->undelivered(now_, lease.id, lease.told);

  EXPECT_EQ(status().holders[0].end, lease.end);
}

TEST_F(LockTableAcquire, ARenewalByTheServiceClaimsNothing) {
  const auto lease = hold("alice", {.max_hold = 5min, .auto_renew = true}, "r1");
  table_->undelivered(now_, lease.id);
  const lease_proof proof{lock_name("a"), lease.id, {}};

  const auto out = table_->renew(now_, {{}, {}, {&proof, 1}, false, {}, true});

  EXPECT_EQ(code(out), errc::lock_not_held);
  EXPECT_EQ(status().holders[0].end, now_ + 5s);
}

TEST_F(LockTableAcquire, ALateOwnerLearnsHowItsLeaseEnded) {
  const auto expired = hold("alice");
  now_ += 10s;
  EXPECT_EQ(renew(expired.id).error().ended, end_reason::expired);
  const auto ended = hold("alice");
  ASSERT_TRUE(force());

  EXPECT_EQ(release(ended.id).error().ended, end_reason::forced);
  EXPECT_EQ(renew({lock_name("a"), {}, ended.renewal}).error().ended, end_reason::forced);
  EXPECT_EQ(release(lock_id{{1, 4711}}).error().ended, std::nullopt);
}

TEST_F(LockTableAcquire, ListingIsStableWhileLocksComeAndGo) {
  std::vector<grant> leases;
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) names.push_back("n" + std::to_string(i));
  for (const auto& name : names) leases.push_back(hold("alice", {.lock = name}));
  std::vector<std::string> seen;
  std::optional<std::uint64_t> cursor = 0;
  for (int turn = 0; cursor; ++turn) {
    const auto page = table_->list(now_, {}, *cursor, 3);
    for (const auto& v : page.items) seen.push_back(v.name);
    cursor = page.next;
    const auto gone = static_cast<std::size_t>(turn);
    if (gone < 4) {
      ASSERT_TRUE(release(leases[gone].id, names[gone]));
    }
    hold("bob", {.lock = std::string("extra") + std::to_string(turn)});
  }

  for (std::size_t i = 4; i < names.size(); ++i)
    EXPECT_EQ(std::count(seen.begin(), seen.end(), names[i]), 1) << names[i] << " was there all the time";
}

TEST_F(LockTableAcquire, ListingFiltersByPrefixAndByHolderOrWaiter) {
  hold("alice", {.lock = "jobs/1"});
  hold("bob", {.lock = "jobs/2"});
  hold("bob", {.lock = "other"});
  wait_for("", "carol", {.lock = "jobs/2"});
  const auto names = [&](lock_filter f) {
    std::vector<std::string> out;
    for (const auto& v : table_->list(now_, f, 0, 100).items) out.push_back(v.name);
    return out;
  };

  EXPECT_THAT(names({"jobs/", ""}), testing::UnorderedElementsAre("jobs/1", "jobs/2"));
  EXPECT_THAT(names({"", "bob"}), testing::UnorderedElementsAre("jobs/2", "other"));
  EXPECT_THAT(names({"jobs/", "carol"}), ElementsAre("jobs/2"));
  EXPECT_THAT(names({"x", ""}), IsEmpty());
}

TEST_F(LockTableAcquire, ListingDoesNotShowLocksThatOnlyTheRequestMemoryKnows) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id));

  EXPECT_THAT(table_->list(now_, {}, 0, 100).items, IsEmpty());
  EXPECT_EQ(table_->counts().active_locks, 0u);
}

TEST_F(LockTableAcquire, AnIdleTableIsEmpty) {
  const auto lease = hold("alice", {.lock_delay = 1s}, "r1");
  (void)acquire("r2", "alice", {.reentry = lease.id});
  wait_for("r3", "bob");
  (void)acquire("r4", "carol");
  const auto session = open("dave", 10s, "r5");
  hold("dave", {.lock = "b", .session = session.id});
  (void)cancel("r6", "erin");
  ASSERT_FALSE(is_empty());

  let_everything_end();

  EXPECT_TRUE(is_empty());
  EXPECT_THAT(what_is_kept(), IsEmpty());
}

}  // namespace
}  // namespace dislock::core
