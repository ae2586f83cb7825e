#include "engines/redis/handover.hpp"

#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

TEST(Handover, TrustsAServerThatWeKnewBeforeTheSlotCame) {
  EXPECT_TRUE(is_unbroken({.running = 1h, .ever_promoted = true, .connected = 10s}, 9s));
  EXPECT_FALSE(is_unbroken({.running = 1h, .ever_promoted = true, .connected = 10s}, 11s))
      << "it may have been promoted in between, without what had been moved to its predecessor";
}

TEST(Handover, TrustsAServerThatHasOnlyEverBeenItself) {
  EXPECT_TRUE(is_unbroken({.running = 20s, .ever_promoted = false, .connected = 0s}, 18s));
  EXPECT_FALSE(is_unbroken({.running = 20s, .ever_promoted = false, .connected = 0s}, 18s + 1us))
      << "it may have been started again, from what was on its disk";
  EXPECT_FALSE(is_unbroken({.running = 1h, .ever_promoted = true, .connected = 0s}, 1s));
}

}  // namespace
}  // namespace dislock::redis
