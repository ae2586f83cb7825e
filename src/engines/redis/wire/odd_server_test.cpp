// The client and servers that are not what they should be.
#include "engines/redis/wire/test_redis.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

namespace dislock::redis {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

/// Says what it was told to, whatever it is asked: one text for each read, on every connection.
class odd_server {
 public:
  odd_server(boost::asio::io_context& io, std::vector<std::string> texts, bool closes = false)
      : acceptor_(io, {boost::asio::ip::address_v4::loopback(), 0}),
        texts_(std::move(texts)),
        closes_(closes) {
    accept();
  }
  [[nodiscard]] std::string url() const {
    return "redis://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  int accepted = 0;

 private:
  using tcp = boost::asio::ip::tcp;
  struct talk {
    explicit talk(tcp::socket s) : socket(std::move(s)) {}
    tcp::socket socket;
    std::size_t next = 0;
    char room[4096];
  };

  void accept() {
    acceptor_.async_accept([this](const boost::system::error_code& ec, tcp::socket socket) {
      if (ec) return;
      ++accepted;
      go_on(std::make_shared<talk>(std::move(socket)));
      accept();
    });
  }
  void go_on(const std::shared_ptr<talk>& t) {
    if (t->next == texts_.size() && closes_) return;
    t->socket.async_read_some(
        boost::asio::buffer(t->room), [this, t](const boost::system::error_code& ec, std::size_t) {
          if (ec) return;
          boost::system::error_code ignored;
          if (t->next < texts_.size())
            boost::asio::write(t->socket, boost::asio::buffer(texts_[t->next++]), ignored);
          go_on(t);
        });
  }

  tcp::acceptor acceptor_;
  const std::vector<std::string> texts_;
  const bool closes_;
};

/// The server lives on the client's loop; it is known only when the loop is.
struct odd_case {
  explicit odd_case(std::vector<std::string> texts, bool closes = false, const std::string& more = "")
      : server(server_io, std::move(texts), closes), client(server.url() + more) {}

  response ask(std::vector<std::string_view> words, duration patience = 300ms) {
    std::optional<response> out;
    client.client->call({}, words, client.time.now() + patience, [&](response a) { out = std::move(a); });
    EXPECT_TRUE(client.until([&] {
      server_io.poll();
      return out.has_value();
    }));
    return out ? std::move(*out) : response(failure{});
  }

  boost::asio::io_context server_io{1};
  odd_server server;
  test_client client;
};

/// Says hello; then it reads nothing on its first connection, and answers every command on the others.
class deaf_server {
 public:
  explicit deaf_server(std::string hello)
      : hello_(std::move(hello)), acceptor_(io, {boost::asio::ip::address_v4::loopback(), 0}) {
    accept();
  }
  [[nodiscard]] std::string url() const {
    return "redis://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  void hang_up() { first_.reset(); }

  boost::asio::io_context io{1};
  int accepted = 0;

 private:
  using tcp = boost::asio::ip::tcp;
  struct talk {
    explicit talk(tcp::socket s) : socket(std::move(s)) {}
    tcp::socket socket;
    reply_reader reader{reply_limits{.bytes = std::size_t{64} << 20}};  // a command looks like a reply
    bool greeted = false;
    char room[65536]{};
  };

  void accept() {
    acceptor_.async_accept([this](const boost::system::error_code& ec, tcp::socket socket) {
      if (ec) return;
      auto t = std::make_shared<talk>(std::move(socket));
      if (++accepted == 1) first_ = t;
      go_on(t);
      accept();
    });
  }
  void go_on(const std::shared_ptr<talk>& t) {
    t->socket.async_read_some(boost::asio::buffer(t->room),
                              [this, t](const boost::system::error_code& ec, std::size_t count) {
                                if (ec) return;
                                t->reader.feed({t->room, count});
                                reply command;
                                std::string out;
                                while (t->reader.next(command) == reply_reader::progress::complete)
                                  if (t->greeted)
                                    out += ":1\r\n";
                                  else if (command.at(0).text == "INFO") {
                                    t->greeted = true;
                                    out = hello_;
                                  }
                                boost::system::error_code ignored;
                                boost::asio::write(t->socket, boost::asio::buffer(out), ignored);
                                if (t != first_ || !t->greeted) go_on(t);
                              });
  }

  const std::string hello_;
  tcp::acceptor acceptor_;
  std::shared_ptr<talk> first_;
};

// What a Redis says when it is opened: to CLIENT SETNAME and INFO.
std::string hello(const std::string& info) {
  return "+OK\r\n$" + std::to_string(info.size()) + "\r\n" + info + "\r\n";
}
const std::string good = hello("run_id:a\r\nmaster_replid:b\r\nrole:master\r\n");

TEST(RedisOddServer, IsUnderstoodWhereItIsLikeRedis) {
  odd_case c({good, ":7\r\n"});
  EXPECT_EQ(text_of(c.ask({"INCR", "n"})), "7");
}

TEST(RedisOddServer, IsLeftWhenItIsNoRedis) {
  odd_case c({"HTTP/1.1 400 Bad Request\r\n\r\n"});
  EXPECT_THAT(text_of(c.ask({"PING"})), AllOf(StartsWith("none: "), HasSubstr("not what Redis would say")));
}

TEST(RedisOddServer, IsLeftWhenItSpeaksWithoutBeingAsked) {
  odd_case c({good, ":7\r\n:8\r\n"});
  EXPECT_EQ(text_of(c.ask({"INCR", "n"})), "7");
  ASSERT_TRUE(c.client.until([&] { return !c.client.lost.empty(); }));
  EXPECT_THAT(c.client.lost.at(0), HasSubstr("without being asked"));
}

TEST(RedisOddServer, IsNotUsedWithoutAnIncarnation) {
  odd_case c({hello("role:master\r\n")});
  EXPECT_THAT(text_of(c.ask({"PING"})), AllOf(StartsWith("none: "), HasSubstr("run_id")));
}

TEST(RedisOddServer, IsNotWaitedForWhenItSaysNothing) {
  odd_case c({}, false, "?connect-timeout=0.05");
  EXPECT_THAT(text_of(c.ask({"PING"})), AllOf(StartsWith("none: "), HasSubstr("no connection within 50 ms")));
  EXPECT_GT(c.server.accepted, 1);
}

TEST(RedisOddServer, IsComeBackToWithRestsInBetween) {
  odd_case c({}, true);
  EXPECT_THAT(text_of(c.ask({"PING"}, 500ms)), StartsWith("none: "));
  EXPECT_THAT(c.server.accepted, AllOf(testing::Ge(3), testing::Le(8)))
      << "20 ms, 40 ms, 80 ms ... less up to a half";
}

TEST(RedisOddServer, LeavesACallInDoubtWhenItEndsInTheMiddleOfAReply) {
  odd_case c({good, "$100\r\nabc"}, true);
  EXPECT_THAT(text_of(c.ask({"GET", "n"})),
              AllOf(StartsWith("unknown: "), HasSubstr("closed the connection")));
}

class RedisDeafServer : public testing::Test {
 protected:
  RedisDeafServer() {
    EXPECT_TRUE(until([&] { return client_.client->ready(); }));
  }
  bool until(const std::function<bool()>& holds) {
    return client_.until([&] {
      server_.io.poll();
      return holds();
    });
  }
  void echo(std::string_view text, duration patience, std::optional<response>& out) {
    client_.client->call({}, std::vector<std::string_view>{"ECHO", text}, client_.time.now() + patience,
                         [&](response a) { out = std::move(a); });
  }

  deaf_server server_{good};
  test_client client_{server_.url()};
  const std::string large_ = std::string(std::size_t{16} << 20, 'x');  // more than what sockets take
  std::optional<response> small_one_, large_one_, behind_;
};

TEST_F(RedisDeafServer, HasNotGotACallThatDidNotLeaveAsAWholeByItsDeadline) {
  echo("a", 2s, small_one_);
  echo(large_, 2s, large_one_);
  ASSERT_TRUE(until([&] { return small_one_ && large_one_; }));
  EXPECT_THAT(text_of(*small_one_), StartsWith("unknown: "));
  EXPECT_THAT(text_of(*large_one_), StartsWith("none: "));
}

TEST_F(RedisDeafServer, GetsACallAgainThatDidNotLeaveAsAWhole) {
  echo("a", 10s, small_one_);
  echo(large_, 10s, large_one_);
  echo("b", 10s, behind_);
  client_.until([] { return false; }, 50ms);
  server_.hang_up();
  ASSERT_TRUE(until([&] { return small_one_ && large_one_ && behind_; }));
  EXPECT_THAT(text_of(*small_one_), StartsWith("unknown: "));
  EXPECT_EQ(text_of(*large_one_), "1");
  EXPECT_EQ(text_of(*behind_), "1");
  EXPECT_EQ(server_.accepted, 2);
}

TEST(RedisOddServer, LeavesInDoubtWhatWasCalledTogetherAndDoneInPart) {
  odd_case c({good, ":1\r\n-READONLY no\r\n"});
  std::optional<response> out;
  const std::string_view a[] = {"INCR", "a"}, b[] = {"INCR", "b"};
  const command_words both[] = {a, b};
  c.client.client->call_together({}, both, c.client.time.now() + 200ms,
                                 [&](response r) { out = std::move(r); });
  ASSERT_TRUE(c.client.until([&] {
    c.server_io.poll();
    return out.has_value();
  }));
  EXPECT_THAT(text_of(*out), AllOf(StartsWith("unknown: "), HasSubstr("READONLY")));
}

TEST(RedisOddServer, LeavesNothingInDoubtThatItRefusedAltogether) {
  odd_case c({good, "-READONLY no\r\n"});
  EXPECT_THAT(text_of(c.ask({"INCR", "a"})), AllOf(StartsWith("none: "), HasSubstr("READONLY")));
}

TEST(RedisOddServer, IsLeftWhenItSpeaksToOneWhoIsNotYetAccepted) {
  odd_case c({good + ":7\r\n"});
  c.client.opening = [](const newcomer&, lane_kind) {};
  EXPECT_THAT(text_of(c.ask({"PING"})), AllOf(StartsWith("none: "), HasSubstr("without being asked")));
}

}  // namespace
}  // namespace dislock::redis
