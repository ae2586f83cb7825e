#include "dislock/mutex.hpp"

#include "library/test_conveniences.hpp"

#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

namespace dislock::library {
namespace {

using Mutex = conveniences_test;

TEST_F(Mutex, IsTakenByAGuardAndGivenBackByIt) {
  mutex m(locks_, "a");
  {
    const std::lock_guard guard(m);
    EXPECT_TRUE(state_of("a").locked);
    EXPECT_TRUE(m.held());
    EXPECT_GT(to_number(m.fencing_token()), 0u);
  }

  EXPECT_TRUE(is_free("a"));
  EXPECT_FALSE(m.held());
  EXPECT_EQ(m.fencing_token(), fencing_token{});
}

TEST_F(Mutex, WorksWithUniqueLockAndScopedLock) {
  mutex a(locks_, "a"), b(locks_, "b");
  {
    std::unique_lock first(a, std::try_to_lock);
    EXPECT_TRUE(first.owns_lock());
    first.unlock();
    EXPECT_TRUE(is_free("a"));
    const std::scoped_lock both(a, b);
    EXPECT_TRUE(a.held() && b.held());
  }
  EXPECT_TRUE(is_free("a") && is_free("b"));
}

TEST_F(Mutex, TriesOnceAndSaysNo) {
  mutex m(locks_, "a");
  auto other = locks_.acquire("a");

  EXPECT_FALSE(m.try_lock());
  EXPECT_FALSE(m.try_lock_for(0s));
  EXPECT_FALSE(m.try_lock_for(-1s));
  EXPECT_FALSE(m.try_lock_until(std::chrono::steady_clock::now() - 1s));
  ASSERT_TRUE(other->release());

  EXPECT_TRUE(m.try_lock());
  m.unlock();
  EXPECT_TRUE(m.try_lock_until(std::chrono::steady_clock::time_point::max()));
  m.unlock();
}

TEST_F(Mutex, ThrowsWhatIsNotAQuestionOfTime) {
  mutex wrong(locks_, "a//b"), own(locks_, "a");

  EXPECT_THROW(wrong.lock(), exception);
  EXPECT_THROW((void)wrong.try_lock(), exception);
  own.lock();
  try {
    own.lock();
    ADD_FAILURE() << "a thread got what it holds";
  } catch (const exception& e) {
    EXPECT_EQ(e.code(), errc::deadlock_detected);
    EXPECT_EQ(e.why().lock, "a");
  }
  own.unlock();

  EXPECT_TRUE(is_free("a"));
}

TEST_F(Mutex, WaitsForLongerThanOneCallMayWait) {
  mutex m(locks_, "a");
  auto other = locks_.acquire("a");
  std::thread waits([&m] {
    m.lock();
    m.unlock();
  });
  for (int i = 0; i < 3; ++i) {
    while (state_of("a").queue_length == 0) std::this_thread::yield();
    locks_.advance(600s);
  }
  while (state_of("a").queue_length == 0) std::this_thread::yield();
  ASSERT_TRUE(other->release());
  waits.join();

  EXPECT_TRUE(is_free("a"));
}

TEST_F(Mutex, TellsItsHolderThatItIsLost) {
  acquire_options how;
  how.ttl = 10s;
  how.renew = false;
  mutex m(locks_, "a", how);
  m.lock();
  const auto lost = m.lost();
  EXPECT_FALSE(lost.stop_requested());

  locks_.advance(10s);

  EXPECT_TRUE(lost.stop_requested());
  EXPECT_FALSE(m.held());
  EXPECT_EQ(code_of(m.release()), errc::lock_not_held);
  m.unlock();  // nothing is left to give back, and that is no reason to throw
}

TEST_F(Mutex, GivesBackWhatIsStillLockedWhenItEnds) {
  {
    mutex m(locks_, "a");
    m.lock();
  }
  EXPECT_TRUE(is_free("a"));
}

TEST_F(Mutex, OfWhichThisThreadHoldsNothingCannotBeGivenBack) {
  mutex m(locks_, "a");

  EXPECT_EQ(code_of(m.release()), errc::lock_not_held);
  EXPECT_FALSE(m.lost().stop_possible());
}

TEST_F(Mutex, KeepsApartWhatThreadsHoldWhenOneHasLostIt) {
  acquire_options how;
  how.ttl = 10s;
  how.renew = false;
  mutex m(locks_, "a", how);
  m.lock();
  locks_.advance(10s);
  std::thread next([&m] { m.lock(); });
  next.join();
  EXPECT_TRUE(state_of("a").locked);

  m.unlock();  // not the other's

  EXPECT_TRUE(state_of("a").locked);
}

TEST(MutexOnARealClock, KeepsThreadsApart) {
  const auto locks = client::connect("memory:").value();
  mutex m(locks, "a");
  int inside = 0, times = 0;
  std::vector<std::thread> all;
  for (int i = 0; i < 4; ++i)
    all.emplace_back([&] {
      for (int j = 0; j < 200; ++j) {
        const std::lock_guard guard(m);
        EXPECT_EQ(++inside, 1);
        ++times;
        --inside;
      }
    });
  for (auto& t : all) t.join();

  EXPECT_EQ(times, 800);
}

TEST_F(Mutex, LetsReadersInTogetherAndAWriterAlone) {
  shared_mutex m(locks_, "a");
  auto elsewhere = locks_.acquire("a", {.mode = lock_mode::shared});
  {
    const std::shared_lock reader(m);
    EXPECT_EQ(state_of("a").holder_count, 2u);
  }
  EXPECT_FALSE(m.try_lock());
  EXPECT_TRUE(m.try_lock_shared_for(1s));
  m.unlock_shared();
  ASSERT_TRUE(elsewhere->release());
  {
    const std::unique_lock writer(m);
    EXPECT_EQ(state_of("a").mode, lock_mode::exclusive);
  }
  EXPECT_TRUE(m.try_lock_shared());
  EXPECT_FALSE(locks_.try_acquire("a")->has_value());
  m.unlock_shared();

  EXPECT_TRUE(is_free("a"));
}

}  // namespace
}  // namespace dislock::library
