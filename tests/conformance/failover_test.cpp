// What a Redis may have lost, or has forgotten when somebody set its clock, and what becomes of those who
// relied on it.
#include "conformance.hpp"
#include "engines/redis/wire/test_redis.hpp"
#include "redis_host.hpp"

namespace dislock::testing_engines {
namespace {

using testing::Contains;
using testing::Ge;
using testing::HasSubstr;
using testing::Not;

class Failover : public testing::Test {
 protected:
  void begin(int engines = 1) {
    for (int i = 0; i < engines; ++i) engines_.push_back(&world_.add({}, told_));
    on_ = engines_.front();
  }

  template <class T, class Call>
  T await(Call call) {
    std::optional<T> got;
    call(completion<T>([&got](T x) { got.emplace(std::move(x)); }));
    if (!world_.run_until([&got] { return got.has_value(); }))
      throw std::runtime_error("a call has no answer");
    return std::move(*got);
  }
  acquire_answer acquire(std::string_view client, wish w = {}) {
    const lock_want want{lock_name(w.lock), w.mode, w.limit, w.permits};
    return await<acquire_answer>([&](auto done) {
      on_->acquire(request_of({}, client, w, {&want, 1}, false), std::move(done));
    });
  }
  grant hold(std::string_view client, wish w = {}) { return lease_of(acquire(client, w)); }
  queued wait_for(std::string_view client, wish w = {}) {
    w.wait = 300s;
    return std::get<queued>(acquire(client, w));
  }
  answer<renewed> renew(const lock_id& id, duration ttl = 10s, std::string_view lock = "a") {
    const lease_proof proof{lock_name(lock), id, {}};
    auto all = await<answer<renew_answers>>([&](auto done) {
      on_->renew({{}, {}, {&proof, 1}, false, ttl, false}, std::move(done));
    });
    if (!all) return refuse(all.error().code);
    return all->at(0);
  }
  bool release(const lock_id& id, std::string_view lock = "a") {
    const lease_proof proof{lock_name(lock), id, {}};
    return bool(await<answer<release_answers>>([&](auto done) {
      on_->release({{}, {}, {&proof, 1}, false}, std::move(done));
    }));
  }
  std::vector<std::string> holders(std::string_view lock = "a") {
    std::vector<std::string> out;
    const auto view =
        await<answer<lock_view>>([&](auto done) { on_->status(lock_name(lock), 10, 100, std::move(done)); });
    for (const auto& h : view->holders) out.push_back(h.client);
    return out;
  }
  std::optional<acquire_answer> told(const queued& q) {
    for (const auto& r : told_.resolved)
      if (r.id == q.id && r.epoch == q.epoch) return r.outcome;
    return std::nullopt;
  }
  bool granted_now(const queued& q) {
    return world_.run_until([&] { return told(q).has_value(); }) && is_granted(*told(q));
  }
  std::string detail() { return on_->health().detail; }

  /// The store has another incarnation, and its connections end: what Sentinel does to a primary and its
  /// clients.
  void fail_over() {
    EXPECT_EQ(world_.say("DEBUG CHANGE-REPL-ID"), "OK");
    world_.say("CLIENT KILL TYPE normal");
    ASSERT_TRUE(world_.run_until([&] { return !on_->health().ready; }));
    ASSERT_TRUE(world_.run_until([&] {
      return std::all_of(engines_.begin(), engines_.end(), [](auto* e) { return e->health().ready; });
    }));
    world_.rest();
  }
  /// What the store has of lock `a` now is what will be left after `lose`.
  void remember() {
    world_.say("COPY dislock:lock:a old:lock REPLACE");
    world_.say("COPY lock:a old:key REPLACE");
  }
  void lose() {
    world_.say("COPY old:lock dislock:lock:a REPLACE");
    world_.say("COPY old:key lock:a REPLACE");
  }

  manual_clock time_;
  recorder told_;
  redis_world world_{time_};
  std::vector<engine*> engines_;
  engine* on_ = nullptr;
};

// --- after a failover

TEST_F(Failover, GrantsNothingUntilTheLatestEndThatTheOldPrimaryCanHaveTold) {
  begin();
  hold("alice");
  fail_over();
  const auto bob = acquire("bob", on("b"));
  EXPECT_EQ(code(bob), errc::engine_unavailable);
  const auto carol = wait_for("carol", on("c"));
  EXPECT_THAT(detail(), HasSubstr("nothing is granted for"));
  EXPECT_TRUE(on_->health().degraded);
  world_.pass(31s);
  EXPECT_FALSE(told(carol));
  world_.pass(1s);
  EXPECT_TRUE(granted_now(carol)) << "horizon: 2 s of the ceiling, and 30 s";
  EXPECT_THAT(detail(), Not(HasSubstr("nothing is granted")));
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
}

TEST_F(Failover, IsNoLongerThanItsSettingForShortLeases) {
  world_.failover.quarantine = 3s;
  begin();
  hold("alice", {.ttl = 2s});
  fail_over();
  world_.pass(4s);
  EXPECT_EQ(code(acquire("bob", on("b"))), errc::engine_unavailable);
  world_.pass(1s);
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
}

TEST_F(Failover, LetsAPlainLeaseLiveOnForAsLongAsThatLasts) {
  world_.failover.quarantine = 300s;
  begin();
  const auto alice = hold("alice", {.ttl = 5s});
  fail_over();
  world_.pass(290s);
  EXPECT_TRUE(renew(alice.id, 5s));
}

TEST_F(Failover, OfALongLeaseClosesNoLongerForOthers) {
  begin();
  const auto alice = hold("alice", {.ttl = 300s});
  ASSERT_TRUE(renew(alice.id, 300s));
  fail_over();
  world_.pass(32s);
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
  EXPECT_THAT(holders(), ElementsAre("alice"));
}

TEST_F(Failover, StartsTokensAboveAllThatTheOldPrimaryCanHaveGiven) {
  world_.failover.exclusive = false;
  begin();
  const auto before = hold("alice").token;
  fail_over();
  const auto after = hold("bob", on("b")).token;
  EXPECT_GE(to_number(after), to_number(before) + 2'000'000) << "the ceiling, though no time has passed";
}

TEST_F(Failover, GrantsAtOnceWithFenceOnly) {
  world_.failover.exclusive = false;
  begin();
  hold("alice");
  fail_over();
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
}

TEST_F(Failover, RenewsAndReleasesWhatWasReplicatedMeanwhile) {
  begin();
  const auto alice = hold("alice"), bob = hold("bob", on("b"));
  fail_over();
  world_.pass(5s);
  const auto got = renew(alice.id, 20s);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->token, alice.token);
  EXPECT_TRUE(release(bob.id, "b"));
  EXPECT_THAT(holders("b"), IsEmpty());
  EXPECT_EQ(code(acquire("carol", on("b"))), errc::engine_unavailable);
}

TEST_F(Failover, LeavesALeaseToItsOwnerUntilItIsOver) {
  begin();
  const auto alice = hold("alice");
  fail_over();
  world_.pass(20s);
  EXPECT_THAT(holders(), ElementsAre("alice")) << "its end has passed, but nobody else can have it";
  EXPECT_EQ(code(acquire("bob")), errc::lock_not_acquired);
  world_.say("DEL lock:a");  // it has expired; and if not yet, then now
  const auto got = renew(alice.id);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->token, alice.token);
  EXPECT_EQ(got->end - on_->now(), 12s) << "status had said so, and a renewal shortens nothing";
  EXPECT_EQ(world_.say("GET lock:a"), alice.id.to_string()) << "for those who know only the key";
  world_.pass(15s);
  EXPECT_THAT(holders(), IsEmpty());
  EXPECT_GT(hold("bob").token, alice.token);
}

TEST_F(Failover, GivesBackTheLeaseWhoseRenewalWasLost) {
  begin();
  const auto alice = hold("alice");
  world_.pass(8s);
  remember();
  const auto told_end = renew(alice.id)->end;
  lose();
  fail_over();
  world_.pass(3s);
  ASSERT_LT(on_->now(), told_end);
  EXPECT_THAT(holders(), ElementsAre("alice"));
  EXPECT_TRUE(renew(alice.id));
}

TEST_F(Failover, TakesNoLeaseThatHadEndedBefore) {
  begin();
  hold("bob", on("b", {.ttl = 60s}));  // so that somebody keeps raising the ceiling
  const auto alice = hold("alice", {.ttl = 1s});
  remember();
  world_.pass(1s);
  const auto carol = wait_for("carol", on("b"));
  world_.pass(3s);
  lose();
  world_.say("DEL lock:a");
  fail_over();
  EXPECT_FALSE(renew(alice.id)) << "it had ended on the old primary";
  EXPECT_FALSE(told(carol));
}

TEST_F(Failover, KeepsSharedHoldersAndSessions) {
  begin();
  hold("reader", on("r", shared()));
  const auto s = await<answer<session_opened>>(
      [&](auto done) { on_->open_session(client_id("sam"), 10s, {}, std::move(done)); });
  hold("sam", on("s", {.session = s->id}));
  fail_over();
  world_.pass(20s);
  EXPECT_THAT(holders("r"), ElementsAre("reader"));
  EXPECT_EQ(world_.say("GET lock:r"), "dislock:shared");
  EXPECT_THAT(holders("s"), ElementsAre("sam"));
  const auto kept =
      await<answer<session_kept>>([&](auto done) { on_->keep_session(s->id, {}, std::move(done)); });
  ASSERT_TRUE(kept);
  world_.pass(13s);
  EXPECT_THAT(holders("r"), IsEmpty());
  world_.pass(10s);
  EXPECT_THAT(holders("s"), IsEmpty());
  EXPECT_TRUE(is_granted(acquire("bob", on("s"))));
}

TEST_F(Failover, IsNoticedWhenThePrimaryOfBeforeIsBackOnTheSameConnection) {
  begin();
  hold("alice");
  // A -> B -> A: the same process on the same port, no connection ends, but the history is another one.
  EXPECT_EQ(world_.say("DEBUG CHANGE-REPL-ID"), "OK");
  world_.pass(1s);
  ASSERT_TRUE(world_.run_until([&] { return on_->health().ready; }));
  EXPECT_EQ(code(acquire("bob", on("b"))), errc::engine_unavailable);
  EXPECT_THAT(detail(), HasSubstr("nothing is granted"));
}

TEST_F(Failover, IsNotSeenInAStoreThatIsUsedForTheFirstTime) {
  begin();
  EXPECT_TRUE(is_granted(acquire("alice")));
}

TEST_F(Failover, OfSeveralEnginesClosesOnce) {
  begin(2);
  hold("alice");
  on_ = engines_[1];
  hold("bob", on("b"));
  fail_over();
  on_ = engines_[0];
  const auto carol = wait_for("carol", on("c"));
  world_.pass(16s);
  on_ = engines_[1];
  EXPECT_EQ(code(acquire("dan", on("d"))), errc::engine_unavailable);
  world_.pass(16s);
  EXPECT_TRUE(is_granted(acquire("dan", on("d"))));
  EXPECT_TRUE(granted_now(carol));
}

TEST_F(Failover, TakesNoWaiterForOneThatWasLost) {
  begin(2);
  hold("alice", {.ttl = 250s});
  world_.say("COPY dislock:arrivals old:arrivals REPLACE");
  const auto bob = wait_for("bob");
  const auto number = std::to_string(static_cast<std::uint64_t>(bob.id));
  world_.say("COPY old:arrivals dislock:arrivals REPLACE");
  world_.say("DEL dislock:queue:a dislock:waiter:" + number);
  world_.pass(1ms);
  fail_over();
  on_ = engines_[1];
  EXPECT_NE(wait_for("carol").id, bob.id);
  world_.pass(5s);
  ASSERT_TRUE(told(bob)) << "his replica asks after him";
  EXPECT_EQ(code(*told(bob)), errc::engine_unavailable);
}

TEST_F(Failover, WithThePlantedCounterWouldRepeatTokens) {
  world_.plain_counter = true;
  begin();
  world_.say("COPY dislock:fence old:fence REPLACE");
  const auto first = hold("alice").token;
  world_.say("DEL dislock:fence");
  fail_over();
  EXPECT_EQ(hold("bob", on("b")).token, first) << "this test sees it";
}

// --- replicas

class Replicated : public Failover {
 protected:
  Replicated() {
    begin();
    replica_.emplace(std::vector<std::string>{"--replicaof", "127.0.0.1 " + std::to_string(world_.port())});
    EXPECT_TRUE(redis::comes_true(
        [&] { return world_.say("INFO replication").find("state=online") != std::string::npos; }));
  }
  std::optional<redis::test_redis> replica_;
};

TEST_F(Replicated, GrantsStopWithinTheCeilingWhenNoReplicaAnswers) {
  const auto alice = hold("alice");
  EXPECT_FALSE(on_->health().degraded);
  replica_->process().freeze();
  EXPECT_TRUE(is_granted(acquire("bob", on("b")))) << "what was confirmed still counts";
  world_.pass(3s);
  EXPECT_EQ(code(acquire("carol", on("c"))), errc::engine_unavailable);
  EXPECT_THAT(detail(), HasSubstr("the watermark was not raised"));
  EXPECT_TRUE(renew(alice.id)) << "the pause after a failover would cover it";
  EXPECT_EQ(code(renew(alice.id, 60s)), errc::outcome_unknown) << "but not this";
  replica_->process().thaw();
  EXPECT_TRUE(is_granted(acquire("carol", on("c"))));
  EXPECT_TRUE(renew(alice.id, 60s));
  EXPECT_FALSE(on_->health().degraded);
}

TEST_F(Replicated, WhoHasTimeWaitsUntilAReplicaAnswers) {
  hold("alice");
  replica_->process().freeze();
  world_.pass(3s);
  const auto bob = wait_for("bob", on("b"));
  replica_->process().thaw();
  world_.pass(2s);
  EXPECT_TRUE(granted_now(bob));
}

TEST_F(Replicated, ALongLeaseIsAnsweredWhenTheReplicasHaveIt) {
  hold("alice", {.ttl = 200s});
  EXPECT_THAT(replica_->say({"GET", "lock:a"}).text, Not(IsEmpty()));
  replica_->process().freeze();
  EXPECT_EQ(code(acquire("bob", on("b", {.ttl = 200s}))), errc::outcome_unknown);
  replica_->process().thaw();
}

TEST_F(Replicated, AWaiterOfALongLeaseIsNotForgotten) {
  const auto alice = hold("alice", {.ttl = 250s});
  const auto bob = wait_for("bob", {.ttl = 200s});
  replica_->process().freeze();
  ASSERT_TRUE(release(alice.id));
  EXPECT_FALSE(told(bob));
  replica_->process().thaw();
  world_.pass(2s);
  EXPECT_TRUE(granted_now(bob));
}

// --- the clock of the store

TEST_F(Failover, GrantsNothingWhenTheClockOfTheStoreIsSetForwardUntilTheLeasesOfBeforeAreOver) {
  begin();
  const auto alice = hold("alice");
  world_.set_clock_by(31s);
  EXPECT_EQ(code(acquire("bob")), errc::lock_not_acquired);
  EXPECT_EQ(code(acquire("bob", on("b"))), errc::engine_unavailable);
  EXPECT_THAT(holders(), ElementsAre("alice"));
  EXPECT_EQ(on_->health().clock_steps_forward, 1u);
  EXPECT_TRUE(on_->health().clock_suspect);
  const auto got = renew(alice.id);
  ASSERT_TRUE(got) << "it ended by the step alone";
  EXPECT_EQ(got->token, alice.token);
  EXPECT_EQ(world_.say("GET lock:a"), alice.id.to_string());
  world_.pass(31s);
  EXPECT_EQ(code(acquire("bob", on("b"))), errc::engine_unavailable);
  world_.pass(1s + 600ms);
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
  EXPECT_FALSE(on_->health().clock_suspect);
  EXPECT_GT(hold("bob").token, alice.token);
}

TEST_F(Failover, WaitsForTheEndsOfLongLeasesWhenTheClockIsSet) {
  begin();
  hold("alice", {.ttl = 200s});
  world_.set_clock_by(40s);
  world_.pass(190s);
  EXPECT_THAT(holders(), ElementsAre("alice"));
  EXPECT_EQ(code(acquire("bob")), errc::lock_not_acquired);
  world_.pass(11s);
  EXPECT_TRUE(is_granted(acquire("bob")));
}

TEST_F(Failover, AStepOfTheClockIsToldOnceByAllWhoNoticeIt) {
  begin(2);
  hold("alice");
  on_ = engines_[1];
  hold("bob", on("b"));
  world_.set_clock_by(1h);
  EXPECT_EQ(code(acquire("carol", on("c"))), errc::engine_unavailable);
  world_.pass(20s);
  on_ = engines_[0];
  EXPECT_EQ(code(acquire("carol", on("c"))), errc::engine_unavailable);
  for (auto* e : engines_) EXPECT_EQ(e->health().clock_steps_forward, 1u);
  world_.pass(13s);
  EXPECT_TRUE(is_granted(acquire("carol", on("c"))));
}

TEST_F(Failover, AStepOfTheClockLosesNoWaiter) {
  begin(2);
  const auto alice = hold("alice");
  on_ = engines_[1];
  const auto bob = wait_for("bob");
  world_.set_clock_by(31s);
  on_ = engines_[0];
  ASSERT_TRUE(release(alice.id));
  world_.pass(10s);
  EXPECT_FALSE(told(bob));
  world_.pass(25s);
  EXPECT_TRUE(granted_now(bob));
}

TEST_F(Failover, TokensRiseAndItIsSaidWhenTheClockIsSetBack) {
  begin();
  const auto first = hold("alice").token;
  world_.set_clock_by(-31s);
  EXPECT_GT(hold("bob", on("b")).token, first);
  EXPECT_GT(hold("carol", on("c")).token, first);
  EXPECT_EQ(on_->health().clock_steps_backward, 1u);
  EXPECT_THAT(detail(), HasSubstr("set back"));
}

TEST_F(Failover, AClockThatWasSetForwardAndBackGrantsAgainWhenTheLeasesAreOver) {
  begin(2);
  hold("alice", {.ttl = 1s});
  world_.set_clock_by(1h);
  EXPECT_EQ(code(acquire("bob", on("b"))), errc::engine_unavailable);
  world_.pass(2s);
  world_.set_clock_by(-1h);
  EXPECT_EQ(code(acquire("bob", on("b"))), errc::engine_unavailable) << "a lease of before may be alive";
  world_.pass(32s);
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
  on_ = engines_[1];
  EXPECT_TRUE(is_granted(acquire("carol", on("c"))));
}

TEST_F(Failover, ASmallStepIsNoStep) {
  begin();
  hold("alice", {.ttl = 1s});
  for (int i = 0; i < 10; ++i) {
    world_.set_clock_by(i % 2 == 0 ? 300ms : -300ms);
    world_.pass(2s);
    EXPECT_TRUE(is_granted(acquire("bob", on("b", {.ttl = 1s}))));
  }
  EXPECT_EQ(on_->health().clock_steps_forward, 0u);
}

TEST_F(Failover, AnswersThatComeLateAreNoStep) {
  begin();
  hold("alice");
  world_.pass(600s);
  EXPECT_TRUE(is_granted(acquire("bob")));
  EXPECT_EQ(on_->health().clock_steps_forward, 0u);
}

// --- what operators do

TEST_F(Failover, ForgetsNoTokenAndWaitsWhenTheStoreWasEmptied) {
  begin();
  const auto alice = hold("alice");
  world_.say("FLUSHALL");
  EXPECT_EQ(code(acquire("bob")), errc::engine_unavailable) << "somebody may believe that he has it";
  EXPECT_THAT(detail(), HasSubstr("emptied"));
  EXPECT_EQ(code(renew(alice.id)), errc::lock_not_held) << "which nobody knows any more";
  world_.pass(32s);
  EXPECT_GT(hold("bob").token, alice.token);
}

TEST_F(Failover, ForgottenScriptsAreLoadedAgain) {
  begin();
  const auto alice = hold("alice");
  world_.say("SCRIPT FLUSH");
  ASSERT_TRUE(renew(alice.id));
  world_.say("SCRIPT FLUSH");
  world_.pass(2s);
  EXPECT_TRUE(is_granted(acquire("bob", on("b"))));
}

TEST_F(Failover, AStoreThatForgetsKeysWhenFullIsNotUsed) {
  begin();
  world_.say("CONFIG SET maxmemory-policy allkeys-lru");
  world_.say("CONFIG SET maxmemory 100mb");
  world_.say("CLIENT KILL TYPE normal");
  ASSERT_TRUE(world_.run_until([&] { return detail().find("maxmemory-policy is") != std::string::npos; }));
  EXPECT_FALSE(on_->health().ready);
  world_.failover.allow_eviction = true;
  auto& other = world_.add({}, told_);
  on_ = &other;
  EXPECT_TRUE(is_granted(acquire("alice")));
  EXPECT_THAT(detail(), HasSubstr("locks vanish"));
}

}  // namespace
}  // namespace dislock::testing_engines
