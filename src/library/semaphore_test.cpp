#include "dislock/semaphore.hpp"

#include "library/test_conveniences.hpp"

namespace dislock::library {
namespace {

using Semaphore = conveniences_test;

TEST_F(Semaphore, GivesOutSoManyPermitsAndNoMore) {
  semaphore pool(locks_, "pool", 2);

  auto a = pool.try_acquire();
  auto b = pool.acquire();
  auto c = pool.try_acquire();

  EXPECT_TRUE(a->has_value());
  EXPECT_TRUE(b);
  ASSERT_TRUE(c);
  EXPECT_FALSE(c->has_value());
  EXPECT_EQ(*pool.available(), 0u);
}

TEST_F(Semaphore, GetsAPermitBackFromItsGuard) {
  semaphore pool(locks_, "pool", 1);
  {
    auto guard = pool.acquire();
    ASSERT_TRUE(guard);
    EXPECT_EQ(*pool.available(), 0u);
  }

  EXPECT_EQ(*pool.available(), 1u);
}

TEST_F(Semaphore, GivesManyPermitsAtOnce) {
  semaphore pool(locks_, "pool", 5);

  auto three = pool.acquire(3);
  auto two_more = pool.try_acquire(3);

  ASSERT_TRUE(three);
  ASSERT_TRUE(two_more);
  EXPECT_FALSE(two_more->has_value());
  EXPECT_EQ(*pool.available(), 2u);
}

TEST_F(Semaphore, RefusesMorePermitsThanThereAre) {
  semaphore pool(locks_, "pool", 2);

  EXPECT_EQ(code_of(pool.acquire(3)), errc::invalid_field);
  EXPECT_EQ(code_of(pool.acquire(0)), errc::invalid_field);
  EXPECT_EQ(code_of(semaphore(locks_, "pool", 0).acquire()), errc::invalid_field);
}

TEST_F(Semaphore, RefusesAnotherLimitWhilePermitsAreOut) {
  semaphore pool(locks_, "pool", 2), another(locks_, "pool", 3);
  auto held = pool.acquire();

  EXPECT_EQ(code_of(another.acquire()), errc::lock_mode_conflict);
}

TEST_F(Semaphore, LetsNobodyOvertakeOneWhoWaitsForMany) {
  semaphore pool(locks_, "pool", 3);
  auto one = pool.acquire();
  auto all = start(pool.async_acquire(3));

  auto small = pool.try_acquire();
  ASSERT_TRUE(small);
  EXPECT_FALSE(small->has_value());
  ASSERT_TRUE(one->release());

  EXPECT_TRUE(all.done());
}

TEST_F(Semaphore, WaitsAsLongAsItIsTold) {
  semaphore pool(locks_, "pool", 1);
  auto held = pool.acquire();

  auto waits = start(pool.async_acquire_for(3s));
  auto tries = sync_wait(pool.async_try_acquire());
  EXPECT_FALSE(tries->has_value());
  locks_.advance(3s);

  ASSERT_TRUE(waits.done());
  EXPECT_EQ(code_of(std::move(waits).get()), errc::lock_not_acquired);
  EXPECT_EQ(code_of(pool.acquire_for(0s)), errc::lock_not_acquired);
}

TEST_F(Semaphore, TellsTheHolderOfALostPermit) {
  semaphore pool(locks_, "pool", 1);
  auto held = pool.acquire();

  ASSERT_TRUE(locks_.force_release("pool", held->fencing_token(), "test"));
  locks_.advance(20s);  // the next renewal hears of it

  EXPECT_TRUE(held->lost().stop_requested());
  EXPECT_EQ(held->why_lost(), loss_cause::forced);
}

}  // namespace
}  // namespace dislock::library
