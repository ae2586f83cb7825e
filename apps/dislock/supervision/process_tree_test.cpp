#include "supervision/process_tree.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <unistd.h>

namespace dislock::cli {
namespace {

std::vector<pid_t> ids(std::vector<process> all) {
  std::vector<pid_t> out;
  for (const auto& p : all) out.push_back(p.id);
  std::ranges::sort(out);
  return out;
}

TEST(ProcessTree, ReadsALineOfStat) {
  const auto p = process_from("123 (cat) S 7 120 99 0 -1 4194304");
  ASSERT_TRUE(p);
  EXPECT_EQ(p->id, 123);
  EXPECT_EQ(p->parent, 7);
  EXPECT_EQ(p->group, 120);
  EXPECT_EQ(p->state, 'S');
}

TEST(ProcessTree, IsNotMisledByTheNameOfAProgram) {
  const auto p = process_from("5 (a) R 1 1 (b c)) Z 4 3 2");
  ASSERT_TRUE(p);
  EXPECT_EQ(p->parent, 4);
  EXPECT_TRUE(p->dead());
}

TEST(ProcessTree, RefusesWhatIsNoSuchLine) {
  for (const auto* text : {"", "12", "12 (x)", "x (y) S 1 1", "12 (x) S"})
    EXPECT_FALSE(process_from(text)) << text;
}

TEST(ProcessTree, FindsDescendantsOfAnyDepthAndNobodyElse) {
  const std::vector<process> all{
      {1, 0, 1, 'S'}, {10, 1, 10, 'S'}, {11, 10, 11, 'S'}, {12, 11, 99, 'R'}, {20, 1, 20, 'S'}};
  EXPECT_EQ(ids(descendants_of(10, all)), (std::vector<pid_t>{11, 12}));
  EXPECT_TRUE(descendants_of(12, all).empty());
}

TEST(ProcessTree, DoesNotCountTheDeadButWhatTheyLeft) {
  const std::vector<process> all{{10, 1, 10, 'S'}, {11, 10, 11, 'Z'}, {12, 11, 12, 'S'}};
  EXPECT_EQ(ids(descendants_of(10, all)), (std::vector<pid_t>{12}));
}

TEST(ProcessTree, EndsWithACircleThatASnapshotMayShow) {
  const std::vector<process> all{{10, 12, 10, 'S'}, {11, 10, 11, 'S'}, {12, 11, 12, 'S'}};
  EXPECT_EQ(ids(descendants_of(10, all)), (std::vector<pid_t>{11, 12}));
}

TEST(ProcessTree, SeesAChildOfThisProcess) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(pipe_ends[1]);
    char c = 0;
    (void)!read(pipe_ends[0], &c, 1);
    _exit(0);
  }
  const auto found = ids(descendants_of(getpid(), all_processes()));
  close(pipe_ends[1]);
  close(pipe_ends[0]);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(found, std::vector<pid_t>{child});
}

}  // namespace
}  // namespace dislock::cli
