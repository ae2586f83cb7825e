// The client over a store of its own: what is different from `memory:` is that answers come later, and that
// everything is still there afterwards.
#include "dislock/async_client.hpp"
#include "library/core.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class EmbeddedClient : public testing::Test {
 protected:
  EmbeddedClient() {
    std::string made = std::filesystem::temp_directory_path() / "dislock-client-XXXXXX";
    if (::mkdtemp(made.data()) == nullptr) std::abort();
    where_ = made;
  }
  ~EmbeddedClient() override { std::filesystem::remove_all(where_); }
  std::string url() const { return "embedded:" + where_ + "/store"; }
  client open(client_options options = {}) { return client::connect(url(), std::move(options)).value(); }

  std::string where_;
};

TEST_F(EmbeddedClient, TakesALockAndGivesItBackDurably) {
  auto locks = open();
  const auto about = locks.about().value();
  EXPECT_EQ(about.engine, "embedded");
  EXPECT_TRUE(about.durable && about.durable_fence);
  auto mine = locks.acquire("a").value();
  EXPECT_TRUE(mine.held());
  EXPECT_TRUE(locks.is_locked("a").value());
  EXPECT_TRUE(mine.renew());
  EXPECT_TRUE(mine.release());
  EXPECT_FALSE(locks.is_locked("a").value());
}

TEST_F(EmbeddedClient, ASecondClientOfTheDirectoryIsRefusedUntilTheFirstIsClosed) {
  auto locks = open();
  const auto second = client::connect(url());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, errc::engine_unavailable);
  EXPECT_THAT(second.error().detail, HasSubstr(where_));
  EXPECT_TRUE(locks.acquire("a")) << "the first goes on";
  locks = client::connect("memory:").value();
  EXPECT_TRUE(client::connect(url()));
}

TEST_F(EmbeddedClient, IsClosedWithItsLastCopyWhateverATaskThatWasStoppedHadAsked) {
  auto watching = [&] {
    const auto locks = open();
    return start([](async_client with) -> task<void> { (void)co_await with.sleep(100s); }(locks.async()));
  }();
  EXPECT_FALSE(watching.done());
  EXPECT_FALSE(client::connect(url())) << "the task has a copy";
  watching.stop();
  EXPECT_TRUE(client::connect(url()));
}

task<void> leave(std::unique_ptr<client> last) {
  (void)co_await last->async().sleep(1ms);
  last.reset();
}

// The thread that takes the store down is the client's own, and still at it when `main` is over.
TEST_F(EmbeddedClient, ThatIsLeftOnItsOwnThreadIsGoneBeforeTheProcessIs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto leave_and_exit = [](const std::string& where) {
    {
      auto leaving = start(leave(std::make_unique<client>(client::connect(where).value())));
      leaving.wait();
    }
    std::exit(0);
  };
  for (int round = 0; round < 10; ++round) EXPECT_EXIT(leave_and_exit(url()), testing::ExitedWithCode(0), "");
}

TEST_F(EmbeddedClient, ADirectoryThatCannotBeHasAReason) {
  const auto out = client::connect("embedded:/proc/no/such/place");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, errc::engine_unavailable);
  EXPECT_FALSE(out.error().detail.empty());
}

TEST_F(EmbeddedClient, AClosedClientLeavesNoLockBehind) {
  fencing_token before{};
  {
    auto locks = open();
    auto mine = locks.acquire("a").value();
    before = mine.fencing_token();
    EXPECT_TRUE(locks.close());
  }
  auto locks = open();
  EXPECT_FALSE(locks.is_locked("a").value());
  EXPECT_GT(locks.acquire("a")->fencing_token(), before) << "tokens go on";
}

TEST_F(EmbeddedClient, ALeaseThatWasDetachedSurvivesARestart) {
  lease_ticket ticket;
  {
    auto locks = open();
    ticket = std::move(*locks.acquire("a", {.ttl = 10min})).detach();
  }
  auto locks = open();
  EXPECT_TRUE(locks.is_locked("a").value());
  EXPECT_EQ(locks.inspect("a")->holders.front().token, ticket.token);
  EXPECT_TRUE(locks.renew(ticket));
  EXPECT_TRUE(locks.release(ticket));
  EXPECT_FALSE(locks.is_locked("a").value());
}

// A grant that is on its way to the disk when nobody waits for it any more.
TEST_F(EmbeddedClient, NoLockIsLeftByThoseWhoLeaveWhileTheirGrantIsOnItsWay) {
  for (int i = 0; i < 5; ++i) {
    {
      auto opened = core::open(url(), {}).value();
      std::stop_source stop;
      std::promise<void> one_told, two_told;
      opened->acquire({{"a"}}, false, false, {.ttl = 10min, .stop = stop.get_token()},
                      [&](auto&&) { one_told.set_value(); });
      opened->acquire({{"b"}}, false, false, {.ttl = 10min}, [&](auto&&) { two_told.set_value(); });
      stop.request_stop();
      EXPECT_TRUE(core::make_client(opened).close());
      one_told.get_future().wait();
      two_told.get_future().wait();
    }
    auto locks = open();
    ASSERT_TRUE(locks.list()->empty()) << "round " << i;
  }
}

TEST_F(EmbeddedClient, AsynchronousDurabilitySaysThatItIsLess) {
  client_options o;
  o.async_durability = true;
  {
    auto locks = open(o);
    const auto about = locks.about().value();
    EXPECT_EQ(about.guarantee, 'C');
    EXPECT_FALSE(about.durable);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(locks.acquire("a")->release());
    (void)std::move(*locks.acquire("a", {.ttl = 10min})).detach();
  }
  EXPECT_TRUE(open(o).is_locked("a").value()) << "an orderly end loses nothing";
}

TEST_F(EmbeddedClient, FollowsAClockThatIsMovedByHand) {
  manual_clock time;
  client_options o;
  o.time = &time;
  auto locks = open(o);
  auto mine = locks.acquire("a", {.ttl = 10s, .renew = false}).value();
  const auto lost = mine.lost();
  locks.advance(9s);
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_TRUE(locks.is_locked("a").value());
  locks.advance(1s);
  EXPECT_FALSE(locks.is_locked("a").value());
  auto kept = locks.acquire("b").value();
  for (int i = 0; i < 20; ++i) {
    locks.advance(10s);
    ASSERT_TRUE(kept.is_held().value());
  }
  EXPECT_TRUE(kept.held());
}

TEST_F(EmbeddedClient, ManyCallersShareTheirCommits) {
  auto locks = open();
  std::vector<std::thread> all;
  std::atomic<int> done{0};
  for (int i = 0; i < 8; ++i)
    all.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n) {
        auto mine = locks.acquire(i % 2 == 0 ? "shared" : "own/" + std::to_string(i));
        done += mine && mine->release();
      }
    });
  for (auto& each : all) each.join();
  EXPECT_EQ(done, 8 * 50);
  EXPECT_TRUE(locks.list()->empty());
}

}  // namespace
}  // namespace dislock::library
