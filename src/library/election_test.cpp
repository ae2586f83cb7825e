#include "dislock/election.hpp"

#include "library/client_core.hpp"
#include "library/local_backend.hpp"
#include "library/test_conveniences.hpp"

#include <string>
#include <vector>

namespace dislock::library {
namespace {

class Election : public conveniences_test {
 protected:
  // Whom `observe` told of.
  [[nodiscard]] election::listener note() {
    return [this](const std::optional<leader>& who) { told_.push_back(who ? who->value : "nobody"); };
  }
  using names = std::vector<std::string>;

  election north_{locks_, "boss", "north"};
  election south_{locks_, "boss", "south"};
  election onlooker_{locks_, "boss"};
  names told_;
};

TEST_F(Election, HasOneLeaderWhomEverybodySees) {
  auto leading = north_.campaign();
  ASSERT_TRUE(leading);

  EXPECT_FALSE(south_.try_campaign()->has_value());
  const auto who = onlooker_.current();
  ASSERT_TRUE(who && *who);

  EXPECT_EQ((*who)->value, "north");
  EXPECT_EQ((*who)->token, leading->fencing_token());
  EXPECT_EQ((*who)->client_id, leading->client_id());
}

TEST_F(Election, KnowsThatNobodyLeads) {
  const auto who = onlooker_.current();

  ASSERT_TRUE(who);
  EXPECT_FALSE(*who);
}

TEST_F(Election, IsWonByTheNextCandidateWhenTheLeaderResigns) {
  auto first = north_.campaign();
  auto second = start(south_.async_campaign());
  EXPECT_FALSE(second.done());

  EXPECT_TRUE(north_.resign(*first));

  ASSERT_TRUE(second.done());
  auto leading = std::move(second).get();
  EXPECT_GT(leading->fencing_token(), first->fencing_token());
  EXPECT_EQ((*onlooker_.current())->value, "south");
}

TEST_F(Election, TellsTheLeaderThatItsLeadershipHasEnded) {
  auto leading = north_.try_campaign();
  ASSERT_TRUE(leading && *leading);

  ASSERT_TRUE(locks_.force_release("boss", {}, "test"));
  locks_.advance(20s);

  EXPECT_TRUE((*leading)->lost().stop_requested());
  EXPECT_EQ(code_of(north_.resign(**leading)), errc::lock_not_held);
}

TEST_F(Election, CampaignsForLongerThanOneCallMayWait) {
  auto first = north_.campaign();
  auto second = start(south_.async_campaign());
  for (int i = 0; i < 5; ++i) locks_.advance(600s);
  EXPECT_FALSE(second.done());

  ASSERT_TRUE(first->release());

  EXPECT_TRUE(second.done());
}

TEST_F(Election, CampaignsForAsLongAsItIsTold) {
  auto first = north_.campaign();
  auto second = start(south_.async_campaign_for(601s));
  locks_.advance(600s);
  EXPECT_FALSE(second.done());
  locks_.advance(1s);

  ASSERT_TRUE(second.done());
  EXPECT_EQ(code_of(std::move(second).get()), errc::lock_not_acquired);
  EXPECT_EQ(code_of(south_.campaign_for(0s)), errc::lock_not_acquired);
}

TEST_F(Election, StopsCampaigningWhenItIsAskedTo) {
  auto first = north_.campaign();
  std::stop_source stop;
  auto second = start(south_.async_campaign(stop.get_token()));

  stop.request_stop();

  ASSERT_TRUE(second.done());
  EXPECT_EQ(code_of(std::move(second).get()), errc::request_cancelled);
  EXPECT_EQ(state_of("boss").queue_length, 0u);
}

TEST_F(Election, IsNotResignedWithTheLeaseOfSomethingElse) {
  auto other = locks_.acquire("other");

  EXPECT_EQ(code_of(north_.resign(*other)), errc::invalid_field);

  EXPECT_TRUE(other->held());
}

TEST_F(Election, WaitsForTheNextLeader) {
  auto nobody = start(onlooker_.async_next({}, 60s));
  EXPECT_FALSE(nobody.done());
  auto first = north_.campaign();
  ASSERT_TRUE(nobody.done());
  EXPECT_EQ((*std::move(nobody).get())->value, "north");

  auto next = start(onlooker_.async_next(first->fencing_token(), 60s));
  locks_.advance(30s);
  EXPECT_FALSE(next.done());
  ASSERT_TRUE(first->release());

  ASSERT_TRUE(next.done());
  EXPECT_FALSE(*std::move(next).get());
}

TEST_F(Election, WaitsForTheNextLeaderNoLongerThanItIsTold) {
  auto first = north_.campaign();
  auto next = start(onlooker_.async_next(first->fencing_token(), 30s));
  locks_.advance(29s);
  EXPECT_FALSE(next.done());
  locks_.advance(1s);

  ASSERT_TRUE(next.done());
  EXPECT_EQ((*std::move(next).get())->token, first->fencing_token());
  EXPECT_EQ((*onlooker_.next({}, 0s))->value, "north");
}

TEST_F(Election, TellsWhoLeadsAndEachChange) {
  const auto watching = onlooker_.observe(note());
  EXPECT_EQ(told_, names{"nobody"});

  auto first = north_.campaign();
  auto second = start(south_.async_campaign());
  ASSERT_TRUE(first->release());
  auto leading = std::move(second).get();
  ASSERT_TRUE(leading->release());

  EXPECT_EQ(told_, (names{"nobody", "north", "south", "nobody"}));
}

TEST_F(Election, TellsWhenALeaderIsNotHeardOfAnyMore) {
  acquire_options how;
  how.ttl = 10s;
  how.renew = false;
  election mortal(locks_, "boss", "mortal", how);
  auto leading = mortal.campaign();
  const auto watching = onlooker_.observe(note());

  locks_.advance(10s);

  EXPECT_EQ(told_, (names{"mortal", "nobody"}));
}

TEST_F(Election, TellsNothingTwiceWhateverElseHappens) {
  auto first = north_.campaign();
  const auto watching = onlooker_.observe(note());

  auto sibling = locks_.acquire("boss/of/something/else");
  auto refused = south_.campaign_for(0s);
  ASSERT_TRUE(first->renew());
  locks_.advance(100s);

  EXPECT_EQ(told_, names{"north"});
}

TEST_F(Election, IsObservedNoMoreWhenTheObservationEnds) {
  { const auto watching = onlooker_.observe(note()); }
  auto first = north_.campaign();

  EXPECT_EQ(told_, names{"nobody"});
}

TEST_F(Election, MayBeLeftFromInsideOfTheObservation) {
  running_task<> watching;
  watching = onlooker_.observe([&](const std::optional<leader>& who) {
    told_.push_back(who ? who->value : "nobody");
    if (who) watching.stop();
  });
  auto first = north_.campaign();
  ASSERT_TRUE(first->release());

  EXPECT_EQ(told_, (names{"nobody", "north"}));
}

TEST_F(Election, IsObservedOnTheExecutorThatWasGiven) {
  test_executor loop;
  const auto watching = onlooker_.observe(note(), loop.get());
  auto first = north_.campaign();
  EXPECT_EQ(told_, names{"nobody"});

  loop.run_all();

  EXPECT_EQ(told_, (names{"nobody", "north"}));
}

TEST_F(Election, IsObservedUntilTheClientIsClosed) {
  const auto watching = onlooker_.observe(note());

  ASSERT_TRUE(locks_.close());

  EXPECT_TRUE(watching.done());
  EXPECT_EQ(told_, names{"nobody"});
}

TEST_F(Election, ShowsWhatTheCommandLineSaysOfItself) {
  acquire_options how;
  how.metadata = R"({"value":"10.0.0.7:80","since":1})";
  auto held = locks_.acquire("boss", how);
  EXPECT_EQ((*onlooker_.current())->value, "10.0.0.7:80");

  auto first = start(north_.async_campaign());
  ASSERT_TRUE(held->release());

  EXPECT_EQ(state_of("boss").holders.front().metadata, R"({"value":"north"})");
}

// A memory engine that answers no questions while it is broken.
class unreadable_backend final : public backend {
 public:
  unreadable_backend(std::unique_ptr<backend> of, const bool& broken, int& asked)
      : of_(std::move(of)), broken_(broken), asked_(asked) {}

  instant now() const noexcept override { return of_->now(); }
  bool remote() const noexcept override { return of_->remote(); }
  call_number acquire(const acquire_call& call, completion<granted_leases> done) override {
    return of_->acquire(call, std::move(done));
  }
  void abandon(call_number which) override { of_->abandon(which); }
  void cancel(std::string lock, bool multi, std::string client, std::string request,
              completion<void> done) override {
    of_->cancel(std::move(lock), multi, std::move(client), std::move(request), std::move(done));
  }
  void release(const lease_key& which, std::string_view request, instant deadline,
               completion<void> done) override {
    of_->release(which, request, deadline, std::move(done));
  }
  void renew(std::vector<lease_key> which, std::vector<duration> ttls,
             completion<std::vector<result<renewed_lease>>> done) override {
    of_->renew(std::move(which), std::move(ttls), std::move(done));
  }
  void inspect(std::string lock, completion<lock_state> done) override {
    if (fails(done)) return;
    of_->inspect(std::move(lock), std::move(done));
  }
  void list(std::string prefix, std::string client, std::size_t limit,
            completion<std::vector<lock_state>> done) override {
    of_->list(std::move(prefix), std::move(client), limit, std::move(done));
  }
  void validate(std::string lock, fencing_token token, completion<bool> done) override {
    of_->validate(std::move(lock), token, std::move(done));
  }
  void force_release(std::string lock, std::optional<fencing_token> token, std::string reason,
                     std::string request, completion<std::vector<fencing_token>> done) override {
    of_->force_release(std::move(lock), token, std::move(reason), std::move(request), std::move(done));
  }
  void graph(completion<std::vector<graph_edge>> done) override { of_->graph(std::move(done)); }
  void deadlocks(completion<std::vector<deadlock_report>> done) override { of_->deadlocks(std::move(done)); }
  void events_after(std::uint64_t id, std::string prefix, duration wait,
                    completion<event_page> done) override {
    if (fails(done)) return;
    of_->events_after(id, std::move(prefix), wait, std::move(done));
  }
  void about(completion<engine_info> done) override { of_->about(std::move(done)); }
  void ping(completion<duration> done) override { of_->ping(std::move(done)); }
  void stop(unique_function<void()> done) override { of_->stop(std::move(done)); }

 private:
  template <class T>
  bool fails(completion<T>& done) {
    ++asked_;
    if (!broken_) return false;
    error why;
    why.code = errc::engine_unavailable;
    done(std::move(why));
    return true;
  }

  std::unique_ptr<backend> of_;
  const bool& broken_;
  int& asked_;
};

TEST(ElectionOverABrokenService, GoesOnWhenItIsBackAndDoesNotAskAllTheTimeMeanwhile) {
  manual_clock time;
  client_options options;
  options.time = &time;
  bool broken = true;
  int asked = 0;
  auto opened =
      client_core::start(options, [&](thread_strand& on, clock&) -> result<std::unique_ptr<backend>> {
        return std::unique_ptr<backend>(
            std::make_unique<unreadable_backend>(open_memory_backend(on), broken, asked));
      });
  auto locks = core::make_client(opened.value());
  election north(locks, "boss", "north");
  std::vector<std::string> told;
  const auto watching = north.observe(
      [&told](const std::optional<leader>& who) { told.push_back(who ? who->value : "nobody"); });

  locks.advance(60s);
  EXPECT_TRUE(told.empty());
  EXPECT_GT(asked, 30);
  EXPECT_LT(asked, 50);
  broken = false;
  locks.advance(2s);
  EXPECT_EQ(told, std::vector<std::string>{"nobody"});
  broken = true;
  auto first = north.campaign();  // the reader that waits is told, and then sees nothing
  EXPECT_EQ(told.size(), 1u);
  broken = false;
  locks.advance(200ms);

  EXPECT_EQ(told, (std::vector<std::string>{"nobody", "north"}));
  EXPECT_EQ(north.current().value()->value, "north");
}

}  // namespace
}  // namespace dislock::library
