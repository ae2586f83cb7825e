// Nothing that a crash could undo leaves a table engine with a log before its commit.
#include "engine/test_manual_loop.hpp"
#include "held_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace dislock {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing_engines::held_log;
using testing_engines::manual_loop;

class DurabilityGate : public testing::Test, public engine_listener {
 protected:
  DurabilityGate() { make(false); }

  void make(bool plant) {
    engine_.reset();
    log_ = {};
    table_engine_options options;
    options.plant_answer_before_commit = plant;
    engine_ = std::make_unique<table_engine>(loop_, std::move(options), std::make_unique<held_log>(log_));
    engine_->start(*this);
    commit();
    said_.clear();
  }

  // --- what the engine says, in its order
  void on_resolved(ticket, std::uint32_t, acquire_answer&& outcome) override {
    said_.push_back("resolved " + words(outcome));
  }
  void on_event(const event&) override {}
  void on_deadlock(const deadlock&) override {}

  static std::string words(const acquire_answer& a) {
    if (std::holds_alternative<granted>(a)) return "granted";
    if (std::holds_alternative<queued>(a)) return "queued";
    return std::string(to_string(std::get<refusal_ptr>(a)->code));
  }
  template <class T>
  static std::string words(const answer<T>& a) {
    return a ? "yes" : std::string(to_string(a.error().code));
  }
  template <class T>
  completion<T> say(std::string name) {
    return [this, name = std::move(name)](const T& a) {
      if constexpr (std::is_same_v<T, acquire_answer>)
        if (const auto* won = std::get_if<granted>(&a)) last_ = won->leases[0].id;
      said_.push_back(name + " " + words(a));
    };
  }

  // --- asking; what is deferred runs, what is not committed stays
  void acquire(std::string_view client, duration wait = 0s, std::string_view lock = "a",
               std::string_view request = {}) {
    const lock_want want{lock_name(lock)};
    acquire_request r;
    r.client = client_id(client);
    r.request = request_id(request);
    r.wants = {&want, 1};
    r.ttl = 10s;
    r.wait = wait;
    engine_->acquire(r, say<acquire_answer>(std::string(client)));
    loop_.run_ready();
  }
  void release(const lock_id& id, std::string_view lock = "a") {
    const lease_proof proof{lock_name(lock), id, {}};
    engine_->release({{}, {}, {&proof, 1}, false}, say<answer<release_answers>>("release"));
    loop_.run_ready();
  }
  void status() {
    engine_->status(lock_name("a"), 10, 10, say<answer<lock_view>>("status"));
    loop_.run_ready();
  }
  void commit() {
    loop_.run_ready();
    log_.committed = log_.submitted;
    loop_.notify();
    loop_.run_ready();
  }
  void commit_everything() {
    do commit();
    while (log_.committed < log_.appended);
  }
  void fail() {
    log_.failure = "the disk is gone";
    loop_.notify();
    loop_.run_ready();
  }
  void pass(duration d) {
    loop_.pass(time_, d, [this] { loop_.run_ready(); });
  }
  std::vector<std::string> said() { return std::exchange(said_, {}); }
  std::vector<event_type> visible() {
    std::vector<event_type> out;
    EXPECT_TRUE(engine_->events().after(0, [&](const logged_event& e) {
      out.push_back(e.type);
      return true;
    }));
    return out;
  }

  manual_clock time_;
  manual_loop loop_{time_};
  held_log::remote log_;
  std::unique_ptr<table_engine> engine_;
  std::vector<std::string> said_;
  lock_id last_;
};

TEST_F(DurabilityGate, AGrantIsToldAfterItsCommitAndNotBefore) {
  acquire("alice");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(log_.submitted, log_.appended) << "it is on its way";
  commit();
  EXPECT_THAT(said(), ElementsAre("alice granted"));
}

TEST_F(DurabilityGate, ThePlantedBugLetsTheAnswerOutBeforeItsCommit) {
  make(true);
  acquire("alice");
  EXPECT_LT(log_.committed, log_.appended);
  EXPECT_THAT(said(), ElementsAre("alice granted"))
      << "what AGrantIsToldAfterItsCommitAndNotBefore is there to notice";
}

TEST_F(DurabilityGate, CallsThatAreReadyTogetherShareACommit) {
  const auto before = log_.submitted;
  const lock_want a{lock_name("a")}, b{lock_name("b")};
  acquire_request r;
  r.client = client_id("alice");
  r.ttl = 10s;
  for (const auto* want : {&a, &b}) {
    r.wants = {want, 1};
    engine_->acquire(r, say<acquire_answer>(std::string(want->name.view())));
    EXPECT_EQ(log_.submitted, before) << "not before the other calls had their turn";
  }
  loop_.run_ready();
  commit();
  EXPECT_THAT(said(), ElementsAre("a granted", "b granted"));
}

TEST_F(DurabilityGate, ARefusalWaitsForTheCommitOfWhatItDependsOn) {
  acquire("alice");
  acquire("bob");
  EXPECT_THAT(said(), IsEmpty());
  commit_everything();
  EXPECT_THAT(said(), ElementsAre("alice granted", "bob lock_not_acquired"));
  acquire("carol");
  EXPECT_THAT(said(), ElementsAre("carol lock_not_acquired")) << "depends on nothing that is not durable";
}

TEST_F(DurabilityGate, AReadWaitsForTheCommitOfWhatItSaw) {
  acquire("alice");
  status();
  EXPECT_THAT(said(), IsEmpty());
  commit_everything();
  EXPECT_THAT(said(), ElementsAre("alice granted", "status yes"));
  status();
  EXPECT_THAT(said(), ElementsAre("status yes"));
}

TEST_F(DurabilityGate, AHandOffIsToldAfterTheCommitOfTheRelease) {
  acquire("alice");
  commit();
  const auto alice = last_;
  acquire("bob", 60s);
  EXPECT_THAT(said(), ElementsAre("alice granted", "bob queued"))
      << "a place without an id is nothing durable";
  release(alice);
  EXPECT_THAT(said(), IsEmpty());
  commit();
  EXPECT_THAT(said(), ElementsAre("resolved granted", "release yes"));
}

TEST_F(DurabilityGate, AnExpiryIsDurableBeforeAnybodySeesIt) {
  acquire("alice");
  commit();
  acquire("bob", 60s);
  said();
  const auto seen = visible().size();
  pass(10s);
  EXPECT_THAT(said(), IsEmpty());
  status();
  EXPECT_THAT(said(), IsEmpty()) << "also who only looks";
  EXPECT_THAT(visible(), SizeIs(seen));
  commit_everything();
  EXPECT_THAT(said(), ElementsAre("resolved granted", "status yes"));
  EXPECT_THAT(visible(), SizeIs(seen + 2));
}

TEST_F(DurabilityGate, EventsBecomeVisibleWithTheirCommit) {
  acquire("alice");
  EXPECT_THAT(visible(), IsEmpty());
  commit();
  EXPECT_THAT(visible(), ElementsAre(event_type::acquired));
  release(last_);
  EXPECT_THAT(visible(), ElementsAre(event_type::acquired));
  acquire("bob");  // the next decision does not pull it out either
  EXPECT_THAT(visible(), ElementsAre(event_type::acquired));
  commit_everything();
  EXPECT_THAT(visible(), ElementsAre(event_type::acquired, event_type::released, event_type::acquired));
}

TEST_F(DurabilityGate, AnswersComeInTheOrderOfTheDecisionsAndGroupByGroup) {
  acquire("alice", 0s, "a");
  acquire("bob", 0s, "b");
  const auto first_groups = log_.submitted;
  acquire("carol", 0s, "c");
  status();
  log_.committed = first_groups;  // the commits of the first two alone
  loop_.notify();
  loop_.run_ready();
  EXPECT_THAT(said(), ElementsAre("alice granted", "bob granted"));
  commit_everything();
  EXPECT_THAT(said(), ElementsAre("carol granted", "status yes"));
}

TEST_F(DurabilityGate, WhatIsDecidedWhileAnswersLeaveComesAfterThem) {
  const lock_want want{lock_name("a")};
  acquire_request r;
  r.client = client_id("alice");
  r.wants = {&want, 1};
  r.ttl = 10s;
  engine_->acquire(r, [&](const acquire_answer&) {
    said_.emplace_back("alice");
    acquire("bob");
  });
  acquire("carol");
  commit_everything();
  EXPECT_THAT(said(), ElementsAre("alice", "carol lock_not_acquired", "bob lock_not_acquired"));
}

TEST_F(DurabilityGate, AfterAFailureWhatWaitedIsUnknownAndEverythingElseRefused) {
  acquire("alice");
  commit();
  acquire("waiter", 60s);
  said();
  acquire("bob", 0s, "b");
  release(last_);
  status();
  fail();
  EXPECT_THAT(said(), ElementsAre("bob outcome_unknown", "resolved outcome_unknown",
                                  "release outcome_unknown", "status outcome_unknown"));

  acquire("carol", 0s, "c");
  release(last_);
  status();
  EXPECT_THAT(said(), ElementsAre("carol engine_unavailable", "release engine_unavailable",
                                  "status engine_unavailable"));
  EXPECT_FALSE(engine_->health().ready);
  EXPECT_EQ(engine_->health().detail, "the disk is gone");
  EXPECT_FALSE(engine_->overloaded());
  EXPECT_THAT(visible(), ElementsAre(event_type::acquired, event_type::queued))
      << "nobody sees what may not be";
}

TEST_F(DurabilityGate, WhatWasCommittedBeforeTheFailureIsStillTold) {
  acquire("alice", 0s, "a");
  const auto first = log_.submitted;
  acquire("bob", 0s, "b");
  log_.committed = first;
  fail();
  EXPECT_THAT(said(), ElementsAre("alice granted", "bob outcome_unknown"));
}

TEST_F(DurabilityGate, AfterAFailureNothingIsGrantedByTimeAnyMore) {
  acquire("alice");
  commit();
  acquire("bob", 60s);
  said();
  fail();
  const auto appended = log_.appended;
  pass(120s);
  granted given;
  given.leases.emplace_back().id = last_;
  engine_->undelivered(given);
  loop_.run_ready();
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(engine_->counts().leases, 1u);
  EXPECT_EQ(log_.appended, appended);
}

TEST_F(DurabilityGate, StopWaitsForTheLastCommit) {
  acquire("alice");
  bool stopped = false;
  engine_->stop([&] { stopped = true; });
  acquire("bob");
  EXPECT_FALSE(stopped);
  EXPECT_THAT(said(), ElementsAre("bob draining"));
  commit_everything();
  EXPECT_THAT(said(), ElementsAre("alice granted"));
  EXPECT_TRUE(stopped);
}

TEST_F(DurabilityGate, StopEndsAlsoWhenTheLogHasFailed) {
  acquire("alice");
  fail();
  bool stopped = false;
  engine_->stop([&] { stopped = true; });
  loop_.run_ready();
  EXPECT_TRUE(stopped);
}

TEST_F(DurabilityGate, WritesEverySecondThatItIsAliveAsLongAsItHoldsAnything) {
  acquire("alice");  // nothing else to do for ten seconds
  commit_everything();
  for (int second = 0; second < 8; ++second) {
    const auto before = log_.submitted;
    pass(1s);
    EXPECT_GT(log_.submitted, before) << second;
    commit_everything();
  }
  pass(2s);
  commit_everything();
  const auto idle = log_.submitted;
  pass(60s);
  EXPECT_EQ(log_.submitted, idle) << "an empty table writes nothing";
}

TEST_F(DurabilityGate, ClosesItsLog) {
  engine_.reset();
  EXPECT_TRUE(log_.closed);
}

}  // namespace
}  // namespace dislock
