// DESIGN 2.4, 2.5: strict first come, first served, and the life of a waiter.
#include "conformance.hpp"

namespace dislock::testing_engines {
namespace {

class Queue : public Conformance {};
DISLOCK_CONFORMANCE_SUITE(Queue);

TEST_P(Queue, ReleaseHandsTheLockToTheNextInOrder) {
  auto lease = hold("alice");
  const auto bob = wait_for({}, "bob");
  const auto carol = wait_for("r1", "carol");
  pass(1s);
  ASSERT_TRUE(release(lease.id));
  const auto got = std::get<granted>(*told(bob));
  EXPECT_EQ(got.waited, 1s);
  EXPECT_EQ(left(got.leases.at(0).end), 10s) << "a ttl counts from the grant";
  EXPECT_TRUE(still_waits(carol));
  ASSERT_TRUE(release(got.leases.at(0).id));
  EXPECT_GT(granted_to(carol).token, got.leases.at(0).token);
}

TEST_P(Queue, ForceExpiryAndUndeliveryHandOnToo) {
  const auto alice = hold("alice");
  const auto bob = wait_for({}, "bob");
  const auto carol = wait_for({}, "carol");
  const auto dave = wait_for({}, "dave");
  ASSERT_THAT(force("a", alice.token)->tokens, SizeIs(1));
  const auto second = granted_to(bob);
  pass(10s - 1us);
  EXPECT_TRUE(still_waits(carol));
  pass(1us);
  const auto third = granted_to(carol);
  EXPECT_GT(third.token, second.token);
  undelivered(third);
  EXPECT_GT(granted_to(dave).token, third.token);
}

TEST_P(Queue, ANewcomerNeverOvertakesAWaiter) {
  if (!can(&capabilities::shared)) return;
  hold("alice", shared());
  wait_for("r1", "writer");
  EXPECT_EQ(code(acquire({}, "reader", shared())), errc::lock_not_acquired) << "or the writer would starve";
  wait_for("r2", "reader", shared());
  EXPECT_THAT(waiters(), ElementsAre("writer", "reader"));
}

TEST_P(Queue, ReadersAtTheHeadGoTogetherUpToTheNextWriter) {
  if (!can(&capabilities::shared)) return;
  const auto alice = hold("alice");
  const auto r1 = wait_for({}, "r1", shared());
  const auto r2 = wait_for({}, "r2", shared());
  const auto writer = wait_for({}, "writer");
  const auto r3 = wait_for({}, "r3", shared());
  ASSERT_TRUE(release(alice.id));
  EXPECT_THAT(holders(), UnorderedElementsAre("r1", "r2"));
  EXPECT_TRUE(still_waits(writer));
  EXPECT_TRUE(still_waits(r3));
  ASSERT_TRUE(release(granted_to(r1).id));
  EXPECT_TRUE(still_waits(writer));
  ASSERT_TRUE(release(granted_to(r2).id));
  ASSERT_TRUE(release(granted_to(writer).id));
  EXPECT_THAT(holders(), ElementsAre("r3"));
}

TEST_P(Queue, ASmallRequestDoesNotSlipPastALargeOne) {
  if (!can(&capabilities::semaphore)) return;
  const auto alice = hold("alice", permits(2, 3));
  const auto large = wait_for({}, "large", permits(3, 3));
  EXPECT_EQ(code(acquire({}, "small", permits(1, 3))), errc::lock_not_acquired);
  const auto small = wait_for({}, "small", permits(1, 3));
  ASSERT_TRUE(release(alice.id));
  const auto got = granted_to(large);
  EXPECT_TRUE(still_waits(small));
  ASSERT_TRUE(release(got.id));
  EXPECT_EQ(granted_to(small).permits, 1u);
}

TEST_P(Queue, AStepGrantsAtMost64AndTheRestFollowsAtOnce) {
  if (!can(&capabilities::shared)) return;
  const auto writer = hold("writer");
  std::vector<queued> readers;
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) names.push_back("reader" + std::to_string(i));
  for (const auto& name : names) readers.push_back(wait_for({}, name, shared()));

  ASSERT_TRUE(release(writer.id));
  host_->settle();  // no time goes by

  EXPECT_EQ(status().holder_count, 200u);
  fencing_token last{};
  for (const auto& r : readers) {
    const auto token = granted_to(r).token;
    EXPECT_GT(token, last);
    last = token;
  }
}

TEST_P(Queue, IsFullAt10000) {
  hold("alice");
  std::vector<pending<acquire_answer>> all;
  for (int i = 0; i < 10'000; ++i) all.push_back(ask({}, "waiter" + std::to_string(i), waiting(60s)));
  for (const auto& each : all) ASSERT_TRUE(is_queued(await(each)));
  EXPECT_EQ(code(acquire("r1", "late", waiting(60s))), errc::queue_full);
  EXPECT_EQ(status().queue_length, 10'000u);

  const auto first = std::get<queued>(await(all.front()));
  detach(first);
  EXPECT_TRUE(is_queued(acquire("r1", "late", waiting(60s)))) << "a full queue decides nothing about the id";
}

TEST_P(Queue, AWaitEndsAtItsDeadlineWithWhatWasInTheWay) {
  hold("alice", {.ttl = 60s});
  hold("other", {.lock = "b"});
  const auto bob = wait_for("r1", "bob", {.wait = 3s});
  const auto carol = wait_for({}, "carol", {.wait = 20s});
  pass(3s - 1us);
  EXPECT_TRUE(still_waits(bob));
  pass(1us);
  const auto outcome = told(bob);
  ASSERT_EQ(code(*outcome), errc::lock_not_acquired);
  EXPECT_EQ(why(*outcome).waited, 3s);
  EXPECT_EQ(why(*outcome).holders.at(0).client, "alice");
  EXPECT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired) << "and that is remembered";
  EXPECT_THAT(waiters(), ElementsAre("carol"));
  EXPECT_TRUE(still_waits(carol));
}

TEST_P(Queue, WhoseDeadlineIsTheInstantOfTheExpiryStillGetsTheLock) {
  hold("alice");
  const auto bob = wait_for({}, "bob", {.wait = 10s});
  pass(10s);
  EXPECT_EQ(granted_to(bob).hold_count, 1u);
}

TEST_P(Queue, WhoWaitsWithoutAnIdLosesItsPlaceWithItsConnection) {
  const auto alice = hold("alice");
  const auto bob = wait_for({}, "bob");
  const auto carol = wait_for({}, "carol");
  EXPECT_FALSE(bob.grace);
  detach(bob);
  EXPECT_THAT(waiters(), ElementsAre("carol"));
  EXPECT_FALSE(told(bob)) << "there is nobody to tell";
  ASSERT_TRUE(release(alice.id));
  EXPECT_EQ(granted_to(carol).hold_count, 1u);
}

TEST_P(Queue, WhoWaitsWithAnIdKeepsItsPlaceForTheGrace) {
  hold("alice", {.ttl = 60s});
  const auto bob = wait_for("r1", "bob");
  EXPECT_TRUE(bob.grace);
  detach(bob);
  pass(5s - 1us);
  EXPECT_THAT(waiters(), ElementsAre("bob"));
  EXPECT_FALSE(status().waiters.at(0).connected);
  const auto back = wait_for("r1", "bob");
  EXPECT_EQ(back.id, bob.id);
  pass(20s);
  EXPECT_TRUE(still_waits(back)) << "who is there needs no grace";
  detach(back);
  pass(5s);
  EXPECT_THAT(waiters(), IsEmpty());
}

TEST_P(Queue, AGrantInTheGraceIsProvisionalAndItsTtlStartsAtTheClaim) {
  const auto alice = hold("alice");
  const auto bob = wait_for("r1", "bob");
  detach(bob);
  pass(2s);
  ASSERT_TRUE(release(alice.id));
  EXPECT_THAT(holders(), ElementsAre("bob"));
  EXPECT_FALSE(told(bob));
  pass(2s);

  const auto claimed = acquire("r1", "bob");
  ASSERT_TRUE(is_granted(claimed));
  EXPECT_EQ(left(lease_of(claimed).end), 10s);
  pass(9s);
  EXPECT_TRUE(status().locked);
}

TEST_P(Queue, AnUnclaimedGrantGoesOnWhenTheGraceIsOverAndDeadWaitersCostOneGraceTogether) {
  const auto alice = hold("alice");
  for (const std::string_view name : {"d1", "d2", "d3", "d4"}) detach(wait_for("r", name));
  const auto bob = wait_for("r", "bob");
  pass(3s);
  ASSERT_TRUE(release(alice.id));
  EXPECT_THAT(holders(), ElementsAre("d1"));
  pass(2s - 1us);
  EXPECT_TRUE(still_waits(bob));
  pass(1us);
  EXPECT_EQ(granted_to(bob).hold_count, 1u);
  EXPECT_EQ(code(acquire("r", "d1")), errc::lock_not_held);
}

TEST_P(Queue, OfTwoCallsWithOneIdTheNewerSpeaks) {
  const auto alice = hold("alice");
  const auto older = wait_for("r1", "bob");
  const auto newer = wait_for("r1", "bob");
  EXPECT_EQ(refused_with(older), errc::superseded);
  detach(older);
  EXPECT_TRUE(status().waiters.at(0).connected) << "the end of the older call means nothing any more";
  ASSERT_TRUE(release(alice.id));
  EXPECT_EQ(granted_to(newer).hold_count, 1u);
}

TEST_P(Queue, AnUndeliveredGrantWithoutAnIdGoesOnAtOnce) {
  const auto alice = hold("alice");
  const auto bob = wait_for({}, "bob");
  undelivered(alice);
  EXPECT_EQ(granted_to(bob).hold_count, 1u);
  EXPECT_EQ(code(renew(alice.id)), errc::lock_not_held);
}

TEST_P(Queue, AnUndeliveredGrantWithAnIdIsKeptForTheGrace) {
  const auto alice = hold("alice", {.ttl = 60s}, "r1");
  const auto bob = wait_for({}, "bob", {.wait = 100s});
  undelivered(alice);
  pass(4s);
  const auto again = lease_of(acquire("r1", "alice", {.ttl = 60s}));
  ASSERT_EQ(again.id, alice.id);
  EXPECT_TRUE(still_waits(bob));
  undelivered(again);
  pass(5s);
  EXPECT_EQ(granted_to(bob).hold_count, 1u);
  const auto late = acquire("r1", "alice", {.ttl = 60s});
  EXPECT_EQ(code(late), errc::lock_not_held);
  EXPECT_EQ(why(late).ended, end_reason::undelivered);
}

TEST_P(Queue, AnUndeliveredAnswerDoesNotTouchALeaseThatItsOwnerWasToldOfAgain) {
  const auto alice = hold("alice", {.ttl = 60s}, "r1");
  const auto bob = wait_for({}, "bob", {.wait = 100s});
  ASSERT_EQ(lease_of(acquire("r1", "alice", {.ttl = 60s})).id, alice.id);
  undelivered(alice);  // the first answer: it comes late that nobody got it
  pass(30s);
  EXPECT_TRUE(still_waits(bob));
  EXPECT_TRUE(renew(alice.id));
}

TEST_P(Queue, AnUndeliveredAnswerDoesNotTouchALeaseThatItsOwnerHasRenewed) {
  const auto alice = hold("alice", {.ttl = 60s}, "r1");
  const auto bob = wait_for({}, "bob", {.wait = 100s});
  ASSERT_TRUE(renew(alice.id));
  undelivered(alice);
  pass(30s);
  EXPECT_TRUE(still_waits(bob));
}

TEST_P(Queue, AnUndeliveredAnswerDoesNotTouchALeaseThatWasRenewedBeforeAnybodyWaited) {
  const auto alice = hold("alice");
  ASSERT_TRUE(renew(alice.id));
  undelivered(alice);
  EXPECT_TRUE(validate(alice.token).current);
  EXPECT_TRUE(renew(alice.id));
}

TEST_P(Queue, RefusalsAndWaitsNameTheHoldersAndThePlace) {
  hold("alice");
  const auto bob = wait_for("r1", "bob");
  const auto carol = wait_for("r2", "carol");
  const auto refused = acquire({}, "dave");
  EXPECT_EQ(why(refused).lock, "a");
  EXPECT_EQ(why(refused).holder_count, 1u);
  EXPECT_EQ(why(refused).queue_length, 2u);

  const auto where = places(carol);
  ASSERT_TRUE(where);
  EXPECT_EQ(where->at(0).lock, "a");
  EXPECT_EQ(where->at(0).position, 2u);
  EXPECT_EQ(where->at(0).holders.at(0).client, "alice");
  EXPECT_EQ(places(bob)->at(0).position, 1u);
  detach(bob);
  ASSERT_TRUE(cancel("r1", "bob")->done);
  EXPECT_FALSE(places(bob));
  EXPECT_EQ(places(carol)->at(0).position, 1u);
}

TEST_P(Queue, ShowsAtMostTenHoldersAndTheirCount) {
  if (!can(&capabilities::shared)) return;
  for (int i = 0; i < 12; ++i) hold("reader" + std::to_string(i), shared());
  const auto refused = acquire({}, "writer");
  EXPECT_THAT(why(refused).holders, SizeIs(10));
  EXPECT_EQ(why(refused).holder_count, 12u);
}

}  // namespace
}  // namespace dislock::testing_engines
