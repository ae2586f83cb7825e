#include "engine/event_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class EventLog : public testing::Test {
 protected:
  void append(std::string_view lock) {
    event e;
    e.at = now_;
    e.lock = lock;
    log_.append(e);
  }
  void append_visibly(std::string_view lock) {
    append(lock);
    log_.publish(log_.appended());
  }
  // The locks of the events after `id`, or nothing if the log does not reach back to it.
  std::optional<std::vector<std::string>> after(std::uint64_t id) const {
    std::vector<std::string> out;
    const bool reached = log_.after(id, [&](const logged_event& e) {
      out.push_back(e.lock);
      return true;
    });
    if (reached) return out;
    EXPECT_THAT(out, IsEmpty());
    return std::nullopt;
  }
  std::uint64_t id_of(std::string_view lock) const {
    std::uint64_t id = 0;
    EXPECT_TRUE(log_.after(0, [&](const logged_event& e) {
      if (e.lock == lock) id = e.id;
      return id == 0;
    }));
    return id;
  }

  instant now_ = from_microseconds(1'800'000'000'000'000);
  event_log log_{4};
};

TEST_F(EventLog, AnEventIsVisibleOnceItIsPublished) {
  append("a");
  EXPECT_EQ(log_.newest(), 0u);
  EXPECT_THAT(*after(0), IsEmpty());
  log_.publish(log_.appended());
  EXPECT_THAT(*after(0), ElementsAre("a"));
  EXPECT_GT(log_.newest(), 0u);
}

TEST_F(EventLog, PublishesUpToAPointAndNeverBack) {
  append("a");
  const auto first = log_.appended();
  append("b");
  log_.publish(first);
  EXPECT_THAT(*after(0), ElementsAre("a"));
  log_.publish(log_.appended());
  log_.publish(first);
  EXPECT_THAT(*after(0), ElementsAre("a", "b"));
}

TEST_F(EventLog, TellsItsListenerWhenMoreIsVisibleAndOnlyThen) {
  int told = 0;
  log_.on_published([&] { ++told; });
  append("a");
  EXPECT_EQ(told, 0);
  log_.publish(1);
  EXPECT_EQ(told, 1);
  log_.publish(1);
  EXPECT_EQ(told, 1);
}

TEST_F(EventLog, GivesWhatCameAfterAnId) {
  append_visibly("a");
  append_visibly("b");
  append_visibly("c");
  EXPECT_THAT(*after(id_of("a")), ElementsAre("b", "c"));
  EXPECT_THAT(*after(id_of("c")), IsEmpty());
}

TEST_F(EventLog, StopsWhereTheVisitorWantsToStop) {
  append_visibly("a");
  append_visibly("b");
  int seen = 0;
  EXPECT_TRUE(log_.after(0, [&](const logged_event&) { return ++seen < 1; }));
  EXPECT_EQ(seen, 1);
}

TEST_F(EventLog, KeepsTheNewestWhenItIsFull) {
  for (const std::string_view lock : {"a", "b", "c", "d"}) append_visibly(lock);
  EXPECT_THAT(*after(0), ElementsAre("a", "b", "c", "d"));
  const auto b = id_of("b");
  const auto c = id_of("c");
  append_visibly("e");
  EXPECT_EQ(after(0), std::nullopt) << "the beginning is gone";
  EXPECT_THAT(*after(b), ElementsAre("c", "d", "e"));
  for (const std::string_view lock : {"f", "g", "h", "i"}) append_visibly(lock);
  EXPECT_EQ(after(c), std::nullopt);
}

TEST_F(EventLog, AnEventThatIsBeingWrittenOverIsGoneBeforeItsSuccessorIsVisible) {
  for (const std::string_view lock : {"a", "b", "c", "d"}) append_visibly(lock);
  const auto a = id_of("a");
  append("e");
  EXPECT_EQ(after(a), std::nullopt);
  EXPECT_EQ(after(0), std::nullopt);
}

TEST_F(EventLog, AWholeRingThatIsNotVisibleYetLeavesNothingToReach) {
  append_visibly("a");
  const auto a = log_.newest();
  for (int i = 0; i < 9; ++i) append("more");
  EXPECT_EQ(after(a), std::nullopt);
  log_.publish(log_.appended());
  EXPECT_EQ(after(a), std::nullopt);
}

TEST_F(EventLog, IdsRiseAlsoWithinAnInstantAndWhenTheClockStands) {
  std::uint64_t last = 0;
  for (int i = 0; i < 4; ++i) {
    append_visibly("a");
    EXPECT_GT(log_.newest(), last);
    last = log_.newest();
  }
  EXPECT_GE(last, static_cast<std::uint64_t>(microseconds_since_1970(now_)));
}

TEST_F(EventLog, AfterARestartIdsAreLargerAndAnOldReaderIsToldSo) {
  append_visibly("a");
  const auto before = log_.newest();
  now_ += std::chrono::milliseconds(1);
  log_ = event_log(4);
  EXPECT_EQ(after(before), std::nullopt) << "nothing is known that far back";
  append_visibly("b");
  EXPECT_GT(log_.newest(), before);
  EXPECT_EQ(after(before), std::nullopt);
}

TEST_F(EventLog, AnIdThatItNeverGaveOutIsNotReached) {
  append_visibly("a");
  EXPECT_EQ(after(log_.newest() + 1'000'000), std::nullopt)
      << "or its reader would wait for a time without events";
}

}  // namespace
}  // namespace dislock
