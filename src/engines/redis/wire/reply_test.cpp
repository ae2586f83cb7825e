#include "engines/redis/wire/reply.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

using progress = reply_reader::progress;
using kind = reply::kind;

std::string show(const reply& r) {
  switch (r.is) {
    case kind::nil:
      return "nil";
    case kind::status:
      return "+" + r.text;
    case kind::error:
      return "-" + r.text;
    case kind::integer:
      return std::to_string(r.number);
    case kind::bulk:
      return "'" + r.text + "'";
    case kind::array:
      break;
  }
  std::string out = "[";
  for (const auto& item : r.items) out += (out.size() > 1 ? " " : "") + show(item);
  return out + "]";
}

// Everything that `bytes` says, fed in pieces; a failure is the last word.
std::string read(std::string_view bytes, std::size_t piece = 1000, const reply_limits& limits = {}) {
  reply_reader reader(limits);
  std::string out;
  reply got;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    reader.feed(bytes.substr(at, piece));
    auto how = reader.next(got);
    for (; how == progress::complete; how = reader.next(got)) out += show(got) + ";";
    if (how == progress::failed) return out + " " + std::string(reader.failure());
  }
  return out;
}

TEST(RedisReply, ComesInEveryKind) {
  EXPECT_EQ(read("+OK\r\n-ERR no\r\n:-12\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"),
            "+OK;-ERR no;-12;'a\r\n';'';nil;nil;[];");
}

TEST(RedisReply, NestsArraysOfAllKinds) {
  EXPECT_EQ(read("*5\r\n:1\r\n*2\r\n$1\r\na\r\n*1\r\n:2\r\n$-1\r\n-ERR x\r\n+y\r\n:9\r\n"),
            "[1 ['a' [2]] nil -ERR x +y];9;");
}

TEST(RedisReply, IsTheSameInWhateverPiecesItComes) {
  std::string bytes = "*200\r\n";
  for (int i = 0; i < 100; ++i) bytes += "*2\r\n$2\r\nab\r\n*3\r\n:1\r\n:2\r\n:3\r\n:7\r\n";
  const auto whole = read(bytes);
  for (const std::size_t piece : {1, 2, 3, 7, 64}) EXPECT_EQ(read(bytes, piece), whole);
  EXPECT_THAT(whole, testing::StartsWith("[['ab' [1 2 3]] 7 ['ab' [1 2 3]] 7 "));
}

TEST(RedisReply, HoldsBinaryText) {
  const std::string text("\0\r\n\xff", 4);
  EXPECT_EQ(read("$4\r\n" + text + "\r\n"), "'" + text + "';");
}

TEST(RedisReply, SaysNothingBeforeItIsComplete) {
  EXPECT_EQ(read("*2\r\n:1\r\n"), "");
  EXPECT_EQ(read("$5\r\nabc"), "");
}

TEST(RedisReply, EndsAtWhatIsNotRedis) {
  for (const auto* bytes :
       {"HTTP/1.1 200 OK\r\n", "*x\r\n", "$-2\r\n", ":1x\r\n", "*2\r\n:1\r\nfoo\r\n", "*99999999999\r\n"})
    EXPECT_THAT(read(bytes), testing::EndsWith(" not what Redis would say")) << bytes;
}

TEST(RedisReply, MayBeAsLargeAsTheLimitAndNoLarger) {
  const reply_limits limits{.bytes = 1000 + sizeof(reply)};
  EXPECT_EQ(read("$1000\r\n" + std::string(1000, 'x') + "\r\n", 2000, limits).size(), 1003U);
  EXPECT_EQ(read("$1001\r\n" + std::string(1001, 'x') + "\r\n", 2000, limits), " a reply is too large");
  EXPECT_EQ(read("$100000\r\n" + std::string(5000, 'x'), 100, limits), " a reply is too large");
  EXPECT_EQ(read("+" + std::string(5000, 'x'), 100, limits), " a reply is too large");
}

TEST(RedisReply, CountsTheItemsOfAllItsArrays) {
  const reply_limits limits{.items = 6};
  EXPECT_EQ(read("*2\r\n*1\r\n:1\r\n*1\r\n:1\r\n:5\r\n", 100, limits), "[[1] [1]];5;");
  EXPECT_EQ(read("*2\r\n*1\r\n:1\r\n*2\r\n:1\r\n", 100, limits), "");
  EXPECT_EQ(read("*2\r\n*1\r\n:1\r\n*3\r\n", 100, limits), " a reply has too many items");
  EXPECT_EQ(read("*2000000000\r\n", 100), " a reply has too many items");
}

TEST(RedisReply, MayBeAsDeepAsTheLimitAndNoDeeper) {
  const std::string seven = "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
  EXPECT_EQ(read(seven), "[[[[[[[1]]]]]]];");
  EXPECT_THAT(read("*1\r\n" + seven), testing::StartsWith(" "));
  EXPECT_EQ(read(seven, 100, {.depth = 6}), " a reply is too deep");
}

TEST(RedisReply, DoesNotCountOneReplyAgainstTheNext) {
  std::string bytes;
  for (int i = 0; i < 50; ++i) bytes += "*2\r\n:1\r\n$100\r\n" + std::string(100, 'x') + "\r\n";
  EXPECT_THAT(read(bytes, 33, {.bytes = 1000, .items = 3}), testing::Not(testing::HasSubstr("too")));
}

reply error(std::string text) {
  reply r;
  r.is = kind::error;
  r.text = std::move(text);
  return r;
}

TEST(RedisErrorWord, IsTheFirstWordOfAnError) {
  EXPECT_EQ(error("NOSCRIPT No matching script. Please use EVAL.").error_word(), "NOSCRIPT");
  EXPECT_EQ(error("ERR").error_word(), "ERR");
  EXPECT_EQ(reply{}.error_word(), "");
}

TEST(RedisErrorWord, LooksIntoWhatRedisSixSaysOfAScript) {
  EXPECT_EQ(
      error("ERR Error running script (call to f_6b1bf486c81ceb7edf3c093f4c48582e38c0e791): @user_script:1: "
            "@user_script: 1: -READONLY You can't write against a read only replica.")
          .error_word(),
      "READONLY");
  EXPECT_EQ(
      error("ERR Error running script (call to f_6b): @user_script:1: user_script:1: boom").error_word(),
      "ERR");
}

TEST(RedisReply, HasNilWhereItHasNothing) {
  EXPECT_EQ(reply{}.at(3).is, kind::nil);
}

}  // namespace
}  // namespace dislock::redis
