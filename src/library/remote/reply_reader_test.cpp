#include "library/remote/reply_reader.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace dislock::library::remote {
namespace {

using progress = reply_reader::progress;

class ReplyReader : public testing::Test {
 protected:
  ReplyReader() { reader_.begin(1024); }

  progress feed(std::string_view bytes, std::size_t piece = 1'000'000) {
    auto last = progress::need_more;
    while (!bytes.empty() && last == progress::need_more) {
      const auto room = reader_.room();
      const auto n = std::min({bytes.size(), room.size(), piece});
      std::memcpy(room.data(), bytes.data(), n);
      reader_.received(n);
      bytes.remove_prefix(n);
      last = reader_.advance();
    }
    return last;
  }

  reply_reader reader_;
};

const std::string plain =
    "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\nRetry-After: 3\r\nContent-Length: "
    "5\r\n\r\nhello";

TEST_F(ReplyReader, ReadsAReplyWhereverItsBytesAreCut) {
  for (std::size_t piece = 1; piece <= plain.size(); ++piece) {
    reader_.begin(1024);
    ASSERT_EQ(feed(plain, piece), progress::complete) << piece;
    const auto got = reader_.current();
    EXPECT_EQ(got.status, 409);
    EXPECT_EQ(got.body, "hello");
    EXPECT_TRUE(got.problem);
    EXPECT_EQ(got.retry_after, std::chrono::seconds(3));
    EXPECT_TRUE(reader_.keep_alive());
    EXPECT_FALSE(reader_.has_unread());
  }
}

TEST_F(ReplyReader, ForgetsTheReplyBefore) {
  ASSERT_EQ(feed(plain), progress::complete);
  reader_.begin(1024);
  EXPECT_TRUE(reader_.untouched());
  ASSERT_EQ(feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), progress::complete);
  EXPECT_EQ(reader_.current().body, "{}");
  EXPECT_FALSE(reader_.current().problem);
  EXPECT_FALSE(reader_.current().retry_after);
}

TEST_F(ReplyReader, JoinsChunks) {
  EXPECT_EQ(
      feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 3),
      progress::complete);
  EXPECT_EQ(reader_.current().body, "hello world");
}

TEST_F(ReplyReader, GivesAwayAStreamAsItComes) {
  EXPECT_EQ(feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n wo"),
            progress::need_more);
  EXPECT_TRUE(reader_.has_head());
  EXPECT_EQ(reader_.take_body(), "hello wo");
  EXPECT_EQ(feed("rld\r\n"), progress::need_more);
  EXPECT_EQ(reader_.take_body(), "rld");
}

TEST_F(ReplyReader, SeesThatTheConnectionEndsWithTheReply) {
  EXPECT_EQ(feed("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), progress::complete);
  EXPECT_FALSE(reader_.keep_alive());
}

TEST_F(ReplyReader, SeesBytesThatBelongToNoReply) {
  EXPECT_EQ(feed(plain + "x"), progress::complete);
  EXPECT_TRUE(reader_.has_unread());
}

TEST_F(ReplyReader, TakesABodyOfTheLimitAndNotAByteMore) {
  EXPECT_EQ(feed("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + std::string(1024, 'x')),
            progress::complete);
  reader_.begin(1024);
  EXPECT_EQ(feed("HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n"), progress::failed);
}

TEST_F(ReplyReader, BoundsWhatComesInChunks) {
  std::string endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 1100; ++i) endless += "1\r\nx\r\n";
  EXPECT_EQ(feed(endless, 100), progress::failed);
}

TEST_F(ReplyReader, BoundsTheHead) {
  std::string head = "HTTP/1.1 200 OK\r\n";
  while (head.size() < 20'000) head += "X-Header: " + std::string(50, 'x') + "\r\n";
  EXPECT_EQ(feed(head, 1000), progress::failed);
  EXPECT_EQ(reader_.failure(), "the head of the reply is too large");
}

TEST_F(ReplyReader, RefusesWhatEndsWhenItEnds) {
  EXPECT_EQ(feed("HTTP/1.1 200 OK\r\n\r\nwhat was cut off looks complete"), progress::failed);
}

TEST_F(ReplyReader, RefusesWhatIsNotHttp) {
  for (const auto* bytes :
       {"hello\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 99 No\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"}) {
    reply_reader fresh;
    fresh.begin(1024);
    const auto room = fresh.room();
    std::memcpy(room.data(), bytes, std::strlen(bytes));
    fresh.received(std::strlen(bytes));
    EXPECT_EQ(fresh.advance(), progress::failed) << bytes;
    EXPECT_FALSE(fresh.failure().empty());
  }
}

}  // namespace
}  // namespace dislock::library::remote
