#include "engines/redis/wire/server_facts.hpp"

#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

constexpr const char* text =
    "# Server\r\nredis_version:7.0.15\r\nrun_id:aaaa\r\n\r\n# Persistence\r\nloading:0\r\n# Replication\r\n"
    "role:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1,port=1,state=online\r\nmaster_replid:bbbb\r\n"
    "master_replid2:0000\r\n# Cluster\r\ncluster_enabled:1\r\n";

TEST(RedisServerFacts, AreReadFromInfo) {
  const server_facts f(text);
  EXPECT_EQ(f.version(), "7.0.15");
  EXPECT_EQ(f.run_id(), "aaaa");
  EXPECT_EQ(f.replication_id(), "bbbb");
  EXPECT_TRUE(f.is_primary());
  EXPECT_FALSE(f.is_loading());
  EXPECT_TRUE(f.is_cluster_node());
  EXPECT_EQ(f.connected_replicas(), 2);
  EXPECT_EQ(f.field("slave0"), "ip=127.0.0.1,port=1,state=online");
  EXPECT_EQ(f.field("master_repl"), "");
  EXPECT_EQ(f.field(""), "");
  EXPECT_EQ(f.number("role"), 0);
}

TEST(RedisServerFacts, HaveAnIncarnationThatChangesWithTheProcessAndWithItsHistory) {
  const server_facts f(text);
  EXPECT_EQ(f.incarnation().size(), 40U);
  EXPECT_EQ(server_facts(text).incarnation(), f.incarnation());
  EXPECT_NE(server_facts("run_id:aaaa\r\nmaster_replid:cccc\r\n").incarnation(), f.incarnation());
  EXPECT_NE(server_facts("run_id:cccc\r\nmaster_replid:bbbb\r\n").incarnation(), f.incarnation());
}

TEST(RedisServerFacts, HaveNoIncarnationIfTheServerDoesNotTell) {
  EXPECT_EQ(server_facts("run_id:aaaa\r\n").incarnation(), "");
  EXPECT_EQ(server_facts().incarnation(), "");
}

}  // namespace
}  // namespace dislock::redis
