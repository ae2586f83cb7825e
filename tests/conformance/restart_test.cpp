// DESIGN 2.14: a restart loses nothing, and gives nothing away.
#include "conformance.hpp"

namespace dislock::testing_engines {
namespace {

class Restart : public Conformance {
 protected:
  // Both ways to end come out the same; a case runs through its restarts with each.
  template <class Case>
  void with_both_endings(Case run) {
    if (!restarts()) return;
    for (const auto how : {engine_host::ending::stop, engine_host::ending::crash}) {
      SCOPED_TRACE(how == engine_host::ending::stop ? "stopped" : "crashed");
      begin({});
      run(how);
    }
  }
};
DISLOCK_CONFORMANCE_SUITE(Restart);

TEST_P(Restart, ALeaseIsStillHeldByItsOwnerWithTheSameToken) {
  with_both_endings([this](auto how) {
    const auto lease = hold("alice", {.metadata = "{}"});
    restart(how);
    EXPECT_EQ(code(acquire({}, "bob")), errc::lock_not_acquired);
    EXPECT_EQ(status().holders.at(0).metadata, "{}");
    EXPECT_TRUE(validate(lease.token).current);
    EXPECT_EQ(renew(lease.id)->token, lease.token);
    EXPECT_TRUE(renew({lock_name("a"), {}, lease.renewal}));
    EXPECT_TRUE(release(lease.id)->ended);
  });
}

TEST_P(Restart, TokensGoOnRisingAlsoWhenTheClockWasSetBack) {
  with_both_endings([this](auto how) {
    auto last = hold("alice", {.ttl = 1s}).token;
    for (const duration moved : {duration(0s), duration(-24h), duration(1h), duration(-2h)}) {
      restart(how, moved);
      pass(2s);
      const auto token = hold("alice", {.ttl = 1s}).token;
      EXPECT_GT(token, last);
      last = token;
    }
  });
}

TEST_P(Restart, AClockSetBackDoesNotMakeLeasesLiveLonger) {
  with_both_endings([this](auto how) {
    hold("alice");
    restart(how, -24h);
    pass(10s + 1ms);
    EXPECT_FALSE(status().locked);
  });
}

TEST_P(Restart, EndsMoveByTheTimeAway) {
  with_both_endings([this](auto how) {
    hold("alice");
    pass(4s);
    restart(how, 5s);
    if (host_->store_runs_on()) {
      EXPECT_EQ(left(status().holders.at(0).end), 1s) << "the store was there all the time";
      return;
    }
    // How long it was away is known to a second.
    EXPECT_GE(left(status().holders.at(0).end), 6s);
    EXPECT_LE(left(status().holders.at(0).end), 7s);
  });
}

TEST_P(Restart, EndsMoveByNoMoreThanATtlHoweverLongItWasAway) {
  with_both_endings([this](auto how) {
    hold("alice");
    pass(4s);
    restart(how, 1h);
    EXPECT_FALSE(status().locked);
    hold("bob", {.ttl = 20s});
    for (int i = 0; i < 50; ++i) restart(how, 1s);
    pass(2s);
    EXPECT_FALSE(status().locked) << "a crash loop keeps no lock alive";
  });
}

TEST_P(Restart, ALongHeldLeaseMovesOnlyByTheTimeAwayThoughNothingElseHappened) {
  with_both_endings([this](auto how) {
    hold("alice", {.ttl = 300s});  // without a request id: nothing to tidy up either
    pass(250s);
    restart(how);
    EXPECT_LE(left(status().holders.at(0).end), 51s);
  });
}

TEST_P(Restart, ALongLivedSessionMovesOnlyByTheTimeAwayThoughNothingElseHappened) {
  if (!can(&capabilities::sessions)) return;
  with_both_endings([this](auto how) {
    open("alice", 300s);
    pass(250s);
    restart(how);
    EXPECT_LE(left(sessions().items.at(0).end), 51s);
  });
}

TEST_P(Restart, EveryOutcomeIsStillRemembered) {
  with_both_endings([this](auto how) {
    const auto kept = hold("alice", {}, "r1");
    ASSERT_TRUE(release(hold("alice", on("b"), "r2").id, "b", "r3"));
    ASSERT_EQ(code(acquire("r4", "bob")), errc::lock_not_acquired);
    ASSERT_TRUE(cancel("r5", "bob")->done);
    const lease_proof proof{lock_name("a"), kept.id, {}};
    ASSERT_TRUE(renew(proof, 20s, "r6"));
    ASSERT_TRUE(is_granted(acquire("r7", "alice", {.reentry = kept.id})));
    const auto forced_lease = hold("carol", on("c"));
    ASSERT_TRUE(force("c", {}, "r8"));

    restart(how);

    EXPECT_EQ(lease_of(acquire("r1", "alice")).id, kept.id);
    EXPECT_EQ(why(acquire("r2", "alice", on("b"))).ended, end_reason::released);
    EXPECT_EQ(code(acquire("r4", "bob")), errc::lock_not_acquired);
    EXPECT_EQ(code(acquire("r5", "bob")), errc::request_cancelled);
    EXPECT_EQ(renew(proof, 20s, "r6")->token, kept.token);
    EXPECT_EQ(lease_of(acquire("r7", "alice", {.reentry = kept.id})).hold_count, 2u);
    EXPECT_THAT(force("c", {}, "r8")->tokens, ElementsAre(forced_lease.token));
    EXPECT_EQ(code(acquire("r1", "alice", {.ttl = 11s})), errc::request_id_reused);
  });
}

TEST_P(Restart, AReleaseIsRememberedWithItsAnswer) {
  with_both_endings([this](auto how) {
    const auto lease = hold("alice", {}, "r1");
    ASSERT_TRUE(is_granted(acquire("r2", "alice", {.reentry = lease.id})));
    ASSERT_EQ(release(lease.id, "a", "r3")->hold_count, 1u);
    restart(how);
    EXPECT_EQ(release(lease.id, "a", "r3")->hold_count, 1u);
    EXPECT_FALSE(release(lease.id, "a", "r3")->ended);
    EXPECT_EQ(status().holders.at(0).hold_count, 1u);
    EXPECT_TRUE(release(lease.id, "a", "r4")->ended);
  });
}

TEST_P(Restart, MultiCallsAreRememberedAsAWhole) {
  if (!can(&capabilities::multi)) return;
  with_both_endings([this](auto how) {
    const auto got = std::get<granted>(acquire_all("r1", "alice", {on("a"), on("b")}));
    const std::vector<lease_proof> both{{lock_name("a"), got.leases[0].id, {}},
                                        {lock_name("b"), got.leases[1].id, {}}};
    ASSERT_TRUE(renew_all(both, 30s, "r2"));
    restart(how);
    EXPECT_EQ(std::get<granted>(acquire_all("r1", "alice", {on("a"), on("b")})).leases[1].id,
              got.leases[1].id);
    EXPECT_TRUE(renew_all(both, 30s, "r2")->at(1));
    ASSERT_TRUE(release_all(both, "r3"));
    restart(how);
    EXPECT_TRUE(release_all(both, "r3")->at(0)->ended);
    EXPECT_EQ(code(acquire_all("r1", "alice", {on("a"), on("b")})), errc::lock_not_held);
  });
}

TEST_P(Restart, TheQueueSurvivesAndItsWaitersHaveTheGraceToComeBack) {
  with_both_endings([this](auto how) {
    const auto alice = hold("alice", {.ttl = 60s});
    const auto nameless = wait_for({}, "nameless");
    const auto bob = wait_for("r1", "bob");
    wait_for("r2", "carol");
    restart(how);
    if (host_->store_runs_on()) pass(4s);  // by then everybody knows that the replica of before is dead
    EXPECT_THAT(waiters(), ElementsAre("bob", "carol")) << "whose connection was its name is gone";
    const auto back = wait_for("r1", "bob");
    EXPECT_EQ(back.id, bob.id);
    EXPECT_NE(back.id, nameless.id);
    pass(5s);
    EXPECT_THAT(waiters(), ElementsAre("bob"));
    ASSERT_TRUE(release(alice.id));
    EXPECT_EQ(granted_to(back).hold_count, 1u);
  });
}

TEST_P(Restart, AGrantToAWaiterThatIsNotBackYetIsProvisional) {
  with_both_endings([this](auto how) {
    const auto alice = hold("alice");
    wait_for("r1", "bob");
    const auto carol = wait_for("r2", "carol");
    restart(how);
    const auto again = wait_for("r2", "carol");
    EXPECT_EQ(again.id, carol.id);
    ASSERT_TRUE(release(alice.id));
    EXPECT_THAT(holders(), ElementsAre("bob"));
    pass(5s);
    EXPECT_EQ(granted_to(again).hold_count, 1u);
  });
}

TEST_P(Restart, AMultiWaiterKeepsAllItsPlaces) {
  if (!can(&capabilities::multi)) return;
  with_both_endings([this](auto how) {
    const auto alice = hold("alice", on("b"));
    wait_for_all("r1", "bob", {on("a"), on("b")});
    restart(how);
    EXPECT_EQ(code(acquire({}, "carol", on("a"))), errc::lock_not_acquired);
    const auto back = wait_for_all("r1", "bob", {on("a"), on("b")});
    ASSERT_TRUE(release(alice.id, "b"));
    EXPECT_TRUE(is_granted(told(back).value()));
  });
}

TEST_P(Restart, SessionsAndTheirLeasesGoOn) {
  if (!can(&capabilities::sessions)) return;
  with_both_endings([this](auto how) {
    const auto s = open("alice", 10s, "r1");
    const auto lease = hold("alice", {.session = s->id});
    restart(how);
    EXPECT_EQ(open("alice", 10s, "r1")->id, s->id);
    EXPECT_TRUE(validate(lease.token).current);
    pass(8s);
    ASSERT_TRUE(keep(s->id));
    pass(8s);
    EXPECT_TRUE(status().locked);
    EXPECT_EQ(close(s->id)->released, 1u);
    EXPECT_FALSE(status().locked);
  });
}

TEST_P(Restart, SessionCallsAreStillRemembered) {
  if (!can(&capabilities::sessions)) return;
  with_both_endings([this](auto how) {
    const auto s = open("alice", 10s, "r1");
    hold("alice", {.session = s->id});
    ASSERT_TRUE(keep(s->id, "r2"));
    restart(how);
    EXPECT_TRUE(keep(s->id, "r2"));
    EXPECT_EQ(close(s->id, "r3")->released, 1u);
    restart(how);
    EXPECT_EQ(close(s->id, "r3")->released, 1u);
    EXPECT_EQ(code(open("alice", 10s, "r1")), errc::session_not_found) << "what it opened has ended";
  });
}

TEST_P(Restart, AStepThatGrantsMoreThan64GoesOn) {
  if (!can(&capabilities::shared)) return;
  with_both_endings([this](auto how) {
    const auto writer = hold("writer");
    std::vector<std::string> names;
    for (int i = 0; i < 100; ++i) names.push_back("reader" + std::to_string(i));
    for (const auto& name : names) wait_for("r", name, shared());
    restart(how);
    ASSERT_TRUE(release(writer.id));
    host_->settle();
    EXPECT_EQ(status().holder_count, 100u) << "provisionally: nobody is back yet";
    EXPECT_TRUE(is_granted(acquire("r", "reader99", shared(waiting(60s)))));
    pass(5s);
    EXPECT_THAT(holders(), ElementsAre("reader99"));
  });
}

TEST_P(Restart, SharedAndSemaphoreHoldersComeBackAsTheyWere) {
  if (!can(&capabilities::shared) || !can(&capabilities::semaphore)) return;
  with_both_endings([this](auto how) {
    hold("alice", shared());
    hold("bob", shared());
    hold("carol", permits(2, 3, on("s")));
    restart(how);
    EXPECT_THAT(holders(), UnorderedElementsAre("alice", "bob"));
    EXPECT_TRUE(is_granted(acquire({}, "dave", shared())));
    EXPECT_EQ(status("s").used, 2u);
    EXPECT_EQ(code(acquire({}, "dave", permits(2, 3, on("s")))), errc::lock_not_acquired);
    EXPECT_EQ(code(acquire({}, "dave", on("s"))), errc::lock_mode_conflict);
  });
}

TEST_P(Restart, ALockDelayGoesOn) {
  if (!can(&capabilities::lock_delay)) return;
  with_both_endings([this](auto how) {
    hold("alice", {.lock_delay = 30s});
    pass(10s);
    restart(how);
    EXPECT_EQ(code(acquire({}, "bob")), errc::lock_not_acquired);
    pass(29s);
    EXPECT_EQ(code(acquire({}, "bob")), errc::lock_not_acquired);
    pass(2s);
    EXPECT_TRUE(is_granted(acquire({}, "bob")));
  });
}

TEST_P(Restart, AnAutoRenewedLeaseIsListedAgain) {
  with_both_endings([this](auto how) {
    const auto lease = hold("alice", {.max_hold = 60s, .auto_renew = true});
    restart(how);
    if (host_->store_runs_on()) pass(4s);
    std::vector<lock_id> listed;
    host_->engine().for_each_auto_renewed(
        [&](const lease_proof& p, duration, instant) { listed.push_back(p.id); });
    EXPECT_THAT(listed, ElementsAre(lease.id));
  });
}

TEST_P(Restart, AnExpiryThatWasSeenIsNotTakenBack) {
  with_both_endings([this](auto how) {
    const auto alice = hold("alice");
    pass(10s);
    ASSERT_FALSE(status().locked);
    const auto bob = hold("bob");
    restart(how, -1h);
    EXPECT_FALSE(validate(alice.token).current);
    EXPECT_TRUE(validate(bob.token).current);
  });
}

TEST_P(Restart, EventIdsGoOnAndAReaderFromBeforeIsToldThatItMissedSomething) {
  with_both_endings([this](auto how) {
    ASSERT_TRUE(release(hold("alice").id));
    const auto seen = events_after().back().id;
    restart(how, -1h);
    const bool missed = !host_->store_runs_on();  // there, what happened is still known
    EXPECT_NE(host_->engine().events().after(seen, [](const auto&) { return true; }), missed);
    hold("bob");
    EXPECT_GT(events_after(missed ? 0 : seen).back().id, seen);
    EXPECT_NE(host_->engine().events().after(seen, [](const auto&) { return true; }), missed);
  });
}

TEST_P(Restart, NothingIsLeftInTheStoreWhenAllHasEnded) {
  with_both_endings([this](auto how) {
    const auto lease = hold("alice", {}, "r1");
    wait_for("r2", "bob", {.wait = 2s});
    pass(40s);
    EXPECT_TRUE(is_empty());
    restart(how);
    EXPECT_TRUE(is_empty());
    EXPECT_GT(hold("carol").token, lease.token) << "but the fence goes on";
  });
}

TEST_P(Restart, AMemoryEngineComesBackEmptyWithTokensThatGoOn) {
  if (host_->outlives_its_process()) return;  // the other cases are about those
  const auto lease = hold("alice");
  time_.advance(1ms);
  begin({});
  EXPECT_TRUE(is_empty());
  EXPECT_GT(hold("bob").token, lease.token);
}

}  // namespace
}  // namespace dislock::testing_engines
