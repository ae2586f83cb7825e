// The client, a primary with two replicas, and three Sentinels.
#include "engines/redis/wire/test_sentinel.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

#include <algorithm>

namespace dislock::redis {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Le;
using testing::StartsWith;

/// Says what the test wants.
class false_sentinel {
 public:
  false_sentinel() : acceptor_(io, {boost::asio::ip::address_v4::loopback(), 0}) { accept(); }
  [[nodiscard]] std::string place() const {
    return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  void publish(const std::string& text) {
    for (const auto& t : listening_) say(*t, {"message", "+switch-master", text});
  }
  [[nodiscard]] bool heard() const noexcept { return !listening_.empty(); }

  boost::asio::io_context io{1};
  std::uint16_t primary = 0;
  int epoch = 1, asked = 0;

 private:
  using tcp = boost::asio::ip::tcp;
  struct talk {
    explicit talk(tcp::socket s) : socket(std::move(s)) {}
    tcp::socket socket;
    reply_reader reader;  // a command looks like a reply
    char room[1024]{};
  };

  void accept() {
    acceptor_.async_accept([this](const boost::system::error_code& ec, tcp::socket socket) {
      if (ec) return;
      listen(std::make_shared<talk>(std::move(socket)));
      accept();
    });
  }
  void listen(const std::shared_ptr<talk>& t) {
    t->socket.async_read_some(boost::asio::buffer(t->room),
                              [this, t](const boost::system::error_code& ec, std::size_t count) {
                                if (ec) return;
                                t->reader.feed({t->room, count});
                                reply command;
                                while (t->reader.next(command) == reply_reader::progress::complete)
                                  obey(t, command.at(0).text);
                                listen(t);
                              });
  }
  void obey(const std::shared_ptr<talk>& t, const std::string& word) {
    if (word == "SENTINEL") {
      ++asked;
      say(*t, {"ip", "127.0.0.1", "port", std::to_string(primary), "config-epoch", std::to_string(epoch)});
    } else if (word == "SUBSCRIBE") {
      listening_.push_back(t);
      say(*t, {"subscribe", "+switch-master", "1"});
    } else {
      write(*t, "+OK\r\n");
    }
  }
  static void say(talk& t, std::initializer_list<std::string_view> words) {
    std::string out;
    append_command(out, {words.begin(), words.size()});
    write(t, out);
  }
  static void write(talk& t, const std::string& bytes) {
    boost::system::error_code ignored;
    boost::asio::write(t.socket, boost::asio::buffer(bytes), ignored);
  }

  tcp::acceptor acceptor_;
  std::vector<std::shared_ptr<talk>> listening_;
};

// A message may come late, when the primary that it names has already been replaced, and lives on unaware.
TEST(RedisSwitch, IsBelievedWhenTheConfigurationSaysSo) {
  test_redis now, old;
  false_sentinel s;
  s.primary = now.port();
  test_client c("redis+sentinel://" + s.place() + "/prod");
  const auto until = [&](const std::function<bool()>& holds, std::chrono::milliseconds limit = 10s) {
    return c.until(
        [&] {
          s.io.poll();
          return holds();
        },
        limit);
  };
  ASSERT_TRUE(until([&] { return c.client->ready() && s.heard(); }));
  until([] { return false; }, 50ms);
  const auto asked = s.asked;
  const auto news = [&](const test_redis& to) {
    s.publish("prod 127.0.0.1 1 127.0.0.1 " + std::to_string(to.port()));
  };
  news(old);
  ASSERT_TRUE(until([&] { return s.asked > asked; })) << "somebody asks what is true";
  EXPECT_FALSE(until([&] { return !c.lost.empty(); }, 50ms));

  s.primary = old.port();
  s.epoch = 2;
  news(old);
  ASSERT_TRUE(until([&] { return c.connected.size() == 2 && c.client->ready(); }));
  EXPECT_EQ(c.connected.back(), old.where());
}

class RedisSentinel : public testing::Test {
 protected:
  void SetUp() override {
    servers_.push_back(std::make_unique<test_redis>());
    for (int i = 0; i < 2; ++i)
      servers_.push_back(std::make_unique<test_redis>(
          std::vector<std::string>{"--replicaof", "127.0.0.1", std::to_string(servers_[0]->port())}));
    for (int i = 1; i < 3; ++i)
      ASSERT_TRUE(comes_true([&] {
        return servers_[static_cast<std::size_t>(i)]
                   ->say({"INFO", "replication"})
                   .text.find("master_link_status:up") != std::string::npos;
      }));
    // They look for replicas at once, and then not before 10 s have passed.
    for (int i = 0; i < 3; ++i)
      sentinels_.push_back(std::make_unique<test_sentinel>(servers_[0]->where(), 2));
    // Whoever fails over has to know the others and the replicas.
    for (auto& s : sentinels_)
      ASSERT_TRUE(comes_true([&] {
        return s->sees("num-slaves") == "2" && s->sees("num-other-sentinels") == "2" &&
               s->sees("flags") == "master";
      }));
  }
  std::string url() const {
    std::string places;
    for (const auto& s : sentinels_) places += (places.empty() ? "" : ",") + s->place();
    return "redis+sentinel://" + places + "/prod";
  }

  std::vector<std::unique_ptr<test_redis>> servers_;
  std::vector<std::unique_ptr<test_sentinel>> sentinels_;
};

// One set of servers for all of it: it takes a moment to come up.
TEST_F(RedisSentinel, LeadsToThePrimaryThroughFailovers) {
  const auto free = free_port();
  {
    SCOPED_TRACE("any of the Sentinels will do");
    test_client c("redis+sentinel://127.0.0.1:" + std::to_string(free) + "," + sentinels_[1]->place() +
                  "/prod");
    EXPECT_EQ(text_of(c.ask({"SET", "a", "1"})), "OK");
    EXPECT_EQ(c.connected.at(0), servers_[0]->where());
    EXPECT_EQ(c.client->known_replicas(), 2);
  }
  {
    SCOPED_TRACE("a name that nobody knows");
    test_client c("redis+sentinel://" + sentinels_[0]->place() + ",127.0.0.1:" + std::to_string(free) +
                  "/other");
    EXPECT_THAT(text_of(c.ask({"PING"}, 300ms)),
                AllOf(StartsWith("none: no Sentinel knows where 'other' is"), HasSubstr("No such master"),
                      HasSubstr("Connection refused")));
  }

  test_client c(url());
  c.client->subscribe({"hints"});
  ASSERT_TRUE(c.ready());
  ASSERT_TRUE(c.until([&] { return c.subscribed == 1; }));

  {
    SCOPED_TRACE("a failover in good order");
    EXPECT_EQ(sentinels_[0]->say({"SENTINEL", "FAILOVER", "prod"}).text, "OK");
    ASSERT_TRUE(c.until([&] { return c.connected.size() == 2 && c.client->ready(); }));
    EXPECT_NE(c.connected[1], c.connected[0]);
    EXPECT_NE(c.incarnations[1], c.incarnations[0]);
    EXPECT_EQ(text_of(c.ask({"SET", "a", "2"})), "OK");
    ASSERT_TRUE(c.until([&] { return c.subscribed == 2; }));
  }
  {
    SCOPED_TRACE("the primary is killed under load");
    const auto old = c.connected.back();
    for (auto& s : sentinels_)
      ASSERT_TRUE(comes_true(
          [&] { return s->sees("port") == std::to_string(old.port) && s->sees("flags") == "master"; }));
    tally ends;
    int made = 0;
    const auto load = [&] {
      for (; made - ends.all() < 50; ++made)
        c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s,
                       [&](response a) { ends.count(a); });
    };
    c.until([&] {
      load();
      return ends.done > 500;
    });
    for (auto& s : servers_)
      if (s->where() == old) s->process().kill();
    const auto killed = c.time.now();
    ASSERT_TRUE(c.until(
        [&] {
          load();
          return c.connected.back() != old && ends.done > 2000;
        },
        15s));
    ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
    EXPECT_EQ(ends.none + ends.refused, 0) << "what was not written waited for the new primary";
    EXPECT_THAT(ends.unknown, AllOf(Ge(1), Le(50)));
    EXPECT_LT(c.time.now() - killed, 10s);
    EXPECT_NE(c.incarnations.back(), c.incarnations[1]);
    ASSERT_TRUE(c.until([&] { return c.subscribed >= 3; }));
    const auto heard = c.messages.size();
    EXPECT_EQ(text_of(c.ask({"PUBLISH", "hints", "x"})), "1");
    ASSERT_TRUE(c.until([&] { return c.messages.size() > heard; }));

    SCOPED_TRACE("a Sentinel that missed it is not believed");
    test_redis outdated;  // takes itself for a primary, as one does that was cut off
    test_sentinel behind(outdated.where(), 1);
    test_client d("redis+sentinel://" + behind.place() + "," + sentinels_[0]->place() + "/prod");
    ASSERT_EQ(text_of(d.ask({"PING"})), "PONG");
    EXPECT_NE(d.connected.at(0), outdated.where());

    SCOPED_TRACE("a primary that is none is not used");
    test_redis replica({"--replicaof", "127.0.0.1", std::to_string(free)});
    test_sentinel wrong(replica.where(), 2, "sentinel config-epoch prod 0\n");
    test_client e("redis+sentinel://" + wrong.place() + "/prod");
    EXPECT_THAT(text_of(e.ask({"PING"}, 300ms)), AllOf(StartsWith("none: "), HasSubstr("a replica")));
    EXPECT_THAT(e.connected, IsEmpty());
  }
}

// The old primary lives on, and takes itself for one: only the Sentinels know better.
TEST_F(RedisSentinel, AreHeardWhenThePrimaryIsCutOff) {
  test_client c(url());
  ASSERT_TRUE(c.ready());
  servers_[0]->process().freeze();
  ASSERT_TRUE(c.until([&] { return c.connected.size() == 2; }, 15s))
      << "nobody has asked it anything meanwhile";
  EXPECT_THAT(c.lost.at(0), StartsWith("the primary is now at "));
  EXPECT_EQ(text_of(c.ask({"SET", "a", "1"})), "OK");
  servers_[0]->process().thaw();
}

}  // namespace
}  // namespace dislock::redis
