// Request ids: one effect and one outcome per id, however often it is repeated, and its cancellation.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableMemory : public LockTable {};

TEST_F(LockTableMemory, ARepeatedAcquireGetsTheSameLeaseWithTheTtlThatRemains) {
  const auto first = hold("alice", {}, "r1");
  now_ += 4s;

  const auto second = acquire("r1", "alice");

  EXPECT_EQ(lease_of(second).id, first.id);
  EXPECT_EQ(lease_of(second).renewal, first.renewal);
  EXPECT_EQ(lease_of(second).token, first.token);
  EXPECT_EQ(lease_of(second).end, first.end) << "a repeat does not renew";
  EXPECT_EQ(lease_of(second).hold_count, 1u);
  EXPECT_TRUE(std::get<granted>(second).repeated);
  EXPECT_EQ(table_->counts().leases, 1u);
}

TEST_F(LockTableMemory, ARepeatAfterTheEndSaysHowTheLeaseEnded) {
  ASSERT_TRUE(release(hold("alice", {.lock = "released"}, "r1").id, "released"));
  hold("alice", {.lock = "forced"}, "r1");
  ASSERT_TRUE(force("forced"));
  hold("alice", {.lock = "expired"}, "r1");
  now_ += 10s;

  EXPECT_EQ(why(acquire("r1", "alice", {.lock = "released"})).ended, end_reason::released);
  EXPECT_EQ(why(acquire("r1", "alice", {.lock = "forced"})).ended, end_reason::forced);
  EXPECT_EQ(why(acquire("r1", "alice", {.lock = "expired"})).ended, end_reason::expired);
  EXPECT_EQ(code(acquire("r1", "alice", {.lock = "expired"})), errc::lock_not_held);
}

TEST_F(LockTableMemory, ARepeatAfterAWaitGetsTheGrantAndTheTimeWaited) {
  const auto lease = hold("alice");
  const auto bob = wait_for("r1", "bob");
  now_ += 3s;
  ASSERT_TRUE(release(lease.id));

  const auto again = acquire("r1", "bob", {.wait = 60s});

  EXPECT_EQ(lease_of(again).id, granted_to(bob).id);
  EXPECT_EQ(std::get<granted>(again).waited, 3s);
}

TEST_F(LockTableMemory, ACallWithoutAnIdIsNotRemembered) {
  ASSERT_TRUE(release(hold("alice").id));

  EXPECT_EQ(table_->counts().remembered, 0u);
  EXPECT_TRUE(is_empty());
}

TEST_F(LockTableMemory, AnIdBelongsToALockAndAClient) {
  hold("alice", {.lock = "a"}, "r1");

  EXPECT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  EXPECT_TRUE(is_granted(acquire("r1", "alice", {.lock = "b"})));
  EXPECT_TRUE(is_granted(acquire_all("r1", "alice", {"c"}))) << "the multi form has ids of its own";
}

TEST_F(LockTableMemory, AnIdWithAnotherBodyIsRefusedWithoutEffect) {
  const auto lease = hold("alice", {.metadata = "{}"}, "r1");
  const auto reused = [&](wish w) { return code(acquire("r1", "alice", w)); };

  EXPECT_EQ(reused({.ttl = 11s, .metadata = "{}"}), errc::request_id_reused);
  EXPECT_EQ(reused(shared({.metadata = "{}"})), errc::request_id_reused);
  EXPECT_EQ(reused({}), errc::request_id_reused);
  EXPECT_EQ(reused({.lock_delay = 1s, .metadata = "{}"}), errc::request_id_reused);
  EXPECT_EQ(reused({.max_hold = 1s, .metadata = "{}"}), errc::request_id_reused);
  EXPECT_EQ(reused({.auto_renew = true, .metadata = "{}"}), errc::request_id_reused);
  EXPECT_EQ(reused({.reentry = lease.id, .metadata = "{}"}), errc::request_id_reused);
  EXPECT_EQ(reused({.metadata = "{}"}), std::nullopt) << "the lease is untouched";
}

TEST_F(LockTableMemory, PatienceIsNotPartOfTheBody) {
  hold("alice");
  const auto bob = wait_for("r1", "bob", {.wait = 30s});

  EXPECT_EQ(wait_for("r1", "bob", {.wait = 10s}).id, bob.id);
}

TEST_F(LockTableMemory, AnIdOfOneVerbIsNotAnIdOfAnother) {
  const auto lease = hold("alice", {}, "r1");

  EXPECT_EQ(code(release(lease.id, "a", "r1", "alice")), errc::request_id_reused);
  EXPECT_EQ(code(renew({lock_name("a"), lease.id, {}}, {}, "r1", "alice")), errc::request_id_reused);
  EXPECT_TRUE(status().locked);
}

TEST_F(LockTableMemory, ARefusalIsRememberedAndToldWithTheHoldersOfNow) {
  const auto lease = hold("alice");
  ASSERT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  ASSERT_TRUE(release(lease.id));
  hold("carol");

  const auto again = acquire("r1", "bob");

  EXPECT_EQ(code(again), errc::lock_not_acquired);
  EXPECT_EQ(why(again).holders.at(0).client, "carol");
}

TEST_F(LockTableMemory, ARefusalStaysARefusalThoughTheLockIsFreeAgain) {
  const auto lease = hold("alice");
  ASSERT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  ASSERT_TRUE(release(lease.id));

  EXPECT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  EXPECT_TRUE(is_granted(acquire("r2", "bob")));
}

TEST_F(LockTableMemory, EveryKindOfRefusedAcquireIsRemembered) {
  hold("alice");
  ASSERT_EQ(code(acquire("mode", "bob", permits(1, 2))), errc::lock_mode_conflict);
  ASSERT_EQ(code(acquire("session", "bob", {.lock = "b", .session = session_id{{1, 2}}})),
            errc::session_not_found);
  ASSERT_EQ(code(acquire("reentry", "bob", {.reentry = lock_id{{1, 2}}})), errc::lock_not_held);
  ASSERT_TRUE(force());

  EXPECT_EQ(code(acquire("mode", "bob", permits(1, 2))), errc::lock_mode_conflict);
  EXPECT_EQ(code(acquire("session", "bob", {.lock = "b", .session = session_id{{1, 2}}})),
            errc::session_not_found);
  EXPECT_EQ(code(acquire("reentry", "bob", {.reentry = lock_id{{1, 2}}})), errc::lock_not_held);
}

TEST_F(LockTableMemory, AnOutcomeIsForgottenThirtySecondsAfterTheLeaseEnded) {
  const auto lease = hold("alice", {.ttl = 300s}, "r1");
  now_ += 100s;
  EXPECT_TRUE(std::get<granted>(acquire("r1", "alice", {.ttl = 300s})).repeated)
      << "as long as the lease lives";
  ASSERT_TRUE(release(lease.id));
  now_ += 30s - 1us;
  EXPECT_EQ(code(acquire("r1", "alice", {.ttl = 300s})), errc::lock_not_held);
  now_ += 1us;

  EXPECT_FALSE(std::get<granted>(acquire("r1", "alice", {.ttl = 300s})).repeated);
}

TEST_F(LockTableMemory, ARepeatDoesNotProlongTheMemory) {
  hold("alice", {.ttl = 60s});
  ASSERT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  now_ += 20s;
  ASSERT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  pass(10s);

  EXPECT_EQ(table_->counts().remembered, 0u);
}

TEST_F(LockTableMemory, AFullMemoryRefusesBeforeAnyEffect) {
  rebuild({.request_memory_max = 1});
  const auto lease = hold("alice", {}, "r1");
  const auto other = hold("bob", {.lock = "b"});

  EXPECT_EQ(code(acquire("r2", "carol", {.lock = "c"})), errc::request_memory_full);
  EXPECT_EQ(code(release(other.id, "b", "r2")), errc::request_memory_full);
  EXPECT_EQ(code(renew({lock_name("b"), other.id, {}}, 60s, "r2")), errc::request_memory_full);
  EXPECT_EQ(code(cancel("r2", "carol", "c")), errc::request_memory_full);
  EXPECT_EQ(code(force("b", {}, "r2")), errc::request_memory_full);
  EXPECT_EQ(code(table_->open_session(now_, client_id("carol"), 10s, request_id("r2"))),
            errc::request_memory_full);

  EXPECT_FALSE(status("c").locked);
  EXPECT_EQ(status("b").holders.at(0).end, other.end);
  EXPECT_EQ(table_->counts().sessions, 0u);
  EXPECT_TRUE(is_granted(acquire("", "carol", {.lock = "c"}))) << "a call without an id needs no memory";
  EXPECT_TRUE(is_granted(acquire("r1", "alice"))) << "what is remembered can be repeated";
  EXPECT_TRUE(cancel("r1", "alice")->done) << "and cancelled";
  EXPECT_EQ(code(release(lease.id)), errc::lock_not_held);
}

TEST_F(LockTableMemory, AFullMemoryIsNotRemembered) {
  rebuild({.request_memory_max = 1});
  ASSERT_TRUE(release(hold("alice", {}, "r1").id));
  ASSERT_EQ(code(acquire("r2", "bob")), errc::request_memory_full);
  now_ += 30s;

  EXPECT_TRUE(is_granted(acquire("r2", "bob")));
}

TEST_F(LockTableMemory, ARepeatedReleaseGetsItsFirstAnswer) {
  const auto lease = hold("alice");
  ASSERT_TRUE(release(lease.id, "a", "out", "alice")->ended);
  hold("bob");

  const auto again = release(lease.id, "a", "out", "alice");

  ASSERT_TRUE(again);
  EXPECT_TRUE(again->ended);
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_F(LockTableMemory, ARepeatedReleaseGivesBackOneHoldOnly) {
  const auto lease = hold("alice");
  (void)acquire("r1", "alice", {.reentry = lease.id});
  ASSERT_EQ(release(lease.id, "a", "out", "alice")->hold_count, 1u);

  const auto again = release(lease.id, "a", "out", "alice");

  EXPECT_EQ(again->hold_count, 1u);
  EXPECT_FALSE(again->ended);
  EXPECT_TRUE(status().locked);
}

TEST_F(LockTableMemory, ARefusedReleaseStaysRefused) {
  const auto lease = hold("alice");
  ASSERT_EQ(code(release(lock_id{{1, 2}}, "a", "out")), errc::lock_not_held);

  EXPECT_EQ(code(release(lock_id{{1, 2}}, "a", "out")), errc::lock_not_held);
  EXPECT_EQ(code(release(lease.id, "a", "out")), errc::request_id_reused);
}

TEST_F(LockTableMemory, ARepeatedRenewalTellsTheEndAsItIsNow) {
  const auto lease = hold("alice");
  const lease_proof proof{lock_name("a"), lease.id, {}};
  ASSERT_EQ(renew(proof, 20s, "beat", "alice")->end, now_ + 20s);
  const auto end = renew(lease.id, 40s)->end;
  now_ += 5s;

  EXPECT_EQ(renew(proof, 20s, "beat", "alice")->end, end) << "it renews nothing again";
  ASSERT_TRUE(release(lease.id));
  EXPECT_EQ(code(renew(proof, 20s, "beat", "alice")), errc::lock_not_held);
}

TEST_F(LockTableMemory, ARepeatedForceReleaseDoesNotEndTheNextLease) {
  const auto first = hold("alice");
  ASSERT_EQ(force("a", {}, "f1")->tokens.size(), 1u);
  hold("bob");

  EXPECT_THAT(force("a", {}, "f1")->tokens, ElementsAre(first.token));
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_F(LockTableMemory, ARepeatedReentryHoldsOnceOnly) {
  const auto lease = hold("alice");
  ASSERT_EQ(lease_of(acquire("r1", "alice", {.reentry = lease.id})).hold_count, 2u);

  EXPECT_EQ(lease_of(acquire("r1", "alice", {.reentry = lease.id})).hold_count, 2u);
}

TEST_F(LockTableMemory, AReentryIsRememberedAsLongAsItsLease) {
  const auto lease = hold("alice", {.ttl = 300s}, "r1");
  (void)acquire("r2", "alice", {.ttl = 300s, .reentry = lease.id});
  pass(100s);
  EXPECT_EQ(lease_of(acquire("r2", "alice", {.ttl = 300s, .reentry = lease.id})).hold_count, 2u);
  (void)release(lease.id);
  ASSERT_TRUE(release(lease.id)->ended);

  EXPECT_EQ(why(acquire("r2", "alice", {.ttl = 300s, .reentry = lease.id})).ended, end_reason::released);
  EXPECT_EQ(why(acquire("r1", "alice", {.ttl = 300s})).ended, end_reason::released);
  pass(30s);
  EXPECT_TRUE(is_empty());
}

TEST_F(LockTableMemory, ARepeatedSessionCallGetsTheSameSession) {
  const auto first = open("alice", 10s, "s1");
  now_ += 4s;
  ASSERT_EQ(keep(first.id, "k1")->end, now_ + 10s);
  now_ += 1s;

  EXPECT_EQ(open("alice", 10s, "s1").id, first.id);
  EXPECT_EQ(open("alice", 10s, "s1").end, now_ + 9s);
  EXPECT_EQ(keep(first.id, "k1")->end, now_ + 9s) << "a repeat keeps nothing alive";
  hold("alice", {.session = first.id});
  ASSERT_EQ(close(first.id, "c1")->released, 1u);
  EXPECT_EQ(close(first.id, "c1")->released, 1u);
  EXPECT_EQ(code(keep(first.id, "k1")), errc::session_not_found);
  EXPECT_EQ(code(table_->open_session(now_, client_id("alice"), 10s, request_id("s1"))),
            errc::session_not_found);
}

// --- cancel
// ----------------------------------------------------------------------------------------------------

TEST_F(LockTableMemory, CancelOfAnUnseenIdRefusesTheLateOriginal) {
  ASSERT_TRUE(cancel("r1", "alice")->done);

  EXPECT_EQ(code(acquire("r1", "alice")), errc::request_cancelled);
  EXPECT_EQ(code(acquire("r1", "alice", {.ttl = 1s})), errc::request_cancelled) << "whatever its body";
  EXPECT_FALSE(status().locked);
  EXPECT_TRUE(is_granted(acquire("r2", "alice")));
}

TEST_F(LockTableMemory, CancelOfAnUnseenIdIsForgottenLikeAnyOutcome) {
  ASSERT_TRUE(cancel("r1", "alice"));
  pass(30s);

  EXPECT_TRUE(is_empty());
}

TEST_F(LockTableMemory, CancelRemovesTheWaiterAndTellsIt) {
  hold("alice", shared());
  const auto writer = wait_for("r1", "writer");
  const auto reader = wait_for("", "reader", shared());

  ASSERT_TRUE(cancel("r1", "writer")->done);

  EXPECT_EQ(refused_with(writer), errc::request_cancelled);
  EXPECT_TRUE(is_granted(*told(reader))) << "it stood behind the writer";
  EXPECT_EQ(code(acquire("r1", "writer", {.wait = 60s})), errc::request_cancelled);
}

TEST_F(LockTableMemory, CancelReleasesTheLeaseAndHandsOn) {
  hold("alice", {}, "r1");
  const auto bob = wait_for("", "bob");

  ASSERT_TRUE(cancel("r1", "alice")->done);

  EXPECT_TRUE(is_granted(*told(bob)));
  EXPECT_EQ(code(acquire("r1", "alice")), errc::request_cancelled);
}

TEST_F(LockTableMemory, CancelReleasesAProvisionalLease) {
  const auto lease = hold("alice");
  detach(wait_for("r1", "bob"));
  ASSERT_TRUE(release(lease.id));

  ASSERT_TRUE(cancel("r1", "bob")->done);

  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableMemory, CancelOfAReentryGivesBackOneHold) {
  const auto lease = hold("alice", {}, "r1");
  (void)acquire("r2", "alice", {.reentry = lease.id});

  ASSERT_TRUE(cancel("r2", "alice")->done);

  EXPECT_EQ(status().holders.at(0).hold_count, 1u);
  EXPECT_EQ(code(acquire("r2", "alice", {.reentry = lease.id})), errc::request_cancelled);
  EXPECT_TRUE(is_granted(acquire("r1", "alice")));
}

TEST_F(LockTableMemory, CancelOfWhatHasEndedSaysSoAndKeepsTheOutcome) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id));
  hold("carol");
  ASSERT_EQ(code(acquire("r2", "bob")), errc::lock_not_acquired);

  EXPECT_FALSE(cancel("r1", "alice")->done);
  EXPECT_FALSE(cancel("r2", "bob")->done);

  EXPECT_EQ(code(acquire("r1", "alice")), errc::lock_not_held);
  EXPECT_EQ(code(acquire("r2", "bob")), errc::lock_not_acquired);
  EXPECT_THAT(holders(), ElementsAre("carol"));
}

TEST_F(LockTableMemory, CancelCanBeRepeated) {
  ASSERT_TRUE(cancel("unseen", "alice")->done);
  hold("alice", {}, "r1");
  wait_for("r2", "bob");
  ASSERT_TRUE(cancel("r2", "bob")->done);
  ASSERT_TRUE(cancel("r1", "alice")->done);

  EXPECT_TRUE(cancel("unseen", "alice")->done);
  EXPECT_TRUE(cancel("r1", "alice")->done);
  EXPECT_TRUE(cancel("r2", "bob")->done);
}

TEST_F(LockTableMemory, CancelOfAMultiEndsAllOfItsLeases) {
  (void)acquire_all("m1", "alice", {"a", "b"});

  ASSERT_TRUE(cancel_multi("m1", "alice")->done);

  EXPECT_FALSE(status("a").locked);
  EXPECT_FALSE(status("b").locked);
  EXPECT_EQ(code(acquire_all("m1", "alice", {"a", "b"})), errc::request_cancelled);
}

TEST_F(LockTableMemory, CancelOfAMultiWaiterLeavesAllOfItsQueues) {
  hold("bob", {.lock = "b"});
  wait_for_all("m1", "alice", {"a", "b"});
  const auto carol = wait_for("", "carol", {.lock = "a"});

  ASSERT_TRUE(cancel_multi("m1", "alice")->done);

  EXPECT_TRUE(is_granted(*told(carol)));
  EXPECT_THAT(waiters("b"), IsEmpty());
}

}  // namespace
}  // namespace dislock::core
