#include "base/log.hpp"

#include "base/ids.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <concepts>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dislock {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class Log : public testing::Test {
 protected:
  Log() {
    log::configure({log::level::debug, log::format::text});
    log::redirect([this](std::string_view line) { lines_.emplace_back(line); });
  }
  ~Log() override {
    log::redirect({});
    log::configure({});
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  static void as_json() { log::configure({log::level::debug, log::format::json}); }

  std::string only_line() {
    EXPECT_THAT(lines_, SizeIs(1));
    return lines_.empty() ? std::string() : lines_.front();
  }

  std::vector<std::string> lines_;
};

TEST_F(Log, TextIsTimeLevelAreaMessageAndFields) {
  log::info("http", "listening", {{"address", "127.0.0.1"}, {"port", 5000}});

  EXPECT_THAT(only_line(), MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "
                                        "info  http: listening address=127\\.0\\.0\\.1 port=5000\n"));
}

TEST_F(Log, JsonHasTheSameInOneObject) {
  as_json();
  log::warn("embedded", "slow commit",
            {{"took", 1500ms}, {"records", 32U}, {"first", false}, log::trace_id("4bf92f35")});

  EXPECT_THAT(only_line(), StartsWith(R"({"time":"20)"));
  EXPECT_THAT(only_line(), EndsWith(R"(Z","level":"warn","area":"embedded","message":"slow commit",)"
                                    R"("took":1.5,"records":32,"first":false,"trace_id":"4bf92f35"})"
                                    "\n"));
}

TEST_F(Log, BelowTheThresholdNothingIsWritten) {
  log::configure({log::level::warn, log::format::text});

  log::debug("core", "one");
  log::info("core", "two");
  log::warn("core", "three");

  EXPECT_FALSE(log::enabled(log::level::info));
  EXPECT_TRUE(log::enabled(log::level::warn));
  EXPECT_THAT(only_line(), HasSubstr("three"));
}

TEST_F(Log, OffSilencesErrorsToo) {
  log::configure({log::level::off, log::format::text});
  log::error("core", "unheard");
  EXPECT_THAT(lines_, IsEmpty());
}

// A secret that is logged by mistake is found by the compiler.
static_assert(!std::convertible_to<lock_id, log::value>);
static_assert(!std::convertible_to<renewal_token, log::value>);
static_assert(!std::convertible_to<session_id, log::value>);

TEST_F(Log, AForgedLineStaysInItsLine) {
  log::info("http", "refused",
            {{"agent", "curl\n2026-01-01T00:00:00.000Z info  core: all is well\r\x1b[2J"}});

  EXPECT_THAT(only_line(), HasSubstr(R"(curl\n2026)"));
  EXPECT_THAT(only_line(), HasSubstr(R"(\r\u001b[2J")"));
}

TEST_F(Log, JsonEscapesQuotesBackslashesAndControls) {
  as_json();
  log::info("http", "a \"b\" \\ c", {{"text", std::string_view("\0\x7f\t", 3)}});

  EXPECT_THAT(only_line(), HasSubstr(R"("message":"a \"b\" \\ c","text":"\u0000\u007f\t"})"));
}

TEST_F(Log, ValidUtf8PassesAndTheRestIsReplaced) {
  as_json();
  log::info("http", "né 漢 🔒",
            {{"bad", "a\xff\xc0\x80z"}, {"surrogate", "\xed\xa0\x80"}, {"cut", "\xe6\xbc"}});

  EXPECT_THAT(only_line(), HasSubstr("né 漢 🔒"));
  EXPECT_THAT(only_line(), HasSubstr(R"("bad":"a\ufffd\ufffd\ufffdz","surrogate":"\ufffd\ufffd\ufffd")"));
  EXPECT_THAT(only_line(), HasSubstr(R"("cut":"\ufffd\ufffd")"));
}

TEST_F(Log, TextShowsBytesThatAreNoUtf8AndC1ControlsEscaped) {
  log::info("http", "odd", {{"byte", "\xff"}, {"csi", "\xc2\x9b"}});
  EXPECT_THAT(only_line(), EndsWith(R"(byte="\xff" csi="\u009b")"
                                    "\n"));
}

TEST_F(Log, TextQuotesWhatWouldMislead) {
  log::info("http", "odd", {{"blank", "a b"}, {"empty", ""}, {"pair", "x=y"}, {"plain", "a/b:c"}});
  EXPECT_THAT(only_line(), EndsWith("blank=\"a b\" empty=\"\" pair=\"x=y\" plain=a/b:c\n"));
}

TEST_F(Log, NumbersKeepEveryDigit) {
  as_json();
  log::info("core", "numbers",
            {{"token", std::uint64_t{9007199254740991U}},
             {"least", std::numeric_limits<std::int64_t>::min()},
             {"most", std::numeric_limits<std::uint64_t>::max()},
             {"nan", std::numeric_limits<double>::quiet_NaN()}});

  EXPECT_THAT(only_line(), HasSubstr(R"("token":9007199254740991,"least":-9223372036854775808,)"
                                     R"("most":18446744073709551615,"nan":null})"));
}

TEST_F(Log, LinesOfManyThreadsDoNotMix) {
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([] {
      for (int i = 0; i < 200; ++i) log::info("core", "line", {{"tail", "end"}});
    });
  }
  for (auto& writer : writers) writer.join();

  EXPECT_THAT(lines_, SizeIs(800));
  EXPECT_THAT(lines_, testing::Each(EndsWith("core: line tail=end\n")));
}

TEST_F(Log, ASinkThatThrowsDoesNotReachTheCaller) {
  log::redirect([](std::string_view) { throw std::runtime_error("disk full"); });
  log::error("core", "the caller goes on");
}

TEST(LogNames, LevelsAndFormatsReadAsTheyAreWritten) {
  for (const auto each :
       {log::level::debug, log::level::info, log::level::warn, log::level::error, log::level::off}) {
    EXPECT_EQ(log::level_from_string(to_string(each)), each);
  }
  for (const auto each : {log::format::text, log::format::json}) {
    EXPECT_EQ(log::format_from_string(to_string(each)), each);
  }
  EXPECT_EQ(log::level_from_string("INFO"), std::nullopt);
  EXPECT_EQ(log::format_from_string(""), std::nullopt);
}

}  // namespace
}  // namespace dislock
