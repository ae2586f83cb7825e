// DESIGN 2.10: one heartbeat for many leases.
#include "conformance.hpp"

namespace dislock::testing_engines {
namespace {

class Sessions : public Conformance {};
DISLOCK_CONFORMANCE_SUITE(Sessions);

TEST_P(Sessions, ABoundLeaseEndsWithItsSession) {
  if (!can(&capabilities::sessions)) return;
  const auto s = open("alice", 10s);
  pass(4s);
  const auto lease = hold("alice", {.ttl = 60s, .session = s->id});
  EXPECT_TRUE(lease.session_bound);
  EXPECT_EQ(lease.end, s->end) << "not its own ttl";
  pass(6s - 1us);
  EXPECT_TRUE(status().locked);
  pass(1us);
  EXPECT_FALSE(status().locked);
  EXPECT_THAT(sessions().items, IsEmpty());
  EXPECT_EQ(code(keep(s->id)), errc::session_not_found);
  EXPECT_EQ(code(acquire({}, "alice", {.session = s->id})), errc::session_not_found);
}

TEST_P(Sessions, KeepaliveMovesTheEndOfEveryLease) {
  if (!can(&capabilities::sessions)) return;
  const auto s = open("alice", 10s);
  hold("alice", {.lock = "a", .session = s->id});
  hold("alice", {.lock = "b", .session = s->id});
  pass(9s);
  EXPECT_EQ(left(keep(s->id)->end), 10s);
  EXPECT_EQ(left(status("a").holders.at(0).end), 10s);
  pass(9s);
  EXPECT_TRUE(status("a").locked);
  EXPECT_TRUE(status("b").locked);
}

TEST_P(Sessions, RenewingABoundLeaseDoesNotMoveIt) {
  if (!can(&capabilities::sessions)) return;
  const auto s = open("alice", 10s);
  const auto lease = hold("alice", {.session = s->id});
  pass(4s);
  EXPECT_EQ(left(renew(lease.id, 60s)->end), 6s);
}

TEST_P(Sessions, ClosingHandsAllLeasesOnAndIsARelease) {
  if (!can(&capabilities::sessions)) return;
  const auto s = open("alice", 10s);
  const bool delay = host_->engine().about().lock_delay;
  hold("alice", {.lock = "a", .lock_delay = delay ? duration(5s) : duration(), .session = s->id}, "r1");
  hold("alice", {.lock = "b", .session = s->id});
  const auto bob = wait_for({}, "bob", on("a"));
  EXPECT_EQ(close(s->id)->released, 2u);
  EXPECT_EQ(granted_to(bob).hold_count, 1u) << "without lock-delay";
  EXPECT_FALSE(status("b").locked);
  const auto again =
      acquire("r1", "alice", {.lock_delay = delay ? duration(5s) : duration(), .session = s->id});
  EXPECT_EQ(why(again).ended, end_reason::session_closed);
}

TEST_P(Sessions, ExpiryHandsOnAfterTheLockDelay) {
  if (!can(&capabilities::sessions) || !can(&capabilities::lock_delay)) return;
  const auto s = open("alice", 10s);
  hold("alice", {.lock_delay = 3s, .session = s->id});
  const auto bob = wait_for({}, "bob");
  pass(13s - 1us);
  EXPECT_TRUE(still_waits(bob));
  pass(1us);
  EXPECT_EQ(granted_to(bob).hold_count, 1u);
}

TEST_P(Sessions, EndsTheWaitsOfItsRequestsToo) {
  if (!can(&capabilities::sessions)) return;
  hold("bob", {.ttl = 60s});
  const auto s = open("alice", 10s);
  const auto waiting = wait_for("r1", "alice", {.session = s->id});
  pass(10s);
  EXPECT_EQ(refused_with(waiting), errc::session_not_found);
  EXPECT_THAT(waiters(), IsEmpty());
}

TEST_P(Sessions, EndWithMoreLeasesThanOnePieceHolds) {
  if (!can(&capabilities::sessions)) return;
  const auto s = open("alice", 10s);
  for (int i = 0; i < 300; ++i) hold("alice", {.lock = "lock" + std::to_string(i), .session = s->id});
  EXPECT_EQ(sessions().items.at(0).leases, 300u);
  EXPECT_EQ(close(s->id)->released, 300u);
  host_->settle();
  EXPECT_EQ(host_->engine().counts().leases, 0u);
}

TEST_P(Sessions, AreListedInPagesWithoutTheirSecrets) {
  if (!can(&capabilities::sessions)) return;
  const auto first = open("alice", 10s);
  open("bob", 20s);
  open("carol", 30s);
  const auto page1 = sessions(0, 2);
  ASSERT_THAT(page1.items, SizeIs(2));
  ASSERT_TRUE(page1.next);
  const auto page2 = sessions(*page1.next, 2);
  ASSERT_THAT(page2.items, SizeIs(1));
  EXPECT_FALSE(page2.next);
  EXPECT_EQ(page1.items[0].public_id, first->public_id);
  EXPECT_EQ(page1.items[0].client, "alice");
  EXPECT_NE(first->public_id, first->id.bits[0]);
  EXPECT_NE(first->public_id, first->id.bits[1]);
}

TEST_P(Sessions, AWrongIdIsNotFound) {
  if (!can(&capabilities::sessions)) return;
  auto id = open("alice")->id;
  id.bits[0] ^= 1;
  EXPECT_EQ(code(keep(id)), errc::session_not_found);
  EXPECT_EQ(code(close(id)), errc::session_not_found);
}

}  // namespace
}  // namespace dislock::testing_engines
