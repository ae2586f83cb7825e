#include "engines/redlock/admission.hpp"

#include <gtest/gtest.h>

namespace dislock::redlock {
namespace {

using step = admission::step;

constexpr std::int64_t t0 = 1'800'000'000'000'000, minute = 60'000'000;
constexpr std::uint64_t token = 1'700'000'000'000'000;

// A node that votes.
node_memory voter() {
  node_memory n;
  n.answers = true;
  n.incarnation = n.run = "life";
  n.now = t0;
  n.born = t0 - minute;
  n.high = token;
  n.seen = true;
  return n;
}
// One that has no memory at all.
node_memory empty() {
  node_memory n;
  n.answers = true;
  n.incarnation = "life";
  n.now = t0;
  return n;
}
node_memory away() {
  return {};
}

std::vector<step> plan(const std::vector<node_memory>& nodes, bool patient = false,
                       founding_rule rule = founding_rule::all) {
  std::vector<step> out;
  for (const auto& a : plan_admissions(nodes, rule, patient, t0)) out.push_back(a.what);
  return out;
}
using steps = std::vector<step>;

TEST(Admission, ABrandNewSetIsFoundedAtOnce) {
  EXPECT_EQ(plan({empty(), empty(), empty()}), steps(3, step::found));
}

TEST(Admission, WithANodeThatDoesNotAnswerNobodyKnowsThatASetIsBrandNew) {
  EXPECT_EQ(plan({empty(), empty(), away()}), (steps{step::silence, step::silence, step::none}));
  EXPECT_EQ(plan({empty(), empty(), away()}, true), steps(3, step::none)) << "it may answer in a moment";
  auto quiet = empty();
  quiet.run = quiet.incarnation;
  quiet.quiet_until = t0 + minute;
  EXPECT_EQ(plan({quiet, quiet, empty()}), steps(3, step::found)) << "when it does, the silence is over";
}

TEST(Admission, AMajorityIsEnoughWhereTheOperatorSaysSoAndNothingWhereHeSaysNever) {
  EXPECT_EQ(plan({empty(), empty(), away()}, false, founding_rule::majority),
            (steps{step::found, step::found, step::none}));
  EXPECT_EQ(plan({empty(), away(), away()}, false, founding_rule::majority),
            (steps{step::silence, step::none, step::none}));
  EXPECT_EQ(plan({empty(), empty(), empty()}, false, founding_rule::never), steps(3, step::silence));
}

TEST(Admission, WhoLosesItsMemoryAmongOthersIsQuiet) {
  EXPECT_EQ(plan({voter(), empty(), voter()}), (steps{step::none, step::silence, step::none}));
  EXPECT_EQ(plan({voter(), empty(), voter()}, true), (steps{step::none, step::silence, step::none}));
  auto back = voter();
  back.incarnation = "next life";
  EXPECT_EQ(plan({voter(), back, voter()}), (steps{step::none, step::silence, step::none}))
      << "a memory that came back may be an old one";
}

TEST(Admission, ASetThatThisProcessHasSeenAliveIsNeverBrandNewAgain) {
  auto wiped = empty();
  wiped.seen = true;
  EXPECT_EQ(plan({wiped, wiped, wiped}), steps(3, step::silence));
  EXPECT_EQ(plan({wiped, empty(), empty()}), steps(3, step::silence));
}

TEST(Admission, WhoWritesEverythingToDiskNeedsNoSilence) {
  auto back = voter();
  back.incarnation = "next life";
  back.was_safe = true;
  EXPECT_EQ(plan({voter(), back, voter()}), (steps{step::none, step::prove, step::none}));
  back.quiet_until = t0 + minute;
  EXPECT_EQ(plan({voter(), back, voter()}), (steps{step::none, step::silence, step::none}))
      << "but for what it did not know before";
  auto lost = empty();
  lost.was_safe = true;
  EXPECT_EQ(plan({voter(), lost, voter()}), (steps{step::none, step::silence, step::none}));
}

TEST(Admission, AfterTheSilenceANodeVotesAboveEverythingThatCanBeRead) {
  auto quiet = voter();
  quiet.quiet_until = t0 + 1;
  EXPECT_EQ(plan({voter(), quiet, voter()})[1], step::none);
  quiet.now = t0 + 1;
  auto ahead = voter();
  ahead.high = t0 + 5;
  const auto done = plan_admissions(std::vector{voter(), quiet, ahead}, founding_rule::all, false, t0);
  EXPECT_EQ(done[1].what, step::raise);
  EXPECT_EQ(done[1].above, std::uint64_t{t0 + 5});
  EXPECT_EQ(plan_admissions(std::vector{away(), quiet, away()}, founding_rule::all, false, t0)[1].above,
            std::uint64_t{t0})
      << "and above the time, whoever answers";
}

TEST(Admission, OfTwoReplicasThatFoundASetTheSlowerOneGoesOnWhereTheOtherIs) {
  auto founded = voter();
  founded.seen = false;
  founded.born = t0 - 1;
  EXPECT_EQ(plan({founded, empty(), empty()}), (steps{step::none, step::found, step::found}));
  founded.born = t0 - minute;
  EXPECT_EQ(plan({founded, empty(), empty()}), (steps{step::none, step::silence, step::silence}));
}

}  // namespace
}  // namespace dislock::redlock
