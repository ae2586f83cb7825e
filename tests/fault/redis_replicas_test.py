#!/usr/bin/python3
"""Two dislockd on one Redis: a thousand waiters across both while one of them is killed, and a deadlock that spans them."""
import pathlib
import selectors
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Api, Dislockd, Wire, eventually, main, now  # noqa: E402
from redis_processes import Server  # noqa: E402

CROWD = 1000
TOGETHER = 50  # within these the order of arrival is the servers' to see
SERVED_BEFORE = 150  # how many when the one is killed
WAITER_LEASE = 3.0  # seconds without a sign of life after which a replica is dead
ROOM = 2.0  # for a busy machine


class Pair:
    """A Redis and two dislockd on it."""

    def __enter__(self):
        self.store = Server(proxied=False).start()
        self.first, self.second = (Dislockd(engine=f"redis://127.0.0.1:{self.store.port}") for _ in range(2))
        return self

    def __exit__(self, *_):
        for each in (self.first, self.second):
            each.kill()
        self.store.end()


def serve(ready, lock, held, upto):
    """Gives the lock back as each of its owners, through the server that granted it. Who was served, and the longest gap between two."""
    served, longest = [], 0.0
    while len(served) < upto:
        began = now()
        held["by"].release(lock, held["secret"]).expect(200)
        answered = ready.select(timeout=WAITER_LEASE + ROOM + 5)
        assert len(answered) == 1, f"{len(answered)} were answered by one release, after {len(served)}"
        longest = max(longest, now() - began)
        wire, number, api = answered[0][0].data
        granted = wire.read().expect(200)
        assert granted["clientId"] == f"c{number}" and granted["fencingToken"] > held["token"], granted.text
        ready.unregister(wire.socket)
        served.append(number)
        held.update(token=granted["fencingToken"], secret=granted["lockId"], by=api)
    return served, longest


def check_order(served, what):
    places = {}
    for number in served:
        group = number // TOGETHER
        assert group >= max(places, default=0), f"{what}: c{number} was overtaken by somebody who came {TOGETHER} or more later"
        places[group] = True


def test_a_thousand_waiters_keep_their_order_when_one_of_two_servers_is_killed():
    with Pair() as pair:
        apis, lock, crowd = (Api(pair.first.port), Api(pair.second.port)), "crowd", []
        first = apis[0].hold(lock, "first", timeout=120)
        held = {"token": first["fencingToken"], "secret": first["lockId"], "by": apis[0]}
        try:
            with selectors.DefaultSelector() as ready:
                for number in range(CROWD):
                    api = apis[number % 2]
                    wire = Wire(api.port, timeout=60).acquire(lock, f"c{number}", timeout=120, waitTimeout=300)
                    crowd.append(wire)
                    ready.register(wire.socket, selectors.EVENT_READ, (wire, number, api))
                    if number % TOGETHER == TOGETHER - 1:
                        apis[0].until_waiting(lock, number + 1)
                before, _ = serve(ready, lock, held, SERVED_BEFORE)
                check_order(before, "before")

                if held["by"] is apis[1]:  # somebody of the first has it when the second dies
                    more, _ = serve(ready, lock, held, 1)
                    before += more
                    while held["by"] is apis[1]:
                        more, _ = serve(ready, lock, held, 1)
                        before += more
                pair.second.kill()
                died = now()
                for number in range(1, CROWD, 2):
                    if number not in before:
                        ready.unregister(crowd[number].socket)
                left = [n for n in range(0, CROWD, 2) if n not in before]
                after, longest = serve(ready, lock, held, len(left))
                check_order(after, "after")
                assert sorted(after) == left, "a waiter of the server that lives was lost"
                print(f"   longest gap after the kill {longest:.2f} s; {len(after)} served within {now() - died:.1f} s")
                assert longest < WAITER_LEASE + ROOM, f"the lock was stuck for {longest:.2f} s"
            apis[0].release(lock, held["secret"]).expect(200)
            eventually(lambda: not apis[0].status(lock)["locked"] and not apis[0].waiters(lock), timeout=10)
        finally:
            for wire in crowd:
                wire.close()


def test_a_deadlock_that_spans_two_servers_is_broken_within_a_second():
    with Pair() as pair:
        here, there = Api(pair.first.port), Api(pair.second.port)
        here.hold("a", "x", timeout=60)
        there.hold("b", "y", timeout=60)
        with Wire(pair.first.port).acquire("b", "x", timeout=60, waitTimeout=30) as waits:
            there.until_waiting("b", 1)
            began = now()
            refused = there.acquire("a", "y", timeout=60, waitTimeout=30)
            took = now() - began
            refused.expect(409, "deadlock_detected")
            assert {s["clientId"] for s in refused["cycle"]} == {"x", "y"}, refused.text
            assert took < 1.0, f"it took {took:.2f} s"
            assert not waits.answered(), "the older wait is the victim"
            print(f"   broken after {took * 1000:.0f} ms")


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
