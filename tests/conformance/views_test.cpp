// DESIGN 2.15, 2.16 and the reading calls of section 3.
#include "conformance.hpp"

#include <algorithm>
#include <set>

namespace dislock::testing_engines {
namespace {

class Views : public Conformance {
 protected:
  [[nodiscard]] std::vector<event_type> types_after(std::uint64_t id = 0) {
    std::vector<event_type> out;
    for (const auto& e : events_after(id)) out.push_back(e.type);
    return out;
  }
};
DISLOCK_CONFORMANCE_SUITE(Views);

TEST_P(Views, AnIdleLockHasNothingToTell) {
  const auto v = status();
  EXPECT_EQ(v.name, "a");
  EXPECT_FALSE(v.locked);
  EXPECT_THAT(v.holders, IsEmpty());
  EXPECT_FALSE(v.latest);
  EXPECT_FALSE(validate(fencing_token{1}).current);
  EXPECT_FALSE(validate(fencing_token{1}).latest);
}

TEST_P(Views, StatusTellsWhoHoldsAndWhoWaits) {
  const auto lease = hold("alice");
  pass(1s);
  wait_for("r1", "bob", {.wait = 30s});
  const auto v = status();
  EXPECT_EQ(v.latest, lease.token);
  EXPECT_EQ(v.queue_length, 1u);
  ASSERT_THAT(v.waiters, SizeIs(1));
  EXPECT_EQ(v.waiters[0].client, "bob");
  EXPECT_EQ(v.waiters[0].position, 1u);
  EXPECT_EQ(v.waiters[0].since, now());
  EXPECT_EQ(left(v.waiters[0].deadline), 30s);
  EXPECT_EQ(v.holders.at(0).acquired_at, now() - 1s);
}

TEST_P(Views, ValidateKnowsTheTokenOfALiveLeaseAlone) {
  const auto old = hold("alice");
  ASSERT_TRUE(release(old.id));
  const auto lease = hold("bob");
  EXPECT_FALSE(validate(old.token).current);
  EXPECT_TRUE(validate(lease.token).current);
  EXPECT_EQ(validate(old.token).latest, lease.token);
  EXPECT_FALSE(validate(lease.token, "b").current);
  pass(10s);
  EXPECT_FALSE(validate(lease.token).current);
}

TEST_P(Views, TheListGivesEveryActiveLockOnceInPages) {
  std::set<std::string> names;
  for (int i = 0; i < 25; ++i) names.insert("jobs/" + std::to_string(i));
  for (const auto& name : names) hold("alice", on(name));
  hold("bob", on("other"));
  for (const std::size_t page_size : {1u, 7u, 100u}) {
    const auto found = listed({"jobs/", {}}, page_size);
    EXPECT_THAT(found, SizeIs(25));
    EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), names);
  }
  EXPECT_THAT(listed({{}, "bob"}, 10), ElementsAre("other"));
  wait_for("r1", "carol", on("other"));
  EXPECT_THAT(listed({{}, "carol"}, 10), ElementsAre("other")) << "a waiter counts too";
  EXPECT_THAT(listed({"nothing", {}}, 10), IsEmpty());
}

TEST_P(Views, ACursorThatMeansNothingGivesAnEmptyPage) {
  hold("alice");
  const auto found = list({}, 4'000'000'000'000'000, 10);
  EXPECT_THAT(found.items, IsEmpty());
  EXPECT_FALSE(found.next);
}

TEST_P(Views, EdgesSayWhoWaitsForWhom) {
  hold("alice");
  wait_for("r1", "bob");
  wait_for("r2", "carol");
  const auto all = edges();
  const auto has = [&](std::string_view from, std::string_view to, bool behind) {
    return std::any_of(all.begin(), all.end(), [&](const wait_edge& e) {
      return e.from == from && e.to == to && e.lock == "a" && e.behind == behind;
    });
  };
  EXPECT_TRUE(has("bob", "alice", false));
  EXPECT_TRUE(has("carol", "alice", false));
  EXPECT_TRUE(has("carol", "bob", true));
  EXPECT_THAT(all, SizeIs(3));
  EXPECT_THAT(edges(2), SizeIs(2));
}

TEST_P(Views, CountsFollowWhatThereIs) {
  const auto lease = hold("alice", {}, "r1");
  wait_for("r2", "bob");
  hold("carol", on("b"));
  const auto c = counts();
  EXPECT_EQ(c.active_locks, 2u);
  EXPECT_EQ(c.leases, 2u);
  EXPECT_EQ(c.waiters, 1u);
  if (host_->counts_remembered()) {
    EXPECT_EQ(c.remembered, 2u);
  }
  ASSERT_TRUE(release(lease.id));
  EXPECT_EQ(counts().waiters, 0u);
}

TEST_P(Views, EventsTellWhatHappenedInItsOrder) {
  const auto lease = hold("alice");
  wait_for("r1", "bob");
  ASSERT_EQ(code(acquire({}, "carol")), errc::lock_not_acquired);
  pass(2s);
  ASSERT_TRUE(release(lease.id));
  pass(10s);
  EXPECT_THAT(types_after(), ElementsAre(event_type::acquired, event_type::queued, event_type::refused,
                                         event_type::released, event_type::acquired, event_type::expired));
  const auto all = events_after();
  EXPECT_EQ(all[0].lock, "a");
  EXPECT_EQ(all[0].client, "alice");
  EXPECT_EQ(all[0].token, lease.token);
  EXPECT_EQ(all[3].took, 2s) << "how long it was held";
  EXPECT_EQ(all[4].took, 2s) << "how long it was waited for";
  EXPECT_GT(*all[4].token, *all[0].token);
}

TEST_P(Views, EventIdsRiseAndResumeWhereAReaderStopped) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(release(hold("alice").id));
  const auto all = events_after();
  ASSERT_THAT(all, SizeIs(10));
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_GT(all[i].id, all[i - 1].id);
  EXPECT_EQ(host_->engine().events().newest(), all.back().id);
  EXPECT_THAT(types_after(all[7].id), ElementsAre(event_type::acquired, event_type::released));
  EXPECT_THAT(types_after(all.back().id), IsEmpty());
}

TEST_P(Views, TheEventLogSaysWhenItNoLongerReachesBack) {
  begin({.event_log_size = 8});
  ASSERT_TRUE(release(hold("alice").id));
  const auto seen = host_->engine().events().newest();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(release(hold("alice").id));
  host_->settle();
  EXPECT_FALSE(host_->engine().events().after(seen, [](const auto&) { return true; }));
  EXPECT_FALSE(host_->engine().events().after(0, [](const auto&) { return true; }));
}

TEST_P(Views, CapabilitiesAreConsistent) {
  const auto& about = host_->engine().about();
  EXPECT_FALSE(about.engine.empty());
  std::set<std::string_view> names;
  for (const auto& each : capabilities::names) names.insert(each.name);
  EXPECT_THAT(names, SizeIs(capabilities::names.size()));
  EXPECT_GE(about.min_ttl, about.ttl_resolution);
  EXPECT_TRUE(!about.durable_fence || about.durable || about.failover_safe_exclusion);
  EXPECT_TRUE(about.grade != guarantee_class::a || about.durable_fence) << "class A: fencing always";
  EXPECT_TRUE(host_->engine().health().ready);
  EXPECT_FALSE(host_->engine().overloaded());
}

TEST_P(Views, WhatAnEngineCannotDoItRefusesInWords) {
  for (const auto what : {&capabilities::shared, &capabilities::semaphore, &capabilities::multi,
                          &capabilities::sessions, &capabilities::lock_delay})
    EXPECT_EQ(can(what), host_->engine().about().*what);
}

TEST_P(Views, AStoppedEngineRefusesEverything) {
  const auto lease = hold("alice");
  bool stopped = false;
  host_->engine().stop([&] { stopped = true; });
  ASSERT_TRUE(host_->run_until([&] { return stopped; }));
  EXPECT_EQ(code(acquire({}, "bob")), errc::draining);
  EXPECT_EQ(code(renew(lease.id)), errc::draining);
  EXPECT_EQ(code(release(lease.id)), errc::draining);
  EXPECT_EQ(code(cancel("r1", "bob")), errc::draining);
}

}  // namespace
}  // namespace dislock::testing_engines
