// Waiting for a lock: order, hand-over, and waiters whose callers have gone.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableQueue : public LockTable {
 protected:
  static std::string numbered(const char* what, int i) { return what + std::to_string(i); }
};

TEST_F(LockTableQueue, PutsAWaiterAtTheEndAndSaysWhereItStands) {
  hold("alice");
  wait_for("", "bob");
  now_ += 1s;

  const auto carol = wait_for("", "carol", {.wait = 30s});

  EXPECT_EQ(carol.deadline, now_ + 30s);
  EXPECT_FALSE(carol.grace) << "without an id its place ends with its connection";
  const auto at = table_->places(now_, carol.id);
  ASSERT_TRUE(at);
  ASSERT_EQ(at->size(), 1u);
  EXPECT_EQ(at->at(0).lock, "a");
  EXPECT_EQ(at->at(0).position, 2u);
  EXPECT_EQ(at->at(0).holders.at(0).client, "alice");
  const auto v = status();
  EXPECT_EQ(v.queue_length, 2u);
  EXPECT_EQ(v.waiters[1].position, 2u);
  EXPECT_EQ(v.waiters[1].since, now_);
}

TEST_F(LockTableQueue, HandsTheLockToTheFirstWaiterInTheStepOfTheRelease) {
  const auto lease = hold("alice");
  const auto bob = wait_for("", "bob");
  const auto carol = wait_for("", "carol");
  now_ += 2s;

  ASSERT_TRUE(release(lease.id));

  EXPECT_EQ(granted_to(bob).end, now_ + 10s);
  EXPECT_GT(granted_to(bob).token, lease.token);
  EXPECT_EQ(std::get<granted>(*told(bob)).waited, 2s);
  EXPECT_FALSE(told(carol)) << "of an exclusive lock one is woken";
  EXPECT_THAT(waiters(), ElementsAre("carol"));
  EXPECT_FALSE(table_->places(now_, bob.id));
}

TEST_F(LockTableQueue, ServesWaitersInTheOrderOfTheirArrival) {
  auto lease = hold("c0");
  std::vector<queued> line;
  for (int i = 1; i <= 5; ++i) line.push_back(wait_for("", numbered("c", i)));

  for (const auto& next : line) {
    ASSERT_TRUE(release(lease.id));
    lease = granted_to(next);
  }
}

TEST_F(LockTableQueue, MintsTheTokenAtTheGrantAndNotOnJoining) {
  const auto lease = hold("alice");
  const auto bob = wait_for("", "bob");
  const auto other = hold("carol", {.lock = "b"});

  ASSERT_TRUE(release(lease.id));

  EXPECT_GT(granted_to(bob).token, other.token);
}

TEST_F(LockTableQueue, ANewcomerNeverOvertakesAWaiter) {
  hold("alice", shared());
  wait_for("", "writer");

  EXPECT_EQ(code(acquire("", "reader", shared())), errc::lock_not_acquired)
      << "it would fit, but somebody waits";
  wait_for("", "reader", shared());
  EXPECT_THAT(waiters(), ElementsAre("writer", "reader"));
}

TEST_F(LockTableQueue, HandsOnAtTheInstantOfExpiry) {
  hold("alice");
  const auto bob = wait_for("", "bob");
  EXPECT_EQ(table_->next_deadline(), now_ + 10s);

  pass(10s);

  EXPECT_TRUE(is_granted(*told(bob)));
}

TEST_F(LockTableQueue, AnyDecisionNoticesAnExpiry) {
  hold("alice");
  const auto bob = wait_for("", "bob");
  now_ += 10s;

  EXPECT_EQ(code(acquire("", "carol")), errc::lock_not_acquired);

  EXPECT_TRUE(is_granted(*told(bob)));
}

TEST_F(LockTableQueue, AWaiterWhosePatienceEndsIsRefusedAndToldWhoHoldsTheLock) {
  hold("alice", {.ttl = 60s});
  const auto bob = wait_for("", "bob", {.wait = 5s});
  wait_for("", "carol");

  pass(5s);

  const auto outcome = told(bob);
  ASSERT_TRUE(outcome);
  ASSERT_EQ(code(*outcome), errc::lock_not_acquired);
  EXPECT_EQ(why(*outcome).waited, 5s);
  EXPECT_EQ(why(*outcome).holders.at(0).client, "alice");
  EXPECT_EQ(why(*outcome).queue_length, 1u) << "the others";
  EXPECT_THAT(waiters(), ElementsAre("carol"));
}

TEST_F(LockTableQueue, AWaiterWhosePatienceEndsAsTheLockComesFreeGetsIt) {
  hold("alice", {.ttl = 5s});
  const auto bob = wait_for("", "bob", {.wait = 5s});

  pass(5s);

  EXPECT_TRUE(is_granted(*told(bob)));
}

TEST_F(LockTableQueue, TheEndOfAWaitInFrontLetsTheNextOnesIn) {
  hold("alice", shared({.ttl = 60s}));
  wait_for("", "writer", {.wait = 5s});
  const auto reader = wait_for("", "reader", shared());

  pass(5s);

  EXPECT_TRUE(is_granted(*told(reader)));
}

TEST_F(LockTableQueue, RefusesMoreWaitersThanTheQueueHoldsAndDoesNotRememberThat) {
  rebuild({.queue_max = 2});
  const auto lease = hold("alice");
  wait_for("", "bob");
  wait_for("", "carol");

  EXPECT_EQ(code(acquire("r1", "dave", {.wait = 60s})), errc::queue_full);
  EXPECT_EQ(code(acquire("r2", "dave")), errc::lock_not_acquired)
      << "who does not want to wait is told about the lock";

  ASSERT_TRUE(release(lease.id));
  EXPECT_TRUE(is_queued(acquire("r1", "dave", {.wait = 60s})));
}

TEST_F(LockTableQueue, GrantsSixtyFourReadersInAStepAndTheRestAtOnceAfterwards) {
  const auto lease = hold("writer", {.ttl = 60s});
  for (int i = 0; i < 150; ++i) wait_for("", numbered("r", i), shared());

  ASSERT_TRUE(release(lease.id));
  EXPECT_EQ(status().holder_count, 64u);
  EXPECT_TRUE(table_->has_leftovers());
  EXPECT_EQ(code(acquire("", "late", shared())), errc::lock_not_acquired) << "the rest is still in front";

  EXPECT_TRUE(table_->advance(now_));
  EXPECT_EQ(status().holder_count, 128u);
  EXPECT_FALSE(table_->advance(now_));
  EXPECT_EQ(status().holder_count, 150u);
  EXPECT_FALSE(table_->has_leftovers());
}

TEST_F(LockTableQueue, AWaiterWithoutAnIdLeavesWithItsConnection) {
  hold("alice", shared());
  const auto writer = wait_for("", "writer");
  const auto reader = wait_for("", "reader", shared());

  detach(writer);

  EXPECT_THAT(waiters(), IsEmpty());
  EXPECT_TRUE(is_granted(*told(reader)));
  EXPECT_FALSE(told(writer)) << "nobody is there to be told";
}

TEST_F(LockTableQueue, AWaiterWithAnIdKeepsItsPlaceForTheGrace) {
  hold("alice", {.ttl = 60s});
  const auto bob = wait_for("r1", "bob");
  wait_for("", "carol");
  EXPECT_TRUE(bob.grace);
  detach(bob);
  EXPECT_FALSE(status().waiters[0].connected);
  pass(5s - 1us);

  const auto again = wait_for("r1", "bob");

  EXPECT_EQ(again.id, bob.id);
  EXPECT_THAT(waiters(), ElementsAre("bob", "carol"));
  EXPECT_TRUE(status().waiters[0].connected);
  pass(20s);
  EXPECT_THAT(waiters(), ElementsAre("bob", "carol")) << "the grace is over with";
}

TEST_F(LockTableQueue, AWaiterThatDoesNotComeBackLosesItsPlaceAfterTheGrace) {
  hold("alice", {.ttl = 60s});
  detach(wait_for("r1", "bob"));
  wait_for("", "carol");

  pass(5s);

  EXPECT_THAT(waiters(), ElementsAre("carol"));
  EXPECT_EQ(code(acquire("r1", "bob", {.wait = 60s})), errc::lock_not_acquired) << "that call has ended";
}

TEST_F(LockTableQueue, TheFirstCallSetsTheDeadline) {
  hold("alice", {.ttl = 60s});
  const auto bob = wait_for("r1", "bob", {.wait = 10s});
  now_ += 4s;

  EXPECT_EQ(wait_for("r1", "bob", {.wait = 300s}).deadline, bob.deadline);
}

TEST_F(LockTableQueue, OfTwoCallsWithOneIdTheNewerWins) {
  const auto lease = hold("alice");
  const auto older = wait_for("r1", "bob");

  const auto newer = wait_for("r1", "bob");

  EXPECT_EQ(newer.id, older.id);
  EXPECT_EQ(refused_with(older), errc::superseded);
  ASSERT_TRUE(release(lease.id));
  EXPECT_TRUE(is_granted(*told(newer)));
}

TEST_F(LockTableQueue, TheEndOfAnOlderCallDoesNothingToTheNewerOne) {
  hold("alice", {.ttl = 60s});
  const auto older = wait_for("r1", "bob");
  const auto newer = wait_for("r1", "bob");

  detach(older);

  EXPECT_TRUE(status().waiters[0].connected);
  detach(newer);
  EXPECT_FALSE(status().waiters[0].connected);
}

TEST_F(LockTableQueue, DetachOfAWaiterThatNoLongerWaitsDoesNothing) {
  const auto lease = hold("alice");
  const auto bob = wait_for("r1", "bob");
  ASSERT_TRUE(release(lease.id));

  detach(bob);
  table_->detach(now_, ticket{4711}, 0);

  EXPECT_THAT(holders(), ElementsAre("bob"));
  EXPECT_EQ(status().holders[0].end, now_ + 10s);
}

TEST_F(LockTableQueue, AGrantToSomebodyWhoIsAwayLastsAsLongAsTheGrace) {
  const auto lease = hold("alice");
  const auto bob = wait_for("r1", "bob");
  detach(bob);
  now_ += 3s;

  ASSERT_TRUE(release(lease.id));

  EXPECT_THAT(holders(), ElementsAre("bob"));
  EXPECT_EQ(status().holders[0].end, now_ + 2s)
      << "the grace started when the connection ended, not at the grant";
  EXPECT_FALSE(told(bob)) << "nobody is there to be told";
}

TEST_F(LockTableQueue, ClaimingAProvisionalGrantStartsItsTtl) {
  const auto lease = hold("alice");
  detach(wait_for("r1", "bob"));
  ASSERT_TRUE(release(lease.id));
  const auto minted = status().holders[0].token;
  now_ += 4s;

  const auto claimed = acquire("r1", "bob", {.wait = 60s});

  EXPECT_EQ(lease_of(claimed).end, now_ + 10s);
  EXPECT_EQ(lease_of(claimed).token, minted);
  EXPECT_FALSE(lease_of(claimed).provisional);
  pass(9s);
  EXPECT_TRUE(status().locked);
}

TEST_F(LockTableQueue, AnUnclaimedGrantGoesOnToTheNext) {
  const auto lease = hold("alice");
  detach(wait_for("r1", "bob"));
  const auto carol = wait_for("", "carol");
  ASSERT_TRUE(release(lease.id));

  pass(5s);

  EXPECT_TRUE(is_granted(*told(carol)));
  EXPECT_EQ(why(acquire("r1", "bob", {.wait = 60s})).ended, end_reason::undelivered);
}

TEST_F(LockTableQueue, ManyDeadWaitersCostOneGraceAndNoTokens) {
  const auto lease = hold("alice", {.ttl = 60s});
  for (int i = 0; i < 100; ++i) detach(wait_for("r1", numbered("dead", i)));
  const auto alive = wait_for("", "alive");
  now_ += 1s;
  ASSERT_TRUE(release(lease.id));
  EXPECT_THAT(holders(), ElementsAre("dead0"));

  pass(4s);

  EXPECT_TRUE(is_granted(*told(alive)));
  EXPECT_EQ(happened(event_type::acquired), 3u) << "alice, the first dead one, and the one alive";
}

TEST_F(LockTableQueue, ADeadWaiterInFrontDoesNotKeepALockThatComesFreeAfterItsGrace) {
  const auto lease = hold("alice", {.ttl = 60s});
  detach(wait_for("r1", "dead"));
  const auto alive = wait_for("", "alive");
  now_ += 5s;  // the grace is over, but nothing has happened yet to notice it

  ASSERT_TRUE(release(lease.id));

  EXPECT_TRUE(is_granted(*told(alive)));
}

TEST_F(LockTableQueue, PatienceEndsDuringTheGraceToo) {
  hold("alice", {.ttl = 60s});
  detach(wait_for("r1", "bob", {.wait = 2s}));

  pass(2s);

  EXPECT_THAT(waiters(), IsEmpty());
}

TEST_F(LockTableQueue, ManyEndsAtOnceAreWorkedOffInPiecesAndNobodySeesALeaseThatIsOver) {
  for (int i = 0; i < 5'000; ++i) hold("alice", {.lock = numbered("n", i)}, numbered("r", i));
  now_ += 10s;

  EXPECT_TRUE(table_->advance(now_)) << "there is more to do";
  EXPECT_FALSE(status("n4999").locked);
  EXPECT_EQ(code(acquire("r4999", "alice", {.lock = "n4999"})), errc::lock_not_held);
  EXPECT_TRUE(is_granted(acquire("", "bob", {.lock = "n4998"})));
  EXPECT_EQ(cancel("r4997", "alice", "n4997")->done, false) << "it has expired, which cannot be undone";
  while (table_->advance(now_)) {
  }
  EXPECT_EQ(table_->counts().leases, 1u);
}

TEST_F(LockTableQueue, EdgesNameHoldersAndTheWaiterInFront) {
  hold("alice");
  wait_for("", "bob");
  wait_for("", "carol");

  std::vector<std::string> edges;
  for (const auto& e : table_->edges(100))
    edges.push_back(e.from + (e.behind ? " behind " : " waits for ") + e.to);

  EXPECT_THAT(edges, testing::UnorderedElementsAre("bob waits for alice", "carol waits for alice",
                                                   "carol behind bob"));
  EXPECT_EQ(table_->edges(1).size(), 1u);
}

}  // namespace
}  // namespace dislock::core
