// Promises of the lock table that hold for every sequence of operations. A failure prints the seed and the
// shortest sequence; RC_PARAMS="seed=..." plays it again.
#include "core/test_world.hpp"

#include <rapidcheck.h>

namespace rc {

template <>
struct Arbitrary<dislock::core::step> {
  static Gen<dislock::core::step> arbitrary() {
    using dislock::core::step;
    const auto bits = gen::resize(kNominalSize, gen::inRange<std::uint32_t>(0, 1u << 20));
    return gen::build<step>(gen::set(&step::verb, bits), gen::set(&step::client, bits),
                            gen::set(&step::lock, bits), gen::set(&step::pick, bits),
                            gen::set(&step::more, bits));
  }
};

}  // namespace rc

namespace dislock::core {
namespace {

struct totals {
  std::size_t steps = 0, victims = 0, grants = 0;
};

bool holds(const char* sentence, const table_options& options, totals& sum) {
  return rc::check(sentence, [&] {
    const auto steps = *rc::gen::scale(20.0, rc::gen::arbitrary<std::vector<step>>());
    world w(options);
    for (const auto& s : steps) w.play(s);
    w.finish();
    sum.steps += steps.size();
    sum.victims += w.victims();
    sum.grants += w.grants();
    if (!w.violation().empty()) RC_FAIL(w.violation());
  });
}

TEST(LockTableProperty, KeepsItsPromisesThroughEverySequenceOfOperations) {
  totals sum;
  EXPECT_TRUE(holds("the lock table keeps its promises", {}, sum));
  EXPECT_GT(sum.victims, 20u) << "the operations should meet deadlocks";
  EXPECT_GT(sum.grants, sum.steps / 10) << "the operations should get somewhere";
}

TEST(LockTableProperty, KeepsThemWhenAStepGrantsOnlyOneRequest) {
  totals sum;
  EXPECT_TRUE(holds("the lock table keeps its promises with small steps", {.grants_per_step = 1}, sum));
}

TEST(LockTableProperty, KeepsThemWithoutDeadlockDetection) {
  totals sum;
  EXPECT_TRUE(holds("the lock table keeps its promises with deadlocks", {.detect_deadlocks = false}, sum));
  EXPECT_EQ(sum.victims, 0u);
}

}  // namespace
}  // namespace dislock::core
