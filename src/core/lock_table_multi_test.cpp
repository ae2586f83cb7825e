// Several locks in one request.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableMulti : public LockTable {
 protected:
  static const std::vector<grant> leases(const acquire_answer& a) {
    const auto& all = std::get<granted>(a).leases;
    return {all.begin(), all.end()};
  }
};

TEST_F(LockTableMulti, GrantsAllLocksInOneStepEachWithItsOwnLeaseAndToken) {
  const auto out = leases(acquire_all("m1", "alice", {"b", "a"}));

  ASSERT_EQ(out.size(), 2u);
  EXPECT_NE(out[0].id, out[1].id);
  EXPECT_NE(out[0].token, out[1].token);
  EXPECT_TRUE(table_->validate(now_, lock_name("b"), out[0].token).current) << "in the order of the request";
  EXPECT_TRUE(table_->validate(now_, lock_name("a"), out[1].token).current);
}

TEST_F(LockTableMulti, TakesThirtyTwoNames) {
  std::vector<std::string> names;
  std::vector<lock_want> wants;
  for (int i = 0; i < 32; ++i) names.push_back("n" + std::to_string(i));
  for (const auto& n : names) wants.push_back({lock_name(n), lock_mode::exclusive, 0, 1});

  EXPECT_EQ(leases(acquire_all("m1", "alice", wants)).size(), 32u);
  EXPECT_EQ(table_->counts().leases, 32u);
}

TEST_F(LockTableMulti, TakesMixedModes) {
  hold("reader", shared({.lock = "b"}));
  const auto out = leases(acquire_all("m1", "alice",
                                      std::vector<lock_want>{{lock_name("a"), lock_mode::exclusive, 0, 1},
                                                             {lock_name("b"), lock_mode::shared, 0, 1},
                                                             {lock_name("c"), lock_mode::semaphore, 5, 3}}));

  EXPECT_EQ(out[0].mode, lock_mode::exclusive);
  EXPECT_EQ(out[1].mode, lock_mode::shared);
  EXPECT_EQ(out[2].permits, 3u);
  EXPECT_EQ(out[2].limit, 5u);
}

TEST_F(LockTableMulti, TakesNothingWhenOneLockIsBusyAndNamesIt) {
  hold("bob", {.lock = "b"});

  const auto out = acquire_all("m1", "alice", {"a", "b"});

  ASSERT_EQ(code(out), errc::lock_not_acquired);
  EXPECT_EQ(why(out).lock, "b");
  EXPECT_EQ(why(out).holders.at(0).client, "bob");
  EXPECT_FALSE(status("a").locked);
}

TEST_F(LockTableMulti, RefusesAConflictOfModesAndNamesTheLock) {
  hold("bob", permits(1, 2, {.lock = "b"}));

  const auto out = acquire_all("m1", "alice", {"a", "b"}, {.wait = 60s});

  EXPECT_EQ(code(out), errc::lock_mode_conflict);
  EXPECT_EQ(why(out).lock, "b");
}

TEST_F(LockTableMulti, HoldsNothingWhileItWaitsButStandsInEveryQueue) {
  hold("bob", {.lock = "b"});
  const auto alice = wait_for_all("m1", "alice", {"a", "b"});

  EXPECT_FALSE(status("a").locked);
  EXPECT_THAT(waiters("a"), ElementsAre("alice"));
  EXPECT_THAT(waiters("b"), ElementsAre("alice"));
  EXPECT_EQ(code(acquire("", "carol", {.lock = "a"})), errc::lock_not_acquired)
      << "a is free, but alice is first";
  const auto at = *table_->places(now_, alice.id);
  ASSERT_EQ(at.size(), 2u);
  EXPECT_EQ(at[1].lock, "b");
  EXPECT_EQ(at[1].holders.at(0).client, "bob");
}

TEST_F(LockTableMulti, IsGrantedInTheStepInWhichTheLastLockComesFree) {
  const auto a = hold("x", {.lock = "a"});
  const auto b = hold("y", {.lock = "b"});
  const auto alice = wait_for_all("m1", "alice", {"a", "b"});

  ASSERT_TRUE(release(a.id, "a"));
  EXPECT_FALSE(told(alice));
  ASSERT_TRUE(release(b.id, "b"));

  EXPECT_EQ(leases(*told(alice)).size(), 2u);
  EXPECT_THAT(holders("a"), ElementsAre("alice"));
  EXPECT_THAT(holders("b"), ElementsAre("alice"));
}

TEST_F(LockTableMulti, HasOneArrivalInAllItsQueues) {
  const auto a = hold("x", {.lock = "a"});
  const auto b = hold("y", {.lock = "b"});
  const auto first = wait_for("", "first", {.lock = "b"});
  const auto multi = wait_for_all("m1", "multi", {"a", "b"});
  const auto last = wait_for("", "last", {.lock = "a"});
  ASSERT_TRUE(release(a.id, "a"));
  EXPECT_FALSE(told(last)) << "the multi came before";

  ASSERT_TRUE(release(b.id, "b"));
  ASSERT_TRUE(release(granted_to(first).id, "b"));
  EXPECT_TRUE(is_granted(*told(multi)));
  EXPECT_FALSE(told(last));
}

TEST_F(LockTableMulti, StartingFreesTheHeadsOfItsOtherQueues) {
  const auto a = hold("x", {.lock = "a"});
  hold("reader", shared({.lock = "b"}));
  const auto multi = std::get<queued>(
      acquire_all("m1", "multi",
                  {{lock_name("a"), lock_mode::exclusive, 0, 1}, {lock_name("b"), lock_mode::shared, 0, 1}},
                  {.wait = 60s}));
  const auto behind = wait_for("", "behind", shared({.lock = "b"}));

  ASSERT_TRUE(release(a.id, "a"));

  EXPECT_TRUE(is_granted(*told(multi)));
  EXPECT_TRUE(is_granted(*told(behind)));
}

TEST_F(LockTableMulti, NoOrderOfNamesDeadlocksIt) {
  const auto x = hold("x", {.lock = "a"});
  const auto y = hold("y", {.lock = "b"});
  const auto one = wait_for_all("m1", "one", {"a", "b"});
  const auto two = wait_for_all("m1", "two", {"b", "a"});
  const auto three = wait_for_all("m1", "three", {"a", "b"});
  ASSERT_TRUE(release(y.id, "b"));
  ASSERT_TRUE(release(x.id, "a"));

  const std::array<std::string_view, 3> firsts{"a", "b", "a"};
  const std::array line{one, two, three};
  for (std::size_t i = 0; i < line.size(); ++i) {
    const auto got = leases(*told(line[i]));
    ASSERT_EQ(got.size(), 2u);
    ASSERT_TRUE(release(got[0].id, firsts[i]));
    ASSERT_TRUE(release(got[1].id, firsts[i] == "a" ? "b" : "a"));
  }
  EXPECT_THAT(seen_.deadlocks, IsEmpty());
}

TEST_F(LockTableMulti, ALapsedWaitNamesTheLockThatWasInTheWay) {
  hold("bob", {.lock = "b", .ttl = 60s});
  const auto alice = wait_for_all("m1", "alice", {"a", "b"}, {.wait = 5s});
  const auto carol = wait_for("", "carol", {.lock = "a"});

  pass(5s);

  EXPECT_EQ(refused_with(alice), errc::lock_not_acquired);
  EXPECT_EQ(why(*told(alice)).lock, "b");
  EXPECT_EQ(why(*told(alice)).holders.at(0).client, "bob");
  EXPECT_TRUE(is_granted(*told(carol)));
}

TEST_F(LockTableMulti, RenewAndReleaseAnswerPerLock) {
  const auto got = leases(acquire_all("m1", "alice", {"a", "b"}));
  ASSERT_TRUE(release(got[0].id, "a"));
  now_ += 2s;
  const std::vector<lease_proof> proofs{{lock_name("a"), got[0].id, {}}, {lock_name("b"), got[1].id, {}}};

  const auto renewed = table_->renew(now_, {client_id("alice"), request_id("r1"), proofs, true, {}});
  ASSERT_TRUE(renewed);
  EXPECT_EQ(code(renewed->at(0)), errc::lock_not_held);
  EXPECT_EQ(renewed->at(1)->end, now_ + 10s);

  const auto released = table_->release(now_, {client_id("alice"), request_id("r2"), proofs, true});
  ASSERT_TRUE(released);
  EXPECT_EQ(code(released->at(0)), errc::lock_not_held);
  EXPECT_TRUE(released->at(1)->ended);

  const auto again = table_->release(now_, {client_id("alice"), request_id("r2"), proofs, true});
  EXPECT_EQ(code(again->at(0)), errc::lock_not_held);
  EXPECT_TRUE(again->at(1)->ended) << "a repeat gets the same answers";
  const auto late = table_->renew(now_, {client_id("alice"), request_id("r1"), proofs, true, {}});
  EXPECT_EQ(code(late->at(1)), errc::lock_not_held) << "a repeated renewal tells how it is now";
}

TEST_F(LockTableMulti, ARepeatGetsAllLeasesOrLearnsThatOneIsOver) {
  const auto got = leases(acquire_all("m1", "alice", {"a", "b"}));
  const auto again = leases(acquire_all("m1", "alice", {"a", "b"}));
  EXPECT_EQ(again[0].id, got[0].id);
  EXPECT_EQ(again[1].id, got[1].id);

  ASSERT_TRUE(release(got[1].id, "b"));

  const auto partly = acquire_all("m1", "alice", {"a", "b"});
  EXPECT_EQ(code(partly), errc::lock_not_held);
  EXPECT_EQ(why(partly).ended, end_reason::released);
}

TEST_F(LockTableMulti, IsRememberedUntilItsLastLeaseHasEnded) {
  const auto got = leases(acquire_all("m1", "alice", {"a", "b"}, {.ttl = 300s}));
  ASSERT_TRUE(release(got[0].id, "a"));
  pass(100s);
  EXPECT_EQ(code(acquire_all("m1", "alice", {"a", "b"}, {.ttl = 300s})), errc::lock_not_held);
  ASSERT_TRUE(release(got[1].id, "b"));
  pass(30s);

  EXPECT_TRUE(is_empty());
}

TEST_F(LockTableMulti, AProvisionalGrantIsClaimedAsAWholeOrNotAtAll) {
  const auto b = hold("bob", {.lock = "b"});
  const auto away = wait_for_all("m1", "alice", {"a", "b"});
  detach(away);
  ASSERT_TRUE(release(b.id, "b"));
  ASSERT_THAT(holders("a"), ElementsAre("alice"));
  ASSERT_TRUE(force("b"));

  EXPECT_EQ(code(acquire_all("m1", "alice", {"a", "b"}, {.wait = 60s})), errc::lock_not_held);

  pass(5s);
  EXPECT_FALSE(status("a").locked) << "nobody has claimed it";
}

TEST_F(LockTableMulti, ALockDelayOnOneLockKeepsTheWholeRequestWaiting) {
  hold("bob", {.lock = "b", .ttl = 1s, .lock_delay = 5s});
  pass(1s);
  const auto alice = wait_for_all("m1", "alice", {"a", "b"});

  pass(5s - 1us);
  EXPECT_FALSE(told(alice));
  pass(1us);
  EXPECT_TRUE(is_granted(*told(alice)));
}

}  // namespace
}  // namespace dislock::core
