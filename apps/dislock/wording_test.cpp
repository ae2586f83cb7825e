#include "wording.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

TEST(Wording, ReadsTimes) {
  EXPECT_EQ(duration_from("30"), 30s);
  EXPECT_EQ(duration_from("30s"), 30s);
  EXPECT_EQ(duration_from("500ms"), 500ms);
  EXPECT_EQ(duration_from("1.5m"), 90s);
  EXPECT_EQ(duration_from("2h"), 2h);
  EXPECT_EQ(duration_from("1d"), 24h);
  EXPECT_EQ(duration_from("0"), 0s);
}

TEST(Wording, RefusesWhatIsNoTime) {
  for (const auto* text : {"", "s", "-1", "1x", "1 s", "1s2", "inf", "nan", "1e3", "99999999999d", "0x10"})
    EXPECT_FALSE(duration_from(text)) << text;
}

TEST(Wording, WritesTimesForPeople) {
  EXPECT_EQ(in_words(duration(0)), "0us");
  EXPECT_EQ(in_words(250us), "250us");
  EXPECT_EQ(in_words(1500us), "1.5ms");
  EXPECT_EQ(in_words(850ms), "850ms");
  EXPECT_EQ(in_words(12'340ms), "12.3s");
  EXPECT_EQ(in_words(59'999ms), "59.9s") << "never more than there is";
  EXPECT_EQ(in_words(10min), "10m");
  EXPECT_EQ(in_words(250s), "4m10s");
  EXPECT_EQ(in_words(3h + 5min + 7s), "3h5m");
  EXPECT_EQ(in_words(52h), "2d4h");
  EXPECT_EQ(in_words(duration(-2s)), "-2.0s");
}

TEST(Wording, WritesTimesForPrograms) {
  EXPECT_EQ(rfc3339(wall_time(1'700'000'000'123'456us)), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(time_of_day(wall_time(1'700'000'000'123'456us)), "22:13:20.123");
  EXPECT_DOUBLE_EQ(in_seconds(1'234'567us), 1.235);
}

TEST(Wording, KnowsSignalsByNameAndNumber) {
  EXPECT_EQ(signal_from("TERM"), SIGTERM);
  EXPECT_EQ(signal_from("SIGINT"), SIGINT);
  EXPECT_EQ(signal_from("9"), SIGKILL);
  for (const auto* text : {"", "0", "99", "TERMINATE", "-1"}) EXPECT_FALSE(signal_from(text)) << text;
  EXPECT_EQ(signal_name(SIGTERM), "SIGTERM");
}

TEST(Wording, TellsATerminalNothingThatCameFromElsewhere) {
  EXPECT_EQ(harmless("a\x1b[31mb\rc\x7f"), "a?[31mb?c?");
  EXPECT_EQ(harmless("caf\xc3\xa9\n"), "caf\xc3\xa9\n");
}

TEST(Wording, GuessesWhatWasMeant) {
  EXPECT_EQ(nearest("--wiat", {"--wait", "--ttl"}), "--wait");
  EXPECT_FALSE(nearest("--colour-of-the-moon", {"--wait", "--ttl"}));
}

}  // namespace
}  // namespace dislock::cli
