#include "http/request_reader.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace dislock::http {
namespace {

using progress = request_reader::progress;

// Feeds `bytes` in pieces of at most `piece`, and says where the parser ended.
progress feed(request_reader& reader, std::string_view bytes, std::size_t piece = 100'000) {
  auto outcome = progress::need_more;
  while (!bytes.empty() && outcome == progress::need_more) {
    const auto room = reader.room();
    const auto count = std::min({room.size(), bytes.size(), piece});
    std::copy_n(bytes.begin(), count, room.begin());
    reader.received(count);
    bytes.remove_prefix(count);
    outcome = reader.advance();
  }
  return outcome;
}

class RequestReader : public testing::Test {
 protected:
  // The code with which the bytes are refused, both in one piece and byte by byte.
  static std::optional<errc> refusal(std::string_view bytes, const reader_limits& limits = {}) {
    request_reader whole(limits);
    const auto outcome = feed(whole, bytes);
    request_reader dripping(limits);
    EXPECT_EQ(feed(dripping, bytes, 1), outcome) << bytes.substr(0, 200);
    if (outcome != progress::failed) return std::nullopt;
    EXPECT_EQ(dripping.failure(), whole.failure());
    return whole.failure();
  }

  static void expect_malformed(std::string_view bytes) {
    EXPECT_EQ(refusal(bytes), errc::malformed_http) << bytes.substr(0, 200);
  }

  request_reader reader_{reader_limits{}};
};

TEST_F(RequestReader, ShowsTheRequestLineTheBodyAndTheHeadersThatMatter) {
  ASSERT_EQ(feed(reader_,
                 "POST /locks/a%2Fb/acquire?x=1?2 HTTP/1.1\r\nHost: localhost:5000\r\nX-Other: 1\r\n"
                 "Content-Type: application/json\r\nOrigin: http://localhost:5000\r\nACCEPT:*/*  \r\n"
                 "Last-Event-ID: 7\r\nTraceParent: 00-ab\r\nContent-Length: 4\r\n\r\nbody",
                 7),
            progress::complete);
  const auto& r = reader_.current();
  EXPECT_EQ(r.verb, method::post);
  EXPECT_EQ(r.path, "/locks/a%2Fb/acquire");
  EXPECT_EQ(r.query, "x=1?2");
  EXPECT_EQ(r.body, "body");
  EXPECT_EQ(r.host, "localhost:5000");
  EXPECT_EQ(r.content_type, "application/json");
  EXPECT_EQ(r.origin, "http://localhost:5000");
  EXPECT_EQ(r.accept, "*/*");
  EXPECT_EQ(r.last_event_id, "7");
  EXPECT_EQ(r.traceparent, "00-ab");
  EXPECT_TRUE(reader_.keep_alive());
}

TEST_F(RequestReader, JoinsChunksAndIgnoresExtensionsAndTrailers) {
  const std::string chunked =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "3\r\nabc\r\n5;name=\"va lue\";b\r\ndefgh\r\n0\r\nHost: other\r\nX: 1\r\n\r\n";
  for (const std::size_t piece : {1U, 2U, 3U, 7U, 1000U}) {
    request_reader reader(reader_limits{});
    ASSERT_EQ(feed(reader, chunked, piece), progress::complete) << piece;
    EXPECT_EQ(reader.current().body, "abcdefgh");
    EXPECT_EQ(reader.current().host, "a");
    EXPECT_FALSE(reader.has_unread());
  }
}

TEST_F(RequestReader, JoinsALargeBodyOfTinyChunksInBoundedMemory) {
  std::string bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20'000; ++i) bytes += "1\r\nx\r\n";
  bytes += "0\r\n\r\n";
  ASSERT_EQ(feed(reader_, bytes, 1000), progress::complete);
  EXPECT_EQ(reader_.current().body, std::string(20'000, 'x'));
  EXPECT_LE(reader_.capacity(), 64U * 1024);
}

TEST_F(RequestReader, KeepsTheBytesOfTheNextRequestAndShowsThemInOrder) {
  ASSERT_EQ(feed(reader_,
                 "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: b\r\nContent-Length: "
                 "2\r\n\r\nhiGET /3"),
            progress::complete);
  EXPECT_EQ(reader_.current().path, "/1");
  reader_.next();
  ASSERT_EQ(reader_.advance(), progress::complete);
  EXPECT_EQ(reader_.current().path, "/2");
  EXPECT_EQ(reader_.current().body, "hi");
  reader_.next();
  EXPECT_EQ(reader_.advance(), progress::need_more);
  EXPECT_TRUE(reader_.in_message());
  ASSERT_EQ(feed(reader_, " HTTP/1.1\r\nHost: c\r\n\r\n"), progress::complete);
  EXPECT_EQ(reader_.current().path, "/3");
}

TEST_F(RequestReader, NeverMovesACompleteRequest) {
  ASSERT_EQ(feed(reader_, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"), progress::complete);
  const auto* const where = reader_.current().path.data();
  for (auto room = reader_.room(); !room.empty(); room = reader_.room()) {
    room[0] = 'x';
    reader_.received(1);
  }
  EXPECT_EQ(reader_.current().path.data(), where);
  EXPECT_EQ(reader_.current().path, "/first");
}

TEST_F(RequestReader, HoldsNoMoreLaterBytesThanAllowedButAlwaysSome) {
  request_reader reader({.pipelined = 100});
  ASSERT_EQ(
      feed(reader, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'b')),
      progress::complete);
  EXPECT_EQ(reader.room().size(), 100U);
  reader.received(100);
  EXPECT_EQ(reader.room().size(), 0U);
}

TEST_F(RequestReader, GivesALargeBufferBackBetweenRequests) {
  ASSERT_EQ(
      feed(reader_, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + std::string(60'000, 'b')),
      progress::complete);
  EXPECT_EQ(reader_.current().body.size(), 60'000U);
  reader_.next();
  EXPECT_FALSE(reader_.room().empty());
  EXPECT_LE(reader_.capacity(), request_reader::initial_capacity);
}

TEST_F(RequestReader, SkipsOneEmptyLineBeforeARequest) {
  EXPECT_EQ(refusal("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), std::nullopt);
  expect_malformed("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST_F(RequestReader, KnowsWhenAConnectionStaysOpen) {
  const auto stays = [](std::string_view head) {
    request_reader reader(reader_limits{});
    EXPECT_EQ(feed(reader, head), progress::complete) << head;
    return reader.keep_alive();
  };
  EXPECT_TRUE(stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_FALSE(stays("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n"));
  EXPECT_FALSE(stays("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(stays("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

TEST_F(RequestReader, UnderstandsTheAbsoluteAndTheAsteriskForm) {
  ASSERT_EQ(feed(reader_, "GET HTTP://b.example:1/x?q HTTP/1.1\r\nHost: a\r\n\r\n"), progress::complete);
  EXPECT_EQ(reader_.current().host, "b.example:1");
  EXPECT_EQ(reader_.current().path, "/x");
  EXPECT_EQ(reader_.current().query, "q");
  reader_.next();
  ASSERT_EQ(feed(reader_, "GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n"), progress::complete);
  EXPECT_EQ(reader_.current().path, "/");
  EXPECT_EQ(reader_.current().query, "q");
  reader_.next();
  ASSERT_EQ(feed(reader_, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), progress::complete);
  EXPECT_EQ(reader_.current().path, "*");
}

TEST_F(RequestReader, RefusesTargetsThatAreNoPath) {
  for (const auto* target :
       {"*", "a", "ftp://a/", "http://", "http:///x", "localhost:80", "/a#b", "/\xc3\xa9"}) {
    expect_malformed("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n");
  }
}

TEST_F(RequestReader, RefusesAmbiguousLengths) {
  const auto with = [](std::string_view headers) {
    return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n\r\n0\r\n\r\n";
  };
  for (const auto* headers :
       {"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5", "Content-Length: +5", "Content-Length: -1", "Content-Length: 0x5",
        "Content-Length: 5 5", "Content-Length:", "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked", "Transfer-Encoding:"}) {
    expect_malformed(with(headers));
  }
  expect_malformed("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

TEST_F(RequestReader, RefusesBadLineEndsFoldingAndBadNames) {
  for (const auto* bytes :
       {"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n \r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\tlocalhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\xe9: 1\r\n\r\n"}) {
    expect_malformed(bytes);
  }
  using namespace std::string_view_literals;
  expect_malformed("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"sv);
  expect_malformed("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"sv);
}

TEST_F(RequestReader, RefusesARepeatedHostOriginOrContentType) {
  expect_malformed("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
  expect_malformed("GET / HTTP/1.1\r\nHost: \r\nHost: a\r\n\r\n");
  expect_malformed("GET / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\nOrigin: c\r\n\r\n");
  expect_malformed("GET / HTTP/1.1\r\nHost: a\r\nContent-Type: b\r\nContent-Type: c\r\n\r\n");
}

TEST_F(RequestReader, RefusesWhatIsNotHttp1) {
  for (const auto* bytes :
       {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / http/1.1\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03\r\n\r\n", "nonsense\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", " GET / HTTP/1.1\r\n\r\n"}) {
    expect_malformed(bytes);
  }
}

TEST_F(RequestReader, RefusesBadChunks) {
  for (const auto* chunks : {"x\r\n\r\n", "\r\n\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n",
                             "-1\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n",
                             "3;\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "3\r\nabc0\r\n\r\n\r\n",
                             "0\r\nbad trailer\r\n\r\n", "0\r\nContent-Length: 3\r\n\r\n"}) {
    expect_malformed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                     std::string(chunks));
  }
}

TEST_F(RequestReader, AllowsAChunkExtensionOf256BytesAndNoMore) {
  const auto with = [](std::size_t size) {
    return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(size - 1, 'e') +
           "\r\nx\r\n0\r\n\r\n";
  };
  EXPECT_EQ(refusal(with(256)), std::nullopt);
  EXPECT_EQ(refusal(with(257)), errc::malformed_http);
}

TEST_F(RequestReader, AllowsAHeaderBlockOfTheLimitAndNoMore) {
  const auto with = [](std::size_t size) {
    const std::string line = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    return line + std::string(size - line.size() - 4, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(refusal(with(16 * 1024)), std::nullopt);
  EXPECT_EQ(refusal(with(16 * 1024 + 1)), errc::headers_too_large);
  EXPECT_EQ(refusal("GET /" + std::string(16 * 1024, 'a')), errc::headers_too_large);
}

TEST_F(RequestReader, AllowsABodyOfTheLimitAndNoMoreHoweverItIsSent) {
  const reader_limits limits{.body = 1000};
  const auto sized = [](std::size_t size) {
    return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
           std::string(size, 'b');
  };
  EXPECT_EQ(refusal(sized(1000), limits), std::nullopt);
  EXPECT_EQ(refusal(sized(1001), limits), errc::body_too_large);
  const auto chunked = [](std::size_t size) {
    std::string bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (std::size_t i = 0; i < size; ++i) bytes += "1\r\nb\r\n";
    return bytes + "0\r\n\r\n";
  };
  EXPECT_EQ(refusal(chunked(1000), limits), std::nullopt);
  EXPECT_EQ(refusal(chunked(1001), limits), errc::body_too_large);
}

TEST_F(RequestReader, BoundsTrailersAndUnfinishedChunkLines) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(refusal(head + "1;" + std::string(20'000, 'e')), errc::headers_too_large);
  EXPECT_EQ(refusal(head + "0\r\nX: " + std::string(20'000, 'e')), errc::headers_too_large);
}

}  // namespace
}  // namespace dislock::http
