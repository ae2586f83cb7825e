#include "engines/redis/wire/opening.hpp"

#include "engines/redis/wire/command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace dislock::redis {
namespace {

using testing::HasSubstr;
using testing::Not;

reply said(reply::kind is, std::string text) {
  reply r;
  r.is = is;
  r.text = std::move(text);
  return r;
}
reply ok() {
  return said(reply::kind::status, "OK");
}
reply wrong(std::string text) {
  return said(reply::kind::error, std::move(text));
}

std::string command(std::initializer_list<std::string_view> words) {
  std::string out;
  append_command(out, {words.begin(), words.size()});
  return out;
}

TEST(RedisCommand, IsACountAndThatManyWords) {
  EXPECT_EQ(command({"SET", "", "a\r\nb"}), "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
}

TEST(RedisCommand, NamesScriptsByTheirDigest) {
  EXPECT_EQ(sha1_hex("return 1"), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
}

TEST(RedisCommand, CallsAScriptWithItsKeysAndArguments) {
  const std::string_view keys[] = {"k"}, words[] = {"a", "b"};
  std::string out;
  std::size_t count = 0;
  EXPECT_EQ(append_call(out, count, {.script = 0, .keys = keys, .arguments = words}), 0U);
  EXPECT_EQ(count, 4U);
  EXPECT_EQ(out, "$1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n$1\r\nb\r\n");
}

TEST(RedisCommand, LeavesRoomForTheIncarnationBeforeTheArguments) {
  const std::string_view keys[] = {"k"}, words[] = {"a"};
  std::string out;
  std::size_t count = 0;
  const auto stamp =
      append_call(out, count, {.script = 0, .keys = keys, .arguments = words, .stamped = true});
  EXPECT_EQ(count, 4U);
  EXPECT_EQ(out.substr(stamp - 5, 5), "$40\r\n");
  EXPECT_EQ(out.substr(stamp + 40), "\r\n$1\r\na\r\n");
}

class RedisOpening : public testing::Test {
 protected:
  credentials login_{"me", "hush", true};
  std::array<script, 2> scripts_{script("return 1"), script("return 2")};
  opening all_{{.login = &login_, .database = 3, .name = "dislock", .facts = true, .scripts = scripts_}};
  std::string out_;
};

TEST_F(RedisOpening, SaysEverythingInOneWrite) {
  EXPECT_EQ(all_.write(out_), 6U);
  EXPECT_EQ(out_, command({"AUTH", "me", "hush"}) + command({"SELECT", "3"}) +
                      command({"CLIENT", "SETNAME", "dislock"}) + command({"INFO"}) +
                      command({"SCRIPT", "LOAD", "return 1"}) + command({"SCRIPT", "LOAD", "return 2"}));
}

TEST_F(RedisOpening, SaysNothingWithoutNeed) {
  opening none{{}};
  EXPECT_EQ(none.write(out_), 0U);
  EXPECT_EQ(out_, "");
  EXPECT_TRUE(none.complete());
}

TEST_F(RedisOpening, GivesThePasswordOfTheDefaultUserAlone) {
  login_.user.clear();
  opening o{{.login = &login_}};
  (void)o.write(out_);
  EXPECT_EQ(out_, command({"AUTH", "hush"}));
}

TEST_F(RedisOpening, IsCompleteWhenEverythingWasAnswered) {
  (void)all_.write(out_);
  EXPECT_EQ(all_.take(ok()), "");
  EXPECT_EQ(all_.take(ok()), "");
  EXPECT_EQ(all_.take(wrong("NOPERM no names here")), "") << "a name is a courtesy";
  EXPECT_EQ(all_.take(said(reply::kind::bulk, "run_id:1\r\nmaster_replid:2\r\n")), "");
  EXPECT_EQ(all_.take(said(reply::kind::bulk, scripts_[0].digest)), "");
  EXPECT_FALSE(all_.complete());
  EXPECT_EQ(all_.take(said(reply::kind::bulk, scripts_[1].digest)), "");
  EXPECT_TRUE(all_.complete());
  EXPECT_EQ(all_.facts().run_id(), "1");
}

TEST_F(RedisOpening, SaysWhatWasRefusedWithoutThePassword) {
  (void)all_.write(out_);
  EXPECT_EQ(all_.take(wrong("ERR unknown command `AUTH`, with args beginning with: `me`, `hush`,")),
            "AUTH was refused: ERR");
  EXPECT_EQ(all_.take(wrong("ERR DB index is out of range")),
            "SELECT 3 was refused: ERR DB index is out of range");
  EXPECT_THAT(all_.take(wrong("NOAUTH Authentication required.")), HasSubstr("NOAUTH"));
  EXPECT_THAT(all_.take(wrong("NOPERM no")), HasSubstr("INFO was refused: NOPERM no"));
  EXPECT_THAT(all_.take(said(reply::kind::bulk, "another digest")), HasSubstr("SCRIPT LOAD was answered"));
}

TEST_F(RedisOpening, WaitsForAServerThatIsLoading) {
  opening o{{.facts = true}};
  (void)o.write(out_);
  EXPECT_EQ(o.take(said(reply::kind::bulk, "loading:1\r\n")), "the server is loading its data");
}

}  // namespace
}  // namespace dislock::redis
