// Clients that wait for each other.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableDeadlock : public LockTable {
 protected:
  /// "alice waits for b of bob" per step.
  static std::vector<std::string> spelled(const std::vector<cycle_step>& cycle) {
    std::vector<std::string> out;
    for (const auto& s : cycle)
      out.push_back(s.client + (s.behind ? " behind " : " waits for ") + s.blocker + " at " + s.lock);
    return out;
  }
};

TEST_F(LockTableDeadlock, RefusesTheWaitThatClosesACycleAndSpellsItOut) {
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});
  const auto first = wait_for("", "alice", {.lock = "b"});

  const auto second = acquire("r1", "bob", {.lock = "a", .wait = 60s});

  ASSERT_EQ(code(second), errc::deadlock_detected);
  EXPECT_EQ(why(second).lock, "a");
  EXPECT_EQ(why(second).holders.at(0).client, "alice");
  EXPECT_EQ(why(second).queue_length, 0u);
  EXPECT_THAT(spelled(why(second).cycle),
              ElementsAre("bob waits for alice at a", "alice waits for bob at b"));
  EXPECT_FALSE(told(first)) << "the newest wait is the victim";
  EXPECT_THAT(waiters("a"), IsEmpty());
  ASSERT_EQ(seen_.deadlocks.size(), 1u);
  EXPECT_EQ(seen_.deadlocks[0].client, "bob");
  EXPECT_EQ(seen_.deadlocks[0].lock, "a");
  EXPECT_EQ(happened(event_type::deadlock), 1u);
}

TEST_F(LockTableDeadlock, TheVictimsRefusalIsRememberedWithItsCycle) {
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});
  wait_for("", "alice", {.lock = "b"});
  ASSERT_EQ(code(acquire("r1", "bob", {.lock = "a", .wait = 60s})), errc::deadlock_detected);

  const auto again = acquire("r1", "bob", {.lock = "a", .wait = 60s});

  EXPECT_EQ(code(again), errc::deadlock_detected);
  EXPECT_EQ(why(again).cycle.size(), 2u);
  EXPECT_EQ(seen_.deadlocks.size(), 1u) << "nothing new has happened";
}

TEST_F(LockTableDeadlock, FindsACycleOfManyClients) {
  for (int i = 0; i < 20; ++i) hold("c" + std::to_string(i), {.lock = "n" + std::to_string(i)});
  for (int i = 0; i < 19; ++i) wait_for("", "c" + std::to_string(i), {.lock = "n" + std::to_string(i + 1)});

  const auto last = acquire("", "c19", {.lock = "n0", .wait = 60s});

  ASSERT_EQ(code(last), errc::deadlock_detected);
  EXPECT_EQ(why(last).cycle.size(), 20u);
}

TEST_F(LockTableDeadlock, AClientThatWaitsForItsOwnLockIsToldAtOnce) {
  hold("alice");

  const auto again = acquire("", "alice", {.wait = 60s});

  ASSERT_EQ(code(again), errc::deadlock_detected);
  EXPECT_THAT(spelled(why(again).cycle), ElementsAre("alice waits for alice at a"));
}

TEST_F(LockTableDeadlock, AnUpgradeOfAReadLockWaitsForItself) {
  hold("alice", shared());

  EXPECT_EQ(code(acquire("", "alice", {.wait = 60s})), errc::deadlock_detected);
}

TEST_F(LockTableDeadlock, WhoDoesNotWaitIsNoVictim) {
  hold("alice");

  EXPECT_EQ(code(acquire("", "alice")), errc::lock_not_acquired);
  EXPECT_THAT(seen_.deadlocks, IsEmpty());
}

TEST_F(LockTableDeadlock, CanBeTurnedOff) {
  rebuild({.detect_deadlocks = false});
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});
  wait_for("", "alice", {.lock = "b"});

  const auto bob = wait_for("", "bob", {.lock = "a", .wait = 5s});

  pass(5s);
  EXPECT_EQ(refused_with(bob), errc::lock_not_acquired);
  EXPECT_THAT(seen_.deadlocks, IsEmpty());
}

TEST_F(LockTableDeadlock, AChainIsNoCycle) {
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});
  wait_for("", "alice", {.lock = "b"});

  EXPECT_TRUE(is_queued(acquire("", "carol", {.lock = "a", .wait = 60s})));
  EXPECT_THAT(seen_.deadlocks, IsEmpty());
}

TEST_F(LockTableDeadlock, AFreeLockWithAMultiAtItsHeadCanCloseACycle) {
  hold("x", {.lock = "b"});
  wait_for_all("", "y", {"a", "b"});  // a is free, y is at its head

  const auto closing = acquire("", "x", {.lock = "a", .wait = 60s});

  ASSERT_EQ(code(closing), errc::deadlock_detected);
  EXPECT_THAT(spelled(why(closing).cycle), ElementsAre("x behind y at a", "y waits for x at b"));
}

TEST_F(LockTableDeadlock, ASemaphoreCycleIsNoDeadlockWhileAnOutsiderCanFreeEnough) {
  hold("a", permits(1, 2, {.lock = "s"}));
  const auto b = hold("b", permits(1, 2, {.lock = "s"}));
  const auto l = hold("c", {.lock = "l"});
  const auto c = wait_for("", "c", permits(1, 2, {.lock = "s"}));

  const auto a = wait_for("", "a", {.lock = "l"});  // a -> c -> a, but b can help c

  ASSERT_TRUE(release(b.id, "s"));
  EXPECT_TRUE(is_granted(*told(c)));
  ASSERT_TRUE(release(l.id, "l"));
  EXPECT_TRUE(is_granted(*told(a)));
}

TEST_F(LockTableDeadlock, ASemaphoreIsADeadlockOnceTheLastOutsiderWaitsToo) {
  hold("a", permits(1, 2, {.lock = "s"}));
  hold("b", permits(1, 2, {.lock = "s"}));
  hold("c", {.lock = "l"});
  wait_for("", "c", permits(1, 2, {.lock = "s"}));
  wait_for("", "a", {.lock = "l"});

  EXPECT_EQ(code(acquire("", "b", {.lock = "l", .wait = 60s})), errc::deadlock_detected);
}

TEST_F(LockTableDeadlock, ASemaphoreIsADeadlockWhenTheOutsidersHoldTooLittle) {
  hold("a", permits(2, 3, {.lock = "s"}));
  hold("b", permits(1, 3, {.lock = "s"}));
  hold("c", {.lock = "l"});
  wait_for("", "c", permits(2, 3, {.lock = "s"}));

  EXPECT_EQ(code(acquire("", "a", {.lock = "l", .wait = 60s})), errc::deadlock_detected)
      << "b could free one permit of the two that c wants";
}

TEST_F(LockTableDeadlock, AWaiterInFrontBlocksEvenWhereItDoesNotHold) {
  hold("holder", {.lock = "a"});
  hold("y", {.lock = "b"});
  wait_for("", "x", {.lock = "b"});
  wait_for("", "x2", {.lock = "a"});

  // y would wait behind x2, which only waits for the holder, who runs.
  EXPECT_TRUE(is_queued(acquire("", "y", {.lock = "a", .wait = 60s})));
}

TEST_F(LockTableDeadlock, TwoWaitsOfOneClientForAnExclusiveLockWaitForEachOther) {
  hold("holder");
  wait_for("", "alice");

  EXPECT_EQ(code(acquire("", "alice", {.wait = 60s})), errc::deadlock_detected);
}

TEST_F(LockTableDeadlock, TwoWaitsOfOneClientThatCanBeGrantedTogetherDoNot) {
  const auto w = hold("holder");
  const auto one = wait_for("", "alice", shared());
  const auto two = wait_for("", "alice", shared());
  const auto s = hold("holder", permits(3, 3, {.lock = "s"}));
  const auto three = wait_for("", "alice", permits(1, 3, {.lock = "s"}));
  const auto four = wait_for("", "alice", permits(2, 3, {.lock = "s"}));
  EXPECT_EQ(code(acquire("", "alice", permits(1, 3, {.lock = "s", .wait = 60s}))), errc::deadlock_detected)
      << "together they would want more than there is";

  ASSERT_TRUE(release(w.id));
  ASSERT_TRUE(release(s.id, "s"));

  for (const auto& q : {one, two, three, four}) EXPECT_TRUE(is_granted(*told(q)));
}

TEST_F(LockTableDeadlock, ChurnMakesNoVictims) {
  auto lease = hold("c0");
  for (int round = 1; round < 200; ++round) {
    const auto next = wait_for("", "c" + std::to_string(round % 7));
    now_ += 1ms;
    ASSERT_TRUE(release(lease.id));
    lease = granted_to(next);
  }
  EXPECT_THAT(seen_.deadlocks, IsEmpty());
}

TEST_F(LockTableDeadlock, AMultiVictimIsToldAboutTheLockInTheCycle) {
  hold("alice", {.lock = "b"});
  hold("bob", {.lock = "c"});
  wait_for("", "alice", {.lock = "c"});
  hold("carol", {.lock = "a"});

  const auto victim = acquire_all("", "bob", {"a", "b"}, {.wait = 60s});

  ASSERT_EQ(code(victim), errc::deadlock_detected);
  EXPECT_EQ(why(victim).lock, "b");
  EXPECT_EQ(why(victim).holders.at(0).client, "alice");
  EXPECT_THAT(waiters("a"), IsEmpty());
}

TEST_F(LockTableDeadlock, FindsADeadlockThatSurvivedInPartsThroughARestart) {
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});
  wait_for("r1", "alice", {.lock = "b"});
  ASSERT_TRUE(restart(1s));

  EXPECT_EQ(code(acquire("", "bob", {.lock = "a", .wait = 60s})), errc::deadlock_detected);
}

}  // namespace
}  // namespace dislock::core
