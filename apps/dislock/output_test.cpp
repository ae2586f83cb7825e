#include "output.hpp"

#include "views.hpp"

#include <gmock/gmock.h>

#include <sstream>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

class Output : public testing::Test {
 protected:
  printer on(format f, printer::stream_abilities can = {}) { return {out_, err_, f, can, {}}; }
  std::ostringstream out_, err_;
  const std::vector<json::object> rows_{{{"name", "a"}, {"n", 5}}, {{"name", "longer"}, {"n", 1000}}};
  const std::vector<column> columns_{plain("NAME", "name"), number("N", "n"),
                                     only_wide(plain("MORE", "more"))};
};

TEST_F(Output, AlignsATable) {
  on(format::table).list("things", rows_, columns_, "none");
  EXPECT_EQ(out_.str(), "NAME       N\na          5\nlonger  1000\n");
}

TEST_F(Output, ShowsMoreWhenThatIsWanted) {
  on(format::wide).list("things", rows_, columns_, "none");
  EXPECT_THAT(out_.str(), HasSubstr("MORE"));
}

TEST_F(Output, SaysForPeopleThatThereIsNothingAndForProgramsAnEmptyList) {
  on(format::table).list("things", {}, columns_, "no things");
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(err_.str(), "no things\n");
  on(format::json).list("things", {}, columns_, "no things");
  EXPECT_EQ(out_.str(), "{\n  \"things\": []\n}\n");
}

TEST_F(Output, WritesOneLineAnItem) {
  on(format::jsonl).list("things", rows_, columns_, "none");
  EXPECT_EQ(out_.str(), "{\"name\":\"a\",\"n\":5}\n{\"name\":\"longer\",\"n\":1000}\n");
}

TEST_F(Output, WritesNumbersWithoutExponents) {
  on(format::jsonl).one({{"a", 1.5}, {"b", 30.0}, {"c", 0.001}, {"d", 1'700'000'000'000'000}}, {});
  EXPECT_EQ(out_.str(), "{\"a\":1.5,\"b\":30,\"c\":0.001,\"d\":1700000000000000}\n");
}

TEST_F(Output, ColoursNothingThatIsNotATerminal) {
  on(format::table).list("things", rows_, columns_, "none");
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b")));
  on(format::table, {.is_terminal = true, .colours = true}).list("things", rows_, columns_, "none");
  EXPECT_THAT(out_.str(), HasSubstr("\x1b"));
}

TEST_F(Output, ColoursNoJson) {
  on(format::json, {.is_terminal = true, .colours = true}).list("things", rows_, columns_, "none");
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b")));
}

TEST_F(Output, KeepsControlCharactersFromTheTerminal) {
  on(format::table).list("things", {{{"name", "x\x1b]0;evil\x07"}}}, {plain("NAME", "name")}, "");
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b")));
}

TEST_F(Output, QuotesForAShellOnlyWhatNeedsIt) {
  EXPECT_EQ(shell_quoted("orders/42:a@b=c,d-e"), "orders/42:a@b=c,d-e");
  EXPECT_EQ(shell_quoted("a b"), "'a b'");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("$(rm)"), "'$(rm)'");
}

TEST_F(Output, ShowsALockInTheWordsOfTheRestApi) {
  lock_state s;
  s.name = "a";
  s.locked = true;
  s.mode = lock_mode::semaphore;
  s.limit = 3;
  s.used = 2;
  s.holder_count = 1;
  s.holders.push_back({.client = "c",
                       .token = fencing_token{7},
                       .mode = lock_mode::semaphore,
                       .permits = 2,
                       .acquired_at = wall_time(1s),
                       .expires_at = wall_time(2s),
                       .metadata = R"({"pid":5})"});
  on(format::jsonl).one(to_json(s), {});
  EXPECT_EQ(
      out_.str(),
      R"({"lockName":"a","locked":true,"mode":"semaphore","limit":3,"used":2,"holders":[{"clientId":"c","fencingToken":7,)"
      R"("mode":"semaphore","permits":2,"holdCount":1,"acquiredAt":"1970-01-01T00:00:01.000Z",)"
      R"("expiresAt":"1970-01-01T00:00:02.000Z","autoRenew":false,"sessionBound":false,"metadata":{"pid":5}}],)"
      R"("holderCount":1,"waiters":[],"queueLength":0,"fencingToken":null})"
      "\n");
}

TEST_F(Output, NamesTheFlagWhereTheErrorNamesAField) {
  error why;
  why.code = errc::invalid_field;
  for (const auto& [detail, sentence] : std::vector<std::pair<std::string, std::string>>{
           {"ttl: from 0.1 s", "--ttl: from 0.1 s"},
           {"timeout: at most 300 s: so it is", "--ttl: at most 300 s: so it is"},
           {"clientId: odd", "--client: odd"},
           {"url: https is not supported yet", "--addr (or DISLOCK_URL): https is not supported yet"}}) {
    why.detail = detail;
    EXPECT_EQ(sentence_for(why), sentence);
  }
  why.detail = "unheard_of: odd";
  EXPECT_EQ(sentence_for(why), why.message());
  why.code = errc::unsupported_by_engine;
  EXPECT_EQ(sentence_for(why), why.message());
  why.detail = "mode: redlock has exclusive locks only";
  EXPECT_EQ(sentence_for(why), "--shared, --limit: redlock has exclusive locks only");
}

TEST_F(Output, SaysWhatKeptItFromTheLocks) {
  error why;
  why.code = errc::engine_unavailable;
  why.detail = "h:1: Connection refused";
  EXPECT_EQ(sentence_for(why),
            "the locks cannot be reached: h:1: Connection refused (engine_unavailable; dislock doctor looks "
            "closer)");
}

TEST_F(Output, ReadsTheTimesThatItWrites) {
  EXPECT_EQ(wall_time_from("2023-11-14T22:13:20.123Z"), wall_time(1'700'000'000'123'000us));
  EXPECT_FALSE(wall_time_from("yesterday"));
}

}  // namespace
}  // namespace dislock::cli
