#include "dislock/lock_registry.hpp"

#include "library/test_conveniences.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace dislock::library {
namespace {

using LockRegistry = conveniences_test;

TEST_F(LockRegistry, AcquiresANameOnceAndGivesTheSameLeaseAgain) {
  lock_registry held(locks_);

  const auto first = held.acquire("a");
  const auto second = held.acquire("a");

  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(held.hold_count("a"), 2u);
  EXPECT_EQ(held.find("a"), *first);
  EXPECT_EQ(state_of("a").holders.front().hold_count, 1u);
}

TEST_F(LockRegistry, GivesTheLeaseBackWithTheLastRelease) {
  lock_registry held(locks_);
  const auto lease_of_a = *held.acquire("a");
  (void)held.acquire("a");

  EXPECT_TRUE(held.release("a"));
  EXPECT_TRUE(lease_of_a->held());
  EXPECT_TRUE(held.release("a"));

  EXPECT_EQ(lease_of_a->stage(), lease_stage::released);
  EXPECT_TRUE(is_free("a"));
  EXPECT_EQ(held.find("a"), nullptr);
  EXPECT_EQ(code_of(held.release("a")), errc::lock_not_held);
}

TEST_F(LockRegistry, SaysWhyANameCouldNotBeAcquiredAndForgetsIt) {
  lock_registry held(locks_);
  auto other = locks_.acquire("a");

  EXPECT_EQ(code_of(held.acquire("a", waiting(0s))), errc::lock_not_acquired);
  EXPECT_EQ(code_of(held.acquire("a//b")), errc::invalid_lock_name);

  EXPECT_TRUE(held.names().empty());
}

TEST_F(LockRegistry, DoesNotShareALeaseInAnotherMode) {
  lock_registry held(locks_);
  (void)held.acquire("a", {.mode = lock_mode::shared});

  EXPECT_TRUE(held.acquire("a", {.mode = lock_mode::shared}));
  EXPECT_EQ(code_of(held.acquire("a")), errc::lock_mode_conflict);
  EXPECT_EQ(held.hold_count("a"), 2u);
}

TEST_F(LockRegistry, GivesAllBackAndNamesWhatFailed) {
  lock_registry held(locks_);
  (void)held.acquire("a");
  (void)held.acquire("a");
  (void)held.acquire("b");
  const auto c = *held.acquire("c");
  EXPECT_EQ(held.names(), (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_TRUE(locks_.force_release("b", {}, "test"));

  const auto failed = held.release_all();

  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed.front().lock, "b");
  EXPECT_EQ(failed.front().why.code, errc::lock_not_held);
  EXPECT_TRUE(is_free("a") && is_free("b") && is_free("c"));
  EXPECT_EQ(c->stage(), lease_stage::released);
  EXPECT_TRUE(held.names().empty());
}

TEST_F(LockRegistry, GivesAllBackWhenItEndsAlsoWhatSomebodyStillLooksAt) {
  std::shared_ptr<const lease> seen;
  {
    lock_registry held(locks_);
    seen = *held.acquire("a");
  }

  EXPECT_TRUE(is_free("a"));
  EXPECT_EQ(seen->stage(), lease_stage::released);
}

TEST_F(LockRegistry, TellsOfTheStagesOfItsLeases) {
  std::vector<std::string> told;
  lock_registry held(locks_, [&told](std::string_view lock, lease_stage at, loss_cause why) {
    told.push_back(std::string(lock) + " " + std::string(to_string(at)) + " " + std::string(to_string(why)));
  });
  int own = 0;
  acquire_options how;
  how.ttl = 10s;
  how.renew = false;
  how.on_stage = [&own](lease_stage, loss_cause) { ++own; };
  const auto mine = *held.acquire("a", how);
  EXPECT_TRUE(held.lost().empty());

  locks_.advance(10s);

  EXPECT_EQ(told, (std::vector<std::string>{"a must_stop expired", "a lost expired"}));
  EXPECT_EQ(own, 2);
  EXPECT_TRUE(mine->lost().stop_requested());
  EXPECT_EQ(held.lost(), std::vector<std::string>{"a"});
  EXPECT_EQ(code_of(held.release("a")), errc::lock_not_held);
  EXPECT_TRUE(held.lost().empty());
}

TEST_F(LockRegistry, ReplacesALostLeaseAndCountsThoseWhoHadIt) {
  lock_registry held(locks_);
  acquire_options how;
  how.ttl = 10s;
  how.renew = false;
  const auto lost = *held.acquire("a", how);
  locks_.advance(10s);

  const auto again = held.acquire("a");
  ASSERT_TRUE(again);
  EXPECT_NE(*again, lost);
  EXPECT_GT((*again)->fencing_token(), lost->fencing_token());
  EXPECT_TRUE(held.release("a"));  // whoever held the lost one
  EXPECT_TRUE((*again)->held());
  EXPECT_TRUE(held.release("a"));

  EXPECT_TRUE(is_free("a"));
}

TEST(LockRegistryOnARealClock, AsksTheEngineOnceHoweverManyThreadsWant) {
  const auto locks = client::connect("memory:").value();
  lock_registry held(locks);
  std::atomic<int> got{0};
  auto other = client(locks).acquire("a");
  std::vector<std::thread> all;
  for (int i = 0; i < 4; ++i)
    all.emplace_back([&] {
      if (held.acquire("a")) ++got;
    });
  while (client(locks).inspect("a")->queue_length == 0) std::this_thread::yield();
  EXPECT_EQ(client(locks).inspect("a")->queue_length, 1u);
  ASSERT_TRUE(other->release());
  for (auto& t : all) t.join();

  EXPECT_EQ(got, 4);
  EXPECT_EQ(held.hold_count("a"), 4u);
}

TEST(LockRegistryOnARealClock, AThreadThatWaitsForAnothersAcquireHasItsOwnPatience) {
  const auto locks = client::connect("memory:").value();
  lock_registry held(locks);
  auto other = client(locks).acquire("a");
  std::thread first([&] { EXPECT_TRUE(held.acquire("a")); });
  while (client(locks).inspect("a")->queue_length == 0) std::this_thread::yield();

  EXPECT_EQ(code_of(held.acquire("a", waiting(1ms))), errc::lock_not_acquired);
  std::stop_source stop;
  stop.request_stop();
  acquire_options how;
  how.stop = stop.get_token();
  EXPECT_EQ(code_of(held.acquire("a", how)), errc::request_cancelled);
  ASSERT_TRUE(other->release());
  first.join();

  EXPECT_EQ(held.hold_count("a"), 1u);
}

}  // namespace
}  // namespace dislock::library
