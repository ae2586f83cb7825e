// Several dislock engines on one Redis behave as one.
#include "conformance.hpp"
#include "redis_host.hpp"

#include <sstream>

namespace dislock::testing_engines {
namespace {

class Replicas : public testing::TestWithParam<redis_world::found> {
 protected:
  // One of the engines, and what it has told.
  struct replica {
    recorder told;
    engine* is = nullptr;
  };

  Replicas() {
    for (auto* r : {&a_, &b_}) r->is = &world_.add({}, r->told);
  }

  template <class T, class Call>
  T await(Call call) {
    std::optional<T> got;
    call(completion<T>([&got](T x) { got.emplace(std::move(x)); }));
    if (!world_.run_until([&got] { return got.has_value(); }))
      throw std::runtime_error("a call has no answer");
    return std::move(*got);
  }
  acquire_answer acquire(replica& at, std::string_view client, wish w = {}, std::string_view request = {}) {
    const lock_want want{lock_name(w.lock), w.mode, w.limit, w.permits};
    return await<acquire_answer>([&](auto done) {
      at.is->acquire(request_of(request, client, w, {&want, 1}, false), std::move(done));
    });
  }
  grant hold(replica& at, std::string_view client, wish w = {}) { return lease_of(acquire(at, client, w)); }
  queued wait_at(replica& at, std::string_view client, wish w = {}, std::string_view request = {}) {
    w.wait = 60s;
    return std::get<queued>(acquire(at, client, w, request));
  }
  bool release(replica& at, const lock_id& id, std::string_view lock = "a") {
    const lease_proof proof{lock_name(lock), id, {}};
    return bool(await<answer<release_answers>>([&](auto done) {
      at.is->release({{}, {}, {&proof, 1}, false}, std::move(done));
    }));
  }
  lock_view status(replica& at, std::string_view lock = "a") {
    return *await<answer<lock_view>>(
        [&](auto done) { at.is->status(lock_name(lock), 10, 100, std::move(done)); });
  }
  std::vector<std::string> waiters(replica& at, std::string_view lock = "a") {
    std::vector<std::string> out;
    for (const auto& w : status(at, lock).waiters) out.push_back(w.client);
    return out;
  }
  // What a call in Lua returns, which has no spaces in it.
  std::vector<std::string> lines(const std::string& lua) {
    std::istringstream all(world_.say("EVAL return(table.concat(" + lua + ",'\\n')) 0"));
    std::vector<std::string> out;
    for (std::string line; all >> line;) out.push_back(line);
    return out;
  }
  std::optional<acquire_answer> told(replica& at, const queued& q) {
    for (const auto& r : at.told.resolved)
      if (r.id == q.id && r.epoch == q.epoch) return r.outcome;
    return std::nullopt;
  }
  // What one engine publishes reaches the others when the server and the machine like.
  acquire_answer outcome_of(replica& at, const queued& q) {
    if (!world_.run_until([&] { return told(at, q).has_value(); }))
      throw std::runtime_error("a waiter is told nothing");
    return *told(at, q);
  }
  bool granted_at(replica& at, const queued& q) { return is_granted(outcome_of(at, q)); }
  std::vector<std::string> events(replica& at, std::size_t expected) {
    std::vector<std::string> out;
    for (int i = 0; i < 3; ++i) world_.pass(10ms);  // they are written down, and told, and read
    (void)world_.run_until([&] {
      out.clear();
      EXPECT_TRUE(at.is->events().after(0, [&](const logged_event& e) {
        out.push_back(std::string(to_string(e.type)) + " " + e.client);
        return true;
      }));
      return out.size() >= expected;
    });
    return out;
  }

  manual_clock time_;
  redis_world world_{time_, GetParam()};
  replica a_, b_;
};

INSTANTIATE_TEST_SUITE_P(Of, Replicas,
                         testing::Values(redis_world::found::directly, redis_world::found::by_sentinel,
                                         redis_world::found::in_cluster),
                         [](const auto& how) {
                           return how.param == redis_world::found::directly      ? "OneRedis"
                                  : how.param == redis_world::found::by_sentinel ? "OneRedisThatSentinelNames"
                                                                                 : "OneNodeOfACluster";
                         });

TEST_P(Replicas, KeepEachOtherOut) {
  hold(a_, "alice");
  const auto bob = acquire(b_, "bob");
  EXPECT_EQ(code(bob), errc::lock_not_acquired);
  EXPECT_EQ(why(bob).holders.at(0).client, "alice");
}

TEST_P(Replicas, HandOnInOneOrderOfArrivalWhoeverReleases) {
  auto lease = hold(a_, "alice");
  const auto bob = wait_at(b_, "bob");
  const auto carol = wait_at(a_, "carol");
  const auto dan = wait_at(b_, "dan");
  EXPECT_THAT(waiters(a_), ElementsAre("bob", "carol", "dan"));
  ASSERT_TRUE(release(b_, lease.id)) << "at another replica than that of the grant";
  ASSERT_TRUE(granted_at(b_, bob));
  EXPECT_FALSE(told(a_, carol));
  ASSERT_TRUE(release(b_, lease_of(outcome_of(b_, bob)).id));
  ASSERT_TRUE(granted_at(a_, carol));
  ASSERT_TRUE(release(a_, lease_of(outcome_of(a_, carol)).id));
  ASSERT_TRUE(granted_at(b_, dan));
  EXPECT_GT(lease_of(outcome_of(b_, dan)).token, lease_of(outcome_of(a_, carol)).token);
}

TEST_P(Replicas, NoticeAnExpiryThatNobodyHereGranted) {
  hold(a_, "alice", {.ttl = 10s});
  const auto bob = wait_at(b_, "bob");
  world_.kill(*a_.is);
  world_.pass(10s);
  EXPECT_TRUE(granted_at(b_, bob));
}

TEST_P(Replicas, AnswerARepeatWhereverItIsAsked) {
  const auto first = acquire(a_, "alice", {}, "r1");
  const auto again = acquire(b_, "alice", {}, "r1");
  EXPECT_EQ(lease_of(again).id, lease_of(first).id);
  EXPECT_TRUE(std::get<granted>(again).repeated);
}

TEST_P(Replicas, LetAClientChangeInMidWait) {
  const auto alice = hold(a_, "alice");
  const auto bob = wait_at(a_, "bob", {}, "r1");
  const auto carol = wait_at(b_, "carol");
  const auto moved = wait_at(b_, "bob", {}, "r1");
  EXPECT_EQ(moved.id, bob.id);
  EXPECT_GT(moved.epoch, bob.epoch);
  EXPECT_EQ(code(outcome_of(a_, bob)), errc::superseded);
  ASSERT_TRUE(release(a_, alice.id));
  EXPECT_TRUE(granted_at(b_, moved)) << "in the place of before";
  EXPECT_FALSE(told(b_, carol));
}

TEST_P(Replicas, PassOverTheWaitersOfADeadOne) {
  const auto alice = hold(b_, "alice", {.ttl = 60s});
  wait_at(a_, "bob");
  wait_at(a_, "dan", {}, "r1");
  const auto carol = wait_at(b_, "carol");
  world_.kill(*a_.is);
  world_.pass(4s);
  EXPECT_THAT(waiters(b_), ElementsAre("dan", "carol")) << "whose request has an id may still come back";
  world_.pass(2s);
  EXPECT_THAT(waiters(b_), ElementsAre("carol"));
  ASSERT_TRUE(release(b_, alice.id));
  EXPECT_TRUE(granted_at(b_, carol));
}

TEST_P(Replicas, TakeBackAGrantThatADeadOneHadNotTaken) {
  const auto alice = hold(b_, "alice", {.ttl = 60s});
  wait_at(a_, "bob", {.ttl = 60s});
  const auto carol = wait_at(b_, "carol");
  world_.kill(*a_.is);
  ASSERT_TRUE(release(b_, alice.id));
  world_.rest();
  EXPECT_FALSE(told(b_, carol)) << "nobody knows yet that it is dead";
  EXPECT_THAT(status(b_).holders.at(0).client, "bob");
  world_.pass(4s);
  EXPECT_TRUE(granted_at(b_, carol));
}

TEST_P(Replicas, LeaveAGrantAloneThatADeadOneHadTaken) {
  const auto alice = hold(b_, "alice", {.ttl = 60s});
  const auto bob = wait_at(a_, "bob", {.ttl = 20s});
  const auto carol = wait_at(b_, "carol");
  ASSERT_TRUE(release(b_, alice.id));
  ASSERT_TRUE(granted_at(a_, bob)) << "so its caller was told";
  world_.kill(*a_.is);
  world_.pass(19s);
  EXPECT_FALSE(told(b_, carol));
  world_.pass(2s);
  EXPECT_TRUE(granted_at(b_, carol));
}

TEST_P(Replicas, FindADeadlockThatSpansThem) {
  hold(a_, "alice", on("x"));
  hold(b_, "bob", on("y"));
  const auto alice = wait_at(a_, "alice", on("y"));
  const auto bob = acquire(b_, "bob", on("x", waiting(60s)));
  EXPECT_EQ(code(bob), errc::deadlock_detected);
  EXPECT_THAT(why(bob).cycle, SizeIs(2));
  EXPECT_FALSE(told(a_, alice)) << "the newest wait is the victim";
  EXPECT_THAT(waiters(a_, "x"), IsEmpty());
}

TEST_P(Replicas, TellOfEverythingInOneOrder) {
  const auto alice = hold(a_, "alice");
  wait_at(b_, "bob");
  ASSERT_TRUE(release(a_, alice.id));
  const std::vector<std::string> all{"acquired alice", "queued bob", "released alice", "acquired bob"};
  // Between replicas the order is that of their writing it down.
  EXPECT_THAT(events(a_, 4), testing::UnorderedElementsAreArray(all));
  EXPECT_EQ(events(a_, 4), events(b_, 4));
}

// A long lease is told when the replicas have it; until then the waiter may be asked after again.
TEST_P(Replicas, DoNotGiveBackAGrantThatTheyHaveAskedForTwice) {
  const auto alice = hold(b_, "alice", {.ttl = 60s});
  const auto bob = wait_at(a_, "bob", {.ttl = 60s}, "r1");
  const auto id = std::to_string(static_cast<std::uint64_t>(bob.id));
  const auto wake = [&] {
    for (const auto& replica : lines("redis.call('HKEYS','" + world_.own("replicas") + "')"))
      world_.say("PUBLISH " + world_.own("to:") + replica + " " + id + ":0");
  };
  ASSERT_TRUE(release(b_, alice.id));
  ASSERT_TRUE(world_.run_until([&] {
    wake();
    return told(a_, bob).has_value();
  }));
  ASSERT_TRUE(is_granted(*told(a_, bob)));
  world_.pass(20s);
  const auto seen = status(b_);
  ASSERT_TRUE(seen.locked);
  EXPECT_EQ(seen.holders.at(0).client, "bob");
}

TEST_P(Replicas, RenewTheAutoRenewedLeasesOfADeadOne) {
  const auto lease = hold(a_, "alice", {.max_hold = 60s, .auto_renew = true});
  const auto listed = [&] {
    std::vector<lock_id> out;
    b_.is->for_each_auto_renewed([&](const lease_proof& p, duration, instant) { out.push_back(p.id); });
    return out;
  };
  EXPECT_THAT(listed(), IsEmpty());
  world_.pass(10ms);  // the other one hears that something is in use
  world_.kill(*a_.is);
  world_.pass(6s);
  EXPECT_THAT(listed(), ElementsAre(lease.id));
}

TEST_P(Replicas, ExcludeAndAreExcludedByWhoKnowsOnlyTheKey) {
  EXPECT_EQ(world_.say("SET " + world_.shown("a") + " other NX PX 10000"), "OK");
  EXPECT_EQ(code(acquire(a_, "alice")), errc::lock_not_acquired);
  const auto bob = wait_at(a_, "bob");
  EXPECT_EQ(world_.say("DEL " + world_.shown("a")), "1");
  world_.pass(1s);
  ASSERT_TRUE(granted_at(a_, bob)) << "looked at once a second";
  EXPECT_EQ(world_.say("SET " + world_.shown("a") + " other NX PX 10000"), "");
  EXPECT_EQ(world_.say("GET " + world_.shown("a")), lease_of(outcome_of(a_, bob)).id.to_string());
}

TEST_P(Replicas, LeaveAForeignKeyAlone) {
  world_.say("RPUSH " + world_.shown("list") + " x");
  EXPECT_EQ(code(acquire(a_, "alice", on("list"))), errc::lock_not_acquired);
  const auto forced = await<answer<dislock::forced>>(
      [&](auto done) { a_.is->force_release(lock_name("list"), {}, {}, "a test", std::move(done)); });
  EXPECT_THAT(forced->tokens, IsEmpty());
  EXPECT_EQ(world_.say("LLEN " + world_.shown("list")), "1");
}

TEST_P(Replicas, EndALeaseWhoseKeyWasTakenAway) {
  const auto alice = hold(a_, "alice");
  world_.say("DEL " + world_.shown("a"));
  EXPECT_FALSE(status(b_).locked);
  EXPECT_FALSE(release(a_, alice.id));
}

TEST_P(Replicas, LeaveNothingButTheFenceInTheStore) {
  const auto alice = hold(a_, "alice", {.lock_delay = 1s});
  const auto bob = wait_at(b_, "bob", {}, "r1");
  ASSERT_TRUE(release(a_, alice.id));
  ASSERT_TRUE(granted_at(b_, bob));
  ASSERT_TRUE(release(b_, lease_of(outcome_of(b_, bob)).id));
  world_.pass(120s);
  EXPECT_THAT(lines("redis.call('KEYS','*')"),
              UnorderedElementsAre(world_.own("fence"), world_.own("arrivals"), world_.own("counts"),
                                   world_.own("events"), world_.own("replicas"), world_.own("heard")));
}

}  // namespace
}  // namespace dislock::testing_engines
