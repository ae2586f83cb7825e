#include "library/thread_strand.hpp"

#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <memory>
#include <string>
#include <thread>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;

// On a clock that the test moves: everything happens on the test's thread.
class MovedStrand : public testing::Test {
 protected:
  void say(std::string what) { said_ += what + " "; }

  manual_clock time_;
  thread_strand on_{time_, &time_};
  std::string said_;
};

TEST_F(MovedStrand, WhatIsForAfterwardsRunsInOrderWhenTheStrandHasBeenLeft) {
  on_.run([&] {
    on_.afterwards([&] {
      say("first");
      on_.run([&] {  // it could not be entered again from inside
        say("inside");
        on_.afterwards([&] { say("nested"); });
      });
    });
    on_.afterwards([&] { say("second"); });
    say("work");
  });
  EXPECT_EQ(said_, "work first inside nested second ");
}

TEST_F(MovedStrand, WhatAnEngineDefersRunsBeforeTheStrandIsLeftAndBeforeAnythingIsTold) {
  on_.run([&] {
    on_.defer([&] {
      say("deferred");
      on_.afterwards([&] { say("told"); });
      on_.defer([&] { say("again"); });
    });
    on_.post([&] { say("posted"); });
    on_.afterwards([&] { say("after"); });
  });
  EXPECT_EQ(said_, "posted deferred again after told ");
}

TEST_F(MovedStrand, AlarmsRingInTheirOrderAndSeeTheTimeThatTheyWereSetFor) {
  const auto start = time_.now();
  const auto at = [&](auto d) {
    return [this, start, d] { say(std::to_string((time_.now() - start) / d)); };
  };
  on_.run([&] {
    on_.wake_at(strand::alarm::settling, start + 20s, at(20s));
    on_.wake_at(strand::alarm::leases, start + 10s, at(10s));
    on_.wake_at(strand::alarm::closing, start + 31s, [&] { say("late"); });
    on_.on_wake([&] { say("engine"); });
    on_.wake_at(start + 15s);
  });
  on_.advance(30s);
  EXPECT_EQ(said_, "1 engine 1 ");
  EXPECT_EQ(time_.now(), start + 30s);
  on_.advance(1s);
  EXPECT_EQ(said_, "1 engine 1 late ");
}

TEST_F(MovedStrand, ANewAlarmReplacesTheOldAndRingsOnce) {
  on_.run([&] {
    on_.wake_at(strand::alarm::leases, time_.now() + 10s, [&] { say("old"); });
    on_.wake_at(strand::alarm::leases, time_.now() + 20s, [&] { say("new"); });
  });
  on_.advance(1min);
  EXPECT_EQ(said_, "new ");
}

TEST_F(MovedStrand, AnAlarmMaySetItselfAgain) {
  struct ticking {
    thread_strand* on;
    std::string* said;
    void operator()() const {
      *said += "tick ";
      on->wake_at(strand::alarm::leases, on->now() + 10s, ticking(*this));
    }
  };
  on_.run([&] { ticking{&on_, &said_}(); });
  on_.advance(35s);
  EXPECT_EQ(said_, "tick tick tick tick ");
}

TEST_F(MovedStrand, OfTheEnginesAlarmsTheEarliestRings) {
  on_.run([&] {
    on_.on_wake([&] { say("ring"); });
    on_.wake_at(time_.now() + 10s);
    on_.wake_at(time_.now() + 5s);
    on_.wake_at(time_.now() + 20s);
  });
  on_.advance(5s);
  EXPECT_EQ(said_, "ring ");
  on_.advance(1min);
  EXPECT_EQ(said_, "ring ") << "whoever hears it sets the next";
}

TEST_F(MovedStrand, HoldersAreToldBeforeTheEngineWhenBothAreLate) {
  on_.run([&] {
    on_.on_wake([&] { say("engine"); });
    on_.wake_at(time_.now() + 10s);
    on_.wake_at(strand::alarm::settling, time_.now() + 9s, [&] { say("settling"); });
    on_.wake_at(strand::alarm::leases, time_.now() + 10s, [&] { say("leases"); });
  });
  time_.advance(1h);  // as a suspended process finds it
  on_.advance(0s);
  EXPECT_EQ(said_, "leases engine settling ");
}

TEST_F(MovedStrand, AnotherThreadsNotificationIsHeard) {
  std::promise<void> heard;
  on_.run([&] { on_.on_notify([&] { on_.afterwards([&] { heard.set_value(); }); }); });
  std::thread([&] { on_.notify(); }).join();
  heard.get_future().wait();
}

// On the machine's clock, with a thread of its own.
class RealStrand : public testing::Test {
 protected:
  boottime_clock time_;
  thread_strand on_{time_, nullptr};
};

TEST_F(RealStrand, WhatIsPostedRunsOnItsOwnThreadInOrder) {
  std::promise<void> done;
  std::vector<int> order;
  std::thread::id where;
  on_.run([&] {
    for (int i = 0; i < 3; ++i) on_.post([&, i] { order.push_back(i); });
    on_.post([&] {
      where = std::this_thread::get_id();
      on_.afterwards([&] { done.set_value(); });
    });
  });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector{0, 1, 2}));
  EXPECT_NE(where, std::this_thread::get_id());
}

TEST_F(RealStrand, AnAlarmRings) {
  std::promise<instant> rung;
  const auto at = time_.now() + 5ms;
  on_.run([&] { on_.wake_at(strand::alarm::leases, at, [&] { rung.set_value(time_.now()); }); });
  EXPECT_GE(rung.get_future().get(), at);
}

TEST_F(RealStrand, AnEarlierAlarmWakesAThreadThatSleepsForALaterOne) {
  std::promise<void> settled, rung;
  on_.run([&] {
    on_.wake_at(strand::alarm::closing, time_.now() + 1h, [] {});
    on_.post([&] { settled.set_value(); });
  });
  settled.get_future().wait();
  on_.run([&] { on_.wake_at(strand::alarm::leases, time_.now() + 1ms, [&] { rung.set_value(); }); });
  EXPECT_EQ(rung.get_future().wait_for(30s), std::future_status::ready);
}

TEST_F(RealStrand, WhatKeepsDeferringItselfGoesOnWithoutACaller) {
  std::promise<void> done;
  struct again {
    thread_strand* on;
    std::promise<void>* done;
    int left;
    void operator()() const {
      if (left == 0) return done->set_value();
      on->defer(again{on, done, left - 1});
    }
  };
  on_.run([&] { again{&on_, &done, 100}(); });
  EXPECT_EQ(done.get_future().wait_for(30s), std::future_status::ready);
}

TEST_F(RealStrand, OneAtATimeHoweverManyCome) {
  constexpr int threads = 8, times = 2'000;
  int inside = 0, deferred = 0;
  std::atomic<int> after{0};
  std::vector<std::thread> all;
  std::latch start(threads);
  for (int i = 0; i < threads; ++i)
    all.emplace_back([&] {
      start.arrive_and_wait();
      for (int n = 0; n < times; ++n)
        on_.run([&] {
          ++inside;
          on_.defer([&] { ++deferred; });
          on_.afterwards([&] { ++after; });
        });
    });
  for (auto& each : all) each.join();
  std::promise<void> last;
  on_.run([&] { on_.defer([&] { last.set_value(); }); });
  EXPECT_EQ(last.get_future().wait_for(30s), std::future_status::ready)
      << "nobody was left to run what was deferred";
  EXPECT_EQ(inside, threads * times);
  EXPECT_EQ(after, threads * times);
  on_.run([&] { EXPECT_EQ(deferred, threads * times); });
}

TEST_F(RealStrand, WhoeverWaitsOnItsThreadDoesItsWorkMeanwhile) {
  std::promise<bool> done;
  on_.run([&] {
    on_.post([&] {
      on_.afterwards([&] {
        bool posted = false;
        on_.run([&] { on_.post([&] { on_.afterwards([&] { posted = true; }); }); });
        while (!posted) on_.help();
        done.set_value(on_.on_own_thread());
      });
    });
  });
  EXPECT_TRUE(done.get_future().get());
}

TEST_F(RealStrand, StopDoesWhatWasPostedBeforeIt) {
  int done = 0;
  for (int i = 0; i < 10; ++i) on_.run([&] { on_.post([&] { on_.afterwards([&] { ++done; }); }); });
  on_.stop();
  EXPECT_EQ(done, 10);
}

TEST(AStrand, CanBeEndedOnItsOwnThread) {
  boottime_clock time;
  std::promise<void> ended;
  auto* on = new thread_strand(time, nullptr);
  on->run([&] {
    on->post([&] {
      on->afterwards([&] {
        on->end_here([&] {
          delete on;
          ended.set_value();
        });
      });
    });
  });
  EXPECT_EQ(ended.get_future().wait_for(30s), std::future_status::ready);
}

TEST(AStrand, CanBeEndedFromAThreadThatItsEndJoins) {
  boottime_clock time;
  std::promise<void> settled, ended;
  auto* on = new thread_strand(time, nullptr);
  on->run([&] { on->post([&] { settled.set_value(); }); });
  settled.get_future().wait();
  std::thread other;
  std::promise<void> known;
  other = std::thread([&, is_known = known.get_future()]() mutable {
    is_known.wait();
    on->end_here([&] {
      other.join();
      delete on;
      ended.set_value();
    });
  });
  known.set_value();
  EXPECT_EQ(ended.get_future().wait_for(30s), std::future_status::ready) << "its thread sleeps";
}

}  // namespace
}  // namespace dislock::library
