// Sessions: one heartbeat for many leases.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableSession : public LockTable {
 protected:
  static std::string numbered(const char* what, int i) { return what + std::to_string(i); }
};

TEST_F(LockTableSession, ABoundLeaseEndsWithItsSession) {
  const auto session = open("alice", 20s);
  now_ += 5s;

  const auto lease = hold("alice", {.ttl = 1s, .session = session.id});

  EXPECT_TRUE(lease.session_bound);
  EXPECT_EQ(lease.end, session.end);
  EXPECT_EQ(status().holders[0].end, session.end);
  EXPECT_TRUE(status().holders[0].session_bound);
}

TEST_F(LockTableSession, KeepaliveMovesTheEndOfEveryLease) {
  const auto session = open("alice", 20s);
  for (int i = 0; i < 300; ++i) hold("alice", {.lock = numbered("n", i), .session = session.id});
  now_ += 15s;

  const auto kept = keep(session.id);

  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->end, now_ + 20s);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(status(numbered("n", i)).holders.at(0).end, now_ + 20s);
}

TEST_F(LockTableSession, RenewalOfABoundLeaseChangesNothing) {
  const auto session = open("alice", 20s);
  const auto lease = hold("alice", {.session = session.id});
  now_ += 5s;

  const auto out = renew(lease.id, 300s);

  ASSERT_TRUE(out);
  EXPECT_EQ(out->end, session.end);
  EXPECT_EQ(status().holders[0].end, session.end);
}

TEST_F(LockTableSession, MaxHoldEndsABoundLeaseBeforeItsSession) {
  const auto session = open("alice", 20s);
  const auto lease = hold("alice", {.max_hold = 3s, .session = session.id});
  EXPECT_EQ(lease.end, now_ + 3s);

  pass(3s);

  EXPECT_FALSE(status().locked);
  EXPECT_EQ(seen_.events.back().reason, "max_hold");
  EXPECT_TRUE(keep(session.id));
}

TEST_F(LockTableSession, AnExpiredSessionTakesItsLeasesAndHandsTheLocksOn) {
  const auto session = open("alice", 5s);
  hold("alice", {.lock = "a", .session = session.id}, "r1");
  hold("alice", {.lock = "b", .session = session.id});
  const auto bob = wait_for("", "bob");

  pass(5s);

  EXPECT_TRUE(is_granted(*told(bob)));
  EXPECT_FALSE(status("b").locked);
  EXPECT_EQ(code(keep(session.id)), errc::session_not_found);
  EXPECT_EQ(code(close(session.id)), errc::session_not_found);
  EXPECT_EQ(why(acquire("r1", "alice", {.session = session.id})).ended, end_reason::session_expired);
  EXPECT_EQ(happened(event_type::session_expired), 1u);
}

TEST_F(LockTableSession, ClosingReleasesEverything) {
  const auto session = open("alice");
  hold("alice", {.lock = "a", .session = session.id}, "r1");
  hold("alice", {.lock = "b", .session = session.id});
  hold("alice", {.lock = "c"});
  const auto bob = wait_for("", "bob");

  const auto out = close(session.id);

  EXPECT_EQ(out->released, 2u);
  EXPECT_TRUE(is_granted(*told(bob)));
  EXPECT_EQ(why(acquire("r1", "alice", {.session = session.id})).ended, end_reason::session_closed);
  EXPECT_TRUE(status("c").locked) << "a lease of its own";
  EXPECT_EQ(table_->counts().sessions, 0u);
}

TEST_F(LockTableSession, ASessionThatIsOverGivesNoLeases) {
  const auto session = open("alice", 5s);
  now_ += 5s;

  EXPECT_EQ(code(acquire("", "alice", {.session = session.id})), errc::session_not_found);
  EXPECT_EQ(code(acquire("", "alice", {.session = session_id{{1, 2}}})), errc::session_not_found);
}

TEST_F(LockTableSession, WaitersOfAnEndedSessionAreRefused) {
  hold("bob", {.ttl = 60s});
  const auto session = open("alice", 5s);
  const auto first = wait_for("", "alice", {.session = session.id});
  const auto second = wait_for("r2", "alice/2", shared({.lock = "a", .session = session.id}));
  const auto carol = wait_for("", "carol");

  pass(5s);

  EXPECT_EQ(refused_with(first), errc::session_not_found);
  EXPECT_EQ(refused_with(second), errc::session_not_found);
  EXPECT_FALSE(told(carol));
  EXPECT_THAT(waiters(), ElementsAre("carol"));
}

TEST_F(LockTableSession, AWaiterOfAClosedSessionIsNeverGrantedOnTheWayOut) {
  const auto session = open("alice");
  hold("alice", {.session = session.id});
  const auto one = wait_for("", "flow-1", {.session = session.id});
  const auto two = wait_for("", "flow-2", {.session = session.id});
  const auto carol = wait_for("", "carol");

  ASSERT_TRUE(close(session.id));

  EXPECT_EQ(refused_with(one), errc::session_not_found);
  EXPECT_EQ(refused_with(two), errc::session_not_found);
  EXPECT_TRUE(is_granted(*told(carol)));
  EXPECT_EQ(happened(event_type::acquired), 2u) << "the first lease and carol's";
}

TEST_F(LockTableSession, AWaitersLeaseIsBoundToTheSessionThatItNamed) {
  const auto lease = hold("bob");
  const auto session = open("alice", 30s);
  const auto alice = wait_for("", "alice", {.session = session.id});
  now_ += 2s;
  ASSERT_TRUE(release(lease.id));

  EXPECT_EQ(granted_to(alice).end, session.end);
}

TEST_F(LockTableSession, EndsInPiecesOf128ButIsOverAsAWhole) {
  const auto session = open("alice");
  std::vector<grant> leases;
  for (int i = 0; i < 300; ++i) {
    const auto name = numbered("n", i);
    leases.push_back(hold("alice", {.lock = name, .session = session.id}, "r1"));
  }

  EXPECT_EQ(close(session.id)->released, 300u);

  EXPECT_EQ(table_->counts().leases, 172u);
  EXPECT_TRUE(table_->has_leftovers());
  EXPECT_FALSE(status("n299").locked) << "nobody sees a lease of a session that is over";
  EXPECT_FALSE(table_->validate(now_, lock_name("n299"), leases[299].token).current);
  EXPECT_EQ(code(renew({lock_name("n299"), leases[299].id, {}})), errc::lock_not_held);
  EXPECT_EQ(code(release(leases[299].id, "n299")), errc::lock_not_held);
  EXPECT_EQ(why(acquire("r1", "alice", {.lock = "n299", .session = session.id})).ended,
            end_reason::session_closed);
  EXPECT_FALSE(cancel("r1", "alice", "n299")->done);
  EXPECT_THAT(force("n298")->tokens, IsEmpty());
  EXPECT_TRUE(is_granted(acquire("", "bob", {.lock = "n297"})));
  while (table_->advance(now_)) {
  }
  EXPECT_EQ(table_->counts().leases, 1u);
  EXPECT_FALSE(table_->has_leftovers());
}

TEST_F(LockTableSession, ManyWaitersOfASessionLeaveInPiecesAndNoneIsGranted) {
  const auto lease = hold("bob");
  const auto session = open("alice");
  for (int i = 0; i < 300; ++i) wait_for("", numbered("flow", i), {.session = session.id});
  const auto carol = wait_for("", "carol");
  ASSERT_TRUE(close(session.id));

  ASSERT_TRUE(release(lease.id));
  EXPECT_FALSE(told(carol)) << "waiters that are about to be dropped still stand in front";
  while (table_->advance(now_)) {
  }

  EXPECT_TRUE(is_granted(*told(carol)));
  EXPECT_EQ(happened(event_type::acquired), 2u);
}

TEST_F(LockTableSession, AProvisionalLeaseOfASessionIsClaimedUntilTheSessionsEnd) {
  const auto lease = hold("bob");
  const auto session = open("alice", 30s);
  detach(wait_for("r1", "alice", {.session = session.id}));
  ASSERT_TRUE(release(lease.id));
  EXPECT_EQ(status().holders.at(0).end, now_ + 5s);
  now_ += 1s;

  EXPECT_EQ(lease_of(acquire("r1", "alice", {.wait = 60s, .session = session.id})).end, session.end);
}

TEST_F(LockTableSession, ListsSessionsByPublicIdInPages) {
  const auto a = open("alice");
  const auto b = open("bob", 20s);
  const auto c = open("carol");
  hold("bob", {.session = b.id});

  const auto first = table_->sessions(0, 2);
  ASSERT_EQ(first.items.size(), 2u);
  EXPECT_EQ(first.items[0].public_id, a.public_id);
  EXPECT_EQ(first.items[1].public_id, b.public_id);
  EXPECT_EQ(first.items[1].client, "bob");
  EXPECT_EQ(first.items[1].leases, 1u);
  EXPECT_EQ(first.items[1].ttl, 20s);
  ASSERT_TRUE(first.next);
  const auto second = table_->sessions(*first.next, 2);
  ASSERT_EQ(second.items.size(), 1u);
  EXPECT_EQ(second.items[0].public_id, c.public_id);
  EXPECT_FALSE(second.next);
}

}  // namespace
}  // namespace dislock::core
