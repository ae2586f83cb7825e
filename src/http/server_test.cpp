// Requests and replies over real sockets: order, persistence, refusals, limits in time and number.
#include "http/problem.hpp"
#include "http/server_fixture.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace dislock::http {
namespace {

using testing::Test;

class Server : public ServerTest {};

TEST_F(Server, AnswersOverOneConnectionUntilTheClientHasEnough) {
  start_echo(quick());
  auto c = connect();
  for (int i = 0; i < 3; ++i) {
    c.received.clear();
    c.send("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
    ASSERT_TRUE(receives(c, "/a|hi"));
    EXPECT_TRUE(c.received.starts_with("HTTP/1.1 200 OK\r\nDate: "));
    EXPECT_NE(c.received.find("Content-Length: 5\r\n"), std::string::npos);
    EXPECT_EQ(c.received.find("Connection:"), std::string::npos);
  }
  EXPECT_EQ(stats().connections_total, 1U);
  EXPECT_EQ(stats().requests, 3U);
  EXPECT_EQ(stats().replies[2], 3U);
  c.close();
  EXPECT_TRUE(eventually([&] { return stats().connections_open == 0; }));
  EXPECT_EQ(stats().undelivered, 0U);
}

TEST_F(Server, ClosesWhenTheClientAsksForItOrSpeaksHttp10) {
  start_echo(quick());
  EXPECT_NE(exchange_until_end(get_and_close).find("Connection: close\r\n"), std::string::npos);
  EXPECT_NE(exchange_until_end("GET /x HTTP/1.0\r\n\r\n").find("Connection: close\r\n"), std::string::npos);
}

TEST_F(Server, KeepsAnHttp10ConnectionThatAsksForIt) {
  start_echo(quick());
  auto c = connect();
  c.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_TRUE(receives(c, "Connection: keep-alive\r\n"));
  c.received.clear();
  c.send(get);
  EXPECT_TRUE(receives(c, "/x|"));
}

TEST_F(Server, AnswersHeadLikeGetWithoutTheBody) {
  start_echo(quick());
  const auto reply = exchange_until_end("HEAD /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_NE(reply.find("Content-Length: 3\r\n"), std::string::npos);
  EXPECT_TRUE(reply.ends_with("\r\n\r\n"));
}

TEST_F(Server, SendsNoBodyAndNoLengthWith204) {
  start([](exchange_ptr e) { e->reply(204); });
  const auto reply = exchange_until_end(get_and_close);
  EXPECT_EQ(reply.find("Content-"), std::string::npos);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 204 No Content\r\n"));
}

TEST_F(Server, AnswersPipelinedRequestsInOrder) {
  start_echo(quick());
  auto c = connect();
  std::string all;
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  }
  c.send(all);
  ASSERT_TRUE(receives(c, "/199|"));
  std::size_t at = 0;
  for (int i = 0; i < 200; ++i) {
    at = c.received.find("/" + std::to_string(i) + "|", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST_F(Server, ParsesThePipelinedRequestOnlyAfterTheWaitBeforeItIsOver) {
  start_waiting(quick());
  auto c = connect();
  c.send("GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /3 HT");
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  settle();
  EXPECT_EQ(waiting_.size(), 1U);
  EXPECT_EQ(waiting_[0]->get().path, "/1");

  EXPECT_EQ(waiting_[0]->reply(200), delivery::accepted);
  EXPECT_EQ(waiting_.size(), 1U) << "the handler may not be called from inside reply";
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 2; }));
  EXPECT_EQ(waiting_[1]->get().path, "/2");
  EXPECT_EQ(waiting_[0]->get().path, "");
  c.send("TP/1.1\r\nHost: localhost\r\n\r\n");
  settle();
  waiting_[1]->reply(200);
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 3; }));
  EXPECT_EQ(waiting_[2]->get().path, "/3");
  waiting_[2]->reply(200);
  EXPECT_EQ(undelivered_, 0);
}

TEST_F(Server, NoticesTheEndOfAClientThatHasFilledTheBoundOnEarlyBytes) {
  auto o = quick();
  o.pipelined_limit = 64;
  start_waiting(o);
  auto c = connect();
  c.send(std::string(get) + std::string(4000, 'x'));
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  settle();
  EXPECT_EQ(undelivered_, 0);
  c.half_close();
  EXPECT_TRUE(eventually([&] { return undelivered_ == 1; }));
}

TEST_F(Server, GoesOnReadingAfterTheBoundOnEarlyBytesWasReached) {
  auto o = quick();
  o.pipelined_limit = 64;
  start_waiting(o);
  auto c = connect();
  c.send("GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: localhost\r\nX: " +
         std::string(5000, 'x') + "\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  settle();
  waiting_[0]->reply(200);
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 2; }));
  EXPECT_EQ(waiting_[1]->get().path, "/2");
  waiting_[1]->reply(200);
}

TEST_F(Server, TellsTheClientToGoOnWhenItExpectsThat) {
  start_echo(quick());
  auto c = connect();
  c.send("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(receives(c, "HTTP/1.1 100 Continue\r\n\r\n"));
  EXPECT_EQ(handled_, 0);
  c.send("hi");
  EXPECT_TRUE(receives(c, "/a|hi"));
}

TEST_F(Server, RefusesATooLargeBodyInsteadOfTellingTheClientToGoOn) {
  start_echo(quick());
  const auto reply = exchange_until_end(
      "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 413 ")) << reply;
  EXPECT_NE(reply.find("body_too_large"), std::string::npos);
}

TEST_F(Server, ReadsTheBodyOfAGetAndIgnoresIt) {
  start_echo(quick());
  const auto reply = exchange_until_end("GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n" +
                                        std::string(40, 'x') + std::string(get_and_close));
  EXPECT_NE(reply.find("/x|"), std::string::npos);
}

TEST_F(Server, RefusesMalformedRequestsWithAProblemAndCloses) {
  start_echo(quick());
  for (const std::string request :
       {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01 tls",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"}) {
    const auto reply = exchange_until_end(request);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 400 Bad Request\r\n")) << request << reply;
    EXPECT_NE(reply.find("Content-Type: application/problem+json\r\n"), std::string::npos);
    EXPECT_NE(reply.find("Connection: close\r\n"), std::string::npos);
    EXPECT_NE(reply.find(R"("code":"malformed_http")"), std::string::npos);
    EXPECT_NE(reply.find(R"("traceId":")"), std::string::npos);
  }
  EXPECT_EQ(handled_, 0);
}

TEST_F(Server, DeliversARefusalToAClientThatIsStillSending) {
  auto o = quick();
  o.header_limit = 1024;
  start_echo(o);
  auto c = connect();
  c.send("GET / HTTP/1.1\r\nX: " + std::string(200'000, 'x'));
  EXPECT_TRUE(receives(c, R"("code":"headers_too_large")")) << c.received;
  EXPECT_TRUE(c.received.starts_with("HTTP/1.1 431 "));
}

TEST_F(Server, RefusesUnknownHostsAndForeignOriginsAndKeepsTheConnection) {
  start_echo(quick());
  auto c = connect();
  c.send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_TRUE(receives(c, R"("code":"unknown_host")"));
  EXPECT_TRUE(c.received.starts_with("HTTP/1.1 421 "));
  c.send("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
  EXPECT_TRUE(receives(c, R"("code":"forbidden_origin")"));
  c.send(get);
  EXPECT_TRUE(receives(c, "/x|"));
  EXPECT_EQ(handled_, 1);
}

TEST_F(Server, AnswersForAHandlerThatDropsItsExchange) {
  start([](exchange_ptr) {});
  auto c = connect();
  c.send(get);
  EXPECT_TRUE(receives(c, R"("code":"internal_error")"));
  EXPECT_EQ(server_->open_exchanges(), 0U);
}

TEST_F(Server, AnswersForAHandlerThatThrows) {
  start([](exchange_ptr) { throw std::runtime_error("bug"); });
  auto c = connect();
  c.send(get);
  EXPECT_TRUE(receives(c, R"("code":"internal_error")"));
  EXPECT_EQ(stats().handler_failures, 1U);
}

TEST_F(Server, ShowsTheClientsTraceIdInProblems) {
  start([](exchange_ptr e) { reply_problem(*e, {.code = errc::not_found, .detail = "nope"}, "X-A: 1\r\n"); });
  const auto reply = exchange_until_end(
      "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_NE(reply.find("X-A: 1\r\n"), std::string::npos);
  EXPECT_NE(reply.find(R"("traceId":"0af7651916cd43dd8448eb211c80319c")"), std::string::npos);
}

// Times

TEST_F(Server, TimesOutAHeaderThatDripsHoweverOftenAByteComes) {
  auto o = quick();
  o.header_time = 30ms;
  start_echo(o);
  auto slow = connect();
  const std::string endless = "GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x');
  std::size_t at = 0;
  EXPECT_TRUE(eventually([&] {
    if (at < endless.size()) at += slow.send(endless.substr(at, 1));
    slow.receive();
    return slow.ended || slow.received.find("request_timeout") != std::string::npos;
  }));
  EXPECT_TRUE(slow.received.starts_with("HTTP/1.1 408 ")) << slow.received;
  EXPECT_EQ(stats().timeouts, 1U);

  auto other = connect();
  other.send(get);
  EXPECT_TRUE(receives(other, "/x|"));
}

TEST_F(Server, ClosesAConnectionThatNeverSaysAWord) {
  auto o = quick();
  o.header_time = 10ms;
  start_echo(o);
  EXPECT_EQ(exchange_until_end(""), "");
}

TEST_F(Server, TimesOutABodyThatDoesNotCome) {
  auto o = quick();
  o.body_time = 10ms;
  start_echo(o);
  const auto reply =
      exchange_until_end("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n1234");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(handled_, 0);
}

TEST_F(Server, ClosesAnIdleConnectionWithoutAWordButNotOneThatWaits) {
  auto o = quick();
  o.idle_time = 10ms;
  o.header_time = 10ms;
  o.body_time = 10ms;
  start_waiting(o);
  auto waiting = connect();
  waiting.send(get);
  auto idle = connect();
  idle.send(get_and_close.substr(0, 0));
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  EXPECT_TRUE(sees_the_end(idle));
  EXPECT_FALSE(waiting_[0]->is_done());
  EXPECT_EQ(waiting_[0]->reply(200), delivery::accepted);
  EXPECT_TRUE(sees_the_end(waiting));
  EXPECT_EQ(waiting.received.find("408"), std::string::npos);
}

TEST_F(Server, GivesUpOnAClientThatDoesNotReadItsReply) {
  auto o = quick();
  o.write_time = 10ms;
  start_waiting(o);
  auto c = connect(4096);
  c.send(get);
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  waiting_[0]->body().assign(20'000'000, 'x');
  EXPECT_EQ(waiting_[0]->reply(200), delivery::queued);
  EXPECT_EQ(undelivered_, 0);
  EXPECT_TRUE(eventually([&] { return undelivered_ == 1; }));
  EXPECT_EQ(stats().timeouts, 1U);
}

TEST_F(Server, DeliversALargeReplyInPieces) {
  start_waiting(quick());
  auto c = connect(4096);
  c.send(get);
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  waiting_[0]->body().assign(8'000'000, 'x');
  waiting_[0]->body() += "END";
  EXPECT_EQ(waiting_[0]->reply(200), delivery::queued);
  waiting_.clear();  // the last handle may go: the connection finishes by itself
  EXPECT_TRUE(receives(c, "END"));
  EXPECT_EQ(undelivered_, 0);
  c.received.clear();
  c.send(get);
  EXPECT_TRUE(eventually([&] { return waiting_.size() == 1; })) << "the connection goes on after the reply";
  waiting_[0]->reply(200);
}

// Numbers

TEST_F(Server, TurnsConnectionsAwayAboveTheBound) {
  auto o = quick();
  o.max_connections = 2;
  start_echo(o);
  auto a = connect();
  auto b = connect();
  ASSERT_TRUE(eventually([&] { return stats().connections_open == 2; }));
  auto c = connect();
  EXPECT_TRUE(receives(c, "HTTP/1.1 503 "));
  EXPECT_TRUE(sees_the_end(c));
  EXPECT_EQ(stats().connections_refused, 1U);
  a.close();
  ASSERT_TRUE(eventually([&] { return stats().connections_open == 1; }));
  auto d = connect();
  d.send(get);
  EXPECT_TRUE(receives(d, "/x|"));
}

TEST_F(Server, TurnsConnectionsOfOneAddressAwayAboveItsBound) {
  auto o = quick();
  o.max_connections_per_address = 1;
  start_echo(o);
  auto a = connect();
  ASSERT_TRUE(eventually([&] { return stats().connections_open == 1; }));
  auto b = connect();
  EXPECT_TRUE(receives(b, "HTTP/1.1 503 "));
  a.close();
  ASSERT_TRUE(eventually([&] { return stats().connections_open == 0; }));
  auto c = connect();
  c.send(get);
  EXPECT_TRUE(receives(c, "/x|"));
}

TEST_F(Server, DoesNotSpinWhenDescriptorsRunOutAndGoesOnWhenThereAreSomeAgain) {
  start_echo(quick());
  auto c = connect();
  auto d = connect();
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const int probe = ::dup(0);  // the lowest free descriptor: from here on there is none
  ::close(probe);
  const rlimit none{static_cast<rlim_t>(probe), old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(eventually([&] { return stats().accept_errors > 0; }));
  const auto before = stats().accept_errors;
  settle();
  EXPECT_LE(stats().accept_errors, before + 2) << "one attempt per sweep";
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  d.send(get);
  EXPECT_TRUE(receives(d, "/x|"));
}

TEST_F(Server, HoldsAThousandWaitingConnectionsAndAnswersAll) {
  rlimit files{};  // both ends live in this process
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  start_waiting(quick());
  std::vector<test_client> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(connect());
    clients.back().send(get);
    settle();
  }
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1000; }));
  EXPECT_EQ(server_->open_exchanges(), 1000U);
  for (auto& e : waiting_) {
    e->body() = "granted";
    EXPECT_EQ(e->reply(200), delivery::accepted);
  }
  for (auto& c : clients) EXPECT_TRUE(receives(c, "granted"));
  EXPECT_EQ(server_->open_exchanges(), 0U);
  EXPECT_EQ(undelivered_, 0);
}

}  // namespace
}  // namespace dislock::http
