#!/usr/bin/python3
"""What happens by itself: leases that end, locks that stay closed for a while, leases that the service renews."""
import sys

from harness import Api, Dislockd, Store, Stream, Wire, eventually, judge, main, now, on_each_engine, wait_until

RENEWALS = {"RENEWAL_INTERVAL": "0.1"}


@on_each_engine
def test_a_waiter_has_the_lock_as_soon_as_the_lease_ends_and_not_before(engine):
    with Dislockd(engine=engine) as server, Stream(server.port, prefix="end/") as events:
        api, turns = Api(server.port), 8
        ends, wires = [], []
        for turn in range(turns):
            sent = now()
            held = api.hold(f"end/{turn}", "h", timeout=0.4 + turn * 0.02)
            ends.append((sent + 0.99 * (held["elapsed"] + held["ttl"]) - 0.002, now() + held["ttl"], held["fencingToken"]))
            wires.append(Wire(server.port).acquire(f"end/{turn}", "next", waitTimeout=20))
            api.until_waiting(f"end/{turn}", 1)
        late = []
        for (believed, latest, token), wire in zip(ends, wires):
            granted = wire.read().expect(200)
            assert now() >= believed, f"granted {believed - now():.4f} s before the holder's belief ended"
            assert granted["fencingToken"] > token
            late.append(max(0, now() - latest))
            wire.close()
        judge("granted after the end of the lease", late)
        seen = []
        while sum(e[1] == "expired" for e in seen) < turns or sum(e[1] == "acquired" for e in seen) < 2 * turns:
            seen.append(events.next())
        for turn in range(turns):
            of_it = [(e[1], e[2]["clientId"]) for e in seen if e[2]["lockName"] == f"end/{turn}"]
            assert of_it == [("acquired", "h"), ("queued", "next"), ("expired", "h"), ("acquired", "next")], of_it
        expired = next(e[2] for e in seen if e[1] == "expired")
        assert expired["reason"] == "expired" and 0.39 <= expired["holdTime"] <= 0.75, expired


@on_each_engine
def test_lock_delay_holds_after_an_expiry_and_not_after_a_release(engine):
    with Dislockd(engine=engine) as server:
        api = Api(server.port)
        held = api.hold("delay/released", "h", timeout=0.3, lockDelay=5)
        wire = Wire(server.port).acquire("delay/released", "next", waitTimeout=20)
        api.until_waiting("delay/released", 1)
        released = now()
        api.release("delay/released", held["lockId"]).expect(200)
        wire.read().expect(200)
        assert now() - released < 0.25, "a release is no reason to wait"

        held = api.hold("delay/expired", "h", timeout=0.3, lockDelay=0.8)
        ends = now() + held["ttl"]
        wire.acquire("delay/expired", "next", waitTimeout=20)
        eventually(lambda: not api.status("delay/expired")["locked"], what="the lease has ended")
        status = api.status("delay/expired")
        assert "closedUntil" in status and status["waiters"][0]["blockedBy"] == "lock_delay", status
        api.acquire("delay/expired", "newcomer").expect(409, "lock_not_acquired")
        wire.read().expect(200)
        took = now() - ends
        assert 0.7 < took < 1.2, f"open again {took:.3f} s after the end instead of 0.8 s"
        wire.close()


@on_each_engine
def test_auto_renew_outlives_its_ttl_and_ends_at_max_hold_or_with_its_release(engine):
    with Dislockd(engine=engine, environment=RENEWALS) as server, Stream(server.port, prefix="auto/") as events:
        api, began = Api(server.port), now()
        with Wire(server.port) as gone:  # a caller that is never seen again
            kept = gone.acquire("auto/kept", "h", timeout=0.6, autoRenew=True, maxHold=2.2).read().expect(200)
        assert kept["ttl"] <= 0.6 and "renewedUntil" in kept
        released = api.hold("auto/released", "r", timeout=0.6, autoRenew=True)
        wire = Wire(server.port).acquire("auto/kept", "next", waitTimeout=20)
        other = Wire(server.port).acquire("auto/released", "next", waitTimeout=20)
        wait_until(began + 1.5)
        assert api.holders("auto/kept") == ["h"] and api.holders("auto/released") == ["r"], "not renewed"
        api.release("auto/released", released["lockId"]).expect(200)
        other.read().expect(200)
        wire.read().expect(200)
        took = now() - began
        assert 2.19 <= took < 2.6, f"maxHold 2.2 s ended after {took:.3f} s"
        last = events.until(lambda e: e[1] == "expired")[-1][2]
        assert (last["lockName"], last["reason"]) == ("auto/kept", "max_hold"), last
        reply = api.call("POST", "/locks/auto/kept/renew", {"lockId": kept["lockId"]}).expect(409, "lock_not_held")
        assert reply["ended"] == "max_hold", reply.text


def test_auto_renew_goes_on_after_a_kill():
    with Store() as store:
        with Dislockd(engine=store.engine, environment=RENEWALS) as server:
            api, began = Api(server.port), now()
            token = api.hold("auto/kill", "h", timeout=0.6, autoRenew=True, maxHold=3)["fencingToken"]
            session = api.call("POST", "/sessions", {"clientId": "s", "ttl": 0.5}).expect(200)
            api.hold("auto/session", "s", sessionId=session["sessionId"])
            wait_until(began + 0.7)
            server.kill()
        with Dislockd(engine=store.engine, environment=RENEWALS) as server:
            api = Api(server.port)
            wait_until(now() + 1)
            assert [h["fencingToken"] for h in api.status("auto/kill")["holders"]] == [token], "the renewal did not survive"
            assert not api.holders("auto/session"), "a session that nobody keeps alive"
            eventually(lambda: not api.holders("auto/kill"), timeout=began + 5 - now(), pause=0.02, what="the end at maxHold")


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
