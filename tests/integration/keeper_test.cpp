#include "client/keeper.hpp"

#include "engine/test_manual_loop.hpp"
#include "engines/memory/memory_engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing_engines::manual_loop;

/// The memory engine, whose renewals the test can make fail or hold back.
class renewals final : public engine {
 public:
  explicit renewals(loop& where) : inner_(make_memory_engine(where, {})) {}

  void renew(const renew_request& r, completion<answer<renew_answers>> done) override {
    asked.push_back(inner_->now());
    if (error) return done(*error);
    if (!hold_back) return inner_->renew(r, std::move(done));
    inner_->renew(r, [this, done = std::move(done)](answer<renew_answers> a) mutable {
      held.push_back([done = std::move(done), a = std::move(a)]() mutable { done(std::move(a)); });
    });
  }
  std::vector<instant> asked;
  std::optional<errc> error;
  bool hold_back = false;
  std::vector<unique_function<void()>> held;

  const capabilities& about() const noexcept override { return inner_->about(); }
  engine_health health() const override { return inner_->health(); }
  instant now() const noexcept override { return inner_->now(); }
  bool overloaded() const noexcept override { return inner_->overloaded(); }
  event_log& events() noexcept override { return inner_->events(); }
  void start(engine_listener& l) override { inner_->start(l); }
  void stop(unique_function<void()> done) override { inner_->stop(std::move(done)); }
  void acquire(const acquire_request& r, completion<acquire_answer> d) override {
    inner_->acquire(r, std::move(d));
  }
  void release(const release_request& r, completion<answer<release_answers>> d) override {
    inner_->release(r, std::move(d));
  }
  void cancel(const call_id& c, completion<answer<cancelled>> d) override { inner_->cancel(c, std::move(d)); }
  void force_release(lock_name n, std::optional<fencing_token> t, request_id r, std::string_view why,
                     completion<answer<forced>> d) override {
    inner_->force_release(n, t, r, why, std::move(d));
  }
  void open_session(client_id c, duration t, request_id r, completion<answer<session_opened>> d) override {
    inner_->open_session(c, t, r, std::move(d));
  }
  void keep_session(session_id s, request_id r, completion<answer<session_kept>> d) override {
    inner_->keep_session(s, r, std::move(d));
  }
  void close_session(session_id s, request_id r, completion<answer<session_closed>> d) override {
    inner_->close_session(s, r, std::move(d));
  }
  void detach(ticket t, std::uint32_t e) override { inner_->detach(t, e); }
  void undelivered(const granted& given) override { inner_->undelivered(given); }
  void status(lock_name n, std::size_t h, std::size_t w, completion<answer<lock_view>> d) override {
    inner_->status(n, h, w, std::move(d));
  }
  void validate(lock_name n, fencing_token t, completion<answer<validity>> d) override {
    inner_->validate(n, t, std::move(d));
  }
  void places(ticket t, completion<answer<std::optional<std::vector<place>>>> d) override {
    inner_->places(t, std::move(d));
  }
  void list(const lock_filter& f, std::uint64_t c, std::size_t l,
            completion<answer<page<lock_view>>> d) override {
    inner_->list(f, c, l, std::move(d));
  }
  void sessions(std::uint64_t c, std::size_t l, completion<answer<page<session_view>>> d) override {
    inner_->sessions(c, l, std::move(d));
  }
  void edges(std::size_t l, completion<answer<std::vector<wait_edge>>> d) override {
    inner_->edges(l, std::move(d));
  }
  table_counts counts() const override { return inner_->counts(); }
  void for_each_auto_renewed(const std::function<void(const lease_proof&, duration, instant)>& v) override {
    inner_->for_each_auto_renewed(v);
  }

 private:
  std::unique_ptr<engine> inner_;
};

class Keeper : public testing::Test, public engine_listener {
 protected:
  Keeper() { engine_.start(*this); }
  void on_resolved(ticket, std::uint32_t, acquire_answer&&) override {}
  void on_event(const event&) override {}
  void on_deadlock(const deadlock&) override {}

  grant hold(std::string_view lock, duration ttl, std::optional<duration> max_hold = {},
             bool auto_renew = true) {
    const lock_want want{lock_name(lock)};
    acquire_request r;
    r.client = client_id("alice");
    r.wants = {&want, 1};
    r.ttl = ttl;
    r.max_hold = max_hold;
    r.auto_renew = auto_renew;
    std::optional<acquire_answer> got;
    engine_.acquire(r, [&](acquire_answer a) { got = std::move(a); });
    return std::get<granted>(got.value()).leases.at(0);
  }
  grant adopt(std::string_view lock, duration ttl, std::optional<duration> max_hold = {}) {
    const auto lease = hold(lock, ttl, max_hold);
    keeper_.adopt(lock_name(lock), lease.id, ttl);
    return lease;
  }
  void release(const lock_id& id, std::string_view lock = "a") {
    const lease_proof proof{lock_name(lock), id, {}};
    engine_.release({{}, {}, {&proof, 1}, false}, [](auto&&) {});
  }
  bool locked(std::string_view lock = "a") {
    bool is = false;
    engine_.status(lock_name(lock), 1, 1, [&](const answer<lock_view>& v) { is = v->locked; });
    return is;
  }
  void pass(duration d) {
    for (auto left = d; left > duration::zero(); left -= std::min<duration>(left, 100ms)) {
      time_.advance(std::min<duration>(left, 100ms));
      clock_.run_ready();
      strand_.run_ready();
    }
  }
  // How long after the start the engine was asked to renew.
  std::vector<duration> asked() {
    std::vector<duration> out;
    for (const auto at : std::exchange(engine_.asked, {})) out.push_back(at - start_);
    return out;
  }

  manual_clock time_;
  const instant start_ = time_.now();
  manual_loop strand_{time_}, clock_{time_};
  renewals engine_{strand_};
  keeper keeper_{engine_, clock_, 5s};
};

TEST_F(Keeper, RenewsEveryThirdOfAShortTtl) {
  adopt("a", 3s);
  pass(3500ms);
  EXPECT_THAT(asked(), ElementsAre(1s, 2s, 3s));
  EXPECT_TRUE(locked());
  EXPECT_EQ(keeper_.renewals(), 3u);
}

TEST_F(Keeper, RenewsALongTtlAtItsInterval) {
  adopt("a", 300s);
  pass(16s);
  EXPECT_THAT(asked(), ElementsAre(5s, 10s, 15s));
}

TEST_F(Keeper, KeepsManyLeasesEachInItsOwnTime) {
  adopt("a", 300s);
  adopt("b", 6s);
  pass(6s);
  EXPECT_THAT(asked(), ElementsAre(2s, 4s, 5s, 6s));
  pass(60s);
  EXPECT_TRUE(locked("a"));
  EXPECT_TRUE(locked("b"));
}

TEST_F(Keeper, StopsWhenTheLeaseIsReleased) {
  const auto lease = adopt("a", 3s);
  release(lease.id);
  pass(10s);
  EXPECT_THAT(asked(), ElementsAre(1s));
  EXPECT_EQ(keeper_.leases(), 0u);
  EXPECT_EQ(keeper_.renewals(), 0u);
}

TEST_F(Keeper, StopsAtTheEndOfMaxHold) {
  adopt("a", 3s, 10s);
  pass(9900ms);
  EXPECT_TRUE(locked());
  pass(2s);
  EXPECT_FALSE(locked());
  EXPECT_EQ(keeper_.leases(), 0u);
}

TEST_F(Keeper, GoesOnAfterAnyOtherError) {
  adopt("a", 6s);
  for (const auto error : {errc::overloaded, errc::outcome_unknown, errc::engine_unavailable}) {
    engine_.error = error;
    pass(2s);
    engine_.error.reset();
    pass(2s);
    EXPECT_EQ(keeper_.leases(), 1u);
    EXPECT_TRUE(locked());
  }
  EXPECT_EQ(keeper_.renewals(), 3u);
}

TEST_F(Keeper, AdoptingTwiceRenewsOnce) {
  const auto lease = adopt("a", 3s);
  keeper_.adopt(lock_name("a"), lease.id, 3s);
  EXPECT_EQ(keeper_.leases(), 1u);
  pass(1s);
  EXPECT_THAT(asked(), ElementsAre(1s));
}

TEST_F(Keeper, ALeaseThatWasLetGoCanBeAdoptedAgain) {
  release(adopt("a", 3s).id);
  pass(3s);
  ASSERT_EQ(keeper_.leases(), 0u);
  adopt("a", 3s);
  pass(10s);
  EXPECT_TRUE(locked());
}

TEST_F(Keeper, TakesUpWhatTheEngineKnowsOf) {
  hold("a", 3s);
  hold("b", 3s, {}, false);
  keeper_.start();
  EXPECT_EQ(keeper_.leases(), 1u);
  pass(10s);
  EXPECT_TRUE(locked("a"));
  EXPECT_FALSE(locked("b")) << "which asked for no renewal";
}

TEST_F(Keeper, AnswersThatComeLateAndTogetherEndTheLeaseOnce) {
  const auto lease = adopt("a", 3s);
  adopt("b", 300s);
  engine_.hold_back = true;
  release(lease.id);
  pass(2s);  // two renewals are on their way, and both will say that it is not held
  ASSERT_EQ(engine_.held.size(), 2u);
  for (auto& each : std::exchange(engine_.held, {})) each();
  EXPECT_EQ(keeper_.leases(), 1u);
  engine_.hold_back = false;
  asked();
  pass(10s);
  EXPECT_THAT(asked(), ElementsAre(5s, 10s)) << "the other lease alone";
}

TEST_F(Keeper, ALateAnswerAboutAnOlderLifeDoesNotEndANewOne) {
  const auto lease = adopt("a", 3s);
  engine_.hold_back = true;
  release(lease.id);
  pass(2s);
  ASSERT_EQ(engine_.held.size(), 2u);
  engine_.held[0]();
  EXPECT_EQ(keeper_.leases(), 0u);
  adopt("b", 3s);
  engine_.held[1]();
  EXPECT_EQ(keeper_.leases(), 1u);
}

}  // namespace
}  // namespace dislock
