#include "scoreboard.hpp"

#include "output.hpp"

#include <gmock/gmock.h>

#include <sstream>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr wall_time start{1'700'000'000s};

lock_event acquired(std::string lock) {
  lock_event e;
  e.type = "acquired";
  e.lock = std::move(lock);
  return e;
}

lock_state locked(std::string name, std::size_t queue, duration waited = {}) {
  lock_state s;
  s.name = std::move(name);
  s.locked = true;
  s.holder_count = 1;
  s.queue_length = queue;
  auto& h = s.holders.emplace_back();
  h.client = "h";
  h.acquired_at = start - 10s;
  if (queue > 0) {
    auto& w = s.waiters.emplace_back();
    w.client = "w-" + s.name;
    w.position = 1;
    w.since = start - waited;
  }
  return s;
}

TEST(Scoreboard, CountsRatesBetweenTwoLooks) {
  scoreboard board;
  board.take({.at = start, .events = {acquired("a")}});
  ASSERT_EQ(board.rows().size(), 1U);
  EXPECT_EQ(board.rows()[0].acquired_per_second, 0) << "nobody knows over how long";
  board.take({.at = start + 2s, .events = {acquired("a"), acquired("a"), acquired("b")}});
  ASSERT_EQ(board.rows().size(), 2U);
  EXPECT_EQ(board.rows()[0].lock, "a");
  EXPECT_EQ(board.rows()[0].acquired_per_second, 1);
}

TEST(Scoreboard, PutsTheLongerQueueFirstAmongEquals) {
  scoreboard board;
  board.take({.at = start, .locks = {locked("a", 0), locked("b", 5, 3s), locked("c", 1, 9s)}});
  EXPECT_EQ(board.rows()[0].lock, "b");
  EXPECT_EQ(board.rows()[1].lock, "c");
  EXPECT_EQ(board.rows()[0].longest_wait, 3s);
  EXPECT_EQ(board.rows()[2].held, 10s);
  const auto json = board.to_json();
  EXPECT_EQ(json.at("waits").as_array()[0].at("clientId").as_string(), "w-c") << "the longest wait first";
  EXPECT_EQ(json.at("waiting").to_number<int>(), 6);
}

TEST(Scoreboard, LooksCloselyAtTheLongestQueuesOnly) {
  EXPECT_EQ(scoreboard::contended({locked("a", 1), locked("b", 0), locked("c", 7), locked("d", 3)}, 2),
            (std::vector<std::string>{"c", "d"}));
}

TEST(Scoreboard, FitsTheScreen) {
  std::ostringstream out, err;
  const printer print(out, err, format::table, {}, {});
  scoreboard board;
  snapshot s{.at = start};
  for (int i = 0; i < 100; ++i) s.locks.push_back(locked("lock/" + std::to_string(i), 2, 1s));
  board.take(s);
  const auto text = board.text(print, 24, 80, true);
  EXPECT_LE(std::ranges::count(text, '\n'), 24);
  EXPECT_THAT(text, HasSubstr("PAUSED"));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110U) << line;
}

}  // namespace
}  // namespace dislock::cli
