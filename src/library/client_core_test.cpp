// The client over a backend that answers when the test says so: lost answers, late answers, none at all.
#include "library/client_core.hpp"

#include "library/test_doubles.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

class ClientCore : public testing::Test {
 protected:
  ClientCore() { open({}); }
  void open(client_options options) {
    if (core_) (void)core::make_client(std::exchange(core_, nullptr)).close();
    options.time = &time_;
    core_ = client_core::start(std::move(options), [&](thread_strand&, clock& time) {
              auto made = std::make_unique<scripted_backend>(time);
              where_ = made.get();
              return result<std::unique_ptr<backend>>(std::move(made));
            }).value();
    locks_ = core::make_client(core_);
  }
  ~ClientCore() override { EXPECT_EQ(calls_after_stop(), 0); }

  struct call {
    std::optional<result<std::vector<lease>>> outcome;
  };
  std::shared_ptr<call> start(std::string lock, acquire_options options = {}) {
    auto made = std::make_shared<call>();
    core_->acquire({{std::move(lock)}}, false, false, std::move(options),
                   [made](result<std::vector<lease>> out) { made->outcome.emplace(std::move(out)); });
    return made;
  }
  // Inside the strand, as a backend would answer.
  void inside(unique_function<void()> work) {
    core_->inside([&](backend*, strand&) { work(); });
  }
  void grant_next() {
    inside([&] {
      auto asked = std::move(where_->acquires.front());
      where_->acquires.pop_front();
      asked.done(where_->grant(asked.call));
    });
  }
  void refuse_next(errc code) {
    inside([&] {
      auto asked = std::move(where_->acquires.front());
      where_->acquires.pop_front();
      asked.done(scripted_backend::failed(code));
    });
  }
  template <class Asked>
  void answer(std::deque<Asked>& asked, std::optional<errc> code) {
    inside([&] {
      auto one = std::move(asked.front());
      asked.pop_front();
      one.done(code ? result<void>(scripted_backend::failed(*code)) : result<void>());
    });
  }
  lease take(std::string lock, acquire_options options = {}) {
    auto asked = start(std::move(lock), std::move(options));
    grant_next();
    return std::move(asked->outcome->value().front());
  }
  int calls_after_stop() {
    int out = 0;
    if (core_) inside([&] { out = where_->after_stop; });
    return out;
  }

  manual_clock time_;
  scripted_backend* where_ = nullptr;
  std::shared_ptr<core> core_;
  std::optional<client> locks_;
};

TEST_F(ClientCore, EveryCallOverANetworkHasARequestIdOfItsOwn) {
  auto one = start("a"), two = start("a");
  ASSERT_EQ(where_->acquires.size(), 2u);
  EXPECT_EQ(where_->acquires[0].call.request.size(), 15u);
  EXPECT_NE(where_->acquires[0].call.request, where_->acquires[1].call.request);
  EXPECT_NE(where_->acquires[0].call.client, where_->acquires[1].call.client);
}

TEST_F(ClientCore, AnAcquireOfWhichNobodyKnowsHowItEndedIsSettledUntilNothingOfItIsLeft) {
  auto asked = start("a", {.ttl = 10s});
  const auto request = where_->acquires.front().call.request;
  const auto client = where_->acquires.front().call.client;
  refuse_next(errc::outcome_unknown);
  ASSERT_TRUE(asked->outcome && !*asked->outcome);
  EXPECT_EQ(asked->outcome->error().code, errc::outcome_unknown);
  EXPECT_EQ(asked->outcome->error().lock, "a");
  ASSERT_EQ(where_->cancels.size(), 1u);
  EXPECT_EQ(where_->cancels.front().request, request);
  EXPECT_EQ(where_->cancels.front().client, client);
  answer(where_->cancels, errc::outcome_unknown);
  locks_->advance(50ms);
  ASSERT_EQ(where_->cancels.size(), 1u) << "it tries again";
  EXPECT_EQ(where_->cancels.front().request, request);
  answer(where_->cancels, std::nullopt);
  locks_->advance(1h);
  EXPECT_TRUE(where_->cancels.empty());
}

TEST_F(ClientCore, ARefusalLeavesNothingToSettle) {
  auto asked = start("a");
  refuse_next(errc::lock_not_acquired);
  EXPECT_EQ(asked->outcome->error().code, errc::lock_not_acquired);
  EXPECT_TRUE(where_->cancels.empty());
}

TEST_F(ClientCore, AStopRequestEndsTheWaitAndWhatMayHaveBeenGrantedIsGivenBack) {
  std::stop_source stop;
  auto asked = start("a", {.stop = stop.get_token()});
  stop.request_stop();
  ASSERT_TRUE(asked->outcome);
  EXPECT_EQ(asked->outcome->error().code, errc::request_cancelled);
  EXPECT_EQ(where_->cancels.size(), 1u);
}

TEST_F(ClientCore, ALeaseThatIsOverWhenItArrivesIsGivenBackNotReturned) {
  auto asked = start("a", {.ttl = 10s});
  inside([&] {
    auto one = std::move(where_->acquires.front());
    where_->acquires.pop_front();
    auto late = where_->grant(one.call);
    time_.advance(10s);
    one.done(std::move(late));
  });
  ASSERT_TRUE(asked->outcome && !*asked->outcome);
  EXPECT_EQ(asked->outcome->error().code, errc::lock_not_acquired);
  ASSERT_EQ(where_->releases.size(), 1u);
  EXPECT_EQ(where_->releases.front().which.lock, "a");
}

TEST_F(ClientCore, BelievesNoLongerThanItIsTold) {
  const auto mine = take("a", {.ttl = 10s});
  EXPECT_EQ(mine.valid_until(), time_.now() + 9'898ms) << "0.99 x 10 s - 2 ms";
  EXPECT_EQ(mine.remaining(), 8'898ms) << "less a tenth of the ttl to stop in";
}

TEST_F(ClientCore, ARenewalThatNobodyAnswersTellsTheHolderInTime) {
  std::vector<lease_stage> told;
  const auto mine = take("a", {.on_stage = [&](lease_stage s, loss_cause) { told.push_back(s); }});
  const auto lost = mine.lost();
  const auto end = mine.valid_until();
  locks_->advance(end - 2s - time_.now() - 1us);
  EXPECT_TRUE(mine.held());
  EXPECT_FALSE(lost.stop_requested());
  EXPECT_THAT(told, ElementsAre(lease_stage::expiring));
  locks_->advance(1us);
  EXPECT_TRUE(lost.stop_requested());
  locks_->advance(2s);
  EXPECT_THAT(told, ElementsAre(lease_stage::expiring, lease_stage::must_stop, lease_stage::lost));
}

TEST_F(ClientCore, ALeaseThatWasRenewedAfterItWasLostHereIsGivenBackWhenItsHolderEnds) {
  auto mine = take("a");
  locks_->advance(1min);
  ASSERT_EQ(mine.stage(), lease_stage::lost);
  inside([&] { where_->answer_renewal(std::move(where_->renewals.front())); });
  where_->renewals.clear();
  EXPECT_FALSE(mine.held());
  EXPECT_EQ(mine.release().error().code, errc::lock_not_held);
  ASSERT_EQ(where_->releases.size(), 1u) << "nobody has to wait for it to run out";
  EXPECT_EQ(where_->releases.front().which.lock, "a");
}

TEST_F(ClientCore, AReleaseThatNobodyAnswersIsRepeatedUnderItsRequestId) {
  auto mine = take("a");
  std::optional<result<void>> out;
  core_->release(core::state_of(mine), [&](result<void> r) { out = std::move(r); });
  ASSERT_EQ(where_->releases.size(), 1u);
  EXPECT_EQ(where_->releases.front().deadline, time_.now() + 5s) << "a call has an end";
  const auto request = where_->releases.front().request;
  EXPECT_FALSE(request.empty());
  EXPECT_FALSE(mine.held()) << "its holder has given it up, whatever comes of it";
  answer(where_->releases, errc::outcome_unknown);
  ASSERT_TRUE(out && !*out);
  EXPECT_EQ(out->error().code, errc::outcome_unknown);
  EXPECT_EQ(out->error().lock, "a");
  ASSERT_EQ(where_->releases.size(), 1u);
  EXPECT_EQ(where_->releases.front().request, request);
  answer(where_->releases, std::nullopt);
}

TEST_F(ClientCore, ALeaseThatIsGivenBackIsNotRenewedMeanwhile) {
  auto mine = take("a");
  core_->release(core::state_of(mine), [](auto&&) {});
  locks_->advance(25s);
  EXPECT_TRUE(where_->renewals.empty());
  EXPECT_TRUE(mine.release()) << "a second release does nothing";
  EXPECT_EQ(where_->releases.size(), 1u);
  answer(where_->releases, std::nullopt);
}

TEST_F(ClientCore, ALeaseThatIsDestroyedIsGivenBackAndTriedAgain) {
  { const auto mine = take("a"); }
  ASSERT_EQ(where_->releases.size(), 1u);
  answer(where_->releases, errc::engine_unavailable);
  answer(where_->releases, errc::engine_unavailable);
  locks_->advance(50ms);
  ASSERT_EQ(where_->releases.size(), 1u);
  answer(where_->releases, std::nullopt);
}

TEST_F(ClientCore, AsksForTheServicesHealthBeforeAnAcquireIfWanted) {
  open({.ping_before_acquire = true});
  auto sick = start("a");
  EXPECT_TRUE(where_->acquires.empty());
  inside([&] { where_->pings.front()(scripted_backend::failed(errc::engine_unavailable)); });
  EXPECT_EQ(sick->outcome->error().code, errc::engine_unavailable);
  EXPECT_EQ(sick->outcome->error().lock, "a");
  std::stop_source stop;
  auto stopped = start("a", {.stop = stop.get_token()}), well = start("a");
  stop.request_stop();
  inside([&] {
    for (std::size_t i = 1; i < 3; ++i) where_->pings[i](duration(1ms));
  });
  EXPECT_EQ(stopped->outcome->error().code, errc::request_cancelled);
  EXPECT_EQ(where_->acquires.size(), 1u);
  grant_next();
  EXPECT_TRUE(*well->outcome);
}

TEST_F(ClientCore, ClosingSendsAwayWhoWaitsAndGivesBackWhatIsHeld) {
  auto mine = take("a");
  auto waits = start("b");
  where_->release_at_once = where_->cancel_at_once = true;
  EXPECT_TRUE(locks_->close());
  EXPECT_EQ(waits->outcome->error().code, errc::engine_unavailable);
  EXPECT_EQ(where_->cancels.size() + where_->releases.size(), 0u) << "the backend is stopped";
  EXPECT_TRUE(where_->stopped);
  EXPECT_EQ(mine.why_lost(), loss_cause::closed);
}

// On the machine's clock, because patience is about it.
class ClosingCore : public testing::Test {
 protected:
  ClosingCore() {
    core_ = client_core::start({}, [&](thread_strand& on, clock& time) {
              auto made = std::make_unique<scripted_backend>(time);
              where_ = made.get();
              strand_ = &on;
              return result<std::unique_ptr<backend>>(std::move(made));
            }).value();
    core_->acquire({{"a"}}, false, false, {},
                   [&](result<std::vector<lease>> out) { mine_ = std::move(out->front()); });
    strand_->run([&] {
      auto asked = std::move(where_->acquires.front());
      where_->acquires.pop_front();
      asked.done(where_->grant(asked.call));
    });
  }

  scripted_backend* where_ = nullptr;
  thread_strand* strand_ = nullptr;
  lease mine_;
  std::shared_ptr<core> core_;
};

TEST_F(ClosingCore, WaitsForWhatItGivesBack) {
  bool closed = false;
  core_->close(1h, [&](auto&&) { closed = true; });
  EXPECT_FALSE(closed);
  strand_->run([&] {
    ASSERT_EQ(where_->releases.size(), 1u);
    std::exchange(where_->releases.front().done, {})({});
  });
  EXPECT_TRUE(closed);
}

TEST_F(ClosingCore, DoesNotWaitLongerThanItsPatience) {
  std::promise<void> closed;
  core_->close(1ms, [&](auto&&) { closed.set_value(); });
  EXPECT_EQ(closed.get_future().wait_for(30s), std::future_status::ready);
  strand_->run([&] { EXPECT_EQ(where_->after_stop, 0); });
}

TEST_F(ClosingCore, ALeaseThatIsGivenBackMeanwhileIsWaitedForToo) {
  bool closed = false;
  std::optional<result<void>> out;
  core_->release(core::state_of(mine_), [&](result<void> r) { out = std::move(r); });
  core_->close(1h, [&](auto&&) { closed = true; });
  EXPECT_FALSE(closed);
  strand_->run([&] { std::exchange(where_->releases.front().done, {})({}); });
  EXPECT_TRUE(closed);
  EXPECT_TRUE(out && *out);
}

TEST_F(ClosingCore, ABlockingCallFromACallbackOnItsOwnThreadIsAnswered) {
  std::promise<std::string> answered;
  client locks = core::make_client(core_);
  core_->inside([&](backend*, strand& on) {
    on.post([&] {
      strand_->afterwards([&] {
        auto got = locks.acquire("b");  // blocks this thread, which is the one that rings and posts
        answered.set_value(got ? std::string(got->lock()) : got.error().message());
      });
    });
  });
  auto answer = answered.get_future();
  while (answer.wait_for(0s) != std::future_status::ready) {
    strand_->run([&] {
      where_->release_at_once = true;
      if (where_->acquires.empty()) return;
      auto asked = std::move(where_->acquires.front());
      where_->acquires.pop_front();
      asked.done(where_->grant(asked.call));
    });
    std::this_thread::yield();
  }
  EXPECT_EQ(answer.get(), "b");
  strand_->run([&] { where_->release_at_once = true; });
}

}  // namespace
}  // namespace dislock::library
