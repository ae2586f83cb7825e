// The rules in a real Redis, asked as two replicas of which one has not heard of what happened: states that
// engines only get into when a link is cut at the right moment.
#include "engines/redis/asking.hpp"
#include "engines/redis/plain.hpp"
#include "engines/redis/scripts.hpp"
#include "engines/redis/telling.hpp"
#include "engines/redis/wire/test_redis.hpp"

#include <gmock/gmock.h>

namespace dislock::redis {
namespace {

constexpr std::int64_t far = 9'000'000'000'000'000, past = 1'000'000'000'000'000;
const std::string incarnation(40, 'a');

class Rules : public testing::Test {
 protected:
  Rules() : line_(server_.port()) {
    digest_ = line_.say({"SCRIPT", "LOAD", table_script}).text;
    set_fence(far);
  }
  void set_fence(std::int64_t horizon) {
    const auto n = [](std::int64_t number) { return std::to_string(number); };
    line_.say({"SET", "dislock:fence",
               incarnation.substr(0, 16) + n(past) + n(far) + n(far) + n(horizon) + n(horizon) + n(past)});
  }

  // What each of them says of itself.
  house_rules rules_of(std::string_view replica) const {
    return {.side_prefix = "dislock:",
            .canonical_prefix = "lock:",
            .replica = std::string(replica),
            .waiter_grace = 5s,
            .request_memory = 30s,
            .replica_lapse = 3s,
            .ahead = 2s,
            .covered = 30s,
            .queue_max = 100,
            .callers_are_here = replica == "library",
            .cluster = in_cluster_};
  }
  ask question(std::string_view replica, std::string_view verb) const {
    return ask(ask::common(rules_of(replica)), verb);
  }

  reply run(const script_words& words) {
    const auto all = words.all();
    std::vector<std::string> out{"EVALSHA", digest_, std::to_string(all.keys.size())};
    out.insert(out.end(), all.keys.begin(), all.keys.end());
    out.insert(out.end(), {stamp_, std::string(all.arguments.front()), std::to_string(far)});
    out.insert(out.end(), all.arguments.begin() + 1, all.arguments.end());
    const std::vector<std::string_view> views(out.begin(), out.end());
    line_.send_words(views);
    return line_.receive();
  }
  // The first word of the answer, or of the error.
  std::string verdict(ask&& q) {
    script_words words;
    words.key({"dislock:fence"}).word({std::move(q).text()});
    last_ = run(words);
    const auto s = step::read(last_, {});
    return s ? std::string(s->verdict()) : last_.text;
  }
  std::string acquire(std::string_view replica, std::string_view client, std::string_view request, lock_id id,
                      duration wait = 0s, lock_mode mode = lock_mode::exclusive) {
    const lock_want want{lock_name("a"), mode};
    const std::pair<lock_id, renewal_token> secret{id, renewal_token{id.bits}};
    auto q = question(replica, "acquire");
    q.put_call({false, lock_name("a"), client_id(client), request_id(request)}, 7)
        .put(std::span(&want, 1))
        .put_secrets({&secret, 1})
        .put("ttl", duration(20s))
        .put("wait", wait)
        .put("delay", duration(mode == lock_mode::exclusive ? 1s : 0s));
    return verdict(std::move(q));
  }
  std::string release(std::string_view replica, lock_id id) { return give_or_renew(replica, "release", id); }
  std::string give_or_renew(std::string_view replica, std::string_view verb, lock_id id) {
    const lease_proof proof{lock_name("a"), id, {}};
    auto q = question(replica, verb);
    q.put_call({false, lock_name("a"), {}, {}}, 8).put(std::span(&proof, 1));
    return verdict(std::move(q));
  }
  std::string collect(std::string_view replica, const std::string& waiter, std::int64_t epoch) {
    auto q = question(replica, "collect");
    q.put("waiter", std::string_view(waiter)).put("epoch", epoch);
    return verdict(std::move(q));
  }
  // Behind a holder, through the first replica.
  std::string wait_behind_a_holder() {
    EXPECT_EQ(acquire("first", "holder", {}, holder_), "granted");
    EXPECT_EQ(acquire("first", "alice", "r1", alice_, 60s), "queued");
    return last_.at(1).at(1).text;
  }

  bool in_cluster_ = false;
  std::string stamp_ = incarnation;  // of whoever has the slot
  test_redis server_;
  test_line line_;
  std::string digest_;
  reply last_;
  const lock_id holder_{{1, 1}}, alice_{{2, 2}};
  const renewal_token renewal_{{3, 3}};
};

TEST_F(Rules, AReplicaThatNoLongerSpeaksForAWaiterDoesNotCollectItsGrant) {
  const auto alice = wait_behind_a_holder();
  ASSERT_EQ(acquire("second", "alice", "r1", alice_, 60s), "queued") << "the same call, there";
  ASSERT_EQ(release("second", holder_), "done");
  EXPECT_EQ(collect("first", alice, 0), "elsewhere");
  EXPECT_EQ(collect("first", alice, 1), "elsewhere");
  EXPECT_EQ(collect("second", alice, 1), "granted");
}

TEST_F(Rules, AGrantThatARepeatWasToldOfIsNotCollectedByWhoSpokeForTheWaiter) {
  const auto alice = wait_behind_a_holder();
  ASSERT_EQ(release("second", holder_), "done");
  ASSERT_EQ(acquire("second", "alice", "r1", alice_, 60s), "granted");
  EXPECT_EQ(collect("first", alice, 0), "elsewhere");
}

TEST_F(Rules, AGrantToAWaiterThatNobodyKnowsOfGoesOnUnlessItWasTaken) {
  const auto disown = [&](const std::string& waiter) {
    auto q = question("first", "disown");
    q.put("waiter", std::string_view(waiter));
    return verdict(std::move(q));
  };
  const auto alice = wait_behind_a_holder();
  EXPECT_EQ(disown(alice), "done") << "it waits: somebody may still come";
  ASSERT_EQ(acquire("second", "bob", "r2", lock_id{{4, 4}}, 60s), "queued");
  ASSERT_EQ(release("second", holder_), "done");
  EXPECT_EQ(line_.say({"GET", "lock:a"}).text, alice_.to_string());
  EXPECT_EQ(disown(alice), "done");
  EXPECT_EQ(line_.say({"GET", "lock:a"}).text, (lock_id{{4, 4}}.to_string())) << "the next one has it";

  const auto carol = [&] {
    EXPECT_EQ(acquire("first", "carol", "r3", lock_id{{5, 5}}, 60s), "queued");
    return last_.at(1).at(1).text;
  }();
  ASSERT_EQ(release("second", lock_id{{4, 4}}), "done");
  line_.say({"DEL", "dislock:sent:" + lock_id{{5, 5}}.to_string()});
  EXPECT_EQ(disown(carol), "done");
  EXPECT_EQ(line_.say({"GET", "lock:a"}).text, (lock_id{{5, 5}}.to_string())) << "it has been taken";
}

TEST_F(Rules, AStoreThatWasAwayIsNotTakenForTheDeathOfItsReplicas) {
  const auto alice = wait_behind_a_holder();
  line_.say({"HSET", "dislock:replicas", "first", std::to_string(past)});
  line_.say({"SET", "dislock:heard", std::to_string(past)});
  ASSERT_EQ(verdict(question("second", "sweep")), "done");
  ASSERT_EQ(release("second", holder_), "done");
  EXPECT_EQ(collect("first", alice, 0), "granted");
}

TEST_F(Rules, AReplicaThatAloneWasNotHeardIsDead) {
  ASSERT_EQ(acquire("first", "holder", {}, holder_), "granted");
  ASSERT_EQ(acquire("first", "alice", {}, alice_, 60s), "queued");
  const auto alice = last_.at(1).at(1).text;
  ASSERT_EQ(verdict(question("second", "beat")), "done");
  line_.say({"HSET", "dislock:replicas", "first", std::to_string(past)});
  ASSERT_EQ(release("second", holder_), "done");
  EXPECT_NE(collect("first", alice, 0), "granted");
  EXPECT_EQ(line_.say({"EXISTS", "lock:a"}).number, 0);
}

// The process that asks is the one that the waiter is in: if it dies, a holder has died.
TEST_F(Rules, WhatAProcessGrantsToItsOwnWaiterNeedsNoClaim) {
  for (const std::string_view by : {"library", "second"}) {
    const bool own = by == "library";
    ASSERT_EQ(acquire("library", "holder", {}, holder_), "granted");
    ASSERT_EQ(acquire("library", "alice", {}, alice_, 60s), "queued");
    const auto alice = last_.at(1).at(1).text;
    ASSERT_EQ(release(by, holder_), "done");
    EXPECT_EQ(last_.at(3).items.size(), own ? 1 : 0) << "told at once, or by a message";
    EXPECT_EQ(line_.say({"EXISTS", "dislock:sent:" + alice_.to_string()}).number, own ? 0 : 1);
    line_.say({"HSET", "dislock:replicas", "library", std::to_string(past)});
    ASSERT_EQ(verdict(question("second", "beat")), "done");
    EXPECT_EQ(acquire("second", "bob", {}, lock_id{{4, 4}}), own ? "refused" : "granted");
    EXPECT_EQ(release("second", own ? alice_ : lock_id{{4, 4}}), "done");
  }
}

TEST_F(Rules, AFullStoreStillRenewsAndTakesBack) {
  for (const auto mode : {lock_mode::exclusive, lock_mode::shared}) {
    line_.say({"CONFIG", "SET", "maxmemory", "1"});
    EXPECT_THAT(acquire("first", "holder", {}, holder_, 0s, mode), testing::HasSubstr("OOM"));
    line_.say({"CONFIG", "SET", "maxmemory", "0"});
    ASSERT_EQ(acquire("first", "holder", {}, holder_, 0s, mode), "granted");
    line_.say({"CONFIG", "SET", "maxmemory", "1"});
    auto up = question("first", "raise");
    up.put("seen", std::string_view(incarnation));
    EXPECT_EQ(verdict(std::move(up)), "done");
    EXPECT_EQ(give_or_renew("first", "renew", holder_), "done");
    EXPECT_EQ(release("first", holder_), "done");
  }
}

TEST_F(Rules, AFullStoreStillRenewsThePlainCase) {
  const lock_want want{lock_name("a")};
  acquire_request r;
  r.client = client_id("alice");
  r.wants = {&want, 1};
  r.ttl = 20s;
  const plain_terms terms{"dislock:", "lock:", house_words(rules_of("first")), 30s, 30s};
  ASSERT_TRUE(read_plain(run(plain_acquire(terms, r, alice_, renewal_, 7))));
  line_.say({"CONFIG", "SET", "maxmemory", "1"});
  const lease_proof proof{lock_name("a"), alice_, {}};
  renew_request again;
  again.leases = {&proof, 1};
  EXPECT_TRUE(read_plain(run(plain_renew(terms, again))));
}

TEST_F(Rules, ThePlainCaseEndsWithinTheConfirmedHorizon) {
  const auto now = line_.say({"TIME"});
  set_fence(std::atoll(now.at(0).text.c_str()) * 1'000'000 + 15'000'000);
  const lock_want want{lock_name("a")};
  acquire_request r;
  r.client = client_id("alice");
  r.wants = {&want, 1};
  const plain_terms terms{"dislock:", "lock:", house_words(rules_of("first")), 30s, 30s};
  r.ttl = 20s;
  EXPECT_FALSE(read_plain(run(plain_acquire(terms, r, alice_, renewal_, 7))));
  EXPECT_EQ(release("first", alice_), "done")
      << "the rules have granted it, and their answer says how long it is";
  r.ttl = 10s;
  EXPECT_TRUE(read_plain(run(plain_acquire(terms, r, alice_, renewal_, 7))));
}

// A record of another store: of which it is not known yet whether it gave the slot away.
class RulesOfAnotherServersSlot : public Rules {
 protected:
  RulesOfAnotherServersSlot() {
    in_cluster_ = true;
    EXPECT_EQ(acquire("first", "holder", {}, holder_), "granted");
    set_fence(far / 2);
    stamp_ = other_;
  }
  std::string raise(std::string_view fate = {}, const std::string& former = {}) {
    auto up = question("first", "raise");
    up.put("seen", std::string_view(other_));
    if (!fate.empty()) up.put(fate, std::string_view(former));
    return verdict(std::move(up));
  }
  std::string written_by() { return line_.say({"GETRANGE", "dislock:fence", "0", "15"}).text; }
  std::int64_t closed_until() { return last_.at(1).at(1).at(3).number; }

  const std::string other_ = std::string(40, 'b'), former_ = incarnation.substr(0, 16);
};

TEST_F(RulesOfAnotherServersSlot, DecideNothing) {
  const auto before = line_.say({"GET", "dislock:fence"}).text;
  EXPECT_EQ(acquire("first", "alice", {}, alice_), "moved");
  EXPECT_EQ(last_.at(1).at(1).text, former_);
  EXPECT_EQ(release("first", holder_), "moved");
  EXPECT_EQ(verdict(question("first", "sweep")), "moved");
  EXPECT_EQ(verdict(question("first", "stepped")), "moved");
  EXPECT_EQ(raise(), "moved");
  EXPECT_EQ(raise("moved_from", other_.substr(0, 16)), "moved") << "that is somebody else";
  EXPECT_EQ(raise("lost", other_.substr(0, 16)), "moved");
  EXPECT_EQ(line_.say({"GET", "dislock:fence"}).text, before);
}

TEST_F(RulesOfAnotherServersSlot, AndTheCrowdedCaseDecidesNothingEither) {
  const plain_terms terms{"dislock:", "lock:", house_words(rules_of("first")), 30s, 30s};
  const lock_want want{lock_name("b")};
  std::uint64_t number = 10;
  const auto ask_for = [&](std::string_view client) {
    acquire_request r;
    r.client = client_id(client);
    r.wants = {&want, 1};
    r.ttl = 20s;
    r.wait = 60s;
    ++number;
    auto got = run(plain_acquire(terms, r, lock_id{{number, number}}, renewal_, 7));
    last_ = unfolded(reply(got));
    const auto s = step::read(last_, {});
    return read_plain(got) ? "granted"
           : s ? (got.is == reply::kind::bulk ? "crowded: " : "rules: ") + std::string(s->verdict())
               : got.text;
  };
  stamp_ = incarnation;
  ASSERT_EQ(ask_for("alice"), "granted");
  ASSERT_EQ(ask_for("bob"), "rules: queued");
  ASSERT_EQ(ask_for("carol"), "crowded: queued");
  stamp_ = other_;
  EXPECT_EQ(ask_for("dave"), "rules: moved");
  EXPECT_EQ(line_.say({"ZCARD", "dislock:queue:b"}).number, 2);
}

TEST_F(RulesOfAnotherServersSlot, GoOnWhenItWasMoved) {
  ASSERT_EQ(raise("moved_from", former_), "done");
  EXPECT_EQ(closed_until(), past) << "as it was";
  EXPECT_EQ(written_by(), other_.substr(0, 16));
  EXPECT_EQ(line_.say({"GETRANGE", "dislock:fence", "48", "63"}).text, std::string(16, '0'))
      << "its replicas have confirmed nothing yet";
  EXPECT_EQ(line_.say({"GETRANGE", "dislock:fence", "16", "31"}).text, std::to_string(past))
      << "the last token";
  EXPECT_EQ(release("first", holder_), "done");
}

TEST_F(RulesOfAnotherServersSlot, PauseWhenItWasLost) {
  ASSERT_EQ(raise("lost", former_), "done");
  EXPECT_EQ(closed_until(), far / 2);
  EXPECT_EQ(written_by(), other_.substr(0, 16));
  EXPECT_EQ(line_.say({"GETRANGE", "dislock:fence", "16", "31"}).text, std::to_string(far))
      << "tokens go on above the ceiling";
}

TEST_F(RulesOfAnotherServersSlot, PutTheClockAfterTheMove) {
  // The new server's clock is ahead of what the old one's can show: first whose slot it is, then that.
  const auto limit = past;
  const auto asked = [&](ask&& q) {
    const auto text = std::move(q).text();
    last_ = line_.say({"EVALSHA", digest_, "1", "dislock:fence", other_, text, std::to_string(limit)});
    const auto s = step::read(last_, {});
    return s ? std::string(s->verdict()) : last_.text;
  };
  EXPECT_EQ(asked(question("first", "sweep")), "moved");
  auto up = question("first", "raise");
  up.put("seen", std::string_view(other_)).put("moved_from", std::string_view(former_));
  EXPECT_EQ(asked(std::move(up)), "done");
  EXPECT_EQ(asked(question("first", "sweep")), "clock");
}

}  // namespace
}  // namespace dislock::redis
