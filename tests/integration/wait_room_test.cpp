#include "client/wait_room.hpp"

#include "../tests/integration/held_log.hpp"
#include "engine/test_manual_loop.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing_engines::held_log;
using testing_engines::manual_loop;

// On a real table whose commits the test can hold back.
class WaitRoom : public testing::Test, public engine_listener {
 protected:
  WaitRoom() {
    engine_ =
        std::make_unique<table_engine>(strand_, table_engine_options{}, std::make_unique<held_log>(log_));
    room_ = std::make_unique<wait_room>(*engine_, slice_clock_, 25s);
    engine_->start(*this);
    commit();
  }

  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override {
    room_->resolved(id, epoch, std::move(outcome));
  }
  void on_event(const event&) override {}
  void on_deadlock(const deadlock&) override {}

  void run() {
    strand_.run_ready();
    slice_clock_.run_ready();
    strand_.run_ready();
  }
  void commit() {
    do {
      run();
      log_.committed = log_.submitted;
      strand_.notify();
      run();
    } while (log_.committed < log_.appended);
  }
  // Both loops share the clock, so it goes in steps that are shorter than anything that is measured here.
  void pass(duration d) {
    for (auto left = d; left > duration::zero(); left -= std::min<duration>(left, 500ms)) {
      time_.advance(std::min<duration>(left, 500ms));
      commit();
    }
  }

  acquire_answer ask(std::string_view client, duration wait, std::string_view request) {
    const lock_want want{lock_name("a")};
    acquire_request r;
    r.client = client_id(client);
    r.request = request_id(request);
    r.wants = {&want, 1};
    r.ttl = 300s;
    r.wait = wait;
    std::optional<acquire_answer> got;
    engine_->acquire(r, [&](acquire_answer a) { got = std::move(a); });
    commit();
    return got.value();
  }
  lock_id hold(std::string_view client) { return std::get<granted>(ask(client, 0s, {})).leases.at(0).id; }
  // Joins the queue and the room.
  queued wait(std::string_view client, std::string_view request = {}, duration patience = 600s) {
    const auto place = std::get<queued>(ask(client, patience, request));
    room_->wait(place, [this, name = std::string(client)](const wait_room::outcome& o) {
      if (const auto* s = std::get_if<still_queued>(&o)) {
        places_ = s->places;
        told_.push_back(name + " still queued");
      } else if (std::holds_alternative<granted>(o)) {
        lease_ = std::get<granted>(o).leases.at(0).id;
        told_.push_back(name + " granted");
      } else {
        told_.push_back(name + " " + std::string(to_string(std::get<refusal_ptr>(o)->code)));
      }
    });
    return place;
  }
  void release(const lock_id& id) {
    const lease_proof proof{lock_name("a"), id, {}};
    engine_->release({{}, {}, {&proof, 1}, false}, [](auto&&) {});
  }
  lock_view status() {
    std::optional<answer<lock_view>> got;
    engine_->status(lock_name("a"), 10, 10, [&](answer<lock_view> a) { got.emplace(std::move(a)); });
    commit();
    return **got;
  }
  std::vector<std::string> told() { return std::exchange(told_, {}); }

  manual_clock time_;
  manual_loop strand_{time_}, slice_clock_{time_};
  held_log::remote log_;
  std::unique_ptr<table_engine> engine_;
  std::unique_ptr<wait_room> room_;
  std::vector<std::string> told_;
  std::vector<place> places_;
  lock_id lease_;
};

TEST_F(WaitRoom, TellsTheGrantToTheCallThatWaitsForIt) {
  const auto alice = hold("alice");
  wait("bob", "r1");
  EXPECT_EQ(room_->waiting(), 1u);
  release(alice);
  run();
  EXPECT_THAT(told(), IsEmpty()) << "not before it is durable";
  commit();
  EXPECT_THAT(told(), ElementsAre("bob granted"));
  EXPECT_EQ(room_->waiting(), 0u);
}

TEST_F(WaitRoom, TellsTheRefusalAtTheDeadline) {
  hold("alice");
  wait("bob", {}, 3s);
  pass(3s);
  EXPECT_THAT(told(), ElementsAre("bob lock_not_acquired"));
}

TEST_F(WaitRoom, ASliceEndsWithThePlaceAndTheRequestKeepsItForTheGrace) {
  hold("alice");
  wait("bob", "r1");
  wait("carol", "r2");
  pass(24s + 500ms);
  EXPECT_THAT(told(), IsEmpty());
  pass(500ms);
  EXPECT_THAT(told(), ElementsAre("bob still queued", "carol still queued"));
  EXPECT_EQ(places_.at(0).position, 2u);
  EXPECT_EQ(places_.at(0).holders.at(0).client, "alice");
  EXPECT_FALSE(status().waiters.at(0).connected);
  EXPECT_EQ(status().queue_length, 2u);

  wait("bob", "r1");
  pass(5s);
  ASSERT_EQ(status().queue_length, 1u);
  EXPECT_EQ(status().waiters.at(0).client, "bob");
}

TEST_F(WaitRoom, ARequestWithoutAnIdWaitsInOnePiece) {
  const auto alice = hold("alice");
  wait("bob");
  pass(60s);
  EXPECT_THAT(told(), IsEmpty());
  release(alice);
  commit();
  EXPECT_THAT(told(), ElementsAre("bob granted"));
}

TEST_F(WaitRoom, WhoLeavesIsToldNothingAndLosesItsPlace) {
  hold("alice");
  const auto bob = wait("bob");
  room_->leave(bob.id, bob.epoch);
  EXPECT_EQ(room_->waiting(), 0u);
  EXPECT_EQ(status().queue_length, 0u);
  room_->leave(bob.id, bob.epoch);  // once more does no harm
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(WaitRoom, WhoLeavesWithAnIdKeepsThePlaceForTheGrace) {
  hold("alice");
  const auto bob = wait("bob", "r1");
  room_->leave(bob.id, bob.epoch);
  EXPECT_EQ(status().queue_length, 1u);
  pass(5s);
  EXPECT_EQ(status().queue_length, 0u);
}

TEST_F(WaitRoom, TheOlderOfTwoCallsIsSupersededAndItsEndMeansNothing) {
  const auto alice = hold("alice");
  const auto older = wait("bob", "r1");
  wait("bob", "r1");
  EXPECT_THAT(told(), ElementsAre("bob superseded"));
  EXPECT_EQ(room_->waiting(), 1u);
  room_->leave(older.id, older.epoch);
  EXPECT_EQ(room_->waiting(), 1u);
  EXPECT_TRUE(status().waiters.at(0).connected);
  release(alice);
  commit();
  EXPECT_THAT(told(), ElementsAre("bob granted"));
}

TEST_F(WaitRoom, ASliceOfASupersededCallDoesNotEndTheNewerOne) {
  hold("alice");
  wait("bob", "r1");
  pass(20s);
  wait("bob", "r1");
  told();
  pass(20s);
  EXPECT_THAT(told(), IsEmpty());
  pass(5s);
  EXPECT_THAT(told(), ElementsAre("bob still queued"));
}

TEST_F(WaitRoom, AGrantThatArrivesAfterTheCallHasLeftGoesOnToTheNext) {
  const auto alice = hold("alice");
  const auto bob = wait("bob");
  wait("carol");
  release(alice);
  run();  // decided, not durable
  room_->leave(bob.id, bob.epoch);
  commit();
  EXPECT_THAT(told(), ElementsAre("carol granted"));
  EXPECT_EQ(status().holders.at(0).client, "carol");
}

TEST_F(WaitRoom, AGrantThatArrivesAfterTheSliceIsKeptForWhoAsksAgain) {
  const auto alice = hold("alice");
  wait("bob", "r1");
  pass(24s + 500ms);
  time_.advance(500ms);
  slice_clock_.run_ready();  // the place is looked up ...
  release(alice);            // ... and then granted, before either is told
  commit();
  EXPECT_THAT(told(), ElementsAre("bob still queued"));
  EXPECT_EQ(status().holders.at(0).client, "bob");
  EXPECT_TRUE(std::holds_alternative<granted>(ask("bob", 600s, "r1")));
}

TEST_F(WaitRoom, AGrantThatIsDecidedBeforeTheSliceEndsIsTold) {
  const auto alice = hold("alice");
  wait("bob", "r1");
  pass(24s + 500ms);
  release(alice);
  time_.advance(500ms);
  slice_clock_.run_ready();
  commit();
  EXPECT_THAT(told(), ElementsAre("bob granted"));
}

TEST_F(WaitRoom, SendsAllAwayAndHandsNothingToWhoWasSentAway) {
  const auto alice = hold("alice");
  wait("bob");
  wait("carol", "r1");
  room_->send_all_away(errc::draining);
  EXPECT_THAT(told(), testing::UnorderedElementsAre("bob draining", "carol draining"));
  EXPECT_EQ(room_->waiting(), 0u);
  ASSERT_EQ(status().queue_length, 1u);
  EXPECT_EQ(status().waiters.at(0).client, "carol") << "who has an id can go on elsewhere";
  release(alice);
  commit();
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(WaitRoom, NoCallWaitsForAnEngineThatWillNeverDecide) {
  hold("alice");
  wait("bob", "r1");
  wait("carol");
  log_.failure = "the disk is gone";
  pass(25s);
  EXPECT_THAT(told(), ElementsAre("bob engine_unavailable", "carol engine_unavailable"));
  EXPECT_EQ(room_->waiting(), 0u);
}

}  // namespace
}  // namespace dislock
