// DESIGN 2.1: done, refused or unknown; a request id has one effect and one outcome.
#include "conformance.hpp"

#include <set>

namespace dislock::testing_engines {
namespace {

class Answers : public Conformance {};
DISLOCK_CONFORMANCE_SUITE(Answers);

TEST_P(Answers, ARepeatedAcquireGivesTheSameLeaseWithTheTimeThatIsLeftNow) {
  const auto first = hold("alice", {}, "r1");
  pass(4s);

  const auto again = acquire("r1", "alice");

  ASSERT_TRUE(is_granted(again));
  EXPECT_TRUE(std::get<granted>(again).repeated);
  EXPECT_EQ(lease_of(again).id, first.id);
  EXPECT_EQ(lease_of(again).renewal, first.renewal);
  EXPECT_EQ(lease_of(again).token, first.token);
  EXPECT_EQ(lease_of(again).hold_count, 1u);
  EXPECT_EQ(left(lease_of(again).end), 6s);
  EXPECT_EQ(status().holder_count, 1u);
}

TEST_P(Answers, ARepeatAfterTheLeaseEndedSaysHowItEnded) {
  const auto lease = hold("alice", {}, "r1");
  ASSERT_TRUE(release(lease.id));
  auto again = acquire("r1", "alice");
  EXPECT_EQ(code(again), errc::lock_not_held);
  EXPECT_EQ(why(again).ended, end_reason::released);

  hold("alice", {}, "r2");
  pass(10s);
  again = acquire("r2", "alice");
  EXPECT_EQ(code(again), errc::lock_not_held);
  EXPECT_EQ(why(again).ended, end_reason::expired);

  hold("alice", {}, "r3");
  ASSERT_TRUE(force());
  EXPECT_EQ(why(acquire("r3", "alice")).ended, end_reason::forced);
}

TEST_P(Answers, ARefusalIsRememberedEvenWhenTheLockHasComeFree) {
  const auto lease = hold("alice");
  ASSERT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  ASSERT_TRUE(release(lease.id));

  EXPECT_EQ(code(acquire("r1", "bob")), errc::lock_not_acquired);
  EXPECT_FALSE(status().locked);
  EXPECT_TRUE(is_granted(acquire("r2", "bob")));
}

TEST_P(Answers, ACallWithoutAnIdIsNotRemembered) {
  const auto first = hold("alice");
  EXPECT_EQ(code(acquire({}, "alice")), errc::lock_not_acquired);
  ASSERT_TRUE(release(first.id));
  EXPECT_GT(hold("alice").token, first.token);
}

TEST_P(Answers, AnIdWithAnotherBodyIsRefusedAndChangesNothing) {
  const auto lease = hold("alice", {}, "r1");
  EXPECT_EQ(code(acquire("r1", "alice", {.ttl = 11s})), errc::request_id_reused);
  EXPECT_EQ(code(acquire("r1", "alice", {.metadata = "{}"})), errc::request_id_reused);
  EXPECT_EQ(code(release(lease.id, "a", "r1", "alice")), errc::request_id_reused);
  EXPECT_EQ(code(renew({lock_name("a"), lease.id, {}}, {}, "r1", "alice")), errc::request_id_reused);
  EXPECT_EQ(left(status().holders.at(0).end), 10s);
  EXPECT_EQ(acquire("r1", "alice", {.wait = 5s}).index(), 0u) << "the patience is not part of the body";
}

TEST_P(Answers, AnIdBelongsToOneLockAndOneClient) {
  hold("alice", on("a"), "r1");
  EXPECT_TRUE(is_granted(acquire("r1", "alice", on("b"))));
  EXPECT_TRUE(is_granted(acquire("r1", "bob", on("c"))));
  EXPECT_EQ(code(acquire("r1", "bob", on("a"))), errc::lock_not_acquired);
}

TEST_P(Answers, ARepeatedReleaseGivesTheSameAnswerAndLeavesTheNextOwnerAlone) {
  const auto lease = hold("alice");
  ASSERT_TRUE(release(lease.id, "a", "r1")->ended);
  hold("bob");

  const auto again = release(lease.id, "a", "r1");
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->ended);
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_P(Answers, WhatIsAskedInOneMomentComesToWhatItWouldAlone) {
  hold("zoe", on("taken"));
  const std::vector<std::string> locks{"a", "b", "c", "taken", "d",     "b", "e",
                                       "f", "g", "h", "i",     "taken", "j"};
  std::vector<pending<acquire_answer>> asked;
  for (std::size_t i = 0; i < locks.size(); ++i)
    asked.push_back(ask("r" + std::to_string(i), "c" + std::to_string(i), on(locks[i])));
  std::vector<lease_proof> given;
  std::set<fencing_token> tokens;
  for (std::size_t i = 0; i < locks.size(); ++i) {
    const auto got = await(asked[i]);
    if (locks[i] == "taken" || i == 5) {
      EXPECT_EQ(code(got), errc::lock_not_acquired) << i;
      continue;
    }
    ASSERT_TRUE(is_granted(got)) << i;
    tokens.insert(lease_of(got).token);
    given.push_back({lock_name(locks[i]), lease_of(got).id, {}});
  }
  EXPECT_THAT(tokens, SizeIs(10));
  EXPECT_EQ(lease_of(acquire("r1", "c1", on("b"))).id, given[1].id) << "each is remembered as its own call";

  given.push_back(given[1]);  // the second time there is nothing left to give back
  std::vector<pending<answer<release_answers>>> back;
  for (const auto& lease : given) {
    auto [box, done] = promise<answer<release_answers>>();
    host_->engine().release({{}, {}, {&lease, 1}, false}, std::move(done));
    back.push_back(std::move(box));
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto all = await(back[i]);
    EXPECT_EQ(all ? code(all->at(0)) : code(all), i < 10 ? std::nullopt : std::optional(errc::lock_not_held))
        << i;
  }
}

TEST_P(Answers, ACallDoesNotOvertakeTheOneThatItCancels) {
  hold("zoe");
  const auto asked = ask("r1", "alice", waiting(60s));
  EXPECT_TRUE(cancel("r1", "alice")->done);
  EXPECT_TRUE(is_queued(await(asked)));
  EXPECT_THAT(waiters(), IsEmpty());
}

TEST_P(Answers, ATryComesAfterTheReleasesThatWereAskedBeforeIt) {
  const std::vector<std::string> locks{"a", "b", "c", "d"};
  std::vector<lease_proof> given;
  for (const auto& lock : locks)  // of which Redis' short way can give back but some
    given.push_back({lock_name(lock), hold("alice", on(lock, {.ttl = lock < "c" ? 31s : 10s})).id, {}});
  for (const auto& lease : given) host_->engine().release({{}, {}, {&lease, 1}, false}, [](const auto&) {});
  std::vector<pending<acquire_answer>> asked;
  for (const auto& lock : locks) asked.push_back(ask("", "bob", on(lock)));
  for (std::size_t i = 0; i < locks.size(); ++i) EXPECT_TRUE(is_granted(await(asked[i]))) << locks[i];
}

TEST_P(Answers, CallsOfEarlierOwnersAreRememberedToo) {
  for (const std::string who : {"zoe", "alice", "bob"}) {
    const auto lease = hold(who, {}, who + " takes it");
    ASSERT_TRUE(release(lease.id, "a", who + " gives it back", who));
  }
  const auto last = hold("carol");

  for (const std::string who : {"zoe", "alice", "bob"}) {
    EXPECT_EQ(why(acquire(who + " takes it", who)).ended, end_reason::released) << who;
    const auto again = acquire(who + " gives it back", who);
    EXPECT_EQ(code(again), errc::request_id_reused) << who;
  }
  EXPECT_TRUE(validate(last.token).current);
  pass(31s);
  EXPECT_TRUE(is_granted(acquire("bob takes it", "bob")));
}

TEST_P(Answers, ARepeatedRenewTellsTheEndAsItIsNowAndMovesNothing) {
  const auto lease = hold("alice");
  const lease_proof proof{lock_name("a"), lease.id, {}};
  ASSERT_TRUE(renew(proof, 20s, "r1"));
  pass(5s);
  EXPECT_EQ(left(renew(proof, 20s, "r1")->end), 15s);
  ASSERT_TRUE(release(lease.id));
  EXPECT_EQ(code(renew(proof, 20s, "r1")), errc::lock_not_held);
}

TEST_P(Answers, ARepeatedForceReleaseEndsNothingMore) {
  const auto lease = hold("alice");
  EXPECT_THAT(force("a", {}, "r1")->tokens, ElementsAre(lease.token));
  hold("bob");
  EXPECT_THAT(force("a", {}, "r1")->tokens, ElementsAre(lease.token));
  EXPECT_THAT(holders(), ElementsAre("bob"));
}

TEST_P(Answers, RepeatedSessionCallsHaveOneEffect) {
  if (!can(&capabilities::sessions)) return;
  const auto s = open("alice", 10s, "r1");
  const auto again = open("alice", 10s, "r1");
  EXPECT_EQ(again->id, s->id);
  EXPECT_THAT(sessions().items, SizeIs(1));

  hold("alice", {.session = s->id});
  EXPECT_EQ(close(s->id, "r2")->released, 1u);
  EXPECT_EQ(close(s->id, "r2")->released, 1u);
  EXPECT_EQ(code(close(s->id, "r3")), errc::session_not_found);
  EXPECT_EQ(code(keep(s->id, "r4")), errc::session_not_found);
}

TEST_P(Answers, AWaitingRequestIsTakenUpByItsIdAndKeepsItsPlace) {
  hold("alice");
  const auto bob = wait_for("r1", "bob");
  wait_for("r2", "carol");

  const auto again = wait_for("r1", "bob");
  EXPECT_EQ(again.id, bob.id);
  EXPECT_THAT(waiters(), ElementsAre("bob", "carol"));
  EXPECT_EQ(again.deadline, bob.deadline) << "the first call sets the deadline";
}

TEST_P(Answers, AnOutcomeIsForgottenAfterTheRequestMemory) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id));
  pass(30s - 1ms);
  EXPECT_EQ(code(acquire("r1", "alice")), errc::lock_not_held);
  pass(1ms);
  EXPECT_TRUE(is_granted(acquire("r1", "alice")));
}

TEST_P(Answers, AnOutcomeIsRememberedAsLongAsItsLeaseLives) {
  const auto lease = hold("alice", {.ttl = 100s}, "r1");
  pass(90s);
  EXPECT_EQ(lease_of(acquire("r1", "alice", {.ttl = 100s})).id, lease.id);
}

TEST_P(Answers, CancelReleasesTheLeaseOfARequest) {
  hold("alice", {}, "r1");
  const auto bob = wait_for("r2", "bob");
  EXPECT_TRUE(cancel("r1", "alice")->done);
  EXPECT_EQ(granted_to(bob).hold_count, 1u);
  EXPECT_EQ(code(acquire("r1", "alice")), errc::request_cancelled);
  EXPECT_TRUE(cancel("r1", "alice")->done) << "once more says the same";
}

TEST_P(Answers, CancelRemovesAWaiterAndTellsWhoWaits) {
  const auto lease = hold("alice");
  const auto bob = wait_for("r1", "bob");
  EXPECT_TRUE(cancel("r1", "bob")->done);
  EXPECT_EQ(refused_with(bob), errc::request_cancelled);
  EXPECT_THAT(waiters(), IsEmpty());
  ASSERT_TRUE(release(lease.id));
  EXPECT_FALSE(status().locked);
}

TEST_P(Answers, CancelOfAnUnseenIdRefusesTheLateOriginal) {
  EXPECT_TRUE(cancel("r1", "alice")->done);
  EXPECT_EQ(code(acquire("r1", "alice")), errc::request_cancelled);
  EXPECT_FALSE(status().locked);
}

TEST_P(Answers, CancelOfARequestThatHasEndedSaysSo) {
  ASSERT_TRUE(release(hold("alice", {}, "r1").id));
  EXPECT_FALSE(cancel("r1", "alice")->done);
  hold("alice");
  ASSERT_EQ(code(acquire("r2", "bob")), errc::lock_not_acquired);
  EXPECT_FALSE(cancel("r2", "bob")->done);
}

TEST_P(Answers, AFullRequestMemoryRefusesBeforeAnyEffect) {
  begin({.request_memory_max = 2});
  if (!host_->counts_remembered()) return;  // its store's own limit is the bound
  const auto lease = hold("alice", {}, "r1");
  hold("alice", on("b"), "r2");

  EXPECT_EQ(code(acquire("r3", "alice", on("c"))), errc::request_memory_full);
  EXPECT_EQ(code(release(lease.id, "a", "r4")), errc::request_memory_full);
  EXPECT_EQ(code(cancel("r5", "alice", "c")), errc::request_memory_full);
  EXPECT_FALSE(status("c").locked);
  EXPECT_TRUE(status("a").locked);
  EXPECT_TRUE(is_granted(acquire({}, "alice", on("c")))) << "who needs no memory is served";
  EXPECT_EQ(lease_of(acquire("r1", "alice")).id, lease.id) << "and what is remembered is answered";
}

TEST_P(Answers, SecretsAreSeenByNobodyElse) {
  const auto lease = hold("alice", {}, "r1");
  const auto refused = acquire({}, "bob");
  EXPECT_EQ(why(refused).holders.at(0).client, "alice");
  // Of what others see, nothing proves a right: a lease can only be ended with its own secret.
  EXPECT_EQ(code(release(lock_id{{lease.renewal.bits}})), errc::lock_not_held);
  EXPECT_EQ(code(release(lock_id{{0, to_number(lease.token)}})), errc::lock_not_held);
}

}  // namespace
}  // namespace dislock::testing_engines
