// The client and a Cluster of three nodes.
#include "engines/redis/wire/test_cluster.hpp"

#include <gmock/gmock.h>

namespace dislock::redis {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;
using testing::SizeIs;
using testing::StartsWith;

constexpr const char* count_both = "redis.call('INCR', KEYS[1]); return redis.call('INCR', KEYS[2])";

class RedisCluster : public testing::Test, protected test_cluster {};

TEST_F(RedisCluster, ServesEveryKeyFromTheNodeThatHasIt) {
  test_client c(url(1), {"return redis.call('INCR', KEYS[1])"});
  int done = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto key = "key" + std::to_string(i);
    const std::string_view keys[] = {key};
    c.client->run({.key = key}, {.script = 0, .keys = keys}, c.time.now() + 10s, [&](response a) {
      if (a && a->number == 1) ++done;
    });
  }
  EXPECT_TRUE(c.until([&] { return done == 3000; }));
  EXPECT_TRUE(c.client->ready());
  EXPECT_THAT(c.connected, SizeIs(3));
  for (const auto& n : nodes_) EXPECT_GT(n->say({"DBSIZE"}).number, 800);
  EXPECT_EQ(c.client->facts("key1")->field("tcp_port"), std::to_string(nodes_[owner("key1")]->port()));
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG") << "a call without a key goes anywhere";

  // Messages reach all nodes.
  c.client->subscribe({"hints"});
  ASSERT_TRUE(c.until([&] { return c.subscribed == 1; }));
  for (const auto& n : nodes_) n->say({"PUBLISH", "hints", "x"});
  EXPECT_TRUE(c.until([&] { return c.messages.size() == 3; }));

  test_client alone(nodes_[0]->url());
  EXPECT_THAT(text_of(alone.ask({"PING"}, 200ms)),
              AllOf(StartsWith("none: "), HasSubstr("redis+cluster://")));
  test_redis single;
  test_client wrong("redis+cluster://" + single.place());
  EXPECT_THAT(text_of(wrong.ask({"PING"}, 200ms)),
              AllOf(StartsWith("none: "), HasSubstr("cluster support disabled")));
}

TEST_F(RedisCluster, LosesNothingWhileASlotMovesToAndFro) {
  test_client c(url(), {count_both});
  ASSERT_TRUE(c.ready());
  const std::string a = "{move}a", b = "{move}b";
  const std::string_view keys[] = {a, b};
  const auto slot = std::to_string(key_slot("move"));
  const auto first = owner("move");
  tally ends;
  int made = 0;
  const auto load_until = [&](int done) {
    return c.until([&] {
      for (; made - ends.all() < 40; ++made)
        c.client->run({.key = a}, {.script = 0, .keys = keys}, c.time.now() + 10s,
                      [&](response x) { ends.count(x); });
      return ends.done >= done;
    });
  };
  ASSERT_TRUE(load_until(200));
  for (std::size_t round = 0; round < 6; ++round) {
    const auto from = (first + round) % 3, to = (first + round + 1) % 3;
    begin_move(slot, from, to);
    ASSERT_TRUE(load_until(ends.done + 100)) << "both keys are still here";
    move_key(a, from, to);
    // Now one is here and one there: nobody can serve a call of both.
    c.until([&] { return false; }, 30ms);
    move_key(b, from, to);
    ASSERT_TRUE(load_until(ends.done + 100)) << "by ASK";
    end_move(slot, from, to);
    ASSERT_TRUE(load_until(ends.done + 100)) << "by MOVED, and by the map";
  }
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.done, made);
  EXPECT_EQ(text_of(c.ask({"GET", a}, 10s, {.key = a})), std::to_string(made)) << "each exactly once";
  EXPECT_EQ(text_of(c.ask({"GET", b}, 10s, {.key = b})), std::to_string(made));
  EXPECT_THAT(c.lost, testing::IsEmpty());

  // In the end it knows where the slot is.
  const auto sent_on = [&] {
    std::int64_t all = 0;
    for (const auto& n : nodes_) {
      const auto text = n->say({"INFO", "errorstats"}).text;
      if (const auto at = text.find("errorstat_MOVED:count="); at != std::string::npos)
        all += std::atoll(text.c_str() + at + 22);
    }
    return all;
  };
  c.until([] { return false; }, 300ms);  // what it asked for has been answered: now only MOVED tells
  begin_move(slot, first, (first + 1) % 3);
  move_key(a, first, (first + 1) % 3);
  move_key(b, first, (first + 1) % 3);
  end_move(slot, first, (first + 1) % 3);
  const auto until_now = sent_on();
  ASSERT_TRUE(load_until(ends.done + 100));
  const auto before = sent_on();
  EXPECT_GT(before, until_now);
  ASSERT_TRUE(load_until(ends.done + 200));
  EXPECT_EQ(sent_on(), before);
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
}

TEST_F(RedisCluster, KeepsCommandsTogetherWhereverTheirSlotGoes) {
  test_client c(url());
  const std::string a = "{move}a", b = "{move}b";
  const auto ask = [&] {
    return c.together({{"INFO", "replication"}, {"APPEND", a, "x"}, {"APPEND", b, "x"}}, 10s, {.key = a});
  };
  const auto all = [](const response& r) {
    return r ? std::to_string(r->at(1).number) + " " + std::to_string(r->at(2).number) : text_of(r);
  };
  EXPECT_EQ(all(ask()), "1 1");
  const auto slot = std::to_string(key_slot("move"));
  const auto from = owner("move"), to = (from + 1) % 3;
  begin_move(slot, from, to);
  move_key(a, from, to);
  move_key(b, from, to);
  EXPECT_EQ(all(ask()), "2 2") << "both were asked for";
  end_move(slot, from, to);
  EXPECT_EQ(all(ask()), "3 3")
      << "though only the second command was sent on, and the first is content anywhere";
}

// As the engine uses it: all keys in one slot, most of which its scripts do not name.
TEST_F(RedisCluster, HasTheServerOfOneKeyBeTheServer) {
  const std::string a = "{move}a", b = "{move}b", nothing = "{move}nothing";
  const auto first = owner("move"), second = (first + 1) % 3;
  test_client c(url(second), {"return redis.call('INCR', '{move}a') + redis.call('INCR', '{move}b')"},
                [](client_settings& s) { s.home_key = "{move}a"; });
  ASSERT_TRUE(c.ready());
  EXPECT_THAT(c.connected, testing::ElementsAre(nodes_[first]->where())) << "the others are no server";
  EXPECT_EQ(c.client->facts()->field("tcp_port"), std::to_string(nodes_[first]->port()));
  EXPECT_EQ(c.ask({"CLUSTER", "MYID"})->text, id(first)) << "for calls without a key as well";
  const std::string_view keys[] = {a, nothing};
  const script_call call{.script = 0, .keys = keys};
  tally ends;
  int made = 0;
  const auto load_until = [&](int done) {
    return c.until([&] {
      for (; made - ends.all() < 40; ++made)
        c.client->run({}, call, c.time.now() + 10s, [&](const response& x) { ends.count(x); });
      return ends.done >= done;
    });
  };
  const auto former = [&](const std::string& incarnation) {
    std::optional<departure> out;
    c.client->ask_former(incarnation.substr(0, 16), c.time.now() + 2s, [&](departure said) { out = said; });
    c.until([&] { return out.has_value(); });
    return out.value_or(departure::unknown);
  };
  ASSERT_TRUE(load_until(100));
  const auto before = c.incarnations.back();
  const auto since = c.client->serving_since();
  EXPECT_EQ(former(before), departure::not_heard);

  const auto slot = std::to_string(key_slot("move"));
  begin_move(slot, first, second);
  c.until([&] { return false; }, 20ms);
  const auto stopped_at = ends.done;
  c.until([&] { return false; }, 100ms);
  EXPECT_EQ(ends.done, stopped_at) << "though all keys are still there, but for the one that never is";
  EXPECT_EQ(former(before), departure::not_heard);
  move_key(a, first, second);
  c.until([&] { return false; }, 50ms);
  move_key(b, first, second);
  c.until([&] { return false; }, 50ms);
  EXPECT_EQ(ends.done, stopped_at);
  EXPECT_EQ(ends.all(), ends.done);
  end_move(slot, first, second);
  ASSERT_TRUE(load_until(ends.done + 100));
  EXPECT_EQ(c.connected.back(), nodes_[second]->where());
  EXPECT_EQ(c.connected.size(), 2u);
  EXPECT_NE(c.incarnations.back(), before);
  EXPECT_NE(c.client->serving_since(), since);
  EXPECT_EQ(former(before), departure::given_away);
  EXPECT_EQ(former(c.incarnations.back()), departure::not_heard);
  EXPECT_EQ(former(std::string(40, 'f')), departure::unknown) << "nobody has ever been that";
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.done, made) << "nothing was refused, and nothing was lost";
  EXPECT_EQ(c.ask({"GET", a})->text, std::to_string(made));
  EXPECT_EQ(c.ask({"GET", b})->text, std::to_string(made));

  nodes_[(first + 2) % 3]->process().kill();
  c.until([&] { return false; }, 200ms);
  EXPECT_TRUE(c.client->ready()) << "that one is not needed";
  EXPECT_THAT(c.lost, testing::IsEmpty());
}

TEST_F(RedisCluster, TellsACallerWhoseSlotStaysDivided) {
  test_client c(url(), {count_both});
  const std::string a = "{move}a", b = "{move}b";
  const std::string_view keys[] = {a, b};
  ASSERT_EQ(text_of(c.run({.script = 0, .keys = keys}, 10s, {.key = a})), "1");
  const auto from = owner("move"), to = (from + 1) % 3;
  begin_move(std::to_string(key_slot("move")), from, to);
  move_key(a, from, to);
  EXPECT_THAT(text_of(c.run({.script = 0, .keys = keys}, 100ms, {.key = a})),
              AllOf(StartsWith("none: "), HasSubstr("TRYAGAIN")));
}

TEST_F(RedisCluster, FollowsTheReplicaThatTakesADeadNodesPlace) {
  add_node();
  meet(3);
  ASSERT_TRUE(agree());
  ASSERT_TRUE(comes_true([&] { return nodes_[3]->say({"CLUSTER", "REPLICATE", id(0)}).text == "OK"; }));
  ASSERT_TRUE(comes_true([&] {
    return nodes_[0]->say({"INFO", "replication"}).text.find("state=online") != std::string::npos;
  }));
  test_client c(url(1));
  c.client->subscribe({"hints"});
  ASSERT_TRUE(c.until([&] { return c.client->ready() && c.subscribed == 1; }));
  std::string key = "k";
  while (owner(key) != 0) key += "k";
  tally ends;
  int made = 0;
  const auto load_until = [&](int done) {
    return c.until([&] {
      for (; made - ends.all() < 20; ++made)
        c.client->call({.key = key}, std::vector<std::string_view>{"INCR", key}, c.time.now() + 10s,
                       [&](response x) { ends.count(x); });
      return ends.done >= done;
    });
  };
  ASSERT_TRUE(load_until(300));
  nodes_[0]->process().kill();
  ASSERT_TRUE(load_until(ends.done + 300)) << c.client->trouble();
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.none + ends.refused, 0);
  EXPECT_THAT(ends.unknown, AllOf(Ge(1), Le(20)));
  EXPECT_EQ(c.connected.back(), nodes_[3]->where());
  const auto messages = c.messages.size();
  ASSERT_TRUE(c.until([&] {
    nodes_[2]->say({"PUBLISH", "hints", "x"});
    return c.messages.size() > messages;
  }));
}

}  // namespace
}  // namespace dislock::redis
