// Readers and semaphores: modes that share.
#include "core/test_table.hpp"

namespace dislock::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LockTableShared : public LockTable {};
class LockTableSemaphore : public LockTable {};

TEST_F(LockTableShared, ReadersHoldTogetherAndAWriterAlone) {
  const auto r1 = hold("r1", shared());
  const auto r2 = hold("r2", shared());
  EXPECT_EQ(status().mode, lock_mode::shared);
  EXPECT_EQ(code(acquire("", "w")), errc::lock_not_acquired);

  ASSERT_TRUE(release(r1.id));
  EXPECT_EQ(code(acquire("", "w")), errc::lock_not_acquired);
  ASSERT_TRUE(release(r2.id));
  hold("w");
  EXPECT_EQ(code(acquire("", "r1", shared())), errc::lock_not_acquired);
}

TEST_F(LockTableShared, AWaitingWriterIsNotStarvedByReaders) {
  const auto r1 = hold("r1", shared());
  const auto writer = wait_for("", "w");
  const auto r2 = wait_for("", "r2", shared());

  ASSERT_TRUE(release(r1.id));
  EXPECT_TRUE(is_granted(*told(writer)));
  EXPECT_FALSE(told(r2));

  ASSERT_TRUE(release(granted_to(writer).id));
  EXPECT_TRUE(is_granted(*told(r2)));
}

TEST_F(LockTableShared, AReleaseLetsInAllReadersUpToTheNextWriter) {
  const auto writer = hold("w0");
  const auto a = wait_for("", "a", shared());
  const auto b = wait_for("", "b", shared());
  const auto w = wait_for("", "w");
  const auto c = wait_for("", "c", shared());

  ASSERT_TRUE(release(writer.id));

  EXPECT_TRUE(is_granted(*told(a)));
  EXPECT_TRUE(is_granted(*told(b)));
  EXPECT_FALSE(told(w));
  EXPECT_FALSE(told(c));
  EXPECT_LT(granted_to(a).token, granted_to(b).token);
}

TEST_F(LockTableShared, AnExclusiveAndASharedRequestAreOneFamily) {
  hold("w");

  EXPECT_EQ(code(acquire("", "r", shared())), errc::lock_not_acquired) << "not a conflict of modes";
}

TEST_F(LockTableShared, EachReaderHasAnEndOfItsOwn) {
  hold("short", shared({.ttl = 2s}));
  hold("long", shared({.ttl = 20s}));
  const auto writer = wait_for("", "w");

  pass(2s);
  EXPECT_THAT(holders(), ElementsAre("long"));
  EXPECT_FALSE(told(writer));
  pass(18s);
  EXPECT_TRUE(is_granted(*told(writer)));
}

TEST_F(LockTableShared, AReadersLockDelayClosesTheLockForNewReadersToo) {
  hold("short", shared({.ttl = 2s, .lock_delay = 5s}));
  hold("long", shared({.ttl = 60s}));
  pass(2s);

  EXPECT_EQ(code(acquire("", "late", shared())), errc::lock_not_acquired);
  pass(5s);
  EXPECT_TRUE(is_granted(acquire("", "late", shared())));
}

TEST_F(LockTableSemaphore, GivesOutNoMorePermitsThanItsLimit) {
  hold("a", permits(2, 3));
  hold("b", permits(1, 3));

  EXPECT_EQ(status().used, 3u);
  EXPECT_EQ(status().limit, 3u);
  EXPECT_EQ(status().mode, lock_mode::semaphore);
  EXPECT_EQ(code(acquire("", "c", permits(1, 3))), errc::lock_not_acquired);
}

TEST_F(LockTableSemaphore, GivesPermitsBackWithTheLease) {
  const auto a = hold("a", permits(2, 3));
  hold("b", permits(1, 3));
  const auto c = wait_for("", "c", permits(2, 3));

  ASSERT_TRUE(release(a.id));

  EXPECT_EQ(granted_to(c).permits, 2u);
  EXPECT_EQ(granted_to(c).limit, 3u);
  EXPECT_EQ(status().used, 3u);
}

TEST_F(LockTableSemaphore, ASmallRequestDoesNotOvertakeALargeOne) {
  const auto a = hold("a", permits(2, 3));
  const auto large = wait_for("", "large", permits(2, 3));

  EXPECT_EQ(code(acquire("", "small", permits(1, 3))), errc::lock_not_acquired) << "one permit is free";
  const auto small = wait_for("", "small", permits(1, 3));

  ASSERT_TRUE(release(a.id));
  EXPECT_TRUE(is_granted(*told(large)));
  EXPECT_TRUE(is_granted(*told(small)));
}

TEST_F(LockTableSemaphore, AnotherLimitOrFamilyIsAConflictWhileTheLockIsInUse) {
  const auto lease = hold("a", permits(1, 3));

  const auto limit = acquire("", "b", permits(1, 4));
  EXPECT_EQ(code(limit), errc::lock_mode_conflict);
  EXPECT_EQ(why(limit).mode, lock_mode::semaphore);
  EXPECT_EQ(why(limit).limit, 3u);
  EXPECT_EQ(code(acquire("", "b")), errc::lock_mode_conflict);
  EXPECT_EQ(code(acquire("", "b", shared({.wait = 60s}))), errc::lock_mode_conflict)
      << "waiting would not help";

  ASSERT_TRUE(release(lease.id));
  hold("w");
  EXPECT_EQ(why(acquire("", "b", permits(1, 3))).mode, lock_mode::exclusive);
}

TEST_F(LockTableSemaphore, WaitersAloneSetTheFamilyToo) {
  hold("a", permits(1, 3, {.ttl = 1s, .lock_delay = 30s}));
  wait_for("", "b", permits(3, 3));
  pass(1s);
  ASSERT_THAT(holders(), IsEmpty());

  EXPECT_EQ(code(acquire("", "c", permits(1, 2))), errc::lock_mode_conflict);
  EXPECT_EQ(code(acquire("", "c")), errc::lock_mode_conflict);
}

TEST_F(LockTableSemaphore, ALockThatIsOnlyClosedMayChangeItsFamily) {
  hold("a", permits(1, 3, {.ttl = 1s, .lock_delay = 30s}));
  pass(1s);

  EXPECT_EQ(code(acquire("", "c")), errc::lock_not_acquired);
  EXPECT_TRUE(is_queued(acquire("", "c", {.wait = 60s})));
}

TEST_F(LockTableSemaphore, ASemaphoreOfOneIsNotAnExclusiveLock) {
  hold("a", permits(1, 1));

  EXPECT_EQ(code(acquire("", "b", permits(1, 1))), errc::lock_not_acquired);
  EXPECT_EQ(code(acquire("", "b")), errc::lock_mode_conflict);
}

TEST_F(LockTableSemaphore, ExpiringPermitsComeBackOneByOne) {
  hold("a", permits(1, 2, {.ttl = 2s}));
  hold("b", permits(1, 2, {.ttl = 4s}));
  const auto both = wait_for("", "c", permits(2, 2));

  pass(2s);
  EXPECT_FALSE(told(both));
  pass(2s);
  EXPECT_TRUE(is_granted(*told(both)));
}

}  // namespace
}  // namespace dislock::core
