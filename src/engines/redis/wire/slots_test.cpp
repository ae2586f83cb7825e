#include "engines/redis/wire/slots.hpp"

#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

// What the Cluster specification and redis-cli say.
TEST(RedisSlot, CountTheReplicasOfTheNodeThatWasAsked) {
  constexpr std::string_view nodes =
      "aa1 127.0.0.1:1@2 slave bb2 0 1 3 connected\n"
      "bb2 127.0.0.1:2@3 myself,master - 0 0 3 connected 0-5460\n"
      "cc3 127.0.0.1:3@4 slave,fail bb2 1 1 3 disconnected\n"
      "dd4 127.0.0.1:4@5 slave ee5 0 1 2 connected\n"
      "ee5 127.0.0.1:5@6 master - 0 1 2 connected 5461-16383\n";
  EXPECT_EQ(replicas_of_asked(nodes), 2);
  EXPECT_EQ(replicas_of_asked("bb2 :0 myself,master - 0 0 0 connected\n"), 0);
  EXPECT_EQ(replicas_of_asked(""), 0);
  EXPECT_EQ(replicas_of_asked("myself"), 0);
}

TEST(RedisSlot, KnowAPrimaryThatWasReplaced) {
  EXPECT_TRUE(
      name_a_lost_primary("aa1 127.0.0.1:1@2 myself,master - 0 0 3 connected 0-16383\n"
                          "bb2 127.0.0.1:2@3 master,fail - 1 1 2 disconnected\n"));
  EXPECT_FALSE(name_a_lost_primary("bb2 127.0.0.1:2@3 master,fail? - 1 1 2 connected\n"));
  EXPECT_FALSE(name_a_lost_primary("bb2 127.0.0.1:2@3 master,fail - 1 1 2 disconnected 0-5460\n"));
  EXPECT_FALSE(name_a_lost_primary("cc3 127.0.0.1:3@4 slave,fail bb2 1 1 3 disconnected\n"));
  EXPECT_FALSE(name_a_lost_primary("bb2 127.0.0.1:2@3 master - 0 1 2 connected\n"));
  EXPECT_FALSE(name_a_lost_primary(""));
}

TEST(RedisSlot, IsTheCrcOfTheKey) {
  EXPECT_EQ(key_slot("123456789"), 0x31C3);
  EXPECT_EQ(key_slot(""), 0);
  EXPECT_EQ(key_slot("foo"), 12182);
  EXPECT_EQ(key_slot("somekey"), 11058);
}

TEST(RedisSlot, IsThatOfTheTagOnly) {
  EXPECT_EQ(key_slot("foo{hash_tag}"), 2515);
  EXPECT_EQ(key_slot("{user1000}.following"), key_slot("user1000"));
  EXPECT_EQ(key_slot("a{b}c{d}"), key_slot("b"));
  EXPECT_EQ(key_slot("foo{{bar}}zap"), key_slot("{bar"));
}

TEST(RedisSlot, IsThatOfTheWholeKeyWithoutAWholeTag) {
  EXPECT_EQ(key_slot("foo{}{bar}"), 8363);
  EXPECT_NE(key_slot("foo{bar"), key_slot("bar"));
  EXPECT_NE(key_slot("foo}bar{"), key_slot("bar"));
}

reply integer(std::int64_t n) {
  reply r;
  r.is = reply::kind::integer;
  r.number = n;
  return r;
}
reply bulk(std::string text) {
  reply r;
  r.is = reply::kind::bulk;
  r.text = std::move(text);
  return r;
}
reply array(std::vector<reply> items) {
  reply r;
  r.is = reply::kind::array;
  r.items = std::move(items);
  return r;
}
reply range(int from, int to, reply host, int port) {
  return array({integer(from), integer(to), array({std::move(host), integer(port), bulk("id")}),
                array({bulk("replica"), integer(1), bulk("id")})});
}

const address asked{"127.0.0.1", 7000};

TEST(RedisSlotMap, NamesTheOwnerOfEverySlot) {
  const auto m = slot_map::from(
      array({range(0, 99, bulk("a"), 1), range(100, 100, bulk("b"), 2), range(200, 16383, bulk("a"), 1)}),
      asked);
  ASSERT_TRUE(m);
  EXPECT_EQ(*m->owner(0), (address{"a", 1}));
  EXPECT_EQ(*m->owner(99), (address{"a", 1}));
  EXPECT_EQ(*m->owner(100), (address{"b", 2}));
  EXPECT_EQ(m->owner(101), nullptr);
  EXPECT_EQ(*m->owner(16383), (address{"a", 1}));
  EXPECT_EQ(m->unowned(), 99U);
  EXPECT_FALSE(m->knows_all());
  EXPECT_EQ(m->nodes().size(), 2U);
}

TEST(RedisSlotMap, TakesTheAskedAddressOfANodeThatDoesNotSayItsOwn) {
  for (auto host : {reply{}, bulk(""), bulk("?")})
    EXPECT_EQ(*slot_map::from(array({range(0, 16383, host, 7001)}), asked)->owner(5),
              (address{"127.0.0.1", 7001}));
}

TEST(RedisSlotMap, RefusesWhatMakesNoSense) {
  EXPECT_FALSE(slot_map::from(reply{}, asked));
  EXPECT_FALSE(slot_map::from(array({}), asked));
  EXPECT_FALSE(slot_map::from(array({integer(1)}), asked));
  EXPECT_FALSE(slot_map::from(array({range(-1, 5, bulk("a"), 1)}), asked));
  EXPECT_FALSE(slot_map::from(array({range(6, 5, bulk("a"), 1)}), asked));
  EXPECT_FALSE(slot_map::from(array({range(0, 16384, bulk("a"), 1)}), asked));
  EXPECT_FALSE(slot_map::from(array({range(0, 1, bulk("a"), 0)}), asked));
  EXPECT_FALSE(slot_map::from(array({array({integer(0), integer(1)})}), asked));
}

TEST(RedisSlotMap, LearnsFromARedirection) {
  slot_map m;
  m.assign(7, {"c", 3});
  EXPECT_EQ(*m.owner(7), (address{"c", 3}));
  EXPECT_EQ(m.owner(8), nullptr);
}

TEST(RedisRedirection, NamesTheSlotAndThePlace) {
  const auto r = parse_redirection("MOVED 3999 127.0.0.1:6381", asked);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->slot, 3999);
  EXPECT_EQ(r->to, (address{"127.0.0.1", 6381}));
  EXPECT_EQ(parse_redirection("ASK 1 ::1:6381", asked)->to, (address{"::1", 6381}));
  EXPECT_EQ(parse_redirection("ASK 1 [::1]:6381", asked)->to, (address{"::1", 6381}));
  EXPECT_EQ(parse_redirection("MOVED 1 :6381", asked)->to, (address{"127.0.0.1", 6381}));
}

TEST(RedisRedirection, IsRefusedIfItMakesNoSense) {
  for (const auto* text : {"MOVED", "MOVED 1", "MOVED x a:1", "MOVED 16384 a:1", "MOVED 1 a", "MOVED 1 a:0",
                           "MOVED 1 a:x", "MOVED 1 a:70000", "MOVED -1 a:1"})
    EXPECT_FALSE(parse_redirection(text, asked)) << text;
}

}  // namespace
}  // namespace dislock::redis
