// Many threads on one client. Run it under TSan.
#include "library/core.hpp"
#include "library/test_stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dislock::library {
namespace {

TEST(ManyThreads, NeverShareALockAndLeaveNoneBehind) {
  everything_at_once(client::connect("memory:").value(), 8, 400);
}

TEST(ManyThreads, NeverShareALockWithRequestIdsEither) {
  everything_at_once(client::connect("memory:", {.request_ids = true}).value(), 8, 400);
}

TEST(ManyThreads, NeverShareALockOfAStore) {
  std::string where = std::filesystem::temp_directory_path() / "dislock-stress-XXXXXX";
  ASSERT_NE(::mkdtemp(where.data()), nullptr);
  everything_at_once(client::connect("embedded:" + where + "/store").value(), 8, 100);
  std::filesystem::remove_all(where);
}

// Leases of 200 ms that only their renewal keeps alive, callbacks that call the client, and an end in the
// middle.
TEST(ManyThreads, AClientMayBeClosedWhileEverybodyUsesIt) {
  const auto base = seed();
  for (unsigned round = 0; round < 10; ++round) {
    auto locks = client::connect("memory:").value();
    const auto told = std::make_shared<std::atomic<int>>(0);  // a callback may come after all else here
    std::vector<std::thread> all;
    for (unsigned i = 0; i < 6; ++i)
      all.emplace_back([=, copy = locks]() mutable {
        std::mt19937 random(base + 100 * round + i);
        for (;;) {
          acquire_options how{.ttl = 200ms, .on_stage = [told, copy](lease_stage, loss_cause) mutable {
                                ++*told;
                                (void)copy.is_locked("lock/0");
                              }};
          auto mine = copy.acquire("lock/" + std::to_string(random() % 3), std::move(how));
          if (!mine && mine.error().code == errc::engine_unavailable) return;
          if (mine && random() % 2 == 0) (void)mine->renew();
          if (mine && random() % 16 == 0) {
            const std::stop_callback heard(mine->lost(), [&] { ++*told; });
            std::this_thread::yield();
          }
        }
      });
    for (int i = 0; i < 200; ++i) (void)locks.inspect("lock/1");
    EXPECT_TRUE(locks.close());
    for (auto& each : all) each.join();
  }
}

TEST(ManyThreads, AClientMayEndWhileItsLeasesAreUsed) {
  for (int round = 0; round < 30; ++round) {
    auto locks = std::make_unique<client>(client::connect("memory:").value());
    std::vector<std::thread> all;
    for (int i = 0; i < 4; ++i)
      all.emplace_back([mine = locks->acquire("own/" + std::to_string(i)).value(), i]() mutable {
        for (int n = 0; n < 20; ++n) {
          (void)mine.held();
          (void)mine.remaining();
          (void)mine.lost();
          (void)mine.stage();
          if (i % 2 == 0) (void)mine.renew();
          if (i == 1) (void)mine.is_held();
        }
        if (i == 3) (void)mine.release();
      });
    locks.reset();
    for (auto& each : all) each.join();
  }
}

}  // namespace
}  // namespace dislock::library
