// The remote backend against a real service that is well.
#include "library/remote/test_dislockd.hpp"
#include "library/remote/test_remote.hpp"

#include <gmock/gmock.h>

#include <thread>

namespace dislock::library {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class RemoteBackend : public testing::Test {
 protected:
  granted_lease hold(const std::string& lock, const std::string& client) {
    auto got = remote_.acquire(lock, client);
    if (got) return got->leases.at(0);
    ADD_FAILURE() << "not granted: " << to_string(got.error().code) << " " << got.error().detail;
    return {};
  }

  test_dislockd service_;
  test_remote remote_{service_.url()};
};

TEST_F(RemoteBackend, GrantsAndTellsHowLongItMayBeBelieved) {
  const auto before = remote_.on().now();
  const auto got = remote_.acquire("orders/1", "alice");
  const auto after = remote_.on().now();

  ASSERT_TRUE(got);
  const auto& lease = got->leases.at(0);
  EXPECT_EQ(lease.lock, "orders/1");
  EXPECT_EQ(lease.mode, lock_mode::exclusive);
  EXPECT_EQ(lease.hold_count, 1U);
  EXPECT_GT(to_number(lease.token), 0U);
  EXPECT_GT(lease.valid_until, before + 29s + 600ms);
  EXPECT_LE(lease.valid_until, after + 29'698ms);
}

TEST_F(RemoteBackend, GivesBackSoThatTheNextOneGetsItWithALargerToken) {
  const auto first = hold("a", "alice");
  ASSERT_TRUE(remote_.release(first, "alice"));
  EXPECT_GT(hold("a", "bob").token, first.token);
}

TEST_F(RemoteBackend, ATryThatFailsNamesTheHolder) {
  const auto held = hold("a", "alice");
  const auto refused = remote_.acquire("a", "bob");

  ASSERT_EQ(code_of(refused), errc::lock_not_acquired);
  ASSERT_THAT(refused.error().holders, SizeIs(1));
  EXPECT_EQ(refused.error().holders[0].client, "alice");
  EXPECT_EQ(refused.error().holders[0].token, held.token);
  EXPECT_EQ(refused.error().holder_count, 1U);
  EXPECT_EQ(refused.error().lock, "a");
  EXPECT_GT(refused.error().holders[0].expires_at, refused.error().holders[0].acquired_at);
}

TEST_F(RemoteBackend, AWaiterIsHandedTheLockAndToldHowLongItWaited) {
  const auto held = hold("a", "alice");
  auto waits = remote_.begin_acquire(remote_.wanting("a", "bob", 20s));
  remote_.until_waiting("a", 1);
  EXPECT_FALSE(waits.over(20ms));
  ASSERT_TRUE(remote_.release(held, "alice"));

  const auto got = waits.get();
  ASSERT_TRUE(got);
  EXPECT_GT(got->leases[0].token, held.token);
  EXPECT_GE(got->waited, 19ms);
}

TEST_F(RemoteBackend, AWaitThatIsOverSaysWhoHasTheLockAndHowLongItWas) {
  hold("a", "alice");
  const auto refused = remote_.acquire("a", "bob", 150ms);

  ASSERT_EQ(code_of(refused), errc::lock_not_acquired);
  EXPECT_GE(refused.error().waited, 150ms);
  EXPECT_THAT(refused.error().holders, SizeIs(1));
}

TEST(RemoteBackendPolls, ALongWaitKeepsItsPlaceOverManyPolls) {
  test_dislockd service({"--poll-slice", "0.1"});
  test_remote remote(service.url());
  const auto held = remote.acquire("a", "alice");
  ASSERT_TRUE(held);
  auto first = remote.begin_acquire(remote.wanting("a", "first", 20s));
  remote.until_waiting("a", 1);
  auto second = remote.begin_acquire(remote.wanting("a", "second", 20s));
  remote.until_waiting("a", 2);
  EXPECT_FALSE(second.over(450ms));  // four slices

  ASSERT_TRUE(remote.release(held->leases[0], "alice"));
  const auto got = first.get();
  ASSERT_TRUE(got);
  EXPECT_GE(got->waited, 400ms);
  EXPECT_LT(got->leases[0].valid_until, remote.on().now() + 30s) << "counted from the last poll";
  EXPECT_GT(got->leases[0].valid_until, remote.on().now() + 28s);
  EXPECT_FALSE(second.over());
  ASSERT_TRUE(remote.release(got->leases[0], "first"));
  EXPECT_TRUE(second.get());
}

TEST_F(RemoteBackend, ADeadlockComesWithItsCycle) {
  const auto a = hold("a", "alice");
  const auto b = hold("b", "bob");
  auto alice = remote_.begin_acquire(remote_.wanting("b", "alice", 20s));
  remote_.until_waiting("b", 1);
  const auto bob = remote_.acquire("a", "bob", 20s);

  ASSERT_EQ(code_of(bob), errc::deadlock_detected);
  EXPECT_THAT(bob.error().cycle, SizeIs(2));
  EXPECT_EQ(bob.error().cycle[0].client, "bob");
  EXPECT_EQ(bob.error().cycle[0].lock, "a");
  EXPECT_EQ(bob.error().cycle[0].blocker, "alice");
  ASSERT_TRUE(remote_.release(b, "bob"));
  EXPECT_TRUE(alice.get());

  const auto reports = remote_.ask<std::vector<deadlock_report>>(
      [](backend& where, auto done) { where.deadlocks(std::move(done)); });
  ASSERT_TRUE(reports);
  ASSERT_THAT(*reports, SizeIs(1));
  EXPECT_EQ((*reports)[0].victim, "bob");
  EXPECT_THAT((*reports)[0].cycle, SizeIs(2));
}

TEST_F(RemoteBackend, SeveralLocksComeTogetherOrNotAtAll) {
  auto both = remote_.wanting("a", "alice");
  both.multi = true;
  both.locks.push_back({"b", lock_mode::shared, 0, 1});
  both.locks.push_back({"c", lock_mode::semaphore, 3, 2});
  const auto got = remote_.acquire(both);

  ASSERT_TRUE(got);
  ASSERT_THAT(got->leases, SizeIs(3));
  EXPECT_EQ(got->leases[1].lock, "b");
  EXPECT_EQ(got->leases[1].mode, lock_mode::shared);
  EXPECT_EQ(got->leases[2].permits, 2U);

  auto others = remote_.wanting("d", "bob");
  others.multi = true;
  others.locks.push_back({"a", lock_mode::exclusive, 0, 1});
  EXPECT_EQ(code_of(remote_.acquire(others)), errc::lock_not_acquired);
  EXPECT_FALSE(remote_.inspect("d").locked);
  ASSERT_TRUE(remote_.cancel(both));
  EXPECT_FALSE(remote_.inspect("a").locked);
  EXPECT_FALSE(remote_.inspect("c").locked);
}

TEST_F(RemoteBackend, ASemaphoreCountsItsPermits) {
  auto want = remote_.wanting("pool", "alice");
  want.locks[0].mode = lock_mode::semaphore;
  want.locks[0].limit = 3;
  want.locks[0].permits = 2;
  ASSERT_TRUE(remote_.acquire(want));
  const auto state = remote_.inspect("pool");
  EXPECT_EQ(state.mode, lock_mode::semaphore);
  EXPECT_EQ(state.limit, 3U);
  EXPECT_EQ(state.used, 2U);

  want.client = "bob";
  EXPECT_EQ(code_of(remote_.acquire(want)), errc::lock_not_acquired);
  want.locks[0].limit = 4;
  want.request += "x";
  EXPECT_EQ(code_of(remote_.acquire(want)), errc::lock_mode_conflict);
}

TEST_F(RemoteBackend, TheSameLeaseIsHeldTwiceByReentry) {
  const auto first = hold("a", "alice");
  auto again = remote_.wanting("a", "alice");
  again.reentry = first.id;
  const auto second = remote_.acquire(again);

  ASSERT_TRUE(second);
  EXPECT_EQ(second->leases[0].hold_count, 2U);
  EXPECT_EQ(second->leases[0].token, first.token);
  ASSERT_TRUE(remote_.release(first, "alice"));
  EXPECT_TRUE(remote_.inspect("a").locked);
  ASSERT_TRUE(remote_.release(first, "alice"));
  EXPECT_FALSE(remote_.inspect("a").locked);
}

TEST_F(RemoteBackend, RenewsManyLeasesAndAnswersForEach) {
  std::vector<lease_key> keys;
  std::vector<duration> ttls;
  for (int i = 0; i < 40; ++i) {
    const auto name = "lock-" + std::to_string(i);
    keys.push_back({name, "alice", hold(name, "alice").id});
    ttls.emplace_back(i % 2 == 0 ? 60s : 90s);
  }
  keys.push_back(keys[0]);  // the same name once more
  ttls.push_back(ttls[0]);
  keys[3].id.bits[0] ^= 1;  // not ours

  const auto before = remote_.on().now();
  const auto answers = remote_.ask<std::vector<result<renewed_lease>>>(
      [&](backend& b, auto done) { b.renew(keys, ttls, std::move(done)); });

  ASSERT_TRUE(answers);
  ASSERT_EQ(answers->size(), 41U);
  for (std::size_t i = 0; i < 41; ++i) {
    const auto& one = (*answers)[i];
    if (i == 3) {
      EXPECT_EQ(code_of(one), errc::lock_not_held);
      EXPECT_EQ(one.error().lock, "lock-3");
    } else {
      ASSERT_TRUE(one) << i;
      EXPECT_GT(one->valid_until, before + (i % 2 == 0 ? 59s : 89s)) << i;
      EXPECT_LT(one->valid_until, before + (i % 2 == 0 ? 60s : 90s)) << i;
    }
  }
}

TEST_F(RemoteBackend, ALeaseThatIsGoneCannotBeReleasedAndSaysHowItEnded) {
  const auto held = hold("a", "alice");
  const auto tokens = remote_.ask<std::vector<fencing_token>>([&](backend& b, auto done) {
    b.force_release("a", held.token, "a test & its reason", "force-1", std::move(done));
  });
  ASSERT_TRUE(tokens);
  EXPECT_THAT(*tokens, ElementsAre(held.token));

  const auto refused = remote_.release(held, "alice");
  ASSERT_EQ(code_of(refused), errc::lock_not_held);
  EXPECT_EQ(refused.error().ended, end_reason::forced);
  EXPECT_EQ(refused.error().lock, "a");
}

TEST_F(RemoteBackend, CancelGivesBackWhatWasGranted) {
  const auto call = remote_.wanting("a", "alice");
  ASSERT_TRUE(remote_.acquire(call));
  ASSERT_TRUE(remote_.cancel(call));
  EXPECT_FALSE(remote_.inspect("a").locked);
}

TEST_F(RemoteBackend, ARequestThatWasCancelledBeforeItArrivedIsRefused) {
  const auto call = remote_.wanting("a", "alice");
  ASSERT_TRUE(remote_.cancel(call));
  EXPECT_EQ(code_of(remote_.acquire(call)), errc::request_cancelled);
}

TEST_F(RemoteBackend, AnAbandonedWaitEndsAtOnceAndCancelSettlesIt) {
  hold("a", "alice");
  const auto call = remote_.wanting("a", "bob", 20s);
  call_number number{};
  auto waits = remote_.begin_acquire(call, &number);
  remote_.until_waiting("a", 1);

  remote_.on().run([&] { remote_.where().abandon(number); });
  EXPECT_EQ(code_of(waits.get()), errc::outcome_unknown);
  ASSERT_TRUE(remote_.cancel(call));
  EXPECT_EQ(remote_.inspect("a").queue_length, 0U);
}

TEST_F(RemoteBackend, AbandoningWhatIsOverDoesNothing) {
  call_number number{};
  auto got = remote_.begin_acquire(remote_.wanting("a", "alice"), &number);
  ASSERT_TRUE(got.get());
  remote_.on().run([&] { remote_.where().abandon(number); });
  EXPECT_TRUE(remote_.inspect("a").locked);
}

TEST(RemoteBackendLanes, ThoseWhoHoldAreNotHeldUpByThoseWhoWait) {
  test_dislockd service;
  client_options few;
  few.connections = 4;
  test_remote remote(service.url(), few);
  const auto held = remote.acquire("a", "alice");
  ASSERT_TRUE(held);
  std::vector<acquire_call> calls;
  std::vector<call_number> numbers(20);
  std::vector<pending<granted_leases>> waits;
  for (std::size_t i = 0; i < 20; ++i) {
    calls.push_back(remote.wanting("a", "waiter-" + std::to_string(i), 20s));
    waits.push_back(remote.begin_acquire(calls.back(), &numbers[i]));
  }
  remote.until_waiting("a", 3);  // one of four connections is left alone

  const auto renewed = remote.ask<std::vector<result<renewed_lease>>>([&](backend& b, auto done) {
    b.renew({{"a", "alice", held->leases[0].id}}, {30s}, std::move(done));
  });
  ASSERT_TRUE(renewed && renewed->at(0));

  remote.on().run([&] { remote.where().abandon(numbers[19]); });
  EXPECT_EQ(code_of(waits[19].get()), errc::request_cancelled) << "nothing of it had left";

  ASSERT_TRUE(remote.release(held->leases[0], "alice"));
  for (std::size_t i = 0; i < 19; ++i) {  // in the order of the calls
    const auto got = waits[i].get();
    ASSERT_TRUE(got) << i;
    ASSERT_TRUE(remote.release(got->leases[0], calls[i].client));
  }
}

TEST(RemoteBackendLanes, AWaitThatNeverGetsAConnectionEndsInTime) {
  test_dislockd service;
  client_options few;
  few.connections = 2;
  few.connect_timeout = 100ms;
  test_remote remote(service.url(), few);
  ASSERT_TRUE(remote.acquire("a", "alice"));
  auto first = remote.begin_acquire(remote.wanting("a", "bob", 20s));
  remote.until_waiting("a", 1);
  const auto refused = remote.acquire("b", "carol", 200ms);
  ASSERT_EQ(code_of(refused), errc::lock_not_acquired);
  EXPECT_THAT(refused.error().detail, HasSubstr("connections"));
  EXPECT_GE(refused.error().waited, 200ms);
}

TEST_F(RemoteBackend, ListsLocksPageByPage) {
  for (int i = 0; i < 250; ++i) hold("many/" + std::to_string(i), i % 2 == 0 ? "even+1" : "odd");
  const auto list = [&](std::string prefix, std::string client, std::size_t limit) {
    const auto found = remote_.ask<std::vector<lock_state>>(
        [&](backend& b, auto done) { b.list(std::move(prefix), std::move(client), limit, std::move(done)); });
    EXPECT_TRUE(found);
    return found ? found->size() : 0;
  };
  EXPECT_EQ(list("", "", 1000), 250U);
  EXPECT_EQ(list("many/", "even+1", 1000), 125U);
  EXPECT_EQ(list("none", "", 1000), 0U);
  EXPECT_EQ(list("", "", 230), 230U);
}

TEST_F(RemoteBackend, ShowsMetadataAndWaiters) {
  auto with = remote_.wanting("a", "alice");
  with.metadata = R"({"job":"invoices","n":[1,2]})";
  ASSERT_TRUE(remote_.acquire(with));
  auto waits = remote_.begin_acquire(remote_.wanting("a", "bob", 20s));
  remote_.until_waiting("a", 1);

  const auto state = remote_.inspect("a");
  EXPECT_TRUE(state.locked);
  ASSERT_THAT(state.holders, SizeIs(1));
  EXPECT_EQ(state.holders[0].metadata, with.metadata);
  ASSERT_THAT(state.waiters, SizeIs(1));
  EXPECT_EQ(state.waiters[0].client, "bob");
  EXPECT_EQ(state.waiters[0].position, 1U);
  EXPECT_TRUE(state.waiters[0].connected);
  EXPECT_EQ(state.latest_token, state.holders[0].token);

  const auto edges =
      remote_.ask<std::vector<graph_edge>>([](backend& b, auto done) { b.graph(std::move(done)); });
  ASSERT_TRUE(edges);
  ASSERT_THAT(*edges, SizeIs(1));
  EXPECT_EQ((*edges)[0].from, "bob");
  EXPECT_EQ((*edges)[0].to, "alice");
  EXPECT_EQ((*edges)[0].lock, "a");
  EXPECT_FALSE((*edges)[0].behind);
}

TEST_F(RemoteBackend, ValidatesATokenAgainstTheLivingLease) {
  const auto held = hold("a", "alice");
  const auto valid = [&](fencing_token t) {
    const auto r = remote_.ask<bool>([&](backend& b, auto done) { b.validate("a", t, std::move(done)); });
    EXPECT_TRUE(r);
    return r && *r;
  };
  EXPECT_TRUE(valid(held.token));
  EXPECT_FALSE(valid(fencing_token{1}));
}

TEST_F(RemoteBackend, SaysWhatTheServiceIsAndThatItIsWell) {
  const auto about = remote_.ask<engine_info>([](backend& b, auto done) { b.about(std::move(done)); });
  ASSERT_TRUE(about);
  EXPECT_EQ(about->engine, "memory");
  EXPECT_EQ(about->guarantee, 'C');
  EXPECT_FALSE(about->version.empty());
  EXPECT_TRUE(about->fifo && about->multi && about->semaphore && about->shared);
  EXPECT_FALSE(about->durable);
  const auto took = remote_.ask<duration>([](backend& b, auto done) { b.ping(std::move(done)); });
  ASSERT_TRUE(took);
  EXPECT_GT(*took, 0us);
  EXPECT_LT(*took, 5s);
}

TEST_F(RemoteBackend, ARefusedFieldIsNamed) {
  auto call = remote_.wanting("a", "alice", 0s, std::chrono::hours(10));
  const auto refused = remote_.acquire(call);
  ASSERT_EQ(code_of(refused), errc::invalid_field);
  EXPECT_THAT(refused.error().detail, HasSubstr("timeout"));
}

TEST_F(RemoteBackend, ANameThatIsNoneCannotEndTheRequestLine) {
  const auto refused = remote_.acquire("a HTTP/1.1\r\nX: y\r\n\r\n", "alice");
  EXPECT_EQ(code_of(refused), errc::invalid_lock_name);
}

TEST_F(RemoteBackend, WhoeverIsToldGoesOnOnTheSameThread) {
  std::promise<std::pair<std::thread::id, std::thread::id>> done;
  auto threads = done.get_future();
  auto& on = remote_.on();
  auto& where = remote_.where();
  on.run([&] {
    where.acquire(remote_.wanting("a", "alice"), [&](result<granted_leases>) {
      on.afterwards([&] {
        const auto first = std::this_thread::get_id();
        on.run([&, first] {
          where.acquire(remote_.wanting("b", "alice"), [&, first](result<granted_leases>) {
            done.set_value({first, std::this_thread::get_id()});
          });
        });
      });
    });
  });
  ASSERT_EQ(threads.wait_for(20s), std::future_status::ready);
  const auto [first, second] = threads.get();
  EXPECT_EQ(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
}

// As a callback of an application does that uses the blocking forms.
TEST_F(RemoteBackend, WhoeverIsToldMayWaitThereForMore) {
  std::promise<int> done;
  auto pairs = done.get_future();
  auto& on = remote_.on();
  auto& where = remote_.where();
  EXPECT_FALSE(where.on_own_thread());
  on.run([&] {
    where.acquire(remote_.wanting("a", "alice"), [&](result<granted_leases>) {
      on.afterwards([&] {
        ASSERT_TRUE(where.on_own_thread());
        int ended = 0;
        for (int i = 0; i < 10; ++i) {
          std::optional<granted_lease> mine;
          on.run([&] {
            where.acquire(remote_.wanting("b", "alice"), [&](result<granted_leases> got) {
              mine = got ? std::move(got->leases[0]) : granted_lease{};
            });
          });
          while (!mine) where.help();
          bool released = false;
          on.run([&] {
            where.release({mine->lock, "alice", mine->id}, "release-" + std::to_string(i),
                          later(where.now(), 5s), [&](result<void> gone) {
                            ended += gone.has_value();
                            released = true;
                          });
          });
          while (!released) where.help();
        }
        done.set_value(ended);
      });
    });
  });
  ASSERT_EQ(pairs.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(pairs.get(), 10);
}

TEST_F(RemoteBackend, WhoeverWaitsThereIsWokenByOthersAndByTheTime) {
  std::promise<errc> done;
  auto code = done.get_future();
  auto& on = remote_.on();
  auto& where = remote_.where();
  std::atomic<bool> rung{false};
  std::atomic<bool> waits{false};
  std::thread other([&] {
    while (!waits) std::this_thread::yield();
    rung = true;
    where.ring();
  });
  ASSERT_TRUE(remote_.acquire("held", "bob"));
  on.run([&] {
    where.acquire(remote_.wanting("a", "alice"), [&](result<granted_leases>) {
      on.afterwards([&] {
        waits = true;
        while (!rung) where.help();
        std::optional<errc> end;  // by the service, and if that stood still by the deadline here
        service_.freeze();
        on.run([&] {
          where.acquire(remote_.wanting("held", "alice", 50ms),
                        [&](result<granted_leases> got) { end = code_of(got); });
        });
        while (!end) where.help();
        service_.thaw();
        done.set_value(*end);
      });
    });
  });
  ASSERT_EQ(code.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(code.get(), errc::outcome_unknown);
  other.join();
}

TEST(RemoteBackendEnd, CanBeDestroyedByWhoeverIsTold) {
  test_dislockd service;
  test_remote remote(service.url());
  auto mine = remote.take();
  std::promise<void> gone;
  auto ended = gone.get_future();
  remote.on().run([&] {
    mine->acquire(remote.wanting("a", "alice"), [&](result<granted_leases>) {
      remote.on().afterwards([&] {
        remote.on().run([&] {
          mine->stop([&] {
            remote.on().afterwards([&] {
              mine.reset();
              gone.set_value();
            });
          });
        });
      });
    });
  });
  EXPECT_EQ(ended.wait_for(20s), std::future_status::ready);
}

TEST(RemoteBackendEnd, StoppingEndsWhatIsOpen) {
  test_dislockd service;
  client_options few;
  few.connections = 2;
  test_remote remote(service.url(), few);
  ASSERT_TRUE(remote.acquire("a", "alice"));
  auto waits = remote.begin_acquire(remote.wanting("a", "bob", 20s));
  remote.until_waiting("a", 1);
  auto queued = remote.begin_acquire(remote.wanting("a", "carol", 20s));
  auto events = remote.begin<event_page>(
      [](backend& b, auto done) { b.events_after(0, "none", 20s, std::move(done)); });
  auto more = remote.begin<event_page>(
      [](backend& b, auto done) { b.events_after(1, "none", 20s, std::move(done)); });
  remote.stop();
  EXPECT_EQ(code_of(waits.get()), errc::outcome_unknown);
  EXPECT_EQ(code_of(queued.get()), errc::engine_unavailable);
  (void)events.get();
  (void)more.get();
}

// Events

class RemoteEvents : public RemoteBackend {
 protected:
  pending<event_page> begin_after(std::uint64_t id, std::string prefix = {}, duration wait = 20s) {
    return remote_.begin<event_page>(
        [&](backend& b, auto done) { b.events_after(id, std::move(prefix), wait, std::move(done)); });
  }
  event_page after(std::uint64_t id, std::string prefix = {}, duration wait = 20s) {
    auto page = begin_after(id, std::move(prefix), wait).get();
    if (page) return *page;
    ADD_FAILURE() << to_string(page.error().code) << page.error().detail;
    return {};
  }
  // All events up to the one of this type, page by page.
  std::vector<lock_event> until(std::string_view type, std::uint64_t id, const std::string& prefix = {}) {
    std::vector<lock_event> all;
    while (true) {
      auto page = after(id, prefix);
      for (auto& e : page.events) all.push_back(e);
      if (page.events.empty() || page.reset) return all;
      if (all.back().type == type) return all;
      id = page.newest;
    }
  }
};

TEST_F(RemoteEvents, BeginAtTheNewest) {
  const auto held = hold("a", "alice");
  const auto page = after(0);
  EXPECT_TRUE(page.events.empty());
  EXPECT_FALSE(page.reset);
  EXPECT_GT(page.newest, 0U);
  ASSERT_TRUE(remote_.release(held, "alice"));

  const auto events = until("released", page.newest);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].lock, "a");
  EXPECT_EQ(events[0].client, "alice");
  EXPECT_EQ(events[0].token, held.token);
  EXPECT_GT(events[0].id, page.newest);
}

TEST_F(RemoteEvents, WaitForTheNextOne) {
  hold("other", "alice");
  const auto begin = after(0, "a/").newest;
  auto waits = begin_after(begin, "a/");
  hold("b/1", "alice");
  hold("a/1", "alice");
  const auto page = waits.get();
  ASSERT_TRUE(page);
  ASSERT_THAT(page->events, SizeIs(1));
  EXPECT_EQ(page->events[0].lock, "a/1");
  EXPECT_EQ(page->events[0].type, "acquired");
}

TEST_F(RemoteEvents, SayNothingWhenNothingHappens) {
  hold("a", "alice");
  const auto begin = after(0).newest;
  const auto page = after(begin, {}, 50ms);
  EXPECT_TRUE(page.events.empty());
  EXPECT_FALSE(page.reset);
  EXPECT_EQ(page.newest, begin);
}

TEST_F(RemoteEvents, LoseNothingBetweenPages) {
  hold("start", "alice");
  auto id = after(0).newest;
  std::vector<std::uint64_t> tokens, seen;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 30; ++i) {
      const auto held = hold("r", "alice");
      tokens.push_back(to_number(held.token));
      ASSERT_TRUE(remote_.release(held, "alice"));
    }
    const auto page = after(id);
    for (const auto& e : page.events)
      if (e.type == "acquired") seen.push_back(to_number(*e.token));
    id = page.newest;
  }
  while (seen.size() < tokens.size()) {
    const auto page = after(id, {}, 5s);
    ASSERT_FALSE(page.events.empty());
    for (const auto& e : page.events)
      if (e.type == "acquired") seen.push_back(to_number(*e.token));
    id = page.newest;
  }
  EXPECT_EQ(seen, tokens);
}

TEST(RemoteEventsLost, AReaderWhomTheLogHasOvertakenIsReset) {
  test_dislockd service({"--event-log-size", "10"});
  test_remote remote(service.url());
  ASSERT_TRUE(remote.acquire("a", "alice"));
  const auto old =
      remote.ask<event_page>([](backend& b, auto done) { b.events_after(0, {}, 0s, std::move(done)); });
  ASSERT_TRUE(old);
  {
    test_remote busy(service.url());
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(busy.acquire("b" + std::to_string(i), "bob"));
  }
  test_remote fresh(service.url());
  const auto page = fresh.ask<event_page>(
      [&](backend& b, auto done) { b.events_after(old->newest, {}, 5s, std::move(done)); });
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->reset);
  EXPECT_GT(page->newest, old->newest);
}

}  // namespace
}  // namespace dislock::library
