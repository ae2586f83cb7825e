#include "wait_forest.hpp"

#include <gtest/gtest.h>

namespace dislock::cli {
namespace {

std::string drawn(const forest& f) {
  std::string out;
  for (const auto& l : f.lines)
    out += std::string(l.depth, '.') + l.client + (l.lock.empty() ? "" : ":" + l.lock) +
           (l.behind ? "~" : "") + (l.again ? "^" : "") + (l.in_cycle ? "!" : "") + " ";
  return out;
}

TEST(WaitForest, PutsWhoWaitsForNobodyOnTop) {
  EXPECT_EQ(drawn(forest_of({{"b", "a", "L", false}, {"c", "b", "M", false}})), "a .b:L ..c:M ");
}

TEST(WaitForest, ShowsHoldersWaitersBeforeThoseThatQueueBehind) {
  EXPECT_EQ(drawn(forest_of({{"c", "a", "L", true}, {"d", "a", "L", false}})), "a .d:L .c:L~ ");
}

TEST(WaitForest, ShowsNobodysChildrenTwice) {
  EXPECT_EQ(drawn(forest_of({{"b", "a", "L", false},
                             {"c", "a", "M", false},
                             {"d", "b", "N", false},
                             {"d", "c", "O", false},
                             {"e", "d", "P", false}})),
            "a .b:L ..d:N ...e:P .c:M ..d:O^ ");
}

TEST(WaitForest, ShowsCyclesFirst) {
  const auto f = forest_of(
      {{"a", "b", "L", false}, {"b", "a", "M", false}, {"y", "x", "N", false}, {"z", "a", "O", false}});
  EXPECT_EQ(f.cycles, (std::vector<std::vector<std::string>>{{"a", "b"}}));
  EXPECT_EQ(drawn(f), "a! .b:M! ..a:L^! .z:O x .y:N ");
}

TEST(WaitForest, CountsWhoWaitsForItselfAsACycle) {
  EXPECT_EQ(forest_of({{"a", "a", "L", false}}).cycles.size(), 1U);
}

TEST(WaitForest, IsEmptyWhenNobodyWaits) {
  EXPECT_TRUE(forest_of({}).lines.empty());
}

TEST(WaitForest, StandsAQueueOfTenThousand) {
  std::vector<graph_edge> edges;
  for (int i = 1; i <= 10'000; ++i)
    edges.push_back({"c" + std::to_string(i), "c" + std::to_string(i - 1), "L", false});
  const auto f = forest_of(edges);
  EXPECT_EQ(f.lines.size(), 10'001U);
  EXPECT_TRUE(f.cycles.empty());
}

TEST(WaitForest, WritesAGraphForGraphviz) {
  EXPECT_EQ(dot_of({{"b", "a\"", "L", true}}),
            "digraph waits_for {\n  rankdir=LR;\n  node [shape=box];\n  \"b\" -> \"a\\\"\" [label=\"L\", "
            "style=dashed];\n}\n");
}

}  // namespace
}  // namespace dislock::cli
