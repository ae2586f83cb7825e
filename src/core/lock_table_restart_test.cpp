// What a table remembers through a crash: it is thrown away, and a new one loads the records.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableRestart : public LockTable {};

TEST_F(LockTableRestart, StartsEmptyWithoutRecords) {
  EXPECT_TRUE(table_->start(now_));
  EXPECT_TRUE(is_empty());
  EXPECT_EQ(table_->latest_known(), instant::min());
}

TEST_F(LockTableRestart, LeasesComeBackWithEverythingThatTheirOwnersKnow) {
  const auto lease = hold("alice", {.metadata = R"({"job":1})"}, "r1");
  (void)acquire("r2", "alice", {.reentry = lease.id, .metadata = R"({"job":1})"});
  hold("bob", permits(2, 3, {.lock = "s"}));
  const auto since = now_;
  now_ += 1ms;  // three tokens were minted within a microsecond, and the clock starts after the last
  ASSERT_TRUE(restart());

  const auto v = status();
  ASSERT_EQ(v.holders.size(), 1u);
  EXPECT_EQ(v.holders[0].client, "alice");
  EXPECT_EQ(v.holders[0].token, lease.token);
  EXPECT_EQ(v.holders[0].acquired_at, since);
  EXPECT_EQ(v.holders[0].end, lease.end);
  EXPECT_EQ(v.holders[0].hold_count, 2u);
  EXPECT_EQ(v.holders[0].metadata, R"({"job":1})");
  EXPECT_EQ(status("s").used, 2u);
  EXPECT_EQ(status("s").limit, 3u);
  EXPECT_TRUE(renew({lock_name("a"), {}, lease.renewal}));
  EXPECT_FALSE(release(lease.id)->ended);
  EXPECT_TRUE(release(lease.id)->ended);
}

TEST_F(LockTableRestart, EndsMoveByTheTimeAway) {
  const auto lease = hold("alice", {.ttl = 10s});
  now_ += 2s;

  ASSERT_TRUE(restart(3s));

  EXPECT_EQ(status().holders.at(0).end, lease.end + 3s);
}

TEST_F(LockTableRestart, AnEndNeverMovesByMoreThanItsTtl) {
  const auto lease = hold("alice", {.ttl = 10s});

  ASSERT_TRUE(restart(1h));

  EXPECT_FALSE(status().locked);
  EXPECT_TRUE(is_granted(acquire("", "bob")));
  EXPECT_GT(status().holders.at(0).token, lease.token);
}

TEST_F(LockTableRestart, ACrashLoopDoesNotKeepALockAlive) {
  const auto lease = hold("alice", {.ttl = 10s});
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(restart(1s));
    pass(1ms);
    for (const auto& h : status().holders) EXPECT_LE(h.end, lease.end + 10s) << "all moves together: one ttl";
  }

  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableRestart, ARenewalStartsTheCountOfMovesAnew) {
  const auto lease = hold("alice", {.ttl = 10s});
  ASSERT_TRUE(restart(9s));
  const auto end = renew(lease.id)->end;
  ASSERT_TRUE(restart(9s));

  EXPECT_EQ(status().holders.at(0).end, end + 9s);
}

TEST_F(LockTableRestart, ARenewalThatMovesNothingDoesNotStartItAnew) {
  const auto lease = hold("alice", {.ttl = 10s});
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(restart(3s));
    (void)renew(lease.id, 100ms);
  }

  EXPECT_LE(status().holders.empty() ? lease.end : status().holders[0].end, lease.end + 10s);
}

TEST_F(LockTableRestart, ACrashLoopDoesNotKeepAProvisionalLeaseAlive) {
  const auto lease = hold("alice", {.ttl = 5s});
  detach(wait_for("r1", "bob", {.ttl = 5s}));
  ASSERT_TRUE(release(lease.id));
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(restart(1s));
    pass(1ms);
  }

  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableRestart, ACrashLoopDoesNotKeepASessionAlive) {
  const auto session = open("alice", 10s);
  hold("alice", {.session = session.id});
  ASSERT_TRUE(restart(3s));
  EXPECT_EQ(status().holders.at(0).end, session.end + 3s);
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(restart(1s));
    pass(1ms);
  }

  EXPECT_FALSE(status().locked);
  EXPECT_EQ(table_->counts().sessions, 0u);
}

TEST_F(LockTableRestart, MaxHoldMovesWithTheEnd) {
  const auto lease = hold("alice", {.ttl = 10s, .max_hold = 15s});
  ASSERT_TRUE(restart(3s));

  EXPECT_EQ(renew(lease.id, 300s)->end, lease.end + 5s + 3s);
}

TEST_F(LockTableRestart, TokensRiseThoughTheWallClockWasSetBack) {
  const auto lease = hold("alice");
  ASSERT_TRUE(release(lease.id));
  table_->checkpoint(now_);
  now_ -= 24h;

  ASSERT_TRUE(come_back());

  EXPECT_GE(now_, from_microseconds(static_cast<std::int64_t>(to_number(lease.token))))
      << "the clock starts later";
  EXPECT_GT(hold("bob").token, lease.token);
}

TEST_F(LockTableRestart, TokensRiseEvenIfTheClockStartsTooEarly) {
  const auto lease = hold("alice");
  table_->checkpoint(now_);
  rebuild({});
  for (const auto& [key, value] : journal_.records) ASSERT_TRUE(table_->load(key, value));
  now_ -= 1h;
  ASSERT_TRUE(table_->start(now_));

  EXPECT_EQ(status().holders.at(0).end, lease.end) << "and nothing is moved back";
  EXPECT_GT(hold("bob", {.lock = "b"}).token, lease.token);
}

TEST_F(LockTableRestart, WaitersWithAnIdKeepTheirOrderAndHaveAGraceToComeBack) {
  const auto lease = hold("alice", {.ttl = 60s});
  wait_for("r1", "bob");
  wait_for("", "nobody");
  wait_for("r2", "carol");
  ASSERT_TRUE(restart(2s));

  EXPECT_THAT(waiters(), ElementsAre("bob", "carol")) << "without an id a place ends with its connection";
  EXPECT_TRUE(is_queued(acquire("r2", "carol", {.wait = 60s})));
  EXPECT_TRUE(is_queued(acquire("r1", "bob", {.wait = 60s})));
  EXPECT_THAT(waiters(), ElementsAre("bob", "carol"));
  ASSERT_TRUE(release(lease.id));
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_F(LockTableRestart, WaitersThatDoNotComeBackCostOneGrace) {
  hold("alice", {.ttl = 60s});
  wait_for("r1", "bob");
  ASSERT_TRUE(restart());

  pass(5s);

  EXPECT_THAT(waiters(), IsEmpty());
}

TEST_F(LockTableRestart, AWaitersDeadlineMovesByTheTimeAwayEveryTime) {
  hold("alice", {.ttl = 300s});
  const auto bob = wait_for("r1", "bob", {.wait = 20s});
  ASSERT_TRUE(restart(10s));
  ASSERT_TRUE(restart(10s));
  ASSERT_TRUE(restart(10s));

  EXPECT_EQ(std::get<queued>(acquire("r1", "bob", {.wait = 20s})).deadline, bob.deadline + 30s);
}

TEST_F(LockTableRestart, AMultiWaiterComesBackInAllOfItsQueues) {
  const auto b = hold("bob", {.lock = "b"});
  wait_for_all("m1", "alice", {"a", "b"});
  wait_for("r1", "carol", {.lock = "a"});
  ASSERT_TRUE(restart());

  EXPECT_THAT(waiters("a"), ElementsAre("alice", "carol"));
  const auto back = wait_for_all("m1", "alice", {"a", "b"});
  ASSERT_TRUE(release(b.id, "b"));
  EXPECT_EQ(std::get<granted>(*told(back)).leases.size(), 2u);
}

TEST_F(LockTableRestart, WhoeverCanStartDoesSoWithTheFirstAdvance) {
  hold("alice", {.ttl = 1s});
  wait_for("r1", "bob");
  ASSERT_TRUE(restart(1h));

  pass(0s);

  EXPECT_THAT(holders(), ElementsAre("bob"));
  EXPECT_EQ(lease_of(acquire("r1", "bob", {.wait = 60s})).end, now_ + 10s);
}

TEST_F(LockTableRestart, AProvisionalLeaseHasAnotherGraceToBeClaimed) {
  const auto lease = hold("alice", {.ttl = 60s});
  detach(wait_for("r1", "bob", {.ttl = 60s}));
  ASSERT_TRUE(release(lease.id));
  const auto minted = status().holders.at(0).token;
  now_ += 3s;
  ASSERT_TRUE(restart(30s));

  EXPECT_EQ(status().holders.at(0).end, now_ + 5s);
  const auto claimed = lease_of(acquire("r1", "bob", {.ttl = 60s, .wait = 60s}));
  EXPECT_EQ(claimed.token, minted);
  EXPECT_EQ(claimed.end, now_ + 60s);
}

TEST_F(LockTableRestart, TheRequestMemoryAnswersTheSame) {
  const auto held = hold("alice", {.lock = "held"}, "r1");
  const auto gone = hold("alice", {.lock = "gone"}, "r1");
  ASSERT_TRUE(release(gone.id, "gone", "out", "alice")->ended);
  ASSERT_EQ(code(acquire("r1", "bob", {.lock = "held"})), errc::lock_not_acquired);
  ASSERT_TRUE(cancel("r1", "carol", "held")->done);
  const auto multi = std::get<granted>(acquire_all("m1", "alice", {"x", "y"}));
  const std::vector<lease_proof> proofs{{lock_name("x"), multi.leases[0].id, {}},
                                        {lock_name("y"), lock_id{{1, 2}}, {}}};
  ASSERT_TRUE(table_->renew(now_, {client_id("alice"), request_id("m2"), proofs, true, {}}));
  const auto forced_token = hold("dave", {.lock = "forced"}).token;
  ASSERT_TRUE(force("forced", {}, "f1"));
  const auto session = open("erin", 10s, "s1");
  ASSERT_TRUE(keep(session.id, "s2"));
  const auto other = open("erin", 10s, "s3");
  ASSERT_TRUE(close(other.id, "s4"));
  const auto again = lease_of(acquire("r2", "alice", {.lock = "held", .reentry = held.id}));
  ASSERT_TRUE(restart());

  EXPECT_EQ(lease_of(acquire("r1", "alice", {.lock = "held"})).id, held.id);
  EXPECT_EQ(lease_of(acquire("r2", "alice", {.lock = "held", .reentry = held.id})).hold_count,
            again.hold_count);
  EXPECT_EQ(why(acquire("r1", "alice", {.lock = "gone"})).ended, end_reason::released);
  EXPECT_TRUE(release(gone.id, "gone", "out", "alice")->ended);
  EXPECT_EQ(code(acquire("r1", "bob", {.lock = "held"})), errc::lock_not_acquired);
  EXPECT_EQ(code(acquire("r1", "carol", {.lock = "held"})), errc::request_cancelled);
  EXPECT_EQ(std::get<granted>(acquire_all("m1", "alice", {"x", "y"})).leases[1].id, multi.leases[1].id);
  const auto renewed = table_->renew(now_, {client_id("alice"), request_id("m2"), proofs, true, {}});
  EXPECT_EQ(renewed->at(0)->token, multi.leases[0].token);
  EXPECT_EQ(code(renewed->at(1)), errc::lock_not_held);
  EXPECT_THAT(force("forced", {}, "f1")->tokens, ElementsAre(forced_token));
  EXPECT_EQ(open("erin", 10s, "s1").id, session.id);
  EXPECT_TRUE(keep(session.id, "s2"));
  EXPECT_EQ(code(table_->open_session(now_, client_id("erin"), 10s, request_id("s3"))),
            errc::session_not_found);
  EXPECT_TRUE(close(other.id, "s4"));
  EXPECT_EQ(code(acquire("r1", "alice", {.lock = "held", .ttl = 1s})), errc::request_id_reused);
}

TEST_F(LockTableRestart, MemoriesOfReleasesAreForgottenAfterwardsLikeAllOthers) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id, "a", "out", "alice"));
  ASSERT_TRUE(restart());
  pass(30s);

  EXPECT_TRUE(is_empty());
  EXPECT_THAT(what_is_kept(), IsEmpty());
}

TEST_F(LockTableRestart, WhatOneRestartGivesMoreTimeOutlivesTheNext) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id, "a", "out", "alice"));
  pass(20s);
  ASSERT_TRUE(restart(1h));  // from here on for 30 s
  pass(29s);
  ASSERT_TRUE(restart());
  EXPECT_EQ(code(acquire("r1", "alice")), errc::lock_not_held) << "and not granted a second time";
  pass(29s);
  ASSERT_TRUE(restart());
  EXPECT_EQ(code(acquire("r1", "alice")), errc::lock_not_held);
}

TEST_F(LockTableRestart, AnIdThatWasForgottenBeforeTheRestartIsNew) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id, "a", "out", "alice"));
  const auto old = journal_.records;
  pass(20s);
  ASSERT_TRUE(restart());
  pass(30s);
  const auto again = hold("alice", {}, "r1");
  journal_.records.insert(old.begin(), old.end());  // what has passed may still be there
  ASSERT_TRUE(restart());
  EXPECT_EQ(hold("alice", {}, "r1").token, again.token);
}

TEST_F(LockTableRestart, AShorterRequestMemoryThanBeforeDoesNoHarm) {
  rebuild({.request_memory = 1h});
  ASSERT_TRUE(release(hold("alice", {}, "r1").id, "a", "out", "alice"));
  const auto old = journal_.records;
  options_.request_memory = 30s;
  ASSERT_TRUE(restart());
  pass(31s);
  const auto again = hold("alice", {}, "r1");
  ASSERT_TRUE(release(hold("alice", {.lock = "b"}, "r2").id, "b", "out", "alice"));
  journal_.records.insert(old.begin(), old.end());
  ASSERT_TRUE(restart());
  EXPECT_EQ(hold("alice", {}, "r1").token, again.token) << "the lease that lives, not the one an hour ago";
}

TEST_F(LockTableRestart, ARefusalsReasonsComeBack) {
  hold("alice", {.lock = "a"});
  hold("bob", {.lock = "b"});
  wait_for("r1", "alice", {.lock = "b"});
  ASSERT_EQ(code(acquire("r2", "bob", {.lock = "a", .wait = 60s})), errc::deadlock_detected);
  ASSERT_TRUE(restart());

  const auto again = acquire("r2", "bob", {.lock = "a", .wait = 60s});

  EXPECT_EQ(code(again), errc::deadlock_detected);
  EXPECT_EQ(why(again).cycle.size(), 2u);
  EXPECT_EQ(why(again).cycle.at(0).blocker, "alice");
}

TEST_F(LockTableRestart, LockDelayIsKept) {
  hold("alice", {.ttl = 1s, .lock_delay = 10s});
  pass(1s);
  ASSERT_TRUE(restart(4s));

  EXPECT_EQ(status().closed_until, now_ + 10s) << "in doubt it is longer";
  EXPECT_EQ(code(acquire("", "bob")), errc::lock_not_acquired);
  pass(10s);
  EXPECT_TRUE(is_granted(acquire("", "bob")));
}

TEST_F(LockTableRestart, LockDelayFollowsAnExpiryThatHappenedWhileNobodyWasHere) {
  hold("alice", {.ttl = 1s, .lock_delay = 1min});
  ASSERT_TRUE(restart(30s));

  EXPECT_EQ(code(acquire("", "bob")), errc::lock_not_acquired);
  EXPECT_TRUE(status().closed_until);
}

TEST_F(LockTableRestart, SessionsComeBackWithTheirLeases) {
  const auto session = open("alice", 10s);
  const auto lease = hold("alice", {.session = session.id});
  ASSERT_TRUE(restart(2s));

  EXPECT_EQ(table_->sessions(0, 10).items.at(0).leases, 1u);
  EXPECT_EQ(renew(lease.id)->end, session.end + 2s);
  EXPECT_EQ(close(session.id)->released, 1u);
  EXPECT_FALSE(status().locked);
}

TEST_F(LockTableRestart, ACrashInTheMiddleOfAClosingSessionEndsTheRestOfIt) {
  hold("bob", {.lock = "z", .ttl = 60s});
  const auto session = open("alice", 60s);
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) names.push_back("n" + std::to_string(i));
  for (const auto& n : names) hold("alice", {.lock = n, .session = session.id});
  for (int i = 0; i < 200; ++i)
    wait_for("r1", "flow" + std::to_string(i), {.lock = "z", .ttl = 0s, .session = session.id});
  ASSERT_TRUE(close(session.id));
  ASSERT_TRUE(table_->has_leftovers());
  ASSERT_TRUE(restart());

  for (const auto& n : names) EXPECT_FALSE(status(n).locked) << n;
  EXPECT_THAT(waiters("z"), IsEmpty());
  EXPECT_EQ(code(acquire("r1", "flow199", {.lock = "z", .ttl = 0s, .wait = 60s, .session = session.id})),
            errc::session_not_found);
  pass(0s);
  EXPECT_EQ(table_->counts().leases, 1u);
}

TEST_F(LockTableRestart, NumbersAreNotUsedTwice) {
  hold("alice", {.ttl = 60s});
  const auto bob = wait_for("r1", "bob");
  const auto session = open("alice");
  ASSERT_TRUE(restart());

  EXPECT_GT(wait_for("r2", "carol").id, bob.id);
  EXPECT_GT(open("alice").public_id, session.public_id);
}

TEST_F(LockTableRestart, RecordsThatContradictEachOtherAreNotStartedFrom) {
  hold("alice");
  table_->checkpoint(now_);
  auto first = journal_.records;
  ASSERT_TRUE(force());
  hold("bob");
  table_->checkpoint(now_);
  journal_.records.merge(first);  // two owners

  EXPECT_FALSE(come_back());
}

TEST_F(LockTableRestart, RecordsWithoutTheTablesOwnAreNotStartedFrom) {
  hold("alice");
  journal_.records.erase("T");

  EXPECT_FALSE(come_back());
}

}  // namespace
}  // namespace dislock::core
