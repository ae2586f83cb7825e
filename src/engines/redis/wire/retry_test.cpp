#include "engines/redis/wire/retry.hpp"

#include "engines/redis/wire/sentinels.hpp"

#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

verdict verdict_on(std::string text) {
  reply r;
  r.is = reply::kind::error;
  r.text = std::move(text);
  return judge(r);
}

TEST(RedisVerdict, TellsWhatWasNotExecutedFromWhatFailed) {
  EXPECT_EQ(verdict_on("NOSCRIPT No matching script. Please use EVAL."), verdict::unknown_script);
  EXPECT_EQ(verdict_on("READONLY You can't write against a read only replica."), verdict::wrong_server);
  EXPECT_EQ(verdict_on("LOADING Redis is loading the dataset in memory"), verdict::wrong_server);
  EXPECT_EQ(verdict_on("MASTERDOWN Link with MASTER is down"), verdict::wrong_server);
  EXPECT_EQ(verdict_on("MOVED 1 a:1"), verdict::moved);
  EXPECT_EQ(verdict_on("ASK 1 a:1"), verdict::ask);
  EXPECT_EQ(verdict_on("TRYAGAIN Multiple keys"), verdict::try_again);
  EXPECT_EQ(verdict_on("CLUSTERDOWN The cluster is down"), verdict::cluster_down);
  EXPECT_EQ(verdict_on("BUSY Redis is busy running a script."), verdict::busy);
  EXPECT_EQ(verdict_on("ERR no"), verdict::deliver);
  EXPECT_EQ(verdict_on("OOM command not allowed"), verdict::deliver);
  EXPECT_EQ(judge(reply{}), verdict::deliver);
}

TEST(RedisRest, DoublesUpToASecondAndVariesByHalf) {
  EXPECT_EQ(rest_after(0, 0), 0us);
  EXPECT_EQ(rest_after(0, 0.5), 10ms);
  EXPECT_EQ(rest_after(1, 0), 40ms);
  EXPECT_EQ(rest_after(2, 0), 80ms);
  EXPECT_EQ(rest_after(2, 0.5), 60ms);
  EXPECT_EQ(rest_after(6, 0), 1s);
  EXPECT_EQ(rest_after(1'000'000, 0), 1s);
  EXPECT_GT(rest_after(1'000'000, 0.999), 500ms);
}

reply fields(std::initializer_list<std::string_view> words) {
  reply r;
  r.is = reply::kind::array;
  for (const auto w : words) r.items.push_back({.is = reply::kind::bulk, .text = std::string(w)});
  return r;
}

TEST(RedisSighting, IsWhatASentinelSaysOfTheMaster) {
  const auto s = parse_sighting(
      fields({"name", "m", "ip", "10.0.0.1", "port", "7", "config-epoch", "12", "num-slaves", "2"}));
  ASSERT_TRUE(s);
  EXPECT_EQ(s->primary, (address{"10.0.0.1", 7}));
  EXPECT_EQ(s->epoch, 12);
  EXPECT_EQ(s->replicas, 2);
}

// The Sentinel that leads a failover has the epoch of the new configuration before it says where that leads;
// the others hear of both at once.
TEST(RedisSighting, IsNewerWithALaterEpochAndThenWhereNothingIsUnderWay) {
  const auto seen = [](std::string_view epoch, std::string_view flags) {
    return *parse_sighting(fields({"ip", "10.0.0.1", "port", "7", "config-epoch", epoch, "flags", flags}));
  };
  EXPECT_TRUE(is_newer(seen("3", "master"), seen("2", "master")));
  EXPECT_TRUE(is_newer(seen("10", "master,failover_in_progress"), seen("9", "master")));
  EXPECT_TRUE(is_newer(seen("3", "master"), seen("3", "master,failover_in_progress,force_failover")));
  EXPECT_FALSE(is_newer(seen("3", "master,failover_in_progress"), seen("3", "master")));
  EXPECT_FALSE(is_newer(seen("3", "master"), seen("3", "master")));
}

TEST(RedisSighting, IsNoneWithoutAnAddress) {
  EXPECT_FALSE(parse_sighting(reply{}));
  EXPECT_FALSE(parse_sighting(fields({"ip", "10.0.0.1"})));
  EXPECT_FALSE(parse_sighting(fields({"ip", "10.0.0.1", "port", "99999"})));
  EXPECT_FALSE(parse_sighting(fields({"ip", "", "port", "9"})));
}

TEST(RedisSwitch, IsHeardOnlyOfTheMasterThatIsMeant) {
  EXPECT_EQ(parse_switch("m 10.0.0.1 7 10.0.0.2 8", "m"), (address{"10.0.0.2", 8}));
  EXPECT_EQ(parse_switch("m ::1 7 ::2 8", "m"), (address{"::2", 8}));
  EXPECT_FALSE(parse_switch("n 10.0.0.1 7 10.0.0.2 8", "m"));
  EXPECT_FALSE(parse_switch("m 10.0.0.1 7 10.0.0.2", "m"));
  EXPECT_FALSE(parse_switch("m 10.0.0.1 7 10.0.0.2 x", "m"));
  EXPECT_FALSE(parse_switch("", ""));
}

}  // namespace
}  // namespace dislock::redis
