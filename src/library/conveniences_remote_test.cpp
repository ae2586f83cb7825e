// What is made of clients, against real servers.
#include "dislock/async_client.hpp"
#include "dislock/election.hpp"
#include "dislock/lock_registry.hpp"
#include "dislock/mutex.hpp"
#include "dislock/rate_limiter.hpp"
#include "dislock/semaphore.hpp"
#include "engines/redis/wire/test_redis.hpp"
#include "library/remote/test_dislockd.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;

class Over : public ::testing::TestWithParam<const char*> {
 protected:
  Over() {
    if (GetParam() == std::string("http")) {
      service_.emplace();
      url_ = service_->url();
    } else {
      store_.emplace();
      url_ = store_->url();
    }
    here_ = client::connect(url_).value();
    there_ = client::connect(url_).value();
  }

  std::optional<test_dislockd> service_;
  std::optional<redis::test_redis> store_;
  std::string url_;
  client here_ = client::connect("memory:").value(), there_ = here_;
};
INSTANTIATE_TEST_SUITE_P(ANetwork, Over, ::testing::Values("http", "redis"),
                         [](const auto& which) { return std::string(which.param); });

TEST_P(Over, CoroutinesWaitForEachOther) {
  const auto work = [](async_client locks, int& counter) -> task<bool> {
    for (int i = 0; i < 25; ++i) {
      auto done = co_await locks.with_lock("counter", [&counter](lease&) { return ++counter; });
      if (!done) co_return false;
    }
    co_return true;
  };
  int counter = 0;

  auto a = start(work(here_.async(), counter));
  auto b = start(work(there_.async(), counter));

  EXPECT_TRUE(std::move(a).get());
  EXPECT_TRUE(std::move(b).get());
  EXPECT_EQ(counter, 50);
}

TEST_P(Over, ADestroyedWaiterLeavesTheQueueAndTheLock) {
  auto held = here_.acquire("a");
  auto waits = start(there_.async().acquire("a"));
  while (here_.inspect("a")->queue_length == 0) std::this_thread::yield();

  waits.stop();
  ASSERT_TRUE(held->release());

  EXPECT_TRUE(here_.acquire("a"));  // waits in line behind whatever is left
}

TEST(OverHttp, AnElectionIsObservedThroughARestartOfTheService) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("dislock-election-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const auto engine = "embedded:" + folder.string();
  auto service = std::make_unique<test_dislockd>(std::vector<std::string>{}, engine);
  const auto port = service->port();
  auto locks = client::connect(service->url()).value();
  std::mutex guard;
  std::string told;
  const auto now = [&] {
    const std::lock_guard g(guard);
    return told;
  };
  const auto until = [&](const std::string& wanted) {
    for (int i = 0; i < 2'000 && now() != wanted; ++i) std::this_thread::sleep_for(10ms);
    EXPECT_EQ(now(), wanted);
  };
  election north(locks, "boss", "north"), south(locks, "boss", "south");
  auto watching = south.observe([&](const std::optional<leader>& who) {
    const std::lock_guard g(guard);
    told += who ? who->value + " " : "nobody ";
  });
  until("nobody ");
  auto first = north.campaign();
  until("nobody north ");

  service->kill();
  service = std::make_unique<test_dislockd>(std::vector<std::string>{}, engine, port);
  ASSERT_TRUE(north.resign(*first));
  until("nobody north nobody ");
  auto second = south.campaign();
  until("nobody north nobody south ");

  watching.stop();
  service->kill();
  std::filesystem::remove_all(folder);
}

TEST_P(Over, TheRestWorksAsInProcess) {
  semaphore pool(here_, "pool", 2), same(there_, "pool", 2);
  auto both = pool.acquire(2);
  EXPECT_FALSE(same.try_acquire()->has_value());

  rate_limiter calls(here_, "calls", 1, 200ms), others(there_, "calls", 1, 200ms);
  ASSERT_TRUE(*calls.try_pass());
  EXPECT_FALSE(*others.try_pass());
  EXPECT_TRUE(others.pass(10s));

  mutex mine(here_, "mutex"), theirs(there_, "mutex");
  {
    const std::lock_guard guard(mine);
    EXPECT_FALSE(theirs.try_lock());
  }
  EXPECT_TRUE(theirs.try_lock());
  theirs.unlock();

  lock_registry held(here_);
  EXPECT_TRUE(held.acquire("x"));
  EXPECT_TRUE(held.acquire("x"));
  EXPECT_TRUE(*there_.is_locked("x"));
  EXPECT_TRUE(held.release_all().empty());
  EXPECT_FALSE(*there_.is_locked("x"));
}

}  // namespace
}  // namespace dislock::library
