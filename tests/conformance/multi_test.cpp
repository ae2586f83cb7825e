// DESIGN 2.9, 2.12: several locks in one step, and waits that cannot end.
#include "conformance.hpp"

namespace dislock::testing_engines {
namespace {

class Multi : public Conformance {
 protected:
  static lease_proof proof(const grant& lease, std::string_view lock) {
    return {lock_name(lock), lease.id, {}};
  }
};
DISLOCK_CONFORMANCE_SUITE(Multi);

class Deadlocks : public Multi {};
DISLOCK_CONFORMANCE_SUITE(Deadlocks);

TEST_P(Multi, GrantsAllInTheOrderOfTheRequestWithOneSecretAndTokenEach) {
  if (!can(&capabilities::multi)) return;
  const auto got = std::get<granted>(acquire_all("r1", "alice", {on("b"), on("a"), on("c")}));
  ASSERT_THAT(got.leases, SizeIs(3));
  EXPECT_NE(got.leases[0].id, got.leases[1].id);
  EXPECT_NE(got.leases[0].token, got.leases[1].token);
  EXPECT_TRUE(validate(got.leases[0].token, "b").current);
  EXPECT_TRUE(validate(got.leases[1].token, "a").current);
  const auto again = std::get<granted>(acquire_all("r1", "alice", {on("b"), on("a"), on("c")}));
  EXPECT_TRUE(again.repeated);
  EXPECT_EQ(again.leases[2].id, got.leases[2].id);
}

TEST_P(Multi, TakesNothingWhenOneLockIsBusy) {
  if (!can(&capabilities::multi)) return;
  hold("alice", on("b"));
  const auto refused = acquire_all("r1", "bob", {on("a"), on("b")});
  EXPECT_EQ(code(refused), errc::lock_not_acquired);
  EXPECT_EQ(why(refused).lock, "b");
  EXPECT_FALSE(status("a").locked);
}

TEST_P(Multi, HoldsNothingWhileItWaitsButKeepsItsPlaceInEveryQueue) {
  if (!can(&capabilities::multi)) return;
  const auto alice = hold("alice", on("b"));
  const auto bob = wait_for_all("r1", "bob", {on("a"), on("b")});
  EXPECT_FALSE(status("a").locked);
  EXPECT_EQ(code(acquire({}, "carol", on("a"))), errc::lock_not_acquired)
      << "the free lock has somebody at its head";
  EXPECT_EQ(places(bob)->size(), 2u);
  ASSERT_TRUE(release(alice.id, "b"));
  const auto got = std::get<granted>(*told(bob));
  EXPECT_THAT(got.leases, SizeIs(2));
  EXPECT_THAT(holders("a"), ElementsAre("bob"));
  EXPECT_THAT(holders("b"), ElementsAre("bob"));
}

TEST_P(Multi, StartsOnlyWhenItHeadsEveryQueue) {
  if (!can(&capabilities::multi)) return;
  const auto a = hold("alice", on("a"));
  const auto b = hold("alice", on("b"));
  const auto first = wait_for({}, "bob", on("b"));
  const auto both = wait_for_all("r1", "carol", {on("a"), on("b")});
  ASSERT_TRUE(release(a.id, "a"));
  ASSERT_TRUE(release(b.id, "b"));
  const auto lease = granted_to(first);
  EXPECT_TRUE(still_waits(both));
  ASSERT_TRUE(release(lease.id, "b"));
  EXPECT_TRUE(told(both));
}

TEST_P(Multi, NoOrderOfNamesCanDeadlock) {
  if (!can(&capabilities::multi)) return;
  const auto start = std::get<granted>(acquire_all({}, "zero", {on("a"), on("b"), on("c")}));
  const auto one = wait_for_all({}, "one", {on("a"), on("b")});
  const auto two = wait_for_all({}, "two", {on("b"), on("c")});
  const auto three = wait_for_all({}, "three", {on("c"), on("a")});
  ASSERT_TRUE(
      release_all({proof(start.leases[0], "a"), proof(start.leases[1], "b"), proof(start.leases[2], "c")}));
  for (const auto& [q, x, y] :
       {std::tuple{one, "a", "b"}, std::tuple{two, "b", "c"}, std::tuple{three, "c", "a"}}) {
    const auto got = std::get<granted>(told(q).value());
    ASSERT_TRUE(release_all({proof(got.leases[0], x), proof(got.leases[1], y)}));
  }
  EXPECT_THAT(told_.deadlocks, IsEmpty());
}

TEST_P(Multi, AWaiterLeavesAllItsQueuesTogether) {
  if (!can(&capabilities::multi)) return;
  hold("alice", on("b"));
  const auto both = wait_for_all("r1", "bob", {on("a"), on("b")});
  const auto behind = wait_for({}, "carol", on("a"));
  EXPECT_TRUE(cancel_multi("r1", "bob")->done);
  EXPECT_EQ(refused_with(both), errc::request_cancelled);
  EXPECT_EQ(granted_to(behind).hold_count, 1u) << "who stood behind it is served";
  EXPECT_THAT(waiters("b"), IsEmpty());
}

TEST_P(Multi, RenewAndReleaseAnswerPerLock) {
  if (!can(&capabilities::multi)) return;
  const auto got = std::get<granted>(acquire_all({}, "alice", {on("a"), on("b")}));
  ASSERT_TRUE(release(got.leases[0].id, "a"));
  const std::vector<lease_proof> both{proof(got.leases[0], "a"), proof(got.leases[1], "b")};

  const auto renewals = renew_all(both, 20s, "r1");
  ASSERT_TRUE(renewals);
  EXPECT_EQ(code(renewals->at(0)), errc::lock_not_held);
  EXPECT_EQ(left(renewals->at(1)->end), 20s);
  const auto releases = release_all(both, "r2");
  EXPECT_EQ(code(releases->at(0)), errc::lock_not_held);
  EXPECT_TRUE(releases->at(1)->ended);
  EXPECT_TRUE(release_all(both, "r2")->at(1)->ended) << "a repeat says the same";
}

TEST_P(Multi, CancelGivesAllOfThemBack) {
  if (!can(&capabilities::multi)) return;
  ASSERT_TRUE(is_granted(acquire_all("r1", "alice", {on("a"), on("b")})));
  EXPECT_TRUE(cancel_multi("r1", "alice")->done);
  EXPECT_FALSE(status("a").locked);
  EXPECT_FALSE(status("b").locked);
}

TEST_P(Multi, MixesModes) {
  if (!can(&capabilities::multi) || !can(&capabilities::shared) || !can(&capabilities::semaphore)) return;
  const auto got =
      std::get<granted>(acquire_all({}, "alice", {on("a"), shared(on("b")), permits(2, 3, on("c"))}));
  EXPECT_EQ(got.leases[0].mode, lock_mode::exclusive);
  EXPECT_EQ(got.leases[1].mode, lock_mode::shared);
  EXPECT_EQ(got.leases[2].permits, 2u);
  EXPECT_TRUE(is_granted(acquire_all({}, "bob", {shared(on("b")), permits(1, 3, on("c"))})));
}

TEST_P(Multi, ADetachedMultiIsGrantedProvisionallyAsAWhole) {
  if (!can(&capabilities::multi)) return;
  const auto alice = hold("alice", on("b"));
  detach(wait_for_all("r1", "bob", {on("a"), on("b")}));
  ASSERT_TRUE(release(alice.id, "b"));
  EXPECT_THAT(holders("a"), ElementsAre("bob"));
  pass(4s);
  const auto claimed = std::get<granted>(acquire_all("r1", "bob", {on("a"), on("b")}));
  EXPECT_EQ(left(claimed.leases[0].end), 10s);
  EXPECT_EQ(left(claimed.leases[1].end), 10s);
}

TEST_P(Deadlocks, TheWaitThatClosesACycleIsRefusedWithTheCycle) {
  hold("alice", on("a"));
  const auto b = hold("bob", on("b"));
  const auto alice = wait_for("r1", "alice", on("b"));
  const auto refused = acquire("r2", "bob", on("a", waiting(60s)));
  ASSERT_EQ(code(refused), errc::deadlock_detected);
  ASSERT_THAT(why(refused).cycle, SizeIs(2));
  EXPECT_EQ(why(refused).cycle[0].client, "bob");
  EXPECT_EQ(why(refused).cycle[0].lock, "a");
  EXPECT_EQ(why(refused).cycle[0].blocker, "alice");
  EXPECT_EQ(why(refused).cycle[1].blocker, "bob");
  ASSERT_THAT(told_.deadlocks, SizeIs(1));
  EXPECT_EQ(told_.deadlocks[0].client, "bob");
  EXPECT_TRUE(still_waits(alice)) << "the newest wait is the victim";
  EXPECT_EQ(code(acquire("r2", "bob", on("a", waiting(60s)))), errc::deadlock_detected) << "remembered";
  ASSERT_TRUE(release(b.id, "b"));
  EXPECT_EQ(granted_to(alice).hold_count, 1u);
}

TEST_P(Deadlocks, WaitingForOnesOwnLeaseIsOne) {
  hold("alice");
  EXPECT_EQ(code(acquire({}, "alice", waiting(60s))), errc::deadlock_detected);
}

TEST_P(Deadlocks, WithoutPatienceTheAnswerIsThatTheLockIsTaken) {
  hold("alice");
  EXPECT_EQ(code(acquire({}, "alice")), errc::lock_not_acquired);
  EXPECT_THAT(told_.deadlocks, IsEmpty());
}

TEST_P(Deadlocks, AFreeLockWithAMultiAtItsHeadCanCloseACycle) {
  if (!can(&capabilities::multi)) return;
  hold("carol", on("b"));
  wait_for_all("r1", "bob", {on("a"), on("b")});  // a is free, but bob stands there
  const auto refused = acquire({}, "carol", on("a", waiting(60s)));
  ASSERT_EQ(code(refused), errc::deadlock_detected);
  EXPECT_TRUE(why(refused).cycle.at(0).behind);
}

TEST_P(Deadlocks, ASemaphoreWaitsForAnyOfItsHolders) {
  if (!can(&capabilities::semaphore)) return;
  const auto s = on("s");
  hold("alice", permits(1, 2, s));
  const auto outsider = hold("dave", permits(1, 2, s));
  hold("bob", on("b"));
  wait_for("r1", "alice", on("b"));
  const auto bob = acquire("r2", "bob", permits(1, 2, waiting(60s, s)));
  ASSERT_TRUE(is_queued(bob)) << "dave could free a permit";
  ASSERT_TRUE(release(outsider.id, "s"));
  EXPECT_EQ(granted_to(std::get<queued>(bob)).permits, 1u);
}

TEST_P(Deadlocks, ASemaphoreWhoseHoldersAreAllBlockedIsOne) {
  if (!can(&capabilities::semaphore)) return;
  const auto s = on("s");
  hold("alice", permits(1, 2, s));
  hold("dave", permits(1, 2, s));
  hold("bob", on("b"));
  wait_for("r1", "alice", on("b"));
  wait_for("r2", "dave", on("b"));
  EXPECT_EQ(code(acquire({}, "bob", permits(1, 2, waiting(60s, s)))), errc::deadlock_detected);
}

TEST_P(Deadlocks, AQueueOfStrangersIsNone) {
  hold("alice", on("a"));
  for (int i = 0; i < 20; ++i) {
    const auto name = "client" + std::to_string(i);
    hold(name, on(name));
    wait_for({}, name, on("a"));
  }
  EXPECT_THAT(told_.deadlocks, IsEmpty());
}

}  // namespace
}  // namespace dislock::testing_engines
