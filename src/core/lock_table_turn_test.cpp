// Grants that somebody else has to agree to (`table_options::by_turns`).
#include "test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class LockTableTurns : public LockTable {
 protected:
  LockTableTurns() {
    table_options options;
    options.by_turns = true;
    rebuild(options);
  }

  queued ask(std::string_view request, std::string_view client, const wish& w = {}) {
    return std::get<queued>(acquire(request, client, w));
  }
  bool admit(const queued& q) {
    const std::uint64_t n = ++admitted_;
    return table_->admit(now_, q.id, {lock_id{{1, n}}, renewal_token{{2, n}}, fencing_token{1000 + n}});
  }
  void rest(const queued& q) { table_->rest(now_, q.id); }

  std::uint64_t admitted_ = 0;
};

TEST_F(LockTableTurns, AFreeLockIsNobodysBeforeItIsAdmitted) {
  const auto alice = ask({}, "alice");
  EXPECT_THAT(seen_.turns, ElementsAre(alice.id));
  EXPECT_FALSE(status().locked);
  EXPECT_THAT(seen_.events, IsEmpty()) << "nobody has waited yet";
  ASSERT_TRUE(admit(alice));
  const auto lease = granted_to(alice);
  EXPECT_EQ(lease.id, (lock_id{{1, 1}}));
  EXPECT_EQ(lease.renewal, (renewal_token{{2, 1}}));
  EXPECT_EQ(lease.token, fencing_token{1001});
  EXPECT_EQ(lease.end, now_ + 10s);
  EXPECT_THAT(holders(), ElementsAre("alice"));
  EXPECT_EQ(happened(event_type::queued), 0u);
}

TEST_F(LockTableTurns, WhoDoesNotWaitIsRefusedWhenTheAttemptHasFailedAndNotBefore) {
  const auto alice = ask("r1", "alice");
  pass(60s);
  EXPECT_FALSE(told(alice)) << "the attempt is not over";
  rest(alice);
  EXPECT_EQ(refused_with(alice), errc::lock_not_acquired);
  EXPECT_EQ(code(acquire("r1", "alice")), errc::lock_not_acquired) << "and that is remembered";
  pass(30s);
  EXPECT_TRUE(is_empty());
}

TEST_F(LockTableTurns, OnlyTheFirstTriesAndTheOthersFollowInOrder) {
  const auto alice = ask({}, "alice", {.wait = 60s});
  const auto bob = ask({}, "bob", {.wait = 60s});
  EXPECT_EQ(code(acquire({}, "carol")), errc::lock_not_acquired) << "nobody passes";
  EXPECT_THAT(seen_.turns, ElementsAre(alice.id));
  ASSERT_TRUE(admit(alice));
  EXPECT_THAT(seen_.turns, SizeIs(1));
  ASSERT_TRUE(release(granted_to(alice).id));
  EXPECT_THAT(seen_.turns, ElementsAre(alice.id, bob.id));
  ASSERT_TRUE(admit(bob));
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_F(LockTableTurns, AFailedAttemptKeepsThePlaceAndMayBeRepeated) {
  const auto alice = ask({}, "alice", {.wait = 5s});
  const auto bob = ask({}, "bob", {.wait = 60s});
  rest(alice);
  EXPECT_FALSE(told(alice));
  EXPECT_EQ(happened(event_type::queued), 2u);
  EXPECT_THAT(waiters(), ElementsAre("alice", "bob"));
  EXPECT_FALSE(admit(alice)) << "nobody asked on its behalf";
  table_->try_again(now_, alice.id);
  table_->try_again(now_, alice.id);
  EXPECT_THAT(seen_.turns, ElementsAre(alice.id, alice.id));
  rest(alice);
  pass(5s);
  EXPECT_EQ(refused_with(alice), errc::lock_not_acquired);
  EXPECT_THAT(seen_.turns, ElementsAre(alice.id, alice.id, bob.id));
}

TEST_F(LockTableTurns, AWaitDoesNotEndInTheMiddleOfItsAttempt) {
  const auto alice = ask({}, "alice", {.wait = 5s});
  pass(5s);
  EXPECT_FALSE(told(alice));
  ASSERT_TRUE(admit(alice));
  EXPECT_EQ(granted_to(alice).token, fencing_token{1001});
}

TEST_F(LockTableTurns, WhoHasGoneMeanwhileIsNotAdmitted) {
  const auto alice = ask("r1", "alice", {.wait = 60s});
  const auto bob = ask({}, "bob", {.wait = 60s});
  ASSERT_TRUE(cancel("r1", "alice")->done);
  EXPECT_FALSE(admit(alice));
  EXPECT_THAT(seen_.turns, ElementsAre(alice.id, bob.id));
  detach(bob);
  EXPECT_FALSE(admit(bob));
  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableTurns, ALeaseWhoseOwnerIsInItsGraceIsProvisional) {
  const auto alice = ask("r1", "alice", {.wait = 60s});
  detach(alice);
  pass(2s);
  ASSERT_TRUE(admit(alice));
  EXPECT_THAT(holders(), ElementsAre("alice"));
  const auto claimed = acquire("r1", "alice", {.wait = 60s});
  EXPECT_EQ(lease_of(claimed).end, now_ + 10s);

  const auto bob = ask("r2", "bob", {.lock = "b", .wait = 60s});
  detach(bob);
  pass(5s);
  EXPECT_FALSE(admit(bob)) << "its grace is over";
  pass(0s);
  EXPECT_THAT(waiters("b"), IsEmpty());
}

TEST_F(LockTableTurns, AnAttemptWithoutAnAnswerDecidesNothingAboutTheRequest) {
  const auto alice = ask("r1", "alice");
  table_->turn_down(now_, alice.id, refuse(errc::engine_unavailable));
  EXPECT_EQ(refused_with(alice), errc::engine_unavailable);
  EXPECT_TRUE(is_empty());
  EXPECT_TRUE(is_queued(acquire("r1", "alice"))) << "the same request may be made again";
}

TEST_F(LockTableTurns, ALaterCallWithTheSameIdSpeaksForTheAttempt) {
  const auto older = ask("r1", "alice");
  const auto newer = ask("r1", "alice");
  EXPECT_EQ(newer.id, older.id);
  EXPECT_EQ(refused_with(older), errc::superseded);
  ASSERT_TRUE(admit(newer));
  EXPECT_TRUE(is_granted(*told(newer)));
}

TEST_F(LockTableTurns, FindsDeadlocksAmongThoseWhoWait) {
  ASSERT_TRUE(admit(ask({}, "alice", {.lock = "a"})));
  ASSERT_TRUE(admit(ask({}, "bob", {.lock = "b"})));
  ask({}, "alice", {.lock = "b", .wait = 60s});
  EXPECT_EQ(code(acquire({}, "bob", {.lock = "a", .wait = 60s})), errc::deadlock_detected);
}

}  // namespace
}  // namespace dislock::core
