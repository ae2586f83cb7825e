#!/usr/bin/python3
"""Clients that go away: while they wait, in the moment of the grant, and before they have read their answer.

    /usr/bin/python3 tests/e2e/disconnect_test.py [part of a test's name ...]
    DISLOCK_SEED=7 ...      the delays of an earlier run again
"""
import random
import sys
import time

from harness import Api, Dislockd, Wire, eventually, frozen, judge, main, new_id, now, on_each_engine, request, seed, wait_until

GRACE = 0.7
SHORT_GRACE = {"DISLOCK_WAITER_GRACE": str(GRACE)}
NOISE = 1.0   # seconds: what a busy machine may add now and then
ROUNDS = 120  # for each engine

LEAVING = {"close": Wire.close, "reset": Wire.reset, "half-close": Wire.half_close}


@on_each_engine
def test_without_a_request_id_a_waiter_that_leaves_loses_its_place_at_once(engine):
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api, delays = Api(server.port), []
        for how, leave in LEAVING.items():
            for turn in range(5):
                lock = f"leave/{how}/{turn}"
                held = api.hold(lock, "h")
                with Wire(server.port) as gone, Wire(server.port) as behind:
                    gone.acquire(lock, "gone", waitTimeout=30)
                    api.until_waiting(lock, 1)
                    behind.acquire(lock, "behind", waitTimeout=30)
                    api.until_waiting(lock, 2)
                    left = now()
                    leave(gone)
                    eventually(lambda: api.waiters(lock) == ["behind"], pause=0.001, what=f"the place is free after a {how}")
                    delays.append(now() - left)
                    api.release(lock, held["lockId"]).expect(200)
                    behind.read().expect(200)
        judge("places given up", delays)


@on_each_engine
def test_with_a_request_id_a_place_is_kept_for_the_grace_and_then_lost(engine):
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api, left, wires = Api(server.port), {}, []
        for how, leave in LEAVING.items():
            lock = f"grace/{how}"
            api.hold(lock, "h")
            wires += [Wire(server.port).acquire(lock, "gone", waitTimeout=30, requestId=new_id())]
            api.until_waiting(lock, 1)
            wires += [Wire(server.port).acquire(lock, "behind", waitTimeout=30)]
            api.until_waiting(lock, 2)
            left[lock] = (now(), leave, wires[-2])
        for lock, (_, leave, wire) in left.items():
            left[lock] = now()
            leave(wire)
        for lock, since in left.items():
            eventually(lambda: not api.status(lock)["waiters"][0]["connected"], what="the wait is seen to be nobody's")
            assert api.waiters(lock) == ["gone", "behind"]
        for lock, since in left.items():
            eventually(lambda: api.waiters(lock) == ["behind"], timeout=GRACE + 3, what=f"{lock} after its grace")
            waited = now() - since
            assert GRACE - 0.01 <= waited <= GRACE + 0.5, f"{lock}: the place was kept for {waited:.3f} s"
        for wire in wires:
            wire.close()


@on_each_engine
def test_who_comes_back_in_time_has_the_same_place(engine):
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api, lock, wires = Api(server.port), "back", {}
        held = api.hold(lock, "h")
        wishes = {c: {"waitTimeout": 30, "requestId": new_id(c)} for c in ("a", "b", "c")}
        for count, (client, wish) in enumerate(wishes.items(), 1):
            wires[client] = Wire(server.port).acquire(lock, client, **wish)
            api.until_waiting(lock, count)
        for client, leave in (("b", LEAVING["close"]), ("a", LEAVING["reset"])):
            leave(wires[client])
        eventually(lambda: [w["connected"] for w in api.status(lock)["waiters"]] == [False, False, True], what="two are gone")
        for client in ("b", "a"):  # in another order than they stand
            wires[client] = Wire(server.port).acquire(lock, client, **wishes[client])
        eventually(lambda: all(w["connected"] for w in api.status(lock)["waiters"]), what="both are back")
        assert api.waiters(lock) == ["a", "b", "c"]
        wait_until(now() + GRACE + 0.3)
        assert api.waiters(lock) == ["a", "b", "c"], "the grace went on although they are back"
        tokens = [held["fencingToken"]]
        for client in ("a", "b", "c"):
            api.release(lock, held["lockId"]).expect(200)
            held = wires[client].read().expect(200)
            assert held["clientId"] == client
            tokens.append(held["fencingToken"])
        assert tokens == sorted(set(tokens))
        for wire in wires.values():
            wire.close()


@on_each_engine
def test_a_grant_to_an_absent_waiter_waits_for_it_and_begins_when_it_is_claimed(engine):
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api = Api(server.port)
        locks = [f"provisional/{turn}" for turn in ("claimed", "never")]
        wishes, behind, released = {}, {}, {}
        for lock in locks:
            held = api.hold(lock, "h")
            wishes[lock] = {"waitTimeout": 30, "timeout": 7, "requestId": new_id()}
            wire = Wire(server.port).acquire(lock, "a", **wishes[lock])
            api.until_waiting(lock, 1)
            behind[lock] = Wire(server.port).acquire(lock, "b", waitTimeout=30)
            api.until_waiting(lock, 2)
            wire.close()
            eventually(lambda: not api.status(lock)["waiters"][0]["connected"], what="a is gone")
            released[lock] = now()
            api.release(lock, held["lockId"]).expect(200)
            assert api.holders(lock) == ["a"], "the place is worth its grant"
        wait_until(now() + GRACE * 0.5)
        claimed = api.acquire(locks[0], "a", **wishes[locks[0]]).expect(200)
        assert claimed["ttl"] > 6.9, f"the ttl began before the claim: {claimed['ttl']}"
        assert api.release(locks[1], "0" * 32).status == 409
        behind[locks[1]].read().expect(200)
        took = now() - released[locks[1]]
        assert took < GRACE + 0.5, f"an unclaimed grant went on after {took:.3f} s"
        assert api.acquire(locks[1], "a", **wishes[locks[1]]).expect(409, "lock_not_held")["ended"] == "undelivered"
        wait_until(released[locks[0]] + GRACE + 0.4)
        assert api.holders(locks[0]) == ["a"] and api.waiters(locks[0]) == ["b"]
        api.release(locks[0], claimed["lockId"]).expect(200)
        behind[locks[0]].read().expect(200)


def race(server, lock, dice, wish_of_a, back=None):
    """H releases while A, the next in line, leaves; B stands behind. What A and B saw, and when what happened."""
    api = Api(server.port)
    held = api.hold(lock, "h", timeout=60)
    a, b = Wire(server.port), Wire(server.port)
    try:
        a.acquire(lock, "a", timeout=30, waitTimeout=30, **wish_of_a)
        api.until_waiting(lock, 1)
        b.acquire(lock, "b", timeout=30, waitTimeout=30)
        api.until_waiting(lock, 2)
        release = request("POST", f"/locks/{lock}/release", {"lockId": held["lockId"]})
        how = dice.choice(list(LEAVING))
        leave = LEAVING[how]
        pause = dice.choice((0, dice.uniform(0, 0.0005), dice.uniform(0, 0.003)))
        until = time.perf_counter

        def wait():
            limit = until() + pause
            while until() < limit:
                pass

        got_it = False
        if dice.random() < 0.5:
            api.wire.socket.sendall(release)
            wait()
            got_it = a.answered()
            leave(a)
        else:
            leave(a)
            wait()
            api.wire.socket.sendall(release)
        last = now()
        if back is not None:
            back.acquire(lock, "a", timeout=30, waitTimeout=30, **wish_of_a)
        api.wire.read().expect(200)
        return api, a, b, got_it, last, how
    except BaseException:
        a.close()
        b.close()
        raise


@on_each_engine
def test_who_leaves_in_the_moment_of_the_grant_leaves_no_orphan(engine):
    dice = random.Random(seed())
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        delays, had_it, unseen = [], 0, 0
        for turn in range(ROUNDS):
            lock = f"moment/{turn}"
            api, a, b, got_it, last, how = race(server, lock, dice, {})
            limit = last + (0 if got_it else NOISE)
            while not b.answered() and now() < limit:
                if how == "half-close" and a.answered() and "lockId" in a.read().text:
                    got_it = True
                    break
                time.sleep(0.0005)
            if b.answered():
                assert not got_it, f"{lock}: a had its reply before its {how}, and still b was granted"
                delays.append(now() - last)
                granted = b.read().expect(200)
                assert api.holders(lock) == ["b"]
                api.release(lock, granted["lockId"]).expect(200)
            else:
                # A's reply was written before the server could see that A had left: A is a holder like any other.
                assert api.holders(lock) == ["a"], f"{lock}, after a {how}, got_it {got_it}: {api.status(lock)}"
                assert got_it or how != "half-close", f"{lock}: a holds it and was sent nothing"
                had_it += got_it
                unseen += not got_it
                api.call("DELETE", f"/locks/{lock}").expect(200)
                b.read().expect(200)
            for each in (a, b, api):
                each.close()
        print(f"   a had its reply {had_it} times; {unseen} times it had left between the reply and a look at its socket")
        judge("grants passed on", delays)
        assert unseen < ROUNDS // 3


@on_each_engine
def test_who_has_left_when_the_server_looks_is_passed_over_always(engine):
    """The server is stopped while A leaves and H releases: it finds both at once, and whichever it looks at first, B is next."""
    dice = random.Random(seed())
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        delays = []
        for turn in range(60):
            lock, api = f"frozen/{turn}", Api(server.port)
            held = api.hold(lock, "h", timeout=60)
            a, b = Wire(server.port).acquire(lock, "a", waitTimeout=30), Wire(server.port)
            api.until_waiting(lock, 1)
            b.acquire(lock, "b", waitTimeout=30)
            api.until_waiting(lock, 2)
            leave = LEAVING[dice.choice(list(LEAVING))]
            with frozen(server):
                steps = [lambda: leave(a), lambda: api.wire.send("POST", f"/locks/{lock}/release", {"lockId": held["lockId"]})]
                dice.shuffle(steps)
                for step in steps:
                    step()
            began = now()
            b.read().expect(200)
            delays.append(now() - began)
            api.wire.read().expect(200)
            assert api.holders(lock) == ["b"]
            for each in (a, b, api):
                each.close()
        judge("grants passed on", delays)


@on_each_engine
def test_with_a_request_id_the_next_has_it_within_the_grace(engine):
    dice = random.Random(seed())
    rounds = 40
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        open_rounds, delivered, delays = [], 0, []
        for turn in range(rounds):
            lock = f"named/{turn}"
            open_rounds.append((lock, *race(server, lock, dice, {"requestId": new_id()})[:5]))
        everybody = max(r[5] for r in open_rounds) + GRACE + NOISE
        while open_rounds and now() < everybody:
            for each in list(open_rounds):
                lock, api, a, b, got_it, last = each
                if b.answered():
                    delays.append(now() - last)
                    b.read().expect(200)
                    assert api.holders(lock) == ["b"]
                    open_rounds.remove(each)
            time.sleep(0.005)
        for lock, api, a, b, got_it, last in open_rounds:
            delivered += 1
            assert api.holders(lock) == ["a"], f"nobody holds {lock}: {api.status(lock)}"
        print(f"   {len(delays)} passed on after {min(delays, default=0):.3f} to {max(delays, default=0):.3f} s, {delivered} times the reply had been written")
        assert delays and max(delays) < GRACE + 0.6, f"the next waited for {max(delays):.3f} s"


@on_each_engine
def test_what_a_repeat_was_told_holds_although_the_first_call_left_in_the_moment_of_the_grant(engine):
    """A's first connection ends while it is granted, and A repeats at once: then the ttl that it is told is what it has."""
    dice = random.Random(seed())
    told = {}
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        for turn in range(60):
            lock = f"repeat/{turn}"
            with Wire(server.port) as wire:
                api, a, b = race(server, lock, dice, {"requestId": new_id()}, wire)[:3]
                back = wire.read().expect(200)
                told[lock] = (back, api, b, now())
                a.close()
        wait_until(now() + GRACE + 0.5)
        broken = []
        for lock, (back, api, b, at) in told.items():
            if api.holders(lock) != ["a"]:
                broken.append(f"{lock}: a was told a ttl of {back['ttl']}, and {now() - at:.2f} s later {api.holders(lock)} holds it")
            b.close()
            api.close()
        assert not broken, f"{len(broken)} of {len(told)}: {broken[:3]}"


@on_each_engine
def test_what_a_repeat_was_told_holds_although_the_first_call_had_left_before_it_was_read(engine):
    """Nobody else is there: two calls with one id, found at the same time, and the first one's connection has ended."""
    told = {}
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api = Api(server.port)
        for turn in range(10):
            wish = {"clientId": "a", "timeout": 30, "requestId": new_id()}
            first, second = Wire(server.port), Wire(server.port)
            eventually(lambda: api.metric("dislock_connections") == 3, what="both are accepted")
            with frozen(server):
                first.send("POST", f"/locks/twice/{turn}/acquire", wish).close()
                second.send("POST", f"/locks/twice/{turn}/acquire", wish)
            told[turn] = second.read().expect(200)["ttl"]
            second.close()
            eventually(lambda: api.metric("dislock_connections") == 1)
        wait_until(now() + GRACE + 0.5)
        lost = [turn for turn in told if api.holders(f"twice/{turn}") != ["a"]]
        assert not lost, f"{len(lost)} of {len(told)} leases ended with the grace, although a was told {told[lost[0]]} s"


@on_each_engine
def test_fire_and_forget_leaves_no_lock_where_the_close_could_be_seen(engine):
    """Acquire without waiting, and close in the same breath. Asserted: the server stays, and where the close is there when the
    server decides (it was stopped meanwhile), no lock is left: at once without a request id, after the grace with one.
    Not asserted: a reply that was written before the close could be seen belongs to a normal holder."""
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api = Api(server.port)

        def left(prefix):
            return sorted(l["lockName"] for l in api.call("GET", f"/locks?prefix={prefix}&limit=1000").value["locks"])

        def shoot(prefix, rounds):
            for how, leave in LEAVING.items():
                for turn in range(rounds):
                    for stem in ("plain", "named"):
                        wire = Wire(server.port)
                        wires.append(wire.acquire(f"{prefix}/{stem}/{how}/{turn}", "gone", timeout=60, **({"requestId": new_id()} if stem == "named" else {})))
                        leave(wire)

        wires = []
        shoot("running", 25)
        eventually(lambda: api.metric("dislock_connections") == 1)
        assert server.running()
        print(f"   {len(left('running/'))} of 150 were written before the close could be seen")
        with frozen(server):
            shoot("frozen", 10)
        eventually(lambda: api.metric("dislock_connections") == 1, what="all of them have been seen, and their ends")
        eventually(lambda: not left("frozen/plain/"), timeout=NOISE, what="no orphan without a request id")
        eventually(lambda: not left("frozen/named/"), timeout=GRACE + NOISE, what="no orphan with a request id")
        assert server.running()
        for wire in wires:
            wire.close()


@on_each_engine
def test_a_half_closed_client_is_never_told_that_it_has_what_was_given_back(engine):
    """It counts as gone, but it can read: then what it reads must be no success."""
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api, wires = Api(server.port), []
        with frozen(server):
            for turn in range(5):
                wire = Wire(server.port).acquire(f"half/{turn}", "gone", timeout=60)
                wire.half_close()
                wires.append(wire)
        heard = []
        for wire in wires:
            try:
                reply = wire.read()
                heard.append((reply.status, reply.text))
            except ConnectionError:
                pass
            wire.close()
        eventually(lambda: not api.call("GET", "/locks?prefix=half/").value["locks"])  # its commit may still be under way
        wrong = [h for h in heard if h[0] < 400]
        assert not wrong, f"{len(wrong)} of {len(wires)} were answered {wrong[0]}, and hold nothing"


@on_each_engine
def test_a_claim_whose_answer_nobody_gets_goes_on_within_the_grace(engine):
    """A provisional grant is claimed by a repeat whose client is gone as well: B must not wait for A's whole ttl."""
    with Dislockd(engine=engine, environment=SHORT_GRACE) as server:
        api, b = Api(server.port), {}
        for turn in range(5):
            lock = f"claim/{turn}"
            held = api.hold(lock, "h")
            wish = {"clientId": "a", "waitTimeout": 30, "timeout": 60, "requestId": new_id()}
            a = Wire(server.port).send("POST", f"/locks/{lock}/acquire", wish)
            api.until_waiting(lock, 1)
            b[lock] = Wire(server.port).acquire(lock, "b", waitTimeout=30)
            api.until_waiting(lock, 2)
            a.close()
            eventually(lambda: not api.status(lock)["waiters"][0]["connected"])
            api.release(lock, held["lockId"]).expect(200)
            again = Wire(server.port)
            with frozen(server):
                again.send("POST", f"/locks/{lock}/acquire", wish).close()
        limit = now() + GRACE + NOISE
        waiting = dict(b)
        while waiting and now() < limit:
            waiting = {lock: wire for lock, wire in waiting.items() if not wire.answered()}
            time.sleep(0.01)
        assert not waiting, f"{len(waiting)} of {len(b)} locks stay with a client that got no answer: {api.status(next(iter(waiting)))['holders']}"
        for wire in b.values():
            wire.close()


def stuck_grants(server, prefix, **more):
    """Acquires in a row whose replies nobody takes, until one is stuck in the middle of its reply; then a reset. The names granted."""
    api, wire = Api(server.port), Wire(server.port, receive_buffer=2048)
    wire.socket.settimeout(0.2)
    try:
        for number in range(0, 40000, 20):
            wire.socket.sendall(b"".join(
                request("POST", f"/locks/{prefix}/{each:05}/acquire", {"clientId": "slow", **more, **({"requestId": new_id()} if more else {})})
                for each in range(number, number + 20)))
    except TimeoutError:
        pass
    else:
        raise AssertionError("the server never stopped taking requests whose replies nobody reads")
    last = -1
    while (here := api.metric("distributed_locks_active")) != last:
        last = here
        time.sleep(0.05)
    granted, cursor = [], ""
    while cursor is not None:
        page = api.call("GET", f"/locks?prefix={prefix}/&limit=1000{cursor}").expect(200).value
        granted += [lock["lockName"] for lock in page["locks"]]
        cursor = f"&cursor={page['nextCursor']}" if "nextCursor" in page else None
    wire.reset()
    return sorted(granted)


def test_a_grant_whose_reply_is_cut_off_in_the_middle_is_no_grant():
    """The last one of many; those before it are wholly with the kernel, and so they count as delivered."""
    with Dislockd("--renewal-interval", "0.2", engine="memory:", environment=SHORT_GRACE) as server:
        api = Api(server.port)
        plain = stuck_grants(server, "plain")
        eventually(lambda: not api.holders(plain[-1]), timeout=NOISE, what="the last one without a request id is given back")
        assert api.holders(plain[0]) == ["slow"]
        renewed = stuck_grants(server, "renewed", timeout=20, autoRenew=True, maxHold=100)
        print(f"   {len(plain)} and {len(renewed)} grants until the buffers were full")
        eventually(lambda: not api.holders(renewed[-1]), timeout=GRACE + NOISE, what="the last one, with a request id and autoRenew, ends with its grace")
        assert api.holders(renewed[0]) == ["slow"]


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
