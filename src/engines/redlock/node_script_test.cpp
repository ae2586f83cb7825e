// What one node says to what it is asked, and what it must not forget.
#include "engines/redlock/node_script.hpp"

#include "engines/redis/wire/test_redis.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dislock::redlock {
namespace {

using redis::reply;
using testing::ElementsAre;

class RedlockNode : public testing::Test {
 protected:
  RedlockNode() { EXPECT_EQ(admit("", "found", "100"), "done"); }

  std::vector<std::string> run(const std::string& verb, const std::vector<std::string>& rest,
                               const std::string& life = "life") {
    std::vector<std::string_view> words{"EVAL", node_script, "3", "memory", "lock:a", "record:a", life, verb};
    words.insert(words.end(), rest.begin(), rest.end());
    redis::test_line line(server_.port());
    line.send_words(words);
    const auto got = line.receive();
    EXPECT_EQ(got.is, reply::kind::array) << got.text;
    std::vector<std::string> out;
    for (const auto& item : got.items)
      out.push_back(item.is == reply::kind::integer ? std::to_string(item.number) : item.text);
    return out;
  }
  std::string admit(const std::string& seen, const std::string& how, const std::string& above = "0",
                    const std::string& silence = "0", const std::string& life = "life") {
    return run("admit", {seen, how, above, silence, "0"}, life).at(0);
  }
  std::vector<std::string> vote(const std::string& value, std::uint64_t p, const std::string& no_later = "0",
                                const std::string& life = "life") {
    return run("vote", {no_later, value, std::to_string(p), "60000", "replica", "renewal", "client", "", "1"},
               life);
  }
  std::string give_back(const std::string& value, const std::string& only_by = "") {
    return run("give_back", {value, "", only_by, "freed", "a", "0", "0"}).at(0);
  }
  std::string key() { return server_.say({"GET", "lock:a"}).text; }

  redis::test_redis server_;
};

TEST_F(RedlockNode, AcceptsATokenOnlyIfItIsLargerThanAllBefore) {
  EXPECT_EQ(vote("v", 100).at(0), "low") << "it was founded with that";
  EXPECT_EQ(vote("v", 101).at(0), "yes");
  EXPECT_EQ(give_back("v"), "yes");
  EXPECT_EQ(vote("w", 101).at(0), "low");
  EXPECT_EQ(vote("w", 100).at(2), "101") << "and it says which";
  EXPECT_EQ(key(), "");
  EXPECT_EQ(vote("w", 102).at(0), "yes");
  EXPECT_EQ(key(), "w");
}

TEST_F(RedlockNode, AcceptsTheSameTokenAgainFromTheSameOwnerOnly) {
  EXPECT_EQ(vote("v", 200).at(0), "yes");
  EXPECT_EQ(vote("v", 200).at(0), "yes");
  server_.say({"DEL", "lock:a"});
  EXPECT_EQ(vote("w", 200).at(0), "low");
  EXPECT_EQ(vote("v", 200).at(0), "yes") << "it lost the key, and gets it again";
  EXPECT_EQ(give_back("v"), "yes");
  EXPECT_EQ(vote("v", 200).at(0), "low") << "a vote that arrives after the release";
}

TEST_F(RedlockNode, RefusesWhatIsHeldAndSaysByWhom) {
  vote("v", 200);
  const auto held = vote("w", 300);
  EXPECT_EQ(held.at(0), "held");
  EXPECT_EQ(held.at(2), "200");
  EXPECT_EQ(held.at(5), "client");
  EXPECT_EQ(key(), "v");
  EXPECT_EQ(give_back("w"), "no");
  EXPECT_EQ(give_back("v", "another replica"), "no");
  EXPECT_EQ(key(), "v");
}

TEST_F(RedlockNode, AcceptsNothingThatComesTooLate) {
  EXPECT_EQ(vote("v", 200, "1").at(0), "late");
  EXPECT_EQ(key(), "");
  EXPECT_EQ(vote("v", 200, "9000000000000000").at(0), "yes");
}

TEST_F(RedlockNode, NeverMakesALeaseShorter) {
  vote("v", 200);
  run("vote", {"0", "v", "200", "1000", "replica", "renewal", "client", "", "1"});
  EXPECT_GT(server_.say({"PTTL", "lock:a"}).number, 50'000);
}

TEST_F(RedlockNode, DoesNotVoteInALifeInWhichItWasNotAdmittedNorWhileItIsQuiet) {
  EXPECT_EQ(vote("v", 200, "0", "next life").at(0), "stranger");
  EXPECT_EQ(admit("somebody else saw this", "silence", "0", "60000000", "next life"), "changed");
  EXPECT_EQ(admit("life", "silence", "0", "60000000", "next life"), "done");
  EXPECT_EQ(vote("v", 200, "0", "next life").at(0), "quiet");
  EXPECT_EQ(run("look", {}, "next life").at(0), "quiet");
  EXPECT_EQ(run("extend", {"v", "", "0", "replica", ""}, "next life").at(0), "quiet");
  EXPECT_EQ(admit("next life", "raise", "500", "0", "next life"), "changed") << "too early";
  server_.say({"HSET", "memory", "until", "1"});
  EXPECT_EQ(admit("next life", "raise", "500", "0", "next life"), "done");
  EXPECT_EQ(vote("v", 500, "0", "next life").at(0), "low");
  EXPECT_EQ(vote("v", 501, "0", "next life").at(0), "yes");
}

TEST_F(RedlockNode, AnOwnerFromBeforeTheSilenceIsNotTakenUpAgain) {
  vote("v", 200);
  admit("life", "silence", "0", "0", "next life");
  admit("next life", "raise", "500", "0", "next life");
  server_.say({"DEL", "lock:a"});
  EXPECT_EQ(vote("v", 200, "0", "next life").at(0), "low");
}

TEST_F(RedlockNode, ForgetsALockWithoutForgettingItsTokens) {
  // The floor follows the largest token one to three periods later.
  const auto periods = [&](const std::string& many) {
    server_.say({"HINCRBY", "memory", "turned", "-" + many});
  };
  vote("v", 200);
  EXPECT_EQ(give_back("v"), "yes");
  EXPECT_GT(server_.say({"PTTL", "record:a"}).number, 29'000);
  periods("10000000");
  vote("x", 1);
  EXPECT_EQ(server_.say({"HGET", "memory", "floor"}).text, "100") << "the record is still there";
  periods("10000000");
  vote("x", 1);
  EXPECT_EQ(server_.say({"HGET", "memory", "floor"}).text, "200");
  server_.say({"DEL", "record:a"});
  EXPECT_EQ(vote("w", 200).at(0), "low");
  EXPECT_EQ(vote("w", 201).at(0), "yes");

  EXPECT_EQ(give_back("w"), "yes");
  server_.say({"DEL", "record:a"});
  periods("30000000");
  EXPECT_EQ(vote("w", 201).at(0), "low") << "nobody asked for so long that all records may be gone";
  server_.say({"HSET", "memory", "high", "300", "turned", "9000000000000000"});
  EXPECT_EQ(vote("w", 299).at(0), "low") << "or the clock was set back";
}

TEST_F(RedlockNode, NeverTouchesWhatItDidNotWrite) {
  server_.say({"SET", "lock:a", "theirs"});
  EXPECT_EQ(vote("v", 200).at(0), "held");
  EXPECT_EQ(give_back("v"), "no");
  EXPECT_EQ(run("force", {"0", "freed", "a"}).at(0), "no");
  EXPECT_EQ(key(), "theirs");
  server_.say({"DEL", "lock:a"});
  server_.say({"LPUSH", "lock:a", "x"});
  EXPECT_EQ(vote("v", 200).at(0), "held");
  EXPECT_EQ(run("force", {"0", "freed", "a"}).at(0), "no");
  EXPECT_EQ(give_back("v"), "no");
  EXPECT_EQ(server_.say({"TYPE", "lock:a"}).text, "list");
}

TEST_F(RedlockNode, ForcesTheLeaseWithTheTokenOrWhichever) {
  vote("v", 200);
  EXPECT_EQ(run("force", {"199", "freed", "a"}).at(0), "no");
  EXPECT_EQ(run("force", {"200", "freed", "a"}).at(0), "yes");
  EXPECT_EQ(key(), "");
  vote("w", 201);
  EXPECT_EQ(run("force", {"0", "freed", "a"}).at(2), "201");
}

TEST_F(RedlockNode, GivesBackAlsoWhenItsMemoryIsFull) {
  vote("v", 200);
  server_.say({"CONFIG", "SET", "maxmemory", "1"});
  (void)give_back("v");
  EXPECT_EQ(key(), "");
}

}  // namespace
}  // namespace dislock::redlock
