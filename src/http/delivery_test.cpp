// What a handler learns about a client that goes away, streams, and the order of a shutdown.
#include "http/server_fixture.hpp"

namespace dislock::http {
namespace {

class Delivery : public ServerTest {
 protected:
  test_client waiting_client() {
    auto c = connect();
    c.send(get);
    const auto before = waiting_.size();
    EXPECT_TRUE(eventually([&] { return waiting_.size() == before + 1; }));
    return c;
  }
};

TEST_F(Delivery, NoticesAClientThatClosesInMidWait) {
  start_waiting(quick());
  auto c = waiting_client();
  EXPECT_FALSE(waiting_[0]->peer_gone());
  c.close();
  EXPECT_TRUE(waiting_[0]->peer_gone()) << "known to the kernel before the server has read it";
  EXPECT_TRUE(eventually([&] { return undelivered_ == 1; }));
  EXPECT_TRUE(waiting_[0]->is_done());
  EXPECT_TRUE(waiting_[0]->peer_gone());
  EXPECT_EQ(waiting_[0]->reply(200), delivery::undeliverable);
  EXPECT_EQ(undelivered_, 1);
  EXPECT_EQ(server_->open_exchanges(), 0U);
  EXPECT_EQ(stats().undelivered, 1U);
}

TEST_F(Delivery, NoticesAResetAndAHalfCloseAlike) {
  start_waiting(quick());
  auto a = waiting_client();
  a.reset();
  EXPECT_TRUE(eventually([&] { return undelivered_ == 1; }));
  auto b = waiting_client();
  b.half_close();
  EXPECT_TRUE(eventually([&] { return undelivered_ == 2; }));
}

TEST_F(Delivery, SeesAPeerThatLeftBehindUnreadBytes) {
  start_waiting(quick());
  auto c = waiting_client();
  c.send(get);
  EXPECT_FALSE(waiting_[0]->peer_gone());
  c.half_close();
  EXPECT_TRUE(waiting_[0]->peer_gone());
}

TEST_F(Delivery, TellsExactlyOnceWhenTheReplyItselfFindsTheConnectionBroken) {
  start_waiting(quick());
  auto c = waiting_client();
  c.reset();
  EXPECT_EQ(waiting_[0]->reply(200), delivery::undeliverable);
  EXPECT_EQ(undelivered_, 1);
  settle();
  EXPECT_EQ(undelivered_, 1);
}

TEST_F(Delivery, TellsAtOnceWhenAskedTooLate) {
  start_waiting(quick());
  auto c = waiting_client();
  c.close();
  ASSERT_TRUE(eventually([&] { return undelivered_ == 1; }));
  bool told = false;
  waiting_[0]->on_undelivered([&] { told = true; });
  EXPECT_TRUE(told);
}

TEST_F(Delivery, DoesNotCallACloseAfterTheReplyUndelivered) {
  start_waiting(quick());
  auto c = waiting_client();
  EXPECT_EQ(waiting_[0]->reply(200), delivery::accepted);
  c.reset();
  EXPECT_TRUE(eventually([&] { return stats().connections_open == 0; }));
  EXPECT_EQ(undelivered_, 0);
  EXPECT_FALSE(waiting_[0]->peer_gone());
}

TEST_F(Delivery, TellsWhenTheRestOfAQueuedReplyFails) {
  start_waiting(quick());
  auto c = connect(4096);
  c.send(get);
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 1; }));
  waiting_[0]->body().assign(20'000'000, 'x');
  EXPECT_EQ(waiting_[0]->reply(200), delivery::queued);
  c.reset();
  EXPECT_TRUE(eventually([&] { return undelivered_ == 1; }));
}

TEST_F(Delivery, AllowsTheCallbackToDropTheLastHandleAndToReply) {
  start([this](exchange_ptr e) {
    auto& raw = *e;
    raw.on_undelivered([this, e] {
      ++undelivered_;
      EXPECT_EQ(e->reply(500), delivery::undeliverable);
    });
  });
  auto c = connect();
  c.send(get);
  ASSERT_TRUE(eventually([&] { return server_->open_exchanges() == 1; }));
  c.close();
  EXPECT_TRUE(eventually([&] { return undelivered_ == 1; }));
}

TEST_F(Delivery, GivesEachRequestAnExchangeThatOldHandlesCannotReach) {
  start_waiting(quick());
  auto c = waiting_client();
  const auto first = waiting_[0];
  first->reply(200);
  c.send(get);
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 2; }));
  EXPECT_NE(&*first, &*waiting_[1]);
  EXPECT_TRUE(first->is_done());
  EXPECT_FALSE(waiting_[1]->is_done());
  waiting_[1]->reply(200);
}

class Stream : public ServerTest {
 protected:
  void start_streaming(const options& o) {
    start(o, [this](exchange_ptr e) {
      stream_ = e->start_stream(content_type::event_stream, "Cache-Control: no-store\r\n");
      if (stream_) stream_->on_closed([this] { ++closed_; });
    });
  }
  void open(test_client& c, std::string_view request = get) {
    c.send(request);
    ASSERT_TRUE(receives(c, "\r\n\r\n"));
    ASSERT_TRUE(stream_);
  }
  int closed_ = 0;
};

TEST_F(Stream, SendsEventsAsChunksAndEndsInGoodOrder) {
  start_streaming(quick());
  auto c = connect();
  open(c);
  EXPECT_NE(c.received.find("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"),
            std::string::npos);
  EXPECT_EQ(server_->open_exchanges(), 0U);
  EXPECT_EQ(stats().streams_open, 1U);
  c.received.clear();
  EXPECT_TRUE(stream_->write("data: 1\n\n"));
  EXPECT_TRUE(receives(c, "9\r\ndata: 1\n\n\r\n"));
  stream_->close();
  EXPECT_FALSE(stream_->write("late"));
  EXPECT_TRUE(sees_the_end(c));
  EXPECT_TRUE(c.received.ends_with("0\r\n\r\n"));
  EXPECT_EQ(closed_, 0);
  EXPECT_EQ(stats().streams_open, 0U);
}

TEST_F(Stream, IsDelimitedByTheCloseForHttp10) {
  start_streaming(quick());
  auto c = connect();
  open(c, "GET / HTTP/1.0\r\n\r\n");
  stream_->write("data: 1\n\n");
  stream_.reset();
  EXPECT_TRUE(sees_the_end(c));
  EXPECT_TRUE(c.received.ends_with("\r\n\r\ndata: 1\n\n"));
}

TEST_F(Stream, AnswersHeadWithTheHeadOnly) {
  start_streaming(quick());
  const auto reply = exchange_until_end("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(reply.ends_with("\r\n\r\n"));
  ASSERT_TRUE(stream_);
  EXPECT_FALSE(stream_->is_open());
}

TEST_F(Stream, TellsWhenTheClientGoesAndIgnoresWhatItSends) {
  start_streaming(quick());
  auto c = connect();
  open(c);
  c.send(std::string(100'000, 'x'));
  settle();
  EXPECT_EQ(closed_, 0);
  c.half_close();
  EXPECT_TRUE(eventually([&] { return closed_ == 1; }));
  EXPECT_FALSE(stream_->write("x"));
  EXPECT_EQ(closed_, 1);
}

TEST_F(Stream, ClosesAReaderThatIsTooSlowAndHoldsNoMoreThanTheBound) {
  start_streaming(quick());
  auto c = connect(4096);
  open(c);
  const std::string event(10'000, 'e');
  int accepted = 0;
  while (stream_->write(event)) {
    settle();
    ASSERT_LT(++accepted, 100'000);
  }
  EXPECT_EQ(closed_, 1);
  EXPECT_FALSE(stream_->is_open());
  EXPECT_EQ(stats().slow_streams, 1U);
}

TEST_F(Stream, CatchesUpWithAReaderThatWasSlowForAWhile) {
  start_streaming(quick());
  auto c = connect(4096);
  open(c);
  const std::string event(10'000, 'e');
  const auto full = stats().bytes_out;
  std::uint64_t written = 0;
  while (stats().bytes_out >= full + written && written < 100'000'000) {  // until the first byte is buffered
    ASSERT_TRUE(stream_->write(event));
    written += event.size();
  }
  ASSERT_TRUE(stream_->write("LAST"));
  EXPECT_TRUE(receives(c, "LAST"));
  EXPECT_TRUE(stream_->write("AFTER"));
  EXPECT_TRUE(receives(c, "AFTER"));
}

TEST_F(Stream, MayBeDestroyedByItsOwnCallback) {
  start(quick(), [this](exchange_ptr e) {
    stream_ = e->start_stream(content_type::event_stream);
    stream_->on_closed([this] {
      ++closed_;
      stream_.reset();
    });
  });
  auto c = connect();
  open(c);
  c.close();
  EXPECT_TRUE(eventually([&] { return closed_ == 1; }));
}

using Drain = Delivery;

TEST_F(Drain, GoesInStagesAndCostsNoAnswer) {
  start_waiting(quick());
  auto idle = connect();
  auto half_sent = connect();
  half_sent.send("GET /late HT");
  auto waiting = waiting_client();
  ASSERT_TRUE(eventually([&] { return stats().connections_open == 3; }));
  settle();
  bool drained = false;
  server_->on_drained([&] { drained = true; });
  const auto port = server_->local_port();

  server_->stop_accepting();
  settle();
  EXPECT_FALSE(drained);
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_NE(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  ::close(fd);

  server_->close_idle();
  EXPECT_TRUE(sees_the_end(idle));
  EXPECT_EQ(server_->open_exchanges(), 1U);

  half_sent.send("TP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return waiting_.size() == 2; }));
  EXPECT_EQ(waiting_[1]->reply(200), delivery::accepted);
  EXPECT_TRUE(receives(half_sent, "Connection: close\r\n"));
  EXPECT_EQ(waiting_[0]->reply(200), delivery::accepted);
  EXPECT_TRUE(receives(waiting, "Connection: close\r\n"));
  EXPECT_EQ(server_->open_exchanges(), 0U);
  EXPECT_FALSE(drained);

  half_sent.close();
  waiting.close();
  EXPECT_TRUE(eventually([&] { return drained; }));
  EXPECT_EQ(undelivered_, 0);
}

TEST_F(Drain, ClosesEverythingAtOnceAndSaysWhoGotNoAnswer) {
  start_waiting(quick());
  auto a = waiting_client();
  auto b = waiting_client();
  server_->close_all();
  EXPECT_EQ(undelivered_, 2);
  EXPECT_TRUE(sees_the_end(a));
  EXPECT_TRUE(sees_the_end(b));
}

TEST_F(Drain, EndsStreamsInGoodOrderWithTheIdleConnections) {
  int closed = 0;
  start([&](exchange_ptr e) {
    stream_ = e->start_stream(content_type::event_stream);
    stream_->on_closed([&] { ++closed; });
  });
  auto c = connect();
  c.send(get);
  ASSERT_TRUE(receives(c, "\r\n\r\n"));
  server_->close_idle();
  EXPECT_EQ(closed, 1);
  EXPECT_TRUE(sees_the_end(c));
  EXPECT_TRUE(c.received.ends_with("0\r\n\r\n"));
}

TEST(DrainDeathTest, IsNotOptional) {
  EXPECT_DEATH(
      {
        boost::asio::io_context io(1);
        const server s(io, options{}, [](const exchange_ptr&) {});
      },
      "drained before it is destroyed");
}

}  // namespace
}  // namespace dislock::http
