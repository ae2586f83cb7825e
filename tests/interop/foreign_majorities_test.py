#!/usr/bin/python3
"""dislock beside redsync and node-redlock on the same three Redis servers: who has a majority of them keeps everybody else out, whoever they are."""
import signal
import sys
import threading
import time

from foreign_holders import LIBRARIES, Missing, key_of, start_all  # the path of the others, too

sys.path.insert(0, str(LIBRARIES["redsync"].parent.parent / "e2e"))
from harness import Api, Dislockd, Wire, eventually, main, new_id, now  # noqa: E402
from redis_processes import Server  # noqa: E402

MAJORITIES = ("redsync", "node-redlock")  # redis-py's lock knows one server only
POLLED = 0.5  # seconds between two looks at a lock of others, at most
SLACK = 0.5  # what a busy machine may add to it


class Stage:
    """Three Redis servers and one dislockd for all cases; each case has locks of its own."""

    def __init__(self):
        self.nodes, self.holders, self.server = [], {}, None
        try:
            self.nodes = [Server(proxied=False).start() for _ in range(3)]
            ports = [node.port for node in self.nodes]
            self.holders = start_all(*ports, libraries=MAJORITIES)
            self.server = Dislockd(engine="redlock://" + ",".join(f"127.0.0.1:{port}" for port in ports))
            self.api = Api(self.server.port)
            eventually(lambda: self.api.call("GET", "/health").status == 200, what="a dislockd that is ready")
        except BaseException:
            self.end()
            raise

    def values(self, lock):
        """What the nodes that live have there."""
        return [node.say("GET", key_of(lock)) for node in self.nodes if node.running()]

    def owner(self, lock):
        """The value that a majority has. The last node may be asked after an answer was given, or by somebody else first."""
        def agreed():
            values = self.values(lock)
            return next(([v] for v in values if values.count(v) > len(self.nodes) // 2), None)
        return eventually(agreed, what="a majority that has the same")[0]

    def until_free(self, lock):
        eventually(lambda: set(self.values(lock)) == {None}, what="nothing on any node")

    def wait_in_line(self, lock, patience=10, **more):
        """A caller of dislock that has its place in the queue."""
        caller = Wire(self.server.port).acquire(lock, "in-line", waitTimeout=patience, requestId=new_id(), **more)
        self.api.until_waiting(lock, 1)
        return caller

    def refuses(self, lock):
        got = self.api.acquire(lock, "late").expect(409, "lock_not_acquired")
        assert got["holders"] == [], got.text

    def takes_when_free(self, lock, **more):
        return eventually(lambda: (got := self.api.acquire(lock, "us", **more)).status == 200 and got, timeout=2, what="the end of the foreign lock")

    def end(self):
        for holder in self.holders.values():
            holder.end()
        if self.server:
            self.server.kill()
        for node in self.nodes:
            node.end()


STAGE = None  # made by main


class with_each_library:
    """Runs a case once for each library. It gets the stage, the holder and a lock of its own."""

    def __init__(self, case):
        self.case, self.__name__ = case, case.__name__

    def runs(self):
        for name in MAJORITIES:
            yield f"{self.__name__}[{name}]", lambda name=name: self.case(STAGE, STAGE.holders[name], new_id("lock"))


def test_one_owner_whoever_came_first(stage, foreign, lock):
    foreign.takes(lock)
    theirs = stage.owner(lock)
    stage.refuses(lock)
    assert stage.owner(lock) == theirs
    assert stage.api.status(lock)["locked"]
    assert foreign.releases(lock)

    mine = stage.api.hold(lock, "us")
    assert stage.owner(lock) == mine["lockId"]
    assert not foreign.tries(lock)
    assert stage.owner(lock) == mine["lockId"]
    stage.api.release(lock, mine["lockId"]).expect(200)
    stage.until_free(lock)

    foreign.takes(lock)
    stage.refuses(lock)
    assert foreign.releases(lock)
    assert not stage.api.status(lock)["locked"]


def test_the_end_of_a_lease_lets_the_other_in(stage, foreign, lock):
    foreign.takes(lock, 300)
    stage.refuses(lock)
    mine = stage.takes_when_free(lock, timeout=0.3)
    held_since = now()
    assert not foreign.tries(lock)
    eventually(lambda: foreign.tries(lock), timeout=2, what="the end of our lease")
    assert now() - held_since > 0.25
    stage.api.call("POST", f"/locks/{lock}/renew", {"lockId": mine["lockId"]}).expect(409, "lock_not_held")
    stage.refuses(lock)
    assert foreign.releases(lock)


def test_a_lock_that_its_owner_extends_stays_his(stage, foreign, lock):
    foreign.takes(lock, 600)
    until = now() + 1
    while now() < until:
        time.sleep(0.25)
        assert foreign.extends(lock)
        stage.refuses(lock)
    assert foreign.releases(lock)

    mine = stage.api.hold(lock, "us", timeout=0.6)
    until = now() + 1
    while now() < until:
        time.sleep(0.25)
        stage.api.call("POST", f"/locks/{lock}/renew", {"lockId": mine["lockId"]}).expect(200)
        assert not foreign.tries(lock)
    stage.api.release(lock, mine["lockId"]).expect(200)


def test_who_was_overtaken_takes_nothing_away(stage, foreign, lock):
    foreign.takes(lock, 300)
    mine = stage.takes_when_free(lock, timeout=0.4)
    assert not foreign.releases(lock)
    assert stage.owner(lock) == mine["lockId"]
    eventually(lambda: foreign.tries(lock), timeout=2, what="the end of our lease")
    theirs = stage.owner(lock)
    stage.api.release(lock, mine["lockId"]).expect(409, "lock_not_held")
    assert stage.owner(lock) == theirs
    assert foreign.releases(lock)


def test_a_waiter_of_ours_has_it_soon_after_its_release_and_after_its_end(stage, foreign, lock):
    foreign.takes(lock)
    with stage.wait_in_line(lock) as caller:
        time.sleep(0.7)
        assert not caller.answered()
        assert foreign.releases(lock)
        released = now()
        mine = caller.read().expect(200)
        took = now() - released
        print(f"   {took * 1000:.0f} ms after the release", flush=True)
        assert took < POLLED + SLACK and not foreign.tries(lock)
        stage.api.release(lock, mine["lockId"]).expect(200)

    foreign.takes(lock, 700)
    taken = now()
    with stage.wait_in_line(lock) as caller:
        mine = caller.read().expect(200)
        took = now() - taken
        assert 0.65 < took < 0.7 + POLLED + SLACK, took
        stage.api.release(lock, mine["lockId"]).expect(200)


def test_a_waiter_of_theirs_has_it_after_our_release_and_after_our_lease(stage, foreign, lock):
    mine = stage.api.hold(lock, "us")
    foreign.begin("acquire", key_of(lock), 60_000)
    time.sleep(0.3)
    assert not foreign.answered()
    stage.api.release(lock, mine["lockId"]).expect(200)
    assert foreign.answer() and foreign.releases(lock)

    stage.api.hold(lock, "us", timeout=0.5)
    foreign.begin("acquire", key_of(lock), 60_000)
    assert foreign.answer() and foreign.releases(lock)


def test_force_does_not_end_it(stage, foreign, lock):
    foreign.takes(lock)
    theirs = stage.owner(lock)
    with stage.wait_in_line(lock) as caller:
        assert stage.api.call("DELETE", f"/locks/{lock}?reason=over").expect(200)["released"] == 0
        assert stage.owner(lock) == theirs
        assert foreign.extends(lock) and not caller.answered()
        assert foreign.releases(lock)
        stage.api.release(lock, caller.read().expect(200)["lockId"]).expect(200)


def test_a_minority_that_somebody_else_has_stops_nobody(stage, foreign, lock):
    stray = stage.nodes[1]
    stray.say("SET", key_of(lock), "stray")
    mine = stage.api.hold(lock, "us")
    assert not foreign.tries(lock)
    stage.api.release(lock, mine["lockId"]).expect(200)
    foreign.takes(lock)
    assert stage.api.acquire(lock, "late").status == 409
    assert foreign.releases(lock)
    assert stray.say("GET", key_of(lock)) == "stray" and stray.say("PTTL", key_of(lock)) == -1
    eventually(lambda: stage.values(lock) == [None, "stray", None], what="nothing but the stray value")


def test_all_of_them_at_once_and_never_two_owners():
    stage, lock, rounds = STAGE, new_id("lock"), 8
    guard, owners, counts, faults = threading.Lock(), [], {}, []

    def hold(who):
        with guard:
            owners.append(who)
            if len(owners) > 1:
                faults.append(list(owners))
            counts[who] = counts.get(who, 0) + 1
        time.sleep(0.003)
        with guard:
            owners.remove(who)

    def theirs(holder):
        for i in range(rounds):
            while not holder.tries(lock, 20_000):
                time.sleep(0.002 * (1 + i % 3))  # who tries at the same time as another splits the votes
            hold(holder.name)
            if not holder.releases(lock):
                faults.append(f"{holder.name} had lost it")

    def ours(who):
        api = Api(stage.server.port)
        for _ in range(rounds):
            got = api.acquire(lock, who, timeout=20, waitTimeout=20).expect(200)
            hold(who)
            if (gone := api.release(lock, got["lockId"])).status != 200:
                faults.append(f"{who} had lost it: {gone.text}")
        api.close()

    def run(work, who):
        try:
            work(who)
        except Exception as error:
            faults.append(f"{who}: {error}")

    threads = [threading.Thread(target=run, args=(theirs, holder)) for holder in stage.holders.values()]
    threads += [threading.Thread(target=run, args=(ours, f"us-{i}")) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    print(f"   owners: {counts}", flush=True)
    assert not faults, faults[:5]
    assert len(counts) == 4 and set(counts.values()) == {rounds}, counts


# The last one: the node does not come back.
def test_with_a_node_killed_it_is_the_same(stage, foreign, lock):
    stage.nodes[2].kill()
    mine = stage.api.hold(lock, "us")
    assert not foreign.tries(lock)
    assert stage.owner(lock) == mine["lockId"]
    stage.api.release(lock, mine["lockId"]).expect(200)
    foreign.takes(lock)
    stage.refuses(lock)
    with stage.wait_in_line(lock) as caller:
        assert foreign.releases(lock)
        stage.api.release(lock, caller.read().expect(200)["lockId"]).expect(200)


def run_all():
    global STAGE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, and its folders go
    try:
        STAGE = Stage()
    except Missing as error:
        print(f"FAILED to make the programs of the other libraries\n   {error}\n0 passed, 1 failed")
        return 1
    try:
        cases = {}
        for name, case in list(globals().items()):
            if name.startswith("test_"):
                cases[name] = with_each_library(case) if case.__code__.co_argcount else case
        return main(cases)
    finally:
        STAGE.end()


if __name__ == "__main__":
    sys.exit(run_all())
