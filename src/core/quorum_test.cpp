#include "core/quorum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

namespace dislock::core {
namespace {

using namespace std::chrono_literals;

// Written from the sentence "more than half accept the same, in time", without looking at the counting: it
// tries every way in which the silent nodes could still vote.
verdict oracle(const std::vector<vote>& votes, bool in_time) {
  if (!in_time) return verdict::lost;
  bool can_win = false, can_fail = false;
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < votes.size(); ++i)
    if (votes[i] == vote::silent) open.push_back(i);
  for (unsigned way = 0; way < 1U << open.size(); ++way) {
    double balance = 0;  // for minus against
    for (std::size_t i = 0; i < votes.size(); ++i) {
      bool yes = votes[i] == vote::accepted;
      for (std::size_t k = 0; k < open.size(); ++k)
        if (open[k] == i) yes = (way >> k & 1U) != 0;
      balance += yes ? 1 : -1;
    }
    (balance > 0 ? can_win : can_fail) = true;
  }
  if (can_win && can_fail) return verdict::undecided;
  return can_win ? verdict::won : verdict::lost;
}

// What the oracle says of a pattern, worked out once.
verdict oracle_of(const std::vector<vote>& votes) {
  static std::map<std::vector<vote>, verdict> known;
  const auto it = known.find(votes);
  return it != known.end() ? it->second : known.emplace(votes, oracle(votes, true)).first->second;
}

std::string text_of(const std::vector<vote>& votes) {
  std::string out;
  for (const auto v : votes) out += "?+-x"[static_cast<std::size_t>(v)];
  return out;
}

round told(const std::vector<vote>& votes, const std::vector<std::size_t>& order) {
  round r(votes.size(), 10s, 1s);
  for (const auto i : order)
    if (votes[i] != vote::silent) r.take(i, votes[i]);
  return r;
}

TEST(Quorum, JudgesEveryPatternOfVotesAsTheOracleDoes) {
  std::size_t patterns = 0;
  for (std::size_t n = 1; n <= 7; ++n) {
    std::size_t all = 1;
    for (std::size_t i = 0; i < n; ++i) all *= 4;
    for (std::size_t pattern = 0; pattern < all; ++pattern, ++patterns) {
      std::vector<vote> votes;
      for (auto rest = pattern; votes.size() < n; rest /= 4) votes.push_back(static_cast<vote>(rest % 4));
      std::vector<std::size_t> order(n);
      std::iota(order.begin(), order.end(), std::size_t{0});
      const auto r = told(votes, order);
      ASSERT_EQ(r.judge(0s), oracle(votes, true)) << text_of(votes);
      ASSERT_EQ(r.judge(9s), oracle(votes, false)) << text_of(votes);
    }
  }
  EXPECT_EQ(patterns, 4u + 16u + 64u + 256u + 1024u + 4096u + 16384u);
}

TEST(Quorum, JudgesTheTwoToTheNPatternsInEveryOrderOfArrivalAndNeverTakesAVerdictBack) {
  for (std::size_t n = 1; n <= 6; ++n)
    for (std::size_t pattern = 0; pattern < std::size_t{1} << n; ++pattern) {
      std::vector<vote> votes;
      for (std::size_t i = 0; i < n; ++i)
        votes.push_back((pattern >> i & 1U) != 0 ? vote::accepted
                        : i % 2                  ? vote::refused
                                                 : vote::unreachable);
      std::vector<std::size_t> order(n);
      std::iota(order.begin(), order.end(), std::size_t{0});
      do {
        round r(n, 10s, 1s);
        std::vector<vote> so_far(n, vote::silent);
        auto before = verdict::undecided;
        for (const auto i : order) {
          r.take(i, votes[i]);
          so_far[i] = votes[i];
          const auto now = r.judge(1ms);
          ASSERT_EQ(now, oracle_of(so_far)) << text_of(so_far);
          ASSERT_TRUE(before == verdict::undecided || before == now) << text_of(so_far);
          before = now;
        }
        ASSERT_NE(before, verdict::undecided) << text_of(votes);
      } while (std::next_permutation(order.begin(), order.end()));
    }
}

TEST(Quorum, IsDecidedByTheVoteThatMakesTheMajorityAndDoesNotWaitForTheRest) {
  round r(5, 10s, 1s);
  r.take(4, vote::accepted);
  r.take(2, vote::accepted);
  EXPECT_EQ(r.judge(0s), verdict::undecided);
  r.take(0, vote::accepted);
  EXPECT_EQ(r.judge(0s), verdict::won);
  EXPECT_EQ(r.count(vote::silent), 2u);
}

TEST(Quorum, KnowsRefusalByAMajorityFromNotReachingOne) {
  round r(5, 10s, 1s);
  r.take(0, vote::refused, 7);
  r.take(1, vote::unreachable);
  EXPECT_EQ(r.judge(0s), verdict::undecided);
  r.take(3, vote::refused, 9);
  EXPECT_EQ(r.judge(0s), verdict::lost);
  EXPECT_FALSE(r.is_refused());
  r.take(4, vote::refused, 8);
  EXPECT_TRUE(r.is_refused());
  EXPECT_EQ(r.largest_last(), 9u);
}

TEST(Quorum, AMajorityThatCameTooLateIsNone) {
  round r(3, 1s, 500ms);
  r.take(0, vote::accepted);
  r.take(1, vote::accepted);
  // 1 s less a hundredth less 2 ms, of which half a second has to be left
  EXPECT_EQ(r.judge(488ms), verdict::won);
  EXPECT_EQ(r.judge(488ms + 1us), verdict::lost);
}

TEST(Quorum, ValidityIsTheLifeLessWhatHasPassedAndTheDrift) {
  EXPECT_EQ(valid_for(10s, 0s), 10s - 100ms - 2ms);
  EXPECT_EQ(valid_for(10s, 300ms), 10s - 300ms - 102ms);
}

TEST(Quorum, NodesKeepALeaseLongEnoughForAllOfItToBeLeftAndHardlyLonger) {
  for (const duration wanted :
       {duration(100ms), duration(1s), duration(10s), duration(333'333us), duration(300s)})
    for (const duration patience : {duration(0), duration(25ms), duration(500ms)}) {
      const auto life = life_for(wanted, patience);
      EXPECT_GE(valid_for(life, patience), wanted);
      EXPECT_LT(valid_for(life - 2ms, patience), wanted);
      EXPECT_EQ(life % 1ms, duration(0)) << "a node counts in milliseconds";
    }
}

TEST(Quorum, ProposesTheTimeOrOneMoreThanTheLargestTokenSeen) {
  EXPECT_EQ(next_proposal(0, from_microseconds(1000)), 1000u);
  EXPECT_EQ(next_proposal(999, from_microseconds(1000)), 1000u);
  EXPECT_EQ(next_proposal(1000, from_microseconds(1000)), 1001u);
  EXPECT_EQ(next_proposal(5000, from_microseconds(1000)), 5001u);
  EXPECT_EQ(next_proposal(5, from_microseconds(-3)), 6u);
}

}  // namespace
}  // namespace dislock::core
