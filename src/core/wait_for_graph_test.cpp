#include "core/wait_for_graph.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock::core {
namespace {

using need = wait_for_graph::need;
using testing::ElementsAre;

need all_of(std::uint32_t lock, std::initializer_list<std::uint32_t> clients) {
  need n{lock, 0, {}};
  for (const auto c : clients) n.blockers.push_back({c, 1, false});
  return n;
}
need permits_of(std::uint32_t enough, std::initializer_list<wait_for_graph::blocker> blockers) {
  return {0, enough, blockers};
}

std::vector<std::uint32_t> clients(const std::vector<wait_step>& cycle) {
  std::vector<std::uint32_t> out;
  for (const auto& s : cycle) out.push_back(s.client);
  return out;
}

TEST(WaitForGraph, WhoNeedsNothingIsServed) {
  EXPECT_FALSE(find_deadlock({{{}}}, 0));
}

TEST(WaitForGraph, WhoNeedsARunningClientIsServed) {
  EXPECT_FALSE(find_deadlock({{{all_of(7, {1})}, {}}}, 0));
}

TEST(WaitForGraph, WhoNeedsItselfIsNot) {
  const auto cycle = find_deadlock({{{all_of(7, {0})}}}, 0);

  ASSERT_TRUE(cycle);
  ASSERT_EQ(cycle->size(), 1u);
  EXPECT_EQ(cycle->front().lock, 7u);
  EXPECT_EQ(cycle->front().blocker, 0u);
}

TEST(WaitForGraph, TheCycleStartsAndEndsAtTheVictim) {
  const wait_for_graph graph{{{all_of(1, {1})}, {all_of(2, {2})}, {all_of(3, {0})}}};

  const auto cycle = find_deadlock(graph, 0);

  ASSERT_TRUE(cycle);
  EXPECT_THAT(clients(*cycle), ElementsAre(0, 1, 2));
  EXPECT_EQ(cycle->back().blocker, 0u);
}

TEST(WaitForGraph, NamesTheShortestCycle) {
  const wait_for_graph graph{{{all_of(1, {1, 3})}, {all_of(2, {2})}, {all_of(3, {0})}, {all_of(4, {0})}}};

  EXPECT_THAT(clients(*find_deadlock(graph, 0)), ElementsAre(0, 3));
}

TEST(WaitForGraph, AllOfANeedMustGoAndEveryNeedMustBeMet) {
  EXPECT_TRUE(find_deadlock({{{all_of(1, {1, 2})}, {}, {all_of(2, {0})}}}, 0));
  EXPECT_TRUE(find_deadlock({{{all_of(1, {1}), all_of(1, {2})}, {}, {all_of(2, {0})}}}, 0));
}

TEST(WaitForGraph, PermitsAreAnOr) {
  const std::vector<need> waits_for_victim{all_of(2, {0})};

  EXPECT_FALSE(find_deadlock({{{permits_of(1, {{1, 1, false}, {2, 1, false}})}, {}, waits_for_victim}}, 0));
  EXPECT_TRUE(find_deadlock({{{permits_of(2, {{1, 1, false}, {2, 1, false}})}, {}, waits_for_victim}}, 0));
  EXPECT_FALSE(find_deadlock({{{permits_of(2, {{1, 2, false}, {2, 1, false}})}, {}, waits_for_victim}}, 0));
}

TEST(WaitForGraph, PermitsThatTogetherPassThirtyTwoBitsAreCounted) {
  EXPECT_FALSE(find_deadlock(
      {{{permits_of(4'000'000'000, {{1, 3'000'000'000, false}, {2, 3'000'000'000, false}})}, {}, {}}}, 0));
}

TEST(WaitForGraph, WhoOnlyWaitsBehindADeadlockOfOthersIsNoVictim) {
  EXPECT_FALSE(find_deadlock({{{all_of(1, {1})}, {all_of(2, {2})}, {all_of(3, {1})}}}, 0));
}

}  // namespace
}  // namespace dislock::core
