// DESIGN 2.2, 2.3, 2.6-2.8, 2.11, 2.13: what a lease is and how it ends.
#include "conformance.hpp"

namespace dislock::testing_engines {
namespace {

class Leases : public Conformance {};
DISLOCK_CONFORMANCE_SUITE(Leases);

TEST_P(Leases, AGrantSetsOwnerEndAndTokenAtOnce) {
  const auto lease = hold("alice", {.ttl = 7s, .metadata = R"({"job":1})"});
  const auto seen = status();
  ASSERT_THAT(seen.holders, SizeIs(1));
  EXPECT_TRUE(seen.locked);
  EXPECT_EQ(seen.holders[0].client, "alice");
  EXPECT_EQ(seen.holders[0].token, lease.token);
  EXPECT_EQ(seen.holders[0].end, lease.end);
  EXPECT_EQ(seen.holders[0].metadata, R"({"job":1})");
  EXPECT_EQ(left(lease.end), 7s);
  EXPECT_FALSE(lease.id.empty());
  EXPECT_FALSE(lease.renewal.empty());
  EXPECT_NE(lease.id.bits, lease.renewal.bits);
}

TEST_P(Leases, TokensRiseWithEveryGrantAndStayBelowTwoToThe53) {
  fencing_token last{};
  for (int i = 0; i < 100; ++i) {
    const auto lease = hold("alice");
    EXPECT_GT(lease.token, last);
    last = lease.token;
    ASSERT_TRUE(release(lease.id));
  }
  EXPECT_LT(to_number(last), fencing_token_limit);
}

TEST_P(Leases, TheTokenOfAWaiterIsMintedAtItsGrant) {
  const auto alice = hold("alice");
  const auto bob = wait_for("r1", "bob");
  const auto elsewhere = hold("carol", on("b"));
  ASSERT_TRUE(release(alice.id));
  EXPECT_GT(granted_to(bob).token, elsewhere.token);
}

TEST_P(Leases, RenewalKeepsTheToken) {
  const auto lease = hold("alice");
  EXPECT_EQ(renew(lease.id)->token, lease.token);
  EXPECT_EQ(status().holders.at(0).token, lease.token);
}

TEST_P(Leases, ReadersShareAndAWriterIsAlone) {
  if (!can(&capabilities::shared)) return;
  hold("alice", shared());
  hold("bob", shared());
  EXPECT_EQ(code(acquire({}, "carol")), errc::lock_not_acquired);
  EXPECT_THAT(holders(), UnorderedElementsAre("alice", "bob"));
  hold("dave", on("b"));
  EXPECT_EQ(code(acquire({}, "erin", shared(on("b")))), errc::lock_not_acquired);
}

TEST_P(Leases, ASemaphoreGivesOutItsPermitsAndNoMore) {
  if (!can(&capabilities::semaphore)) return;
  hold("alice", permits(2, 3));
  EXPECT_EQ(code(acquire({}, "bob", permits(2, 3))), errc::lock_not_acquired);
  const auto carol = hold("carol", permits(1, 3));
  EXPECT_EQ(status().used, 3u);
  EXPECT_EQ(code(acquire({}, "bob", permits(1, 3))), errc::lock_not_acquired);
  ASSERT_TRUE(release(carol.id));
  EXPECT_EQ(status().used, 2u);
}

TEST_P(Leases, AnotherFamilyOrLimitIsAConflictWhileTheLockIsInUse) {
  if (!can(&capabilities::semaphore)) return;
  const auto lease = hold("alice", permits(1, 3));
  const auto refused = acquire({}, "bob");
  EXPECT_EQ(code(refused), errc::lock_mode_conflict);
  EXPECT_EQ(why(refused).mode, lock_mode::semaphore);
  EXPECT_EQ(why(refused).limit, 3u);
  EXPECT_EQ(code(acquire({}, "bob", permits(1, 4, waiting(5s)))), errc::lock_mode_conflict);
  ASSERT_TRUE(release(lease.id));
  EXPECT_TRUE(is_granted(acquire({}, "bob", permits(1, 4))));
}

TEST_P(Leases, AWaiterAloneAlsoMakesAModeConflict) {
  if (!can(&capabilities::semaphore) || !can(&capabilities::multi)) return;
  hold("alice", on("b"));
  wait_for_all("r1", "bob", {on("a"), on("b")});
  EXPECT_FALSE(status("a").locked);
  EXPECT_EQ(code(acquire({}, "carol", permits(1, 2, on("a")))), errc::lock_mode_conflict);
}

TEST_P(Leases, ALeaseEndsAtItsInstantAndNotBefore) {
  const auto alice = hold("alice");
  pass(10s - 1us);
  EXPECT_TRUE(validate(alice.token).current);
  EXPECT_EQ(code(acquire({}, "bob")), errc::lock_not_acquired);
  pass(1us);
  EXPECT_FALSE(status().locked);
  EXPECT_EQ(code(renew(alice.id)), errc::lock_not_held);
  EXPECT_EQ(code(release(alice.id)), errc::lock_not_held);
  EXPECT_GT(hold("bob").token, alice.token);
}

TEST_P(Leases, ARenewalMovesTheEndAndNeverBack) {
  const auto lease = hold("alice");
  pass(4s);
  EXPECT_EQ(left(renew(lease.id)->end), 10s);
  EXPECT_EQ(left(renew(lease.id, 2s)->end), 10s) << "a shorter one does not shorten";
  EXPECT_EQ(left(renew(lease.id, 30s)->end), 30s);
  pass(29s);
  EXPECT_TRUE(status().locked);
}

TEST_P(Leases, TheRenewalTokenRenewsAndDoesNothingElse) {
  const auto lease = hold("alice");
  pass(4s);
  EXPECT_EQ(left(renew({lock_name("a"), {}, lease.renewal})->end), 10s);
  EXPECT_EQ(code(release(lock_id{lease.renewal.bits})), errc::lock_not_held);
  EXPECT_TRUE(status().locked);
}

TEST_P(Leases, AWrongSecretLockOrClientIsNotHeldAndChangesNothing) {
  const auto lease = hold("alice");
  auto wrong = lease.id;
  wrong.bits[1] ^= 1;
  EXPECT_EQ(code(renew(wrong, 60s)), errc::lock_not_held);
  EXPECT_EQ(code(release(wrong)), errc::lock_not_held);
  EXPECT_EQ(code(renew({lock_name("b"), lease.id, {}}, 60s)), errc::lock_not_held);
  EXPECT_EQ(code(release(lease.id, "b")), errc::lock_not_held);
  EXPECT_EQ(code(renew({lock_name("a"), lease.id, {}}, 60s, {}, "bob")), errc::lock_not_held);
  EXPECT_EQ(code(release(lease.id, "a", {}, "bob")), errc::lock_not_held);
  EXPECT_EQ(left(status().holders.at(0).end), 10s);
  EXPECT_TRUE(release(lease.id, "a", {}, "alice"));
}

TEST_P(Leases, AfterTheLossNothingTouchesTheNextOwner) {
  const auto alice = hold("alice");
  pass(10s);
  const auto bob = hold("bob");
  EXPECT_EQ(code(renew(alice.id, 60s)), errc::lock_not_held);
  EXPECT_EQ(code(renew({lock_name("a"), {}, alice.renewal}, 60s)), errc::lock_not_held);
  EXPECT_EQ(code(release(alice.id)), errc::lock_not_held);
  EXPECT_TRUE(validate(bob.token).current);
  EXPECT_EQ(left(status().holders.at(0).end), 10s);
}

TEST_P(Leases, AReentryIsTheSameLeaseHeldOnceMore) {
  const auto lease = hold("alice", {}, "r1");
  pass(6s);
  const auto again = acquire("r2", "alice", {.reentry = lease.id});
  ASSERT_TRUE(is_granted(again));
  EXPECT_EQ(lease_of(again).id, lease.id);
  EXPECT_EQ(lease_of(again).token, lease.token);
  EXPECT_EQ(lease_of(again).hold_count, 2u);
  EXPECT_EQ(left(lease_of(again).end), 10s);
  EXPECT_EQ(lease_of(acquire("r2", "alice", {.reentry = lease.id})).hold_count, 2u)
      << "a repeat is no third hold";

  const auto first = release(lease.id);
  EXPECT_FALSE(first->ended);
  EXPECT_EQ(first->hold_count, 1u);
  EXPECT_TRUE(status().locked);
  EXPECT_TRUE(release(lease.id)->ended);
  EXPECT_FALSE(status().locked);
}

TEST_P(Leases, AReentryIntoALostLeaseOrWithAnotherModeIsRefused) {
  const auto lease = hold("alice");
  if (can(&capabilities::shared)) {
    EXPECT_EQ(code(acquire("r1", "alice", shared({.reentry = lease.id}))), errc::lock_mode_conflict);
  }
  EXPECT_EQ(code(acquire("r2", "bob", {.reentry = lease.id})), errc::lock_not_held);
  pass(10s);
  EXPECT_EQ(code(acquire("r3", "alice", {.reentry = lease.id})), errc::lock_not_held);
}

TEST_P(Leases, MaxHoldEndsWhatIsRenewedForEver) {
  const auto lease = hold("alice", {.max_hold = 25s});
  pass(9s);
  EXPECT_EQ(left(renew(lease.id)->end), 10s);
  pass(9s);
  EXPECT_EQ(left(renew(lease.id)->end), 7s) << "capped";
  pass(7s - 1us);
  EXPECT_TRUE(status().locked);
  pass(1us);
  EXPECT_FALSE(status().locked);
}

TEST_P(Leases, AnAutoRenewedLeaseIsListedWithItsProofUntilItEnds) {
  const auto lease = hold("alice", {.max_hold = 60s, .auto_renew = true});
  hold("bob", on("b"));
  EXPECT_EQ(left(lease.renewed_until.value()), 60s);

  const auto listed = [&] {
    std::vector<lock_id> out;
    host_->engine().for_each_auto_renewed([&](const lease_proof& proof, duration ttl, instant end) {
      EXPECT_EQ(proof.name.view(), "a");
      EXPECT_EQ(ttl, 10s);
      EXPECT_EQ(end, lease.end);
      out.push_back(proof.id);
    });
    return out;
  };
  EXPECT_THAT(listed(), ElementsAre(lease.id));
  ASSERT_TRUE(release(lease.id));
  EXPECT_THAT(listed(), IsEmpty());
}

TEST_P(Leases, LockDelayClosesTheLockAfterAnExpiry) {
  if (!can(&capabilities::lock_delay)) return;
  hold("alice", {.lock_delay = 3s});
  pass(10s);
  EXPECT_FALSE(status().locked);
  EXPECT_EQ(left(status().closed_until.value()), 3s);
  EXPECT_EQ(code(acquire({}, "bob")), errc::lock_not_acquired);
  const auto carol = wait_for("r1", "carol");
  pass(3s - 1us);
  EXPECT_TRUE(still_waits(carol));
  pass(1us);
  EXPECT_EQ(granted_to(carol).hold_count, 1u);
}

TEST_P(Leases, LockDelayFollowsForceButNeitherReleaseNorCancel) {
  if (!can(&capabilities::lock_delay)) return;
  const wish delayed{.lock_delay = 3s};
  ASSERT_TRUE(release(hold("alice", delayed).id));
  hold("alice", delayed, "r1");
  ASSERT_TRUE(cancel("r1", "alice")->done);
  hold("alice", delayed);
  ASSERT_TRUE(force());
  EXPECT_EQ(code(acquire({}, "bob")), errc::lock_not_acquired);
  pass(3s);
  EXPECT_TRUE(is_granted(acquire({}, "bob")));
}

TEST_P(Leases, LockDelayDoesNotFollowAnUndeliveredGrant) {
  if (!can(&capabilities::lock_delay)) return;
  undelivered(hold("alice", {.lock_delay = 3s}));
  EXPECT_TRUE(is_granted(acquire({}, "bob")));
}

TEST_P(Leases, ForceEndsTheLeaseWithTheTokenOrAll) {
  if (!can(&capabilities::shared)) return;
  const auto alice = hold("alice", shared());
  const auto bob = hold("bob", shared());
  const auto carol = hold("carol", shared());
  EXPECT_THAT(force("a", fencing_token{1})->tokens, IsEmpty());
  EXPECT_THAT(force("a", bob.token)->tokens, ElementsAre(bob.token));
  EXPECT_THAT(holders(), UnorderedElementsAre("alice", "carol"));
  EXPECT_THAT(force()->tokens, UnorderedElementsAre(alice.token, carol.token));
  EXPECT_THAT(force()->tokens, IsEmpty());
  EXPECT_EQ(code(renew(alice.id)), errc::lock_not_held);
}

TEST_P(Leases, NothingIsLeftBehind) {
  const bool sessions_too = host_->engine().about().sessions;
  const auto alice = hold("alice", {}, "r1");
  const auto bob = wait_for("r2", "bob", {.wait = 5s});
  ASSERT_EQ(code(acquire("r3", "carol")), errc::lock_not_acquired);
  ASSERT_TRUE(cancel("r4", "dave")->done);
  hold("erin", {.lock = "b",
                .ttl = 20s,
                .lock_delay = host_->engine().about().lock_delay ? duration(5s) : duration()});
  if (sessions_too) hold("frank", {.lock = "c", .session = open("frank", 20s, "r5")->id}, "r6");
  EXPECT_FALSE(is_empty());
  ASSERT_TRUE(release(alice.id, "a", "r7"));
  EXPECT_EQ(granted_to(bob).hold_count, 1u);

  pass(20s + 5s + 30s);
  EXPECT_TRUE(is_empty());
  EXPECT_THAT(listed({}, 100), IsEmpty());
}

}  // namespace
}  // namespace dislock::testing_engines
