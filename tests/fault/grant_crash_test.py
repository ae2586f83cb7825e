#!/usr/bin/python3
"""kill -9 between the grant of a waiter and its reply (embedded): with the same request id it has its lease, or its place.

    DISLOCK_SEED=7 ...      the delays of an earlier run again
"""
import pathlib
import random
import select
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Api, Dislockd, Store, Wire, eventually, main, new_id, request, seed  # noqa: E402

ROUNDS = 12
LOCKS = 20


def complete_reply(wire):
    """What had arrived, if it was a whole reply."""
    wire.socket.settimeout(2)
    try:
        return wire.read()
    except (OSError, ValueError):
        return None


def prepare(server, number):
    """LOCKS locks, each with a holder and two waiters in line, all with request ids."""
    api, locks = Api(server.port), {}
    for index in range(LOCKS):
        lock = f"crash/{number}/{index}"
        held = api.hold(lock, "h", timeout=60)
        each = {"token": held["fencingToken"], "release": {"lockId": held["lockId"], "requestId": new_id()}, "wishes": {}, "wires": {}}
        for place, client in enumerate(("first", "second"), 1):
            each["wishes"][client] = {"clientId": client, "timeout": 60, "waitTimeout": 60, "requestId": new_id()}
            each["wires"][client] = Wire(server.port).send("POST", f"/locks/{lock}/acquire", each["wishes"][client])
            api.until_waiting(lock, place)
        locks[lock] = each
    return locks


def test_a_grant_that_was_on_its_way_when_the_server_died_is_had_by_repeating():
    dice = random.Random(seed())
    seen = {"released and told": 0, "granted and told": 0, "granted and not told": 0, "not granted": 0}
    with Store() as store:
        server, newest = Dislockd(engine=store.engine), 0
        try:
            for number in range(ROUNDS):
                locks = prepare(server, number)
                burst = Wire(server.port)
                others = [Wire(server.port) for _ in range(4)]
                # Some releases one after the other, some at the same time: commits of one and of many records.
                names = list(locks)
                burst.socket.sendall(b"".join(request("POST", f"/locks/{name}/release", locks[name]["release"]) for name in names[:10]))
                for index, name in enumerate(names[10:]):
                    others[index % 4].socket.sendall(request("POST", f"/locks/{name}/release", locks[name]["release"]))
                if number % 2:  # when the first grant is told, the others are on their way
                    select.select([each["wires"]["first"].socket for each in locks.values()], [], [], 5)
                limit = time.perf_counter() + dice.uniform(0, 0.002 if number % 2 else 0.012)
                while time.perf_counter() < limit:
                    pass
                server.kill()
                told = set()
                for wire, mine in [(burst, names[:10])] + [(w, names[10 + i::4]) for i, w in enumerate(others)]:
                    for name in mine:
                        if (reply := complete_reply(wire)) is None:
                            break
                        reply.expect(200)
                        told.add(name)
                    wire.close()
                server = Dislockd(engine=store.engine)
                api = Api(server.port)
                for name, each in locks.items():
                    replies = {client: complete_reply(wire) for client, wire in each["wires"].items()}
                    for wire in each["wires"].values():
                        wire.close()
                    assert replies["second"] is None, f"{name}: {replies['second'].text}"
                    first = replies["first"]
                    holders = api.status(name)["holders"]
                    who = [h["clientId"] for h in holders]
                    assert who in (["h"], ["first"]), f"{name}: held by {who}"
                    if name in told:
                        assert who == ["first"], f"{name}: the release was told, and now {who} holds it"
                    if first is not None:
                        assert holders[0]["fencingToken"] == first.expect(200)["fencingToken"], f"{name}: {first['fencingToken']} was told, and now {holders}"
                    seen["released and told"] += name in told
                    seen["granted and told" if first else "granted and not told" if who == ["first"] else "not granted"] += 1
                    if who == ["h"]:
                        assert api.waiters(name) == ["first", "second"], "the places"
                    assert api.waiters(name)[-1:] == ["second"]

                    # Everybody repeats what it did not see the end of, in any order.
                    calls = {c: Wire(server.port) for c in ("second", "first", "h")}
                    order = list(calls)
                    dice.shuffle(order)
                    for client in order:
                        if client == "h":
                            calls["h"].send("POST", f"/locks/{name}/release", each["release"])
                        else:
                            calls[client].send("POST", f"/locks/{name}/acquire", each["wishes"][client])
                    assert calls["h"].read().expect(200).value == {"released": True, "holdCount": 0}
                    got = calls["first"].read().expect(200)
                    assert got["fencingToken"] > each["token"] and got["ttl"] > 50, got.text
                    if first is not None:
                        assert (got["lockId"], got["fencingToken"]) == (first["lockId"], first["fencingToken"])
                    assert not calls["second"].answered()
                    api.release(name, got["lockId"]).expect(200)
                    last = calls["second"].read().expect(200)
                    assert last["fencingToken"] > got["fencingToken"]
                    newest = max(newest, last["fencingToken"])
                    api.release(name, last["lockId"]).expect(200)
                    for wire in calls.values():
                        wire.close()
                assert api.hold(f"fence/{number}", "f")["fencingToken"] > newest
        finally:
            server.kill()
    print("   " + ", ".join(f"{count} {what}" for what, count in seen.items()))
    assert seen["granted and not told"] + seen["granted and told"] >= ROUNDS // 2, "the server died too early to show anything"
    assert seen["granted and not told"] + seen["not granted"] >= ROUNDS, "the server died too late to show anything"


def test_a_provisional_grant_survives_with_its_grace():
    """The waiter is away, it is granted, the server dies: it can be claimed after the restart, and otherwise goes on to the next."""
    with Store() as store:
        grace = {"DISLOCK_WAITER_GRACE": "1"}
        with Dislockd(engine=store.engine, environment=grace) as server:
            api, wishes = Api(server.port), {}
            for lock in ("claimed", "lost"):
                held = api.hold(lock, "h", timeout=60)
                for place, client in enumerate(("first", "second"), 1):
                    wishes[lock, client] = {"waitTimeout": 60, "timeout": 9, "requestId": new_id()}
                    wire = Wire(server.port).acquire(lock, client, **wishes[lock, client])
                    api.until_waiting(lock, place)
                    if client == "first":
                        wire.close()
                eventually(lambda lock=lock: not api.status(lock)["waiters"][0]["connected"])
                api.release(lock, held["lockId"]).expect(200)
                assert api.holders(lock) == ["first"]
            server.kill()
        with Dislockd(engine=store.engine, environment=grace) as server:
            api = Api(server.port)
            second = {lock: Wire(server.port).acquire(lock, "second", **wishes[lock, "second"]) for lock in ("claimed", "lost")}
            mine = api.acquire("claimed", "first", **wishes["claimed", "first"]).expect(200)
            assert mine["ttl"] > 8.9, "the ttl begins with the claim"
            assert second["lost"].read().expect(200)["ttl"] > 8.9
            assert api.acquire("lost", "first", **wishes["lost", "first"]).expect(409, "lock_not_held")["ended"] == "undelivered"
            assert api.holders("claimed") == ["first"] and not second["claimed"].answered()
            for wire in second.values():
                wire.close()


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
