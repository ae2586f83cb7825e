#include "http/json_writer.hpp"

#include "http/problem.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace dislock::http {
namespace {

using namespace std::chrono_literals;

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string seconds(std::chrono::milliseconds span) {
  std::string out;
  append_seconds(out, span);
  return out;
}

std::string rfc3339(std::chrono::microseconds t) {
  std::string out;
  append_rfc3339(out, t);
  return out;
}

TEST(JsonString, LeavesPlainTextAndValidUtf8AsTheyAre) {
  EXPECT_EQ(json_string("orders/42"), "\"orders/42\"");
  EXPECT_EQ(json_string(""), "\"\"");
  EXPECT_EQ(json_string("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x92"),
            "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x92\"");
}

TEST(JsonString, EscapesQuotesBackslashesAndControlCharacters) {
  EXPECT_EQ(json_string("a\"b\\c\nd\re\tf\x01g\x7f"), R"("a\"b\\c\nd\re\tf\u0001g\u007f")");
  EXPECT_EQ(json_string(std::string_view("\0", 1)), R"("\u0000")");
}

TEST(JsonString, NeverLetsInvalidUtf8Out) {
  const std::string replaced = "\xef\xbf\xbd";
  EXPECT_EQ(json_string("\xff"), '"' + replaced + '"');
  EXPECT_EQ(json_string("\xc3"), '"' + replaced + '"');                                // cut off
  EXPECT_EQ(json_string("\xc0\xaf"), '"' + replaced + replaced + '"');                 // overlong
  EXPECT_EQ(json_string("\xed\xa0\x80"), '"' + replaced + replaced + replaced + '"');  // a surrogate
  EXPECT_EQ(json_string("\xf4\x90\x80\x80x"), '"' + replaced + replaced + replaced + replaced + "x\"");
}

TEST(JsonNumbers, WriteTheWholeRange) {
  std::string out;
  append_integer(out, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(out, "-9223372036854775808");
}

TEST(JsonSeconds, HaveUpToThreeDecimals) {
  EXPECT_EQ(seconds(0ms), "0");
  EXPECT_EQ(seconds(2s), "2");
  EXPECT_EQ(seconds(1500ms), "1.5");
  EXPECT_EQ(seconds(1005ms), "1.005");
  EXPECT_EQ(seconds(50ms), "0.05");
  EXPECT_EQ(seconds(-50ms), "-0.05");
}

TEST(JsonTime, IsRfc3339WithMillisecondsAcrossSecondsAndDays) {
  EXPECT_EQ(rfc3339(0us), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(rfc3339(1709210096123999us), "2024-02-29T12:34:56.123Z");
  EXPECT_EQ(rfc3339(1709210096007000us), "2024-02-29T12:34:56.007Z");
  EXPECT_EQ(rfc3339(1709251199999000us), "2024-02-29T23:59:59.999Z");
  EXPECT_EQ(rfc3339(1709251200000000us), "2024-03-01T00:00:00.000Z");
}

TEST(JsonWriter, PutsTheCommasWhereTheyBelong) {
  std::string out;
  json_writer w(out);
  w.begin_object().member("a", 1).member("b", "x").member("c", true).key("d").begin_array();
  w.value(1U).null().begin_object().end_object().end_array();
  w.key("e").time(0us).member("f", 1500ms).key("g").raw("{}").end_object();
  EXPECT_EQ(out, R"({"a":1,"b":"x","c":true,"d":[1,null,{}],"e":"1970-01-01T00:00:00.000Z","f":1.5,"g":{}})");
}

TEST(Problem, NamesCodeStatusEffectAndWhatWasAdded) {
  std::string out;
  append_problem(out, {.code = errc::invalid_field, .detail = "say \"why\"", .members = R"("field":"ttl")"},
                 "abc");
  const std::string title(title_of(errc::invalid_field));
  EXPECT_EQ(out, R"({"type":"urn:dislock:error:invalid_field","title":")" + title +
                     R"(","status":400,"code":"invalid_field","effect":"none","detail":"say \"why\"",)"
                     R"("traceId":"abc","field":"ttl"})");
}

TEST(Problem, SaysWhenTheEffectIsUnknown) {
  std::string out;
  append_problem(out, {.code = errc::outcome_unknown});
  EXPECT_NE(out.find(R"("effect":"unknown"})"), std::string::npos);
}

}  // namespace
}  // namespace dislock::http
