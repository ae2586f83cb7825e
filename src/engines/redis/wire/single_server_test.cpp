// The client and one Redis, in good times and in bad ones.
#include "engines/redis/wire/test_tls.hpp"

#include <boost/asio/post.hpp>
#include <gmock/gmock.h>

#include <functional>

namespace dislock::redis {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Ge;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Le;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr const char* count_script = "return redis.call('INCR', KEYS[1])";

// Good times

TEST(RedisClient, AnswersTenThousandCallsAtOnceInTheirOrder) {
  test_redis server;
  test_client c(server.url());
  int next = 0, wrong = 0;
  for (int i = 0; i < 10'000; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s, [&, i](response a) {
      ++next;
      if (!a || a->number != i + 1 || next != i + 1) ++wrong;
    });
  EXPECT_EQ(next, 0) << "nobody is called back from inside";
  EXPECT_TRUE(c.until([&] { return next == 10'000; }));
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(c.client->open(), 0U);
  EXPECT_THAT(c.connected, SizeIs(1));
}

TEST(RedisClient, SendsTheFirstCallsWhileTheOthersAreStillBeingMade) {
  test_redis server;
  test_client c(server.url());
  ASSERT_EQ(text_of(c.ask({"PING"})), "PONG");
  for (int i = 0; i < 20; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s, [](response) {});
  // Nobody runs the loop here.
  EXPECT_TRUE(comes_true([&] { return std::atoi(server.say({"GET", "n"}).text.c_str()) >= 8; }));
  EXPECT_TRUE(c.until([&] { return c.client->open() == 0; }));
}

TEST(RedisClient, LooksAtWhatAnUrgentAnswerLeadsToBeforeTheAnswersBesideIt) {
  test_redis server;
  test_client c(server.url());
  ASSERT_EQ(text_of(c.ask({"PING"})), "PONG");
  std::vector<std::string> order;
  const auto call = [&](std::string_view word, bool at_once, std::function<void()> then) {
    c.client->call({.at_once = at_once}, std::vector<std::string_view>{word, "n"}, c.time.now() + 10s,
                   [then](response) { then(); });
  };
  call("INCR", true, [&] {
    order.emplace_back("urgent");
    boost::asio::post(c.io, [&] { order.emplace_back("what it leads to"); });
  });
  for (int i = 0; i < 8; ++i) call("INCR", false, [&] { order.emplace_back("other"); });
  // Nobody runs the loop here, so all answers come together.
  ASSERT_TRUE(comes_true([&] { return server.say({"GET", "n"}).text == "9"; }));
  EXPECT_TRUE(c.until([&] { return c.client->open() == 0; }));
  ASSERT_THAT(order, SizeIs(10));
  order.resize(3);
  EXPECT_THAT(order, ElementsAre("urgent", "what it leads to", "other"));
}

TEST(RedisClient, EndsAllCallsThatAreUrgentWhenItStops) {
  test_redis server;
  test_client c(server.url());
  ASSERT_EQ(text_of(c.ask({"PING"})), "PONG");
  int ended = 0;
  for (int i = 0; i < 3; ++i)
    c.client->call({.at_once = true}, std::vector<std::string_view>{"PING"}, c.time.now() + 10s,
                   [&](response got) { ended += !got; });
  c.client->stop();
  EXPECT_EQ(ended, 3);
}

TEST(RedisClient, BringsErrorsOfTheServerAsReplies) {
  test_redis server;
  test_client c(server.url());
  ASSERT_EQ(text_of(c.ask({"SET", "a", "text"})), "OK");
  const auto a = c.ask({"INCR", "a"});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->error_word(), "ERR");
  EXPECT_EQ(c.ask({"LPUSH", "a", "1"})->error_word(), "WRONGTYPE");
}

TEST(RedisClient, UsesTheDatabaseAndTheNameOfItsUrl) {
  test_redis server;
  test_client c(server.url("", "/5?name=someone"));
  ASSERT_EQ(text_of(c.ask({"SET", "a", "1"})), "OK");
  EXPECT_EQ(text_of(c.ask({"CLIENT", "GETNAME"})), "someone");
  test_line line(server.port());
  EXPECT_EQ(line.say({"EXISTS", "a"}).number, 0);
  EXPECT_EQ(line.say({"SELECT", "5"}).text, "OK");
  EXPECT_EQ(line.say({"EXISTS", "a"}).number, 1);
}

TEST(RedisClient, RunsScriptsByTheirDigest) {
  test_redis server;
  test_client c(server.url(), {"return {KEYS[1], ARGV[1], ARGV[2]}", count_script});
  const std::string_view key[] = {"k"}, words[] = {"x", "y"};
  const auto a = c.run({.script = 0, .keys = key, .arguments = words});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->at(0).text + a->at(1).text + a->at(2).text, "kxy");
  EXPECT_EQ(text_of(c.run({.script = 1, .keys = key})), "1");
  EXPECT_THAT(server.say({"INFO", "commandstats"}).text, Not(HasSubstr("cmdstat_eval:")));
}

TEST(RedisClient, StampsAScriptWithTheIncarnationOfTheServerThatRunsIt) {
  test_redis server;
  test_client c(server.url(), {"return ARGV[1] .. ' ' .. ARGV[2]"});
  const std::string_view words[] = {"x"};
  const script_call stamped{.script = 0, .keys = {}, .arguments = words, .stamped = true};
  EXPECT_EQ(text_of(c.run(stamped)), c.incarnations.at(0) + " x");
  server.restart();
  ASSERT_TRUE(c.until([&] { return c.connected.size() == 2; }));
  EXPECT_NE(c.incarnations.at(1), c.incarnations.at(0));
  EXPECT_EQ(text_of(c.run(stamped)), c.incarnations.at(1) + " x");
}

TEST(RedisClient, KeepsTwoCommandsTogether) {
  test_redis server;
  test_redis replica({"--replicaof", "127.0.0.1", std::to_string(server.port())});
  ASSERT_TRUE(comes_true([&] {
    return server.say({"INFO", "replication"}).text.find("state=online") != std::string::npos;
  }));
  test_client c(server.url(), {count_script});
  const std::string_view key[] = {"n"}, wait[] = {"WAIT", "1", "2000"};
  const script_call counted{.script = 0, .keys = key, .then = wait};
  for (int i = 1; i < 4; ++i) {
    const auto a = c.run(counted, 10s, {.lane = lane_kind::side});
    ASSERT_TRUE(a);
    EXPECT_EQ(a->at(0).number, i);
    EXPECT_EQ(a->at(1).number, 1);
    server.say({"SCRIPT", "FLUSH"});
  }
  replica.process().freeze();
  std::optional<response> cut;
  c.client->run({.lane = lane_kind::side}, counted, c.time.now() + 10s,
                [&](response a) { cut = std::move(a); });
  ASSERT_TRUE(comes_true([&] {
    c.io.run_one_for(5ms);
    return server.say({"GET", "n"}).text == "4";
  }));
  server.say({"CLIENT", "KILL", "TYPE", "normal"});
  ASSERT_TRUE(c.until([&] { return cut.has_value(); }));
  EXPECT_THAT(text_of(*cut), StartsWith("unknown: "))
      << "another connection would not have waited for anything";
  EXPECT_EQ(server.say({"GET", "n"}).text, "4");
}

TEST(RedisClient, KeepsWhatBlocksOnTheSideLane) {
  test_redis server;
  test_client c(server.url());
  ASSERT_TRUE(c.ready());
  std::vector<std::string> order;
  c.client->call({.lane = lane_kind::side}, std::vector<std::string_view>{"BLPOP", "list", "0"},
                 c.time.now() + 10s, [&](response a) { order.push_back("side " + a->at(1).text); });
  ASSERT_TRUE(comes_true([&] {
    c.io.run_one_for(10ms);
    return server.say({"INFO", "clients"}).text.find("blocked_clients:1") != std::string::npos;
  }));
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
  order.emplace_back("main");
  server.say({"LPUSH", "list", "x"});
  ASSERT_TRUE(c.until([&] { return order.size() == 2; }));
  EXPECT_THAT(order, testing::ElementsAre("main", "side x"));
}

TEST(RedisClient, TellsWhatTheServerSaysOfItself) {
  test_redis server;
  test_client c(server.url());
  EXPECT_EQ(c.client->facts(), nullptr);
  EXPECT_EQ(c.client->trouble(), "not connected yet");
  ASSERT_TRUE(c.ready());
  ASSERT_NE(c.client->facts(), nullptr);
  EXPECT_TRUE(c.client->facts()->is_primary());
  EXPECT_EQ(c.client->facts()->field("tcp_port"), std::to_string(server.port()));
  EXPECT_EQ(c.client->facts()->field("maxmemory_policy"), "noeviction");
  EXPECT_EQ(c.client->trouble(), "");
}

// Several commands, and the connection that carries them

TEST(RedisClient, AnswersCommandsThatWereCalledTogetherInOneArray) {
  test_redis server;
  test_client c(server.url());
  const auto a =
      c.together({{"INFO", "replication"}, {"HSET", "h", "a", "1"}, {"HGET", "h", "a"}, {"HGET", "h"}});
  ASSERT_TRUE(a);
  ASSERT_THAT(a->items, SizeIs(4));
  EXPECT_EQ(server_facts(a->at(0).text).field("role"), "master");
  EXPECT_EQ(a->at(1).number, 1);
  EXPECT_EQ(a->at(2).text, "1");
  EXPECT_EQ(a->at(3).error_word(), "ERR") << "and the others stand";
  const auto one = c.together({{"PING"}});
  ASSERT_TRUE(one);
  ASSERT_THAT(one->items, SizeIs(1));
  EXPECT_EQ(one->at(0).text, "PONG");
}

TEST(RedisClient, KeepsThousandsThatWereCalledTogetherInTheirOrder) {
  test_redis server;
  test_client c(server.url());
  int next = 0, wrong = 0;
  const std::string_view incr[] = {"INCR", "n"}, get[] = {"GET", "n"};
  const command_words all[] = {incr, get, incr};
  for (int i = 0; i < 3000; ++i)
    c.client->call_together({}, all, c.time.now() + 10s, [&](response a) {
      next += 2;
      if (!a || a->items.size() != 3 || a->at(0).number != next - 1 ||
          a->at(1).text != std::to_string(next - 1) || a->at(2).number != next)
        ++wrong;
    });
  ASSERT_TRUE(c.until([&] { return c.client->open() == 0; }));
  EXPECT_EQ(next, 6000);
  EXPECT_EQ(wrong, 0);
}

TEST(RedisClient, SaysWhichConnectionBroughtAReply) {
  test_redis server;
  test_client c(server.url());
  const auto first = c.ask({"PING"}), second = c.ask({"PING"});
  EXPECT_EQ(first->connection, second->connection);
  EXPECT_THAT(c.numbers, testing::ElementsAre(first->connection));
  const auto side = c.ask({"PING"}, 10s, {.lane = lane_kind::side});
  EXPECT_GT(side->connection, first->connection);
  server.say({"CLIENT", "KILL", "TYPE", "normal"});
  ASSERT_TRUE(c.until([&] { return c.connected.size() == 2; }));
  const auto third = c.together({{"PING"}, {"PING"}});
  EXPECT_GT(third->connection, side->connection);
  EXPECT_EQ(c.numbers.back(), third->connection);
}

TEST(RedisClient, SendsACallThatIsBoundToAConnectionOverNoOther) {
  test_redis server;
  test_client c(server.url());
  const auto number = c.ask({"PING"})->connection;
  EXPECT_EQ(text_of(c.ask({"INCR", "n"}, 10s, {.connection = number})), "1");
  EXPECT_THAT(text_of(c.ask({"INCR", "n"}, 10s, {.connection = number + 1})),
              StartsWith("none: its connection has ended"));
  EXPECT_THAT(text_of(c.ask({"INCR", "n"}, 10s, {.lane = lane_kind::side, .connection = number})),
              StartsWith("none: "))
      << "that is another one";

  // Those that wait for their turn when it ends: none of them is sent over the next.
  server.process().freeze();
  tally ends;
  int lost = 0;
  constexpr int made = 3000;
  for (int i = 0; i < made; ++i)
    c.client->call({.connection = number}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s,
                   [&](response a) {
                     ends.count(a);
                     if (!a && a.error().why == failure::cause::lost) ++lost;
                   });
  c.until([] { return false; }, 20ms);
  server.process().kill();
  server.process().start();
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.done, 0);
  EXPECT_EQ(lost, made);
  EXPECT_EQ(ends.unknown, 1024) << "what was in flight";
  ASSERT_TRUE(c.until([&] { return c.connected.size() == 2; }));
  EXPECT_EQ(c.ask({"GET", "n"})->is, reply::kind::nil);
}

// What the engine asks before anybody else

class RedisNewcomer : public testing::Test {
 protected:
  test_redis server_;
  const std::string_view key_[1] = {"n"};
};

TEST_F(RedisNewcomer, IsUsedByNobodyBeforeItIsAccepted) {
  test_client c(server_.url(), {"redis.call('SET', KEYS[1], ARGV[1]); return ARGV[2]"});
  std::optional<newcomer> there;
  c.opening = [&](const newcomer& who, lane_kind) { there = who; };
  std::optional<response> early;
  c.client->call({}, std::vector<std::string_view>{"GET", "n"}, c.time.now() + 10s,
                 [&](response a) { early = std::move(a); });
  ASSERT_TRUE(c.until([&] { return there.has_value(); }));
  EXPECT_FALSE(c.client->ready());
  std::vector<std::string> said;
  const std::string_view words[] = {"x"}, info[] = {"ECHO", "y"};
  there->run({.script = 0, .keys = key_, .arguments = words, .stamped = true}, [&](reply r) {
    said.push_back(r.text);
    there->ask(info, [&](reply e) { said.push_back(e.text); });
  });
  ASSERT_TRUE(c.until([&] { return said.size() == 2; }));
  c.until([] { return false; }, 20ms);
  EXPECT_FALSE(early) << "the call waits";
  EXPECT_THAT(c.connected, IsEmpty());
  there->accept();
  ASSERT_TRUE(c.until([&] { return early.has_value(); }));
  EXPECT_EQ((*early)->connection, there->connection());
  EXPECT_THAT(said, testing::ElementsAre("x", "y"));
  EXPECT_EQ(text_of(*early), c.incarnations.at(0)) << "it came before the call";

  there->refuse("too late");
  there->ask(info, [&](reply) { ADD_FAILURE() << "it is no newcomer any more"; });
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
  EXPECT_THAT(c.lost, IsEmpty());
}

TEST_F(RedisNewcomer, CanBeTurnedAwayUntilAllIsWell) {
  test_client c(server_.url());
  int asked = 0;
  const std::string_view get[] = {"GET", "schema"};
  c.opening = [&](const newcomer& who, lane_kind) {
    who.ask(get, [&, who](reply r) {
      ++asked;
      r.text == "1" ? who.accept() : who.refuse("the schema is newer");
    });
  };
  EXPECT_THAT(text_of(c.ask({"SET", "n", "1"}, 200ms)),
              AllOf(StartsWith("none: "), HasSubstr("the schema is newer")));
  EXPECT_GT(asked, 1) << "it comes back";
  EXPECT_THAT(c.connected, IsEmpty());
  EXPECT_EQ(server_.say({"EXISTS", "n"}).number, 0);
  server_.say({"SET", "schema", "1"});
  EXPECT_EQ(text_of(c.ask({"SET", "n", "1"})), "OK");
}

TEST_F(RedisNewcomer, IsNotKeptWhereNobodyAcceptsIt) {
  test_client c(server_.url("", "?connect-timeout=0.05"));
  int seen = 0;
  c.opening = [&](const newcomer&, lane_kind) { ++seen; };
  EXPECT_THAT(text_of(c.ask({"PING"}, 400ms)), AllOf(StartsWith("none: "), HasSubstr("within 50 ms")));
  EXPECT_GT(seen, 1);
}

TEST_F(RedisNewcomer, IsForgottenWithItsConnection) {
  test_client c(server_.url());
  std::vector<newcomer> seen;
  c.opening = [&](const newcomer& who, lane_kind) { seen.push_back(who); };
  ASSERT_TRUE(c.until([&] { return seen.size() == 1; }));
  server_.process().freeze();
  const std::string_view ping[] = {"PING"};
  bool told = false;
  seen[0].ask(ping, [&](reply) { told = true; });
  server_.process().kill();
  server_.process().start();
  ASSERT_TRUE(c.until([&] { return seen.size() == 2; }));
  EXPECT_GT(seen[1].connection(), seen[0].connection());
  seen[0].accept();
  seen[0].refuse("it is not there");
  c.until([] { return false; }, 20ms);
  EXPECT_FALSE(c.client->ready()) << "the second one was not accepted by that";
  seen[1].accept();
  EXPECT_TRUE(c.client->ready());
  EXPECT_FALSE(told);
  c.client.reset();
  seen[1].refuse("nor is the client");
}

TEST_F(RedisNewcomer, IsOnEveryLane) {
  test_client c(server_.url());
  std::vector<lane_kind> lanes;
  c.opening = [&](const newcomer& who, lane_kind lane) {
    lanes.push_back(lane);
    who.accept();
  };
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
  EXPECT_EQ(text_of(c.ask({"PING"}, 10s, {.lane = lane_kind::side})), "PONG");
  EXPECT_THAT(lanes, testing::ElementsAre(lane_kind::main, lane_kind::side));
  EXPECT_THAT(c.connected, SizeIs(1)) << "of the main lane only";
}

TEST_F(RedisNewcomer, MayComeToTheEndOfTheClient) {
  test_client c(server_.url());
  const std::string_view ping[] = {"PING"};
  bool stopped = false;
  c.opening = [&](const newcomer& who, lane_kind) {
    who.ask(ping, [&](reply) {
      c.client->stop();
      stopped = true;
    });
  };
  EXPECT_THAT(text_of(c.ask({"PING"})), StartsWith("none: the client was stopped"));
  EXPECT_TRUE(stopped);
}

// Who asks

TEST(RedisClient, LogsInAsAUser) {
  test_redis server({"--user", "default", "off", "--user", "me", "on", ">hush", "~*", "+@all"});
  test_client c(server.url("me:hush@"));
  EXPECT_EQ(text_of(c.ask({"ACL", "WHOAMI"})), "me");
}

TEST(RedisClient, LogsInWithAPasswordAlone) {
  test_redis server({"--requirepass", "hush"});
  test_client c(server.url(":hush@"));
  EXPECT_EQ(text_of(c.ask({"ACL", "WHOAMI"})), "default");
}

TEST(RedisClient, SaysThatItMayNotEnterButNotWithWhat) {
  test_redis server({"--user", "me", "on", ">other", "~*", "+@all", "--requirepass", "other"});
  test_client wrong(server.url("me:hush@"));
  EXPECT_THAT(text_of(wrong.ask({"PING"}, 200ms)),
              AllOf(StartsWith("none: "), HasSubstr("AUTH was refused: WRONGPASS"), Not(HasSubstr("hush"))));
  test_client nobody(server.url());
  EXPECT_THAT(text_of(nobody.ask({"PING"}, 200ms)), AllOf(StartsWith("none: "), HasSubstr("NOAUTH")));
}

TEST(RedisClient, SaysWhatAUserMayNotDo) {
  test_redis server({"--user", "me", "on", ">hush", "~*", "+@all", "-info", "--user", "you", "on", ">hush",
                     "~a*", "+@all", "-set"});
  test_client blind(server.url("me:hush@"));
  EXPECT_THAT(text_of(blind.ask({"PING"}, 200ms)), HasSubstr("INFO was refused: NOPERM"));
  test_client c(server.url("you:hush@"));
  EXPECT_EQ(c.ask({"SET", "a", "1"})->error_word(), "NOPERM");
  EXPECT_EQ(c.ask({"GET", "b"})->error_word(), "NOPERM");
}

// TLS

class RedisTls : public testing::Test {
 protected:
  std::unique_ptr<test_redis> server(const std::string& clients = "no",
                                     const std::string& cert = "cert.pem") {
    return tls_.server(clients, cert);
  }
  [[nodiscard]] std::string ca() const { return tls_.ca(); }

  test_tls tls_;
};

TEST_F(RedisTls, CarriesCallsLikeAnyConnection) {
  const auto s = server();
  test_client c("rediss://" + s->place() + "?" + ca(), {count_script});
  int next = 0, wrong = 0;
  const std::string large(5000, 'x');
  for (int i = 0; i < 3000; ++i) {
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s, [&](response a) {
      ++next;
      if (!a || a->number != next) ++wrong;
    });
    c.client->call({}, std::vector<std::string_view>{"ECHO", large}, c.time.now() + 10s, [&](response a) {
      if (!a || a->text != large) ++wrong;
    });
  }
  EXPECT_TRUE(c.until([&] { return c.client->open() == 0; }));
  EXPECT_EQ(next, 3000);
  EXPECT_EQ(wrong, 0);
}

TEST_F(RedisTls, TrustsOnlyWhoItIsToldTo) {
  const auto s = server();
  test_client c("rediss://" + s->place());
  EXPECT_THAT(text_of(c.ask({"PING"}, 300ms)),
              AllOf(StartsWith("none: "), HasSubstr("TLS: certificate verify failed")));
}

TEST_F(RedisTls, AsksForTheCertificateOfTheHostThatWasNamed) {
  const auto s = server();
  test_client right("rediss://localhost:" + std::to_string(s->port()) + "?" + ca());
  EXPECT_EQ(text_of(right.ask({"PING"})), "PONG");
  const auto other = server("no", "other.pem");
  for (const std::string host : {"localhost", "127.0.0.1"}) {
    test_client wrong("rediss://" + host + ":" + std::to_string(other->port()) + "?" + ca());
    EXPECT_THAT(
        text_of(wrong.ask({"PING"}, 300ms)),
        AllOf(StartsWith("none: "), HasSubstr("TLS: certificate verify failed"), HasSubstr("mismatch")));
  }
}

TEST_F(RedisTls, TrustsAnybodyWhereItIsInsecure) {
  const auto s = server();
  test_client c("rediss://" + s->place() + "?insecure=true");
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
}

TEST_F(RedisTls, ShowsACertificateToThoseWhoWantOne) {
  const auto s = server("yes");
  test_client without("rediss://" + s->place() + "?" + ca());
  EXPECT_THAT(text_of(without.ask({"PING"}, 300ms)), StartsWith("none: "));
  test_client with("rediss://" + s->place() + "?" + ca() + "&cert=" + tls_.folder().path("cert.pem") +
                   "&key=" + tls_.folder().path("key.pem"));
  EXPECT_EQ(text_of(with.ask({"PING"})), "PONG");
}

TEST_F(RedisTls, ComesBackAfterALoss) {
  const auto s = server();
  test_client c("rediss://" + s->place() + "?" + ca());
  ASSERT_EQ(text_of(c.ask({"PING"})), "PONG");
  s->process().kill();
  ASSERT_TRUE(c.until([&] { return !c.lost.empty(); }));
  s->process().start();
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
}

TEST(RedisClient, RefusesFilesThatCannotBeUsed) {
  boost::asio::io_context io;
  boottime_clock time;
  struct : client_listener {
    void on_connected(const address&, const server_facts&, std::uint64_t) override {}
    void on_lost(const address&, std::string_view) override {}
    void on_subscribed() override {}
    void on_message(std::string_view, std::string_view) override {}
  } nobody;
  const auto made = redis_client::make(io, time, {.url = *parse_store_url("rediss://h?ca=/nowhere")}, nobody);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().detail, HasSubstr("url: ca: "));
}

// Bad times

TEST(RedisClient, SaysThatNobodyIsThere) {
  const auto port = free_port();
  test_client c("redis://127.0.0.1:" + std::to_string(port));
  const auto a = c.ask({"PING"}, 100ms);
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().why, failure::cause::deadline);
  EXPECT_EQ(text_of(a), "none: 127.0.0.1:" + std::to_string(port) + ": Connection refused");
  EXPECT_THAT(c.connected, IsEmpty());
}

TEST(RedisClient, WaitsForAServerThatComesInTime) {
  test_redis server;
  server.process().kill();
  test_client c(server.url());
  EXPECT_THAT(text_of(c.ask({"PING"}, 50ms)), StartsWith("none: "));
  server.process().start();
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
}

TEST(RedisClient, LosesNoCountOfItsScriptsWhereTheyAreFlushed) {
  test_redis server;
  test_client c(server.url(), {count_script, "return redis.call('INCRBY', KEYS[1], 1) "});
  ASSERT_TRUE(c.ready());
  const std::string_view key[] = {"n"};
  tally ends;
  int made = 0;
  test_line line(server.port());
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 100; ++i, ++made)
      c.client->run({}, {.script = static_cast<script_id>(i % 2), .keys = key}, c.time.now() + 10s,
                    [&](response a) { ends.count(a); });
    if (round % 3 != 0) c.until([&] { return ends.all() >= made - 150; });
    line.send({"SCRIPT", "FLUSH"});
    c.until([&] { return ends.all() >= made - 50; });
    line.receive();
  }
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.done, made);
  EXPECT_EQ(line.say({"GET", "n"}).text, std::to_string(made)) << "each exactly once";
  EXPECT_THAT(c.lost, IsEmpty());
}

// Whatever happens: what is told to have been done was done, what is told not to have been done was not.
void expect_honest(test_redis& server, const tally& ends, std::string_view key = "n") {
  const auto counted = server.say({"GET", key});
  const int executed = counted.is == reply::kind::bulk ? std::stoi(counted.text) : 0;
  EXPECT_THAT(executed, AllOf(Ge(ends.done), Le(ends.done + ends.unknown)));
}

TEST(RedisClient, KnowsWhatWasDoneWhereItsConnectionsAreKilled) {
  test_redis server;
  test_client c(server.url(), {count_script});
  ASSERT_TRUE(c.ready());
  const std::string_view key[] = {"n"};
  tally ends;
  int made = 0;
  test_line line(server.port());
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 2000; ++i, ++made)
      c.client->run({}, {.script = 0, .keys = key}, c.time.now() + 10s, [&](response a) { ends.count(a); });
    const auto before = ends.all();
    c.until([&] { return ends.all() > before + 100 * (round % 10); });
    line.send({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
    ASSERT_TRUE(c.until([&] { return c.lost.size() > static_cast<std::size_t>(round); }));
    line.receive();
    ASSERT_TRUE(c.ready());
  }
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.none, 0) << "what was not written waits for the next connection";
  EXPECT_GT(ends.unknown, 0);
  EXPECT_THAT(c.connected, SizeIs(Ge(20)));
  expect_honest(server, ends);
}

TEST(RedisClient, KnowsWhatWasDoneWhereTheServerDies) {
  test_redis server({"--appendonly", "yes", "--appendfsync", "always"});
  test_client c(server.url());
  ASSERT_TRUE(c.ready());
  tally ends;
  for (int i = 0; i < 5000; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s,
                   [&](response a) { ends.count(a); });
  c.until([&] { return ends.all() > 1500; });
  server.restart();
  ASSERT_TRUE(c.until([&] { return ends.all() == 5000; }));
  EXPECT_GT(ends.done, 3000) << "the rest went to the new process";
  EXPECT_THAT(c.connected, SizeIs(2));
  EXPECT_THAT(ends.unknown, AllOf(Ge(1), Le(1024))) << "at most what was in flight";
  expect_honest(server, ends);
}

TEST(RedisClient, IsNotHeldUpByAServerThatStandsStill) {
  test_redis server;
  test_client c(server.url());
  ASSERT_TRUE(c.ready());
  server.process().freeze();

  const auto before = c.time.now();
  const auto first = c.ask({"INCR", "n"}, 150ms);
  EXPECT_THAT(text_of(first), StartsWith("unknown: no answer from"));
  EXPECT_EQ(first.error().why, failure::cause::deadline);
  EXPECT_LT(c.time.now() - before, 400ms);
  EXPECT_THAT(c.lost, IsEmpty()) << "it may only be slow";
  ASSERT_TRUE(c.until([&] { return !c.lost.empty(); }));
  EXPECT_LT(c.time.now() - before, 1s);
  EXPECT_THAT(c.lost, testing::ElementsAre("silent"));
  EXPECT_THAT(text_of(c.ask({"INCR", "n"}, 150ms)), StartsWith("none: "))
      << "the next connection is not made";

  server.process().thaw();
  EXPECT_THAT(text_of(c.ask({"INCR", "n"})), testing::AnyOf("1", "2"));
}

TEST(RedisClient, KnowsHowMuchAServerThatStandsStillCanHaveGot) {
  test_redis server;
  test_client c(server.url(), {}, [](client_settings& s) { s.max_in_flight = 100'000; });
  ASSERT_TRUE(c.ready());
  server.process().freeze();
  tally ends;
  const std::string large(1000, 'x');
  constexpr int made = 20'000;  // more than what sockets take
  for (int i = 0; i < made; ++i)
    c.client->call(
        {}, std::vector<std::string_view>{"EVAL", "return redis.call('INCR', KEYS[1])", "1", "n", large},
        c.time.now() + 300ms, [&](response a) { ends.count(a); });
  ASSERT_TRUE(c.until([&] { return ends.all() == made; }));
  EXPECT_EQ(ends.done, 0);
  EXPECT_GT(ends.none, 1000);
  EXPECT_GT(ends.unknown, 0);
  server.process().thaw();
  // What was written is executed before anything that comes after it on the server.
  ASSERT_TRUE(comes_true([&] {
    return text_of(c.ask({"INFO", "clients"})).find("connected_clients:1\r") != std::string::npos;
  }));
  expect_honest(server, ends);
}

TEST(RedisClient, ThrowsALateAnswerAwayAndGoesOn) {
  test_redis server;
  // 30 ms of work: all of it is answered at once after 300, and silence is suspicious after 500.
  test_client c(
      server.url(),
      {"local t = redis.call('TIME'); local from = t[1] * 1000000 + t[2]; repeat t = redis.call('TIME') "
       "until t[1] * 1000000 + t[2] > from + 30000; return redis.call('INCR', KEYS[1])"});
  ASSERT_TRUE(c.ready());
  const std::string_view key[] = {"n"};
  std::vector<std::string> seen;
  for (int i = 0; i < 10; ++i)
    c.client->run({}, {.script = 0, .keys = key}, c.time.now() + (i == 6 ? duration(100ms) : duration(10s)),
                  [&](response a) { seen.push_back(text_of(a)); });
  ASSERT_TRUE(c.until([&] { return seen.size() == 10; }));
  EXPECT_THAT(seen, testing::Contains(StartsWith("unknown: no answer")));
  EXPECT_EQ(seen.back(), "10");
  EXPECT_THAT(c.lost, IsEmpty()) << "the server was slow, not silent: the others keep their connection";
}

TEST(RedisClient, WaitsWhileTheServerLoads) {
  test_redis server({"--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024"});
  server.say({"DEBUG", "POPULATE", "2000", "key", "100"});
  server.say({"SAVE"});
  server.process().kill();
  server.process().start();
  test_client c(server.url());
  ASSERT_TRUE(c.until([&] { return c.client->trouble().find("loading") != std::string::npos; }));
  EXPECT_THAT(text_of(c.ask({"PING"}, 20ms)), AllOf(StartsWith("none: "), HasSubstr("loading its data")));
  EXPECT_EQ(text_of(c.ask({"DBSIZE"})), "2000");
}

TEST(RedisClient, LeavesAServerThatHasBecomeAReplica) {
  test_redis other, server;
  test_client c(server.url(), {count_script});
  const std::string_view key[] = {"n"};
  ASSERT_EQ(text_of(c.run({.script = 0, .keys = key})), "1");
  server.say({"REPLICAOF", "127.0.0.1", std::to_string(other.port())});

  const auto a = c.run({.script = 0, .keys = key}, 300ms);
  EXPECT_THAT(text_of(a), StartsWith("none: "));
  EXPECT_THAT(c.lost, testing::ElementsAre(StartsWith("READONLY")));
  EXPECT_THAT(c.client->trouble(), HasSubstr("a replica"));

  // One that is open while the server becomes a primary again is done then, once.
  std::optional<response> later;
  c.client->run({}, {.script = 0, .keys = key}, c.time.now() + 10s,
                [&](response x) { later = std::move(x); });
  c.until([] { return false; }, 50ms);
  EXPECT_FALSE(later);
  server.say({"REPLICAOF", "NO", "ONE"});
  ASSERT_TRUE(c.until([&] { return later.has_value(); }));
  EXPECT_THAT(text_of(*later), testing::AnyOf("1", "2"))
      << "1 if the data of the other came over in the meantime";
  EXPECT_NE(c.incarnations.front(), c.incarnations.back());
}

TEST(RedisClient, SaysThatTheServerIsBusy) {
  test_redis server({"--busy-reply-threshold", "20"});
  test_client c(server.url());
  ASSERT_TRUE(c.ready());
  test_line line(server.port());
  line.send({"EVAL", "while true do end", "0"});
  std::optional<response> busy;
  ASSERT_TRUE(comes_true([&] {
    busy = c.ask({"SET", "a", "1"}, 5s);
    return !*busy;
  }));
  EXPECT_EQ(busy->error().why, failure::cause::busy);
  EXPECT_THAT(text_of(*busy), AllOf(StartsWith("none: "), HasSubstr("BUSY")));
  server.say({"SCRIPT", "KILL"});
  EXPECT_TRUE(comes_true([&] { return c.ask({"PING"}).has_value(); }));
}

TEST(RedisClient, EndsAConnectionThatSaysTooMuch) {
  test_redis server;
  test_client c(server.url(), {}, [](client_settings& s) { s.replies.bytes = 20'000; });
  server.say({"SET", "large", std::string(30'000, 'x')});
  EXPECT_THAT(text_of(c.ask({"GET", "large"})), AllOf(StartsWith("unknown: "), HasSubstr("too large")));
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
  const auto deep = c.ask({"EVAL", "local t = 1; for i = 1, 9 do t = {t} end; return t", "0"});
  EXPECT_THAT(text_of(deep), StartsWith("unknown: "));
  EXPECT_EQ(text_of(c.ask({"PING"})), "PONG");
}

// Redis says why and resets the connection: which of the two is seen first is up to the network.
TEST(RedisClient, HearsWhyItIsTurnedAway) {
  test_redis server({"--maxclients", "1"});
  test_line first(server.port());
  ASSERT_EQ(first.say({"PING"}).text, "PONG");
  test_client c(server.url());
  EXPECT_THAT(
      text_of(c.ask({"PING"}, 200ms)),
      AllOf(StartsWith("none: "), testing::AnyOf(HasSubstr("max number of clients reached"),
                                                 HasSubstr("reset"), HasSubstr("closed the connection"))));
}

TEST(RedisClient, TakesNoMoreCallsThanItsBound) {
  test_redis server;
  test_client c(server.url(), {}, [](client_settings& s) { s.max_open = 3; });
  std::vector<std::string> seen;
  for (int i = 0; i < 5; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s,
                   [&](response a) { seen.push_back(text_of(a)); });
  ASSERT_TRUE(c.until([&] { return seen.size() == 5; }));
  EXPECT_THAT(seen, testing::UnorderedElementsAre("1", "2", "3", StartsWith("none: too many"),
                                                  StartsWith("none: too many")));
  EXPECT_EQ(text_of(c.ask({"INCR", "n"})), "4");
}

TEST(RedisClient, MakesANewConnectionWhenAskedTo) {
  test_redis server;
  test_client c(server.url());
  ASSERT_TRUE(c.ready());
  tally ends;
  for (int i = 0; i < 3000; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s,
                   [&](response a) { ends.count(a); });
  c.until([&] { return ends.all() > 500; });
  c.client->reconnect("the incarnation is out of date");
  ASSERT_TRUE(c.until([&] { return ends.all() == 3000; }));
  EXPECT_EQ(ends.done, 3000) << "nothing is lost by it";
  EXPECT_THAT(c.connected, SizeIs(2));
}

TEST(RedisClient, EndsEveryCallWhenItStops) {
  test_redis server;
  test_client c(server.url());
  ASSERT_TRUE(c.ready());
  server.process().freeze();
  tally ends;
  for (int i = 0; i < 1500; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s, [&](response a) {
      ends.count(a);
      if (!a) {
        EXPECT_EQ(a.error().why, failure::cause::stopped);
      }
    });
  c.until([] { return false; }, 50ms);
  c.client->stop();
  EXPECT_EQ(ends.all(), 1500);
  EXPECT_EQ(ends.unknown, 1024);
  EXPECT_EQ(ends.none, 476);
  EXPECT_THAT(text_of(c.ask({"PING"})), StartsWith("none: the client was stopped"));
}

TEST(RedisClient, MayBeStoppedByAnAnswer) {
  test_redis server;
  test_client c(server.url());
  tally ends;
  for (int i = 0; i < 3000; ++i)
    c.client->call({}, std::vector<std::string_view>{"INCR", "n"}, c.time.now() + 10s, [&](response a) {
      ends.count(a);
      if (ends.all() == 10) c.client->stop();
    });
  ASSERT_TRUE(c.until([&] { return ends.all() == 3000; }));
  c.client.reset();
  c.until([] { return false; }, 20ms);
  expect_honest(server, ends);
}

// Messages

TEST(RedisClient, HearsWhatIsPublished) {
  test_redis server;
  test_client c(server.url());
  c.client->subscribe({"a", "b"});
  ASSERT_TRUE(c.until([&] { return c.subscribed == 1; }));
  server.say({"PUBLISH", "a", "1"});
  server.say({"PUBLISH", "other", "2"});
  server.say({"PUBLISH", "b", "3"});
  ASSERT_TRUE(c.until([&] { return c.messages.size() == 2; }));
  EXPECT_THAT(c.messages, testing::ElementsAre("a=1", "b=3"));
  c.client->subscribe({"other"});
  ASSERT_TRUE(c.until([&] { return c.subscribed == 2; }));
  server.say({"PUBLISH", "other", "4"});
  ASSERT_TRUE(c.until([&] { return c.messages.size() == 3; }));
}

TEST(RedisClient, SaysWhenItMayHaveMissedMessages) {
  test_redis server;
  test_client c(server.url());
  c.client->subscribe({"a"});
  ASSERT_TRUE(c.until([&] { return c.subscribed == 1; }));
  for (int i = 2; i < 5; ++i) {
    server.say({"CLIENT", "KILL", "TYPE", "pubsub"});
    ASSERT_TRUE(c.until([&] { return c.subscribed == i; }));
    server.say({"PUBLISH", "a", std::to_string(i)});
    ASSERT_TRUE(c.until([&] { return c.messages.size() == static_cast<std::size_t>(i) - 1; }));
  }
  server.restart();
  ASSERT_TRUE(c.until([&] { return c.subscribed == 5; }));
  EXPECT_THAT(c.connected, SizeIs(2));
}

}  // namespace
}  // namespace dislock::redis
