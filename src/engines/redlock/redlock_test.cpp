// The engine on five real Redis servers, to which the test does what the world does.
#include "engines/redis/wire/test_redis.hpp"
#include "engines/redlock/redlock_engine.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <list>
#include <map>
#include <set>
#include <thread>

namespace dislock {
namespace {

using namespace std::chrono_literals;
using redis::reply;
using redis::test_redis;
using testing::HasSubstr;

constexpr std::size_t all_nodes = 5;

/// Real time, but for its beginning.
class shifted_clock final : public clock {
 public:
  explicit shifted_clock(duration by) : by_(by) {}
  [[nodiscard]] instant now() const noexcept override { return real_.now() + by_; }
  void not_before(instant) noexcept override {}

 private:
  boottime_clock real_;
  const duration by_;
};

struct wish {
  std::string_view lock = "a";
  duration ttl = 30s;
  duration wait = 0s;
  std::string_view request = {};
  lock_id reentry = {};
};

class Redlock : public testing::Test {
 protected:
  struct replica final : engine_listener {
    void on_resolved(ticket id, std::uint32_t, acquire_answer&& outcome) override {
      const auto it = waiting.find(id);
      if (it == waiting.end()) return;
      auto done = std::move(it->second);
      waiting.erase(it);
      done(std::move(outcome));
    }
    void on_event(const event&) override {}
    void on_deadlock(const deadlock&) override {}

    std::unique_ptr<shifted_clock> time;
    std::unique_ptr<loop> strand;
    std::unique_ptr<dislock::engine> engine;
    std::map<ticket, completion<acquire_answer>> waiting;
  };

  Redlock() {
    for (auto& n : nodes_) n = std::make_unique<test_redis>();
  }
  ~Redlock() override { replicas_.clear(); }

  [[nodiscard]] std::string url(const std::string& rest = {}) const {
    std::string out = "redlock://";
    for (const auto& n : nodes_) out += (n == nodes_[0] ? "" : ",") + n->place();
    return out + rest;
  }
  replica& add(duration max_ttl = 60s, duration clock_shift = 0s, bool wait = true,
               const std::string& rest = {}) {
    auto& r = replicas_.emplace_back();
    r.time = std::make_unique<shifted_clock>(clock_shift);
    r.strand = make_asio_loop(io_, *r.time);
    redlock_engine_options options;
    options.url = *redis::parse_store_url(url(rest));
    options.max_ttl = max_ttl;
    auto made = make_redlock_engine(io_, *r.strand, *r.time, options);
    EXPECT_TRUE(made);
    r.engine = std::move(*made);
    r.engine->start(r);
    if (wait) {
      EXPECT_TRUE(until([&] { return r.engine->health().detail.empty(); })) << r.engine->health().detail;
    }
    return r;
  }

  template <class Condition>
  bool until(Condition holds, std::chrono::milliseconds limit = 10s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io_.restart();
      io_.run_one_for(5ms);
    }
    return true;
  }
  void let_pass(std::chrono::milliseconds time) {
    (void)until([] { return false; }, time);
  }

  void ask(replica& r, std::string_view client, const wish& w, completion<acquire_answer> done) {
    const lock_want want{lock_name(w.lock), lock_mode::exclusive, 0, 1};
    acquire_request q;
    q.client = client_id(client);
    q.request = request_id(w.request);
    q.wants = {&want, 1};
    q.ttl = w.ttl;
    q.wait = w.wait;
    q.reentry = w.reentry;
    r.engine->acquire(q, [&r, done = std::move(done)](acquire_answer got) mutable {
      if (const auto* place = std::get_if<queued>(&got)) {
        r.waiting.emplace(place->id, std::move(done));
      } else {
        done(std::move(got));
      }
    });
  }
  acquire_answer acquire(replica& r, std::string_view client, const wish& w = {}) {
    std::optional<acquire_answer> out;
    ask(r, client, w, [&](acquire_answer got) { out = std::move(got); });
    EXPECT_TRUE(until([&] { return out.has_value(); }, 20s)) << "a call has no answer";
    return out ? std::move(*out) : refuse(errc::internal_error);
  }
  static std::optional<errc> code(const acquire_answer& a) {
    const auto* why = std::get_if<refusal_ptr>(&a);
    return why ? std::optional((*why)->code) : std::nullopt;
  }
  grant hold(replica& r, std::string_view client, const wish& w = {}) {
    const auto got = acquire(r, client, w);
    if (!std::holds_alternative<granted>(got)) {
      ADD_FAILURE() << "not granted";
      return {};
    }
    return std::get<granted>(got).leases.at(0);
  }
  template <class T, class Call>
  answer<T> await(Call call) {
    std::optional<answer<T>> out;
    call([&](answer<T> got) { out.emplace(std::move(got)); });
    EXPECT_TRUE(until([&] { return out.has_value(); })) << "a call has no answer";
    return out ? std::move(*out) : answer<T>(errc::internal_error);
  }
  std::optional<errc> release(replica& r, const lock_id& id, std::string_view lock = "a",
                              std::string_view client = {}, std::string_view request = {}) {
    const lease_proof proof{lock_name(lock), id, {}};
    const auto got = await<release_answers>([&](auto done) {
      r.engine->release({client_id(client), request_id(request), {&proof, 1}, false}, std::move(done));
    });
    return got ? std::nullopt : std::optional(got.error().code);
  }
  answer<renew_answers> renew(replica& r, const lease_proof& proof, std::optional<duration> ttl = {}) {
    return await<renew_answers>([&](auto done) {
      r.engine->renew({{}, {}, {&proof, 1}, false, ttl}, std::move(done));
    });
  }
  answer<forced> force(replica& r, std::optional<fencing_token> token = {}) {
    return await<forced>(
        [&](auto done) { r.engine->force_release(lock_name("a"), token, {}, "test", std::move(done)); });
  }
  answer<lock_view> status(replica& r, std::string_view lock = "a") {
    return await<lock_view>([&](auto done) { r.engine->status(lock_name(lock), 10, 10, std::move(done)); });
  }

  std::size_t keys(std::string_view lock = "a") const {
    std::size_t n = 0;
    for (const auto& each : nodes_)
      if (each->process().running() && each->say({"EXISTS", "lock:" + std::string(lock)}).number == 1) ++n;
    return n;
  }
  void restart_empty(std::size_t i) { nodes_[i]->restart(); }

  std::array<std::unique_ptr<test_redis>, all_nodes> nodes_;
  boost::asio::io_context io_{1};
  std::list<replica> replicas_;
};

TEST_F(Redlock, ABrandNewSetGrantsAtOnceAndEveryNodeHoldsTheLock) {
  auto& r = add();
  const auto lease = hold(r, "alice");
  EXPECT_TRUE(until([&] { return nodes_that_hold(*r.engine, lease.token) == 5; }));
  EXPECT_EQ(keys(), 5u);
  EXPECT_EQ(nodes_[0]->say({"GET", "lock:a"}).text, lease.id.to_string());
  EXPECT_EQ(release(r, lease.id), std::nullopt);
  EXPECT_TRUE(until([&] { return keys() == 0; }));
}

TEST_F(Redlock, AnEvenNumberOfNodesOrAnUnknownParameterIsRefused) {
  const auto even = redis::parse_store_url("redlock://a,b");
  ASSERT_FALSE(even);
  EXPECT_THAT(even.error().detail, HasSubstr("odd number"));
  boottime_clock time;
  const auto strand = make_asio_loop(io_, time);
  for (const std::string rest : {"?founding=maybe", "?quorum=2"}) {
    redlock_engine_options options;
    options.url = *redis::parse_store_url("redlock://a,b,c" + rest);
    EXPECT_FALSE(make_redlock_engine(io_, *strand, time, options)) << rest;
  }
}

TEST_F(Redlock, TwoDeadNodesChangeNothing) {
  auto& r = add();
  nodes_[1]->process().kill();
  nodes_[3]->process().kill();
  fencing_token last{};
  for (int i = 0; i < 20; ++i) {
    const auto lease = hold(r, "alice");
    EXPECT_GT(lease.token, last);
    last = lease.token;
    EXPECT_EQ(code(acquire(r, "bob")), errc::lock_not_acquired);
    EXPECT_EQ(release(r, lease.id), std::nullopt);
  }
  EXPECT_TRUE(r.engine->health().ready);
  EXPECT_THAT(r.engine->health().detail, HasSubstr("3 of 5"));
}

// The first refusal decides that the lock is not to be had; not yet, why.
TEST_F(Redlock, WithTwoDeadNodesWhoIsRefusedStillLearnsThatSomebodyHasTheLock) {
  auto& r = add();
  auto& other = add();
  const auto alice = hold(r, "alice");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  nodes_[1]->process().kill();
  nodes_[3]->process().kill();
  ASSERT_TRUE(until([&] { return !other.engine->health().detail.empty(); }));
  const auto refused = acquire(other, "bob");
  ASSERT_EQ(code(refused), errc::lock_not_acquired);
  const auto& why = *std::get<refusal_ptr>(refused);
  ASSERT_EQ(why.holders.size(), 1u);
  EXPECT_EQ(why.holders[0].client, "alice");

  std::optional<acquire_answer> got;
  ask(other, "bob", {.wait = 10s}, [&](acquire_answer a) { got = std::move(a); });
  let_pass(100ms);
  EXPECT_FALSE(got) << "it waits";
  ASSERT_EQ(release(r, alice.id), std::nullopt);
  EXPECT_TRUE(until([&] { return got.has_value(); }, 2s));
  EXPECT_TRUE(std::holds_alternative<granted>(*got));
}

// Repeated, because nobody knew how the first one ended: not done before a majority has let go.
TEST_F(Redlock, ARepeatedReleaseOrCancelGoesOnWhereTheFirstOneWas) {
  auto& r = add();
  for (const bool by_cancel : {false, true}) {
    const auto alice = hold(r, "alice", {.request = by_cancel ? "r2" : "r1"});
    ASSERT_TRUE(until([&] { return keys() == 5; }));
    for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->process().freeze();
    const auto give_back = [&]() -> std::optional<errc> {
      if (!by_cancel) return release(r, alice.id, "a", "alice", "give back");
      const auto got = await<cancelled>([&](auto done) {
        r.engine->cancel({false, lock_name("a"), client_id("alice"), request_id("r2")}, std::move(done));
      });
      return got ? std::nullopt : std::optional(got.error().code);
    };
    EXPECT_EQ(give_back(), errc::outcome_unknown);
    EXPECT_EQ(give_back(), errc::outcome_unknown) << "nothing is better than before";
    for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->process().thaw();
    EXPECT_TRUE(until([&] { return give_back() == std::nullopt; }));
    EXPECT_TRUE(until([&] { return keys() == 0; }, 5s));
  }
}

// Some nodes never had it, one forgot, and it is on a minority of those that speak: nobody else can get it,
// so its owner still has it.
TEST_F(Redlock, ALeaseThatNoMajorityDeniesIsNotTakenForOneThatWasGivenBackElsewhere) {
  auto& r = add();
  const auto alice = hold(r, "alice");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  let_pass(50ms);
  for (const std::size_t i : {0u, 1u}) nodes_[i]->say({"DEL", "lock:a"});
  nodes_[2]->say({"FLUSHALL"});
  for (const std::size_t i : {0u, 1u, 3u, 4u}) nodes_[i]->say({"PUBLISH", "dislock:redlock:freed", "a"});
  let_pass(200ms);
  EXPECT_EQ(keys(), 2u) << "of somebody who believes in it";
  const auto seen = status(r);
  EXPECT_TRUE(seen->locked);
  ASSERT_EQ(seen->holders.size(), 1u);
  EXPECT_EQ(seen->holders[0].client, "alice");
  const auto valid =
      await<validity>([&](auto done) { r.engine->validate(lock_name("a"), alice.token, std::move(done)); });
  EXPECT_TRUE(valid->current);
  EXPECT_EQ(code(acquire(r, "bob")), errc::lock_not_acquired);
  EXPECT_EQ(release(r, alice.id), std::nullopt);
}

TEST_F(Redlock, AReleaseIsNotRefusedBecauseThoseWhoDoNotHaveTheLeaseAnswerFirst) {
  auto& r = add();
  const auto alice = hold(r, "alice");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  let_pass(50ms);
  for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->say({"DEL", "lock:a"});
  for (const std::size_t i : {3u, 4u}) nodes_[i]->process().freeze();
  std::thread slow([&] {
    std::this_thread::sleep_for(300ms);
    for (const std::size_t i : {3u, 4u}) nodes_[i]->process().thaw();
  });
  EXPECT_EQ(release(r, alice.id), std::nullopt);
  slow.join();
  EXPECT_TRUE(until([&] { return keys() == 0; }));
}

TEST_F(Redlock, NodesThatStandStillDoNotDelayAnybody) {
  auto& r = add();
  nodes_[0]->process().freeze();
  nodes_[2]->process().freeze();
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(release(r, hold(r, "alice").id), std::nullopt);
  // Waiting for one of them once is half a second.
  EXPECT_LT(std::chrono::steady_clock::now() - began, 400ms);
  nodes_[0]->process().thaw();
  nodes_[2]->process().thaw();
  EXPECT_TRUE(until([&] { return keys() == 0; }, 5s))
      << "what was asked of them while they stood still is undone";
  let_pass(1500ms);
  EXPECT_EQ(keys(), 0u);
}

TEST_F(Redlock, WithoutAMajorityNothingIsGrantedAndNothingIsLeftBehind) {
  auto& r = add();
  for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->process().kill();
  ASSERT_TRUE(until([&] { return !r.engine->health().ready; }));
  EXPECT_EQ(code(acquire(r, "alice", {.request = "r1"})), errc::engine_unavailable);
  EXPECT_EQ(code(acquire(r, "alice", {.request = "r1"})), errc::engine_unavailable)
      << "and is not remembered";
  EXPECT_TRUE(until([&] { return keys() == 0; }));
  EXPECT_FALSE(status(r));
}

// The case that Redlock is known for: the nodes that would outvote the owner are those that forgot.
TEST_F(Redlock, TwoKilledAndOneRestartedEmptyIsStillExclusiveAndTokensStillRise) {
  auto& r = add(4s);
  auto& other = add(4s);
  nodes_[3]->process().freeze();
  nodes_[4]->process().freeze();
  const auto alice = hold(r, "alice", {.ttl = 4s});
  const auto sure = std::chrono::steady_clock::now() + 3900ms;
  let_pass(1100ms);  // the two have missed it for good: what they are still to be asked would come too late

  nodes_[1]->process().kill();
  nodes_[2]->process().kill();
  restart_empty(0);
  nodes_[3]->process().thaw();
  nodes_[4]->process().thaw();
  // Three nodes answer, and none of them knows of alice.
  std::optional<grant> bob;
  while (std::chrono::steady_clock::now() < sure) {
    const auto got = acquire(other, "bob", {.ttl = 4s});
    ASSERT_FALSE(std::holds_alternative<granted>(got)) << "two owners";
    let_pass(20ms);
  }
  ASSERT_TRUE(until(
      [&] {
        const auto got = acquire(other, "bob", {.ttl = 4s});
        if (const auto* g = std::get_if<granted>(&got)) bob = g->leases.at(0);
        return bob.has_value();
      },
      15s));
  EXPECT_GT(bob->token, alice.token);
}

TEST_F(Redlock, ANodeThatLostItsMemoryAtRunTimeDoesNotVoteEither) {
  auto& r = add(2s);
  const auto before = hold(r, "alice", {.ttl = 1s}).token;
  nodes_[2]->say({"FLUSHALL"});
  (void)acquire(r, "bob", {.lock = "b", .ttl = 1s});
  ASSERT_TRUE(until([&] { return !r.engine->health().detail.empty(); }));
  EXPECT_THAT(r.engine->health().detail, HasSubstr("4 of 5"));
  EXPECT_EQ(nodes_[2]->say({"EXISTS", "lock:b"}).number, 0);
  ASSERT_TRUE(until([&] { return r.engine->health().detail.empty(); }))
      << "after the longest lease it votes again";
  const auto raised = nodes_[2]->say({"HGET", "dislock:redlock", "raised"}).text;
  EXPECT_GT(std::stoull(raised), to_number(before));
}

TEST_F(Redlock, ANodeThatHasEverythingOnDiskVotesAtOnceAgain) {
  nodes_[4] = std::make_unique<test_redis>(
      std::vector<std::string>{"--appendonly", "yes", "--appendfsync", "always"});
  auto& r = add();
  (void)hold(r, "alice");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  nodes_[4]->restart();
  ASSERT_TRUE(until([&] { return r.engine->health().detail.empty() && keys() == 5; }));
  EXPECT_FALSE(r.engine->about().durable_fence) << "one such node is no majority";
}

TEST_F(Redlock, WhatANodeMissedBecauseItWasAwayIsGivenBackWhenItComesBack) {
  nodes_[4] = std::make_unique<test_redis>(
      std::vector<std::string>{"--appendonly", "yes", "--appendfsync", "always"});
  auto& r = add();
  const auto alice = hold(r, "alice");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  nodes_[4]->process().kill();
  ASSERT_EQ(release(r, alice.id), std::nullopt);
  let_pass(1200ms);  // beyond what a single question waits for
  nodes_[4]->restart();
  ASSERT_TRUE(redis::comes_true([&] {
    return nodes_[4]->say({"EXISTS", "lock:a"}).number == 1;
  })) << "it comes back with the key";
  EXPECT_TRUE(until([&] { return keys() == 0; }, 5s));
}

TEST_F(Redlock, ANodeThatComesBackGetsTheLeasesThatAreHeld) {
  for (auto& n : nodes_)
    n = std::make_unique<test_redis>(
        std::vector<std::string>{"--appendonly", "yes", "--appendfsync", "always"});
  auto& r = add();
  EXPECT_TRUE(r.engine->about().durable_fence);
  nodes_[4]->process().kill();
  const auto alice = hold(r, "alice");
  ASSERT_TRUE(until([&] { return nodes_that_hold(*r.engine, alice.token) == 4; }));
  nodes_[4]->restart();
  EXPECT_TRUE(until([&] { return nodes_that_hold(*r.engine, alice.token) == 5; }));
  EXPECT_EQ(nodes_[4]->say({"GET", "lock:a"}).text, alice.id.to_string());
}

TEST_F(Redlock, AProposalThatIsTooSmallIsMadeAgainAboveWhatTheNodesHaveSeen) {
  auto& r = add();
  auto& behind = add(60s, -1h);
  const auto alice = hold(r, "alice");
  ASSERT_EQ(release(r, alice.id), std::nullopt);
  const auto bob = hold(behind, "bob");
  EXPECT_GT(bob.token, alice.token);
  ASSERT_EQ(release(behind, bob.id), std::nullopt);
  EXPECT_GT(hold(r, "carol").token, bob.token);
}

TEST_F(Redlock, TheTokensOfALockRiseAlsoAfterItsRecordsAreGone) {
  auto& r = add();
  auto& behind = add(60s, -1h);
  const auto alice = hold(r, "alice");
  ASSERT_EQ(release(r, alice.id), std::nullopt);
  // What 30 s without use do to the records, and to the floor that follows them.
  for (const auto& n : nodes_) {
    n->say({"DEL", "dislock:redlock:lock:a"});
    n->say({"HINCRBY", "dislock:redlock", "turned", "-30000000"});
  }
  EXPECT_GT(hold(behind, "bob").token, alice.token);
}

TEST_F(Redlock, OtherLibrariesAndWeKeepEachOtherOut) {
  auto& r = add();
  for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->say({"SET", "lock:a", "theirs", "NX", "PX", "60000"});
  EXPECT_EQ(code(acquire(r, "alice")), errc::lock_not_acquired);
  EXPECT_TRUE(until([&] { return keys() == 3; })) << "what we had on the others is given back";
  const auto seen = status(r);
  EXPECT_TRUE(seen->locked);
  EXPECT_TRUE(seen->holders.empty());
  EXPECT_TRUE(force(r)->tokens.empty()) << "not ours to end";
  EXPECT_EQ(keys(), 3u);

  std::optional<acquire_answer> got;
  ask(r, "alice", {.wait = 10s}, [&](acquire_answer a) { got = std::move(a); });
  let_pass(100ms);
  EXPECT_FALSE(got);
  for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->say({"DEL", "lock:a"});
  ASSERT_TRUE(until([&] { return got.has_value(); }, 2s));
  ASSERT_TRUE(std::holds_alternative<granted>(*got));
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  EXPECT_EQ(nodes_[0]->say({"SET", "lock:a", "theirs", "NX", "PX", "60000"}).is, reply::kind::nil);

  nodes_[0]->say({"LPUSH", "lock:b", "no string"});
  const auto b = hold(r, "bob", {.lock = "b"});
  ASSERT_EQ(release(r, b.id, "b"), std::nullopt);
  EXPECT_EQ(nodes_[0]->say({"TYPE", "lock:b"}).text, "list");
}

TEST_F(Redlock, WhoIsInTheWayIsNamedAlsoWhereAnotherReplicaGrantedIt) {
  auto& r = add();
  auto& other = add();
  const auto alice = hold(r, "alice");
  const auto refused = acquire(other, "bob");
  ASSERT_EQ(code(refused), errc::lock_not_acquired);
  const auto& why = *std::get<refusal_ptr>(refused);
  ASSERT_EQ(why.holders.size(), 1u);
  EXPECT_EQ(why.holders[0].client, "alice");
  EXPECT_EQ(why.holders[0].token, alice.token);
  const auto seen = status(other);
  ASSERT_EQ(seen->holders.size(), 1u);
  EXPECT_EQ(seen->holders[0].client, "alice");
  EXPECT_EQ(seen->holders[0].token, alice.token);
}

TEST_F(Redlock, ALeaseIsRenewedAndGivenBackThroughAnyReplica) {
  auto& r = add();
  auto& other = add();
  const auto alice = hold(r, "alice", {.ttl = 1s});
  const auto again = renew(other, {lock_name("a"), alice.id, {}}, 30s);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)[0]->token, alice.token);
  EXPECT_TRUE(renew(other, {lock_name("a"), {}, alice.renewal}));
  EXPECT_FALSE(renew(other, {lock_name("a"), lock_id{alice.renewal.bits}, {}}));
  let_pass(1500ms);
  EXPECT_EQ(keys(), 5u) << "the replica that granted it does not take back what another one has renewed";
  EXPECT_EQ(code(acquire(r, "bob")), errc::lock_not_acquired);
  EXPECT_EQ(release(other, alice.id, "a", "bob"), errc::lock_not_held) << "a wrong client";
  EXPECT_EQ(release(other, alice.id), std::nullopt);
  EXPECT_EQ(release(other, alice.id), errc::lock_not_held);
  EXPECT_EQ(release(r, hold(r, "bob").id), std::nullopt);
}

TEST_F(Redlock, WhoWaitsWhereTheLeaseWasGrantedHearsThatItWasGivenBackElsewhere) {
  auto& r = add();
  auto& other = add();
  const auto alice = hold(r, "alice");
  std::optional<acquire_answer> got;
  ask(r, "bob", {.wait = 20s}, [&](acquire_answer a) { got = std::move(a); });
  ASSERT_EQ(release(other, alice.id), std::nullopt);
  ASSERT_TRUE(until([&] { return got.has_value(); }, 2s));
  const auto bob = std::get<granted>(*got).leases.at(0);
  EXPECT_GT(bob.token, alice.token);
  EXPECT_EQ(force(other, fencing_token{1})->tokens.size(), 0u);
  EXPECT_EQ(force(other, bob.token)->tokens, std::vector{bob.token});
  EXPECT_TRUE(until([&] { return r.engine->counts().leases == 0; }, 2s));
}

TEST_F(Redlock, ARenewalSeesThatTheLeaseWasEndedElsewhereHoweverFreshItIs) {
  auto& r = add();
  auto& other = add();
  const auto alice = hold(r, "alice");
  ASSERT_EQ(force(other)->tokens, std::vector{alice.token});
  const auto bob = hold(other, "bob");
  EXPECT_FALSE(renew(r, {lock_name("a"), alice.id, {}}));
  EXPECT_EQ(release(r, alice.id), errc::lock_not_held);
  EXPECT_EQ(status(r)->holders.at(0).token, bob.token);
}

TEST_F(Redlock, AReleaseOfWhatTheNodesDoNotHoldSaysSo) {
  auto& r = add();
  const auto alice = hold(r, "alice");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  nodes_[0]->say({"DEL", "lock:a"});
  EXPECT_EQ(release(r, alice.id), std::nullopt) << "a majority has held it";
  const auto bob = hold(r, "bob");
  ASSERT_TRUE(until([&] { return keys() == 5; }));
  for (const auto& n : nodes_) n->say({"DEL", "lock:a"});
  EXPECT_EQ(release(r, bob.id), errc::lock_not_held);
}

TEST_F(Redlock, AReleaseWakesThoseWhoWaitOnOtherReplicas) {
  auto& r = add();
  auto& other = add();
  auto lease = hold(r, "alice");
  std::optional<acquire_answer> got;
  ask(other, "bob", {.wait = 20s}, [&](acquire_answer a) { got = std::move(a); });
  let_pass(1s);  // by now it looks rarely by itself
  const auto began = std::chrono::steady_clock::now();
  ASSERT_EQ(release(r, lease.id), std::nullopt);
  ASSERT_TRUE(until([&] { return got.has_value(); }));
  EXPECT_TRUE(std::holds_alternative<granted>(*got));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 150ms);
}

TEST_F(Redlock, WhoIsHeldMoreThanOnceIsNotGivenBackByAReplicaThatDoesNotCount) {
  auto& r = add();
  auto& other = add();
  const auto alice = hold(r, "alice");
  ASSERT_EQ(hold(r, "alice", {.request = "again", .reentry = alice.id}).hold_count, 2u);
  EXPECT_EQ(release(other, alice.id), errc::unsupported_by_engine);
  EXPECT_EQ(release(r, alice.id), std::nullopt);
  EXPECT_EQ(keys(), 5u);
  EXPECT_EQ(release(r, alice.id), std::nullopt);
  EXPECT_TRUE(until([&] { return keys() == 0; }));
}

TEST_F(Redlock, ALockOfAReplicaThatDiedComesFreeWithItsLease) {
  (void)hold(add(), "alice", {.ttl = 1s});
  replicas_.clear();
  auto& r = add();
  EXPECT_EQ(code(acquire(r, "bob")), errc::lock_not_acquired);
  EXPECT_TRUE(std::holds_alternative<granted>(acquire(r, "bob", {.wait = 5s})));
}

TEST_F(Redlock, ALeaseThatAMajorityHasLostIsReportedAsLost) {
  auto& r = add();
  const auto alice = hold(r, "alice");
  for (const std::size_t i : {0u, 1u, 2u}) nodes_[i]->say({"SET", "lock:a", "theirs"});
  const auto got = renew(r, {lock_name("a"), alice.id, {}}, 60s);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, errc::lock_not_held);
  EXPECT_EQ(r.engine->counts().leases, 0u);
}

TEST_F(Redlock, FiftyContendersOnThreeReplicasAllGetTheirTurnOneAtATime) {
  std::vector<replica*> all{&add(), &add(), &add()};
  int owners = 0, turns = 0;
  fencing_token last{};
  std::function<void(int, int)> compete;
  const auto give_back = [&](int who, int left, const grant& lease) {
    --owners;
    const lease_proof proof{lock_name("a"), lease.id, {}};
    all[static_cast<std::size_t>(who) % 3]->engine->release(
        {{}, {}, {&proof, 1}, false}, [&turns, &compete, who, left](const answer<release_answers>& given) {
          EXPECT_TRUE(bool(given));
          ++turns;
          if (left > 1) compete(who, left - 1);
        });
  };
  compete = [&](int who, int left) {
    ask(*all[static_cast<std::size_t>(who) % 3], "client" + std::to_string(who), {.ttl = 10s, .wait = 60s},
        [&, who, left](acquire_answer got) {
          ASSERT_TRUE(std::holds_alternative<granted>(got)) << to_string(*code(got));
          const auto lease = std::get<granted>(got).leases.at(0);
          EXPECT_EQ(++owners, 1) << "two owners";
          EXPECT_GT(lease.token, last);
          last = lease.token;
          boost::asio::post(io_, [&give_back, who, left, lease] { give_back(who, left, lease); });
        });
  };
  const auto began = std::chrono::steady_clock::now();
  for (int who = 0; who < 50; ++who) compete(who, 4);
  EXPECT_TRUE(until([&] { return turns == 200; }, 40s)) << turns;
  const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  RecordProperty("turns_per_second", static_cast<int>(200 / took));
  EXPECT_TRUE(until([&] { return keys() == 0; }));
}

}  // namespace
}  // namespace dislock
