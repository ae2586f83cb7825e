#!/usr/bin/python3
"""dislock beside redis-py, redsync and node-redlock on one Redis: who holds the key of a lock keeps everybody else out, whoever they are."""
import signal
import socket
import sys
import threading
import time

from foreign_holders import LIBRARIES, Missing, key_of, start_all  # the path of the others, too

sys.path.insert(0, str(LIBRARIES["redsync"].parent.parent / "e2e"))
from harness import Api, Dislockd, Wire, eventually, main, new_id, now  # noqa: E402
from redis_processes import Server  # noqa: E402

POLLED = 1.0  # seconds between two looks at a lock of others
SLACK = 0.5  # what a busy machine may add to it


class Stage:
    """One Redis and one dislockd for all cases; each case has locks of its own."""

    def __init__(self):
        self.redis = Server(proxied=False).start()
        self.holders, self.server = {}, None
        try:
            self.holders = start_all(self.redis.port)
            self.server = Dislockd(engine=f"redis://127.0.0.1:{self.redis.port}")
            self.api = Api(self.server.port)
            eventually(lambda: self.api.call("GET", "/health").status == 200, what="a dislockd that is ready")
        except BaseException:
            self.end()
            raise

    def value(self, lock):
        return self.redis.say("GET", key_of(lock))

    def wait_in_line(self, lock, patience=10, **more):
        """A caller of dislock that has its place in the queue."""
        caller = Wire(self.server.port).acquire(lock, "in-line", waitTimeout=patience, requestId=new_id(), **more)
        self.api.until_waiting(lock, 1)
        return caller

    def refuses(self, lock):
        got = self.api.acquire(lock, "late").expect(409, "lock_not_acquired")
        assert got["holders"] == [], got.text

    def end(self):
        for holder in self.holders.values():
            holder.end()
        if self.server:
            self.server.kill()
        self.redis.end()


STAGE = None  # made by main


class with_each_library:
    """Runs a case once for each library. It gets the stage, the holder and a lock of its own."""

    def __init__(self, case):
        self.case, self.__name__ = case, case.__name__

    def runs(self):
        for name in LIBRARIES:
            yield f"{self.__name__}[{name}]", lambda name=name: self.case(STAGE, STAGE.holders[name], new_id("lock"))


def test_one_owner_whoever_came_first(stage, foreign, lock):
    foreign.takes(lock)
    stage.refuses(lock)
    assert stage.api.status(lock)["locked"]
    assert foreign.releases(lock)

    mine = stage.api.hold(lock, "us")
    assert stage.value(lock) == mine["lockId"] and not foreign.tries(lock)
    stage.api.release(lock, mine["lockId"]).expect(200)
    assert stage.value(lock) is None

    foreign.takes(lock)
    stage.refuses(lock)
    assert foreign.releases(lock)
    assert not stage.api.status(lock)["locked"]


def test_the_end_of_a_lease_lets_the_other_in(stage, foreign, lock):
    foreign.takes(lock, 300)
    stage.refuses(lock)
    mine = eventually(lambda: (got := stage.api.acquire(lock, "us", timeout=0.3)).status == 200 and got, timeout=2, what="the foreign lock's end")
    held_since = now()
    assert not foreign.tries(lock)
    eventually(lambda: foreign.tries(lock), timeout=2, what="the end of our lease")
    assert now() - held_since > 0.25
    stage.api.call("POST", f"/locks/{lock}/renew", {"lockId": mine["lockId"]}).expect(409, "lock_not_held")
    stage.refuses(lock)
    assert foreign.releases(lock)


def test_a_lock_that_its_owner_extends_stays_his(stage, foreign, lock):
    foreign.takes(lock, 600)
    until = now() + 1.5
    while now() < until:
        time.sleep(0.3)
        assert foreign.extends(lock)
        stage.refuses(lock)
    assert foreign.releases(lock)

    mine = stage.api.hold(lock, "us", timeout=0.6)
    until = now() + 1.5
    while now() < until:
        time.sleep(0.3)
        stage.api.call("POST", f"/locks/{lock}/renew", {"lockId": mine["lockId"]}).expect(200)
        assert not foreign.tries(lock)
    stage.api.release(lock, mine["lockId"]).expect(200)


def test_who_was_overtaken_takes_nothing_away(stage, foreign, lock):
    foreign.takes(lock, 300)
    mine = eventually(lambda: (got := stage.api.acquire(lock, "us", timeout=0.4)).status == 200 and got, timeout=2, what="the foreign lock's end")
    assert not foreign.releases(lock)
    assert stage.value(lock) == mine["lockId"]
    eventually(lambda: foreign.tries(lock), timeout=2, what="the end of our lease")
    theirs = stage.value(lock)
    stage.api.release(lock, mine["lockId"]).expect(409, "lock_not_held")
    assert stage.value(lock) == theirs and foreign.releases(lock)


def test_a_waiter_of_ours_has_it_a_second_after_its_release(stage, foreign, lock):
    foreign.takes(lock)
    with stage.wait_in_line(lock) as caller:
        time.sleep(1.3)
        assert not caller.answered()
        assert foreign.releases(lock)
        released = now()
        mine = caller.read().expect(200)
        took = now() - released
        print(f"   {took * 1000:.0f} ms after the release", flush=True)
        assert took < POLLED + SLACK and not foreign.tries(lock)
        stage.api.release(lock, mine["lockId"]).expect(200)


def test_a_waiter_of_ours_has_it_a_second_after_its_end(stage, foreign, lock):
    foreign.takes(lock, 1700)
    taken = now()
    with stage.wait_in_line(lock) as caller:
        mine = caller.read().expect(200)
        took = now() - taken
        assert 1.65 < took < 1.7 + POLLED + SLACK, took
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


def test_readers_and_permits_keep_it_out_until_the_last_is_gone(stage, foreign, lock):
    for terms in ({"mode": "shared"}, {"mode": "semaphore", "limit": 2}):
        two = [stage.api.hold(lock, f"us-{i}", **terms)["lockId"] for i in range(2)]
        for secret in two:
            assert not foreign.tries(lock), terms
            stage.api.release(lock, secret).expect(200)
        foreign.takes(lock)
        stage.api.acquire(lock, "us", **terms).expect(409, "lock_not_acquired")
        assert foreign.releases(lock)


def test_force_does_not_end_it(stage, foreign, lock):
    foreign.takes(lock, 700)
    theirs = stage.value(lock)
    with stage.wait_in_line(lock) as caller:
        for query in ("", "?reason=over", "?fencingToken=7"):
            got = stage.api.call("DELETE", f"/locks/{lock}{query}").expect(200)
            assert got["released"] == 0, got.text
        assert stage.value(lock) == theirs and foreign.extends(lock) and not caller.answered()
        assert foreign.releases(lock)
        stage.api.release(lock, caller.read().expect(200)["lockId"]).expect(200)


def test_several_locks_of_one_call_wait_for_the_one_that_it_has(stage, foreign, lock):
    foreign.takes(lock)
    names = {"clientId": "us", "locks": [{"name": f"{lock}-free"}, {"name": lock}]}
    stage.api.call("POST", "/locks/acquire", names).expect(409, "lock_not_acquired")
    assert stage.value(f"{lock}-free") is None
    with Wire(stage.server.port).send("POST", "/locks/acquire", {**names, "waitTimeout": 10, "requestId": new_id()}) as caller:
        stage.api.until_waiting(lock, 1)
        assert foreign.releases(lock)
        caller.read().expect(200)
    assert not foreign.tries(lock) and not foreign.tries(f"{lock}-free")


def test_a_lock_without_an_end_is_waited_for_and_left_without_one():
    stage, foreign, lock = STAGE, STAGE.holders["redis-py"], new_id("lock")
    foreign.takes(lock, 0)
    stage.refuses(lock)
    with stage.wait_in_line(lock, patience=1.2) as caller:
        caller.read().expect(409, "lock_not_acquired")
    assert stage.redis.say("PTTL", key_of(lock)) == -1
    with stage.wait_in_line(lock) as caller:
        stage.api.call("DELETE", f"/locks/{lock}").expect(200)
        assert stage.redis.say("PTTL", key_of(lock)) == -1 and foreign.releases(lock)
        caller.read().expect(200)


KINDS = {"hash": ("HSET", "a", "1"), "list": ("RPUSH", "a"), "set": ("SADD", "a"), "sorted set": ("ZADD", "1", "a"), "stream": ("XADD", "*", "a", "1")}


def write(stage, lock, words):
    stage.redis.say(words[0], key_of(lock), *words[1:])


def test_a_key_that_is_no_string_is_left_alone():
    stage = STAGE
    for kind, words in KINDS.items():
        lock = new_id("lock")
        write(stage, lock, words)
        before = stage.redis.say("DUMP", key_of(lock))
        stage.refuses(lock)
        stage.api.acquire(lock, "late", mode="shared").expect(409, "lock_not_acquired")
        assert stage.api.status(lock)["locked"], kind
        with stage.wait_in_line(lock) as caller:
            assert stage.api.call("DELETE", f"/locks/{lock}").expect(200)["released"] == 0
            assert stage.redis.say("DUMP", key_of(lock)) == before and stage.redis.say("PTTL", key_of(lock)) == -1, kind
            assert stage.redis.say("DEL", key_of(lock)) == 1
            stage.api.release(lock, caller.read().expect(200)["lockId"]).expect(200)


def test_with_an_empty_prefix_the_name_of_a_lock_is_its_key():
    stage, foreign, lock = STAGE, STAGE.holders["redis-py"], new_id("lock")
    bare = Dislockd(engine=f"redis://127.0.0.1:{stage.redis.port}?prefix=&own-prefix=bare:")
    try:
        api = Api(bare.port)
        foreign.takes(lock)
        assert api.acquire(key_of(lock), "late").expect(409, "lock_not_acquired")["holders"] == []
        assert foreign.releases(lock)
        mine = api.hold(key_of(lock), "us")
        assert stage.value(lock) == mine["lockId"] and not foreign.tries(lock)
        api.release(key_of(lock), mine["lockId"]).expect(200)
        assert foreign.tries(lock)
        api.acquire("bare:fence", "us").expect(400, "invalid_lock_name")
        assert stage.redis.say("EXISTS", "bare:lock:bare:fence") == 0
    finally:
        bare.kill()


def test_our_key_written_over_by_others_ends_the_lease_and_their_value_stays():
    stage = STAGE
    for kind, words in {"string": ("SET", "theirs"), **KINDS}.items():
        for first, path, body in (("renew", "renew", {"timeout": 30}), ("release", "release", {})):
            lock = new_id("lock")
            mine = stage.api.hold(lock, "us")
            stage.redis.say("DEL", key_of(lock))
            write(stage, lock, words)
            before = stage.redis.say("DUMP", key_of(lock))
            stage.api.call("POST", f"/locks/{lock}/{path}", {"lockId": mine["lockId"], **body}).expect(409, "lock_not_held")
            stage.refuses(lock)
            stage.api.call("DELETE", f"/locks/{lock}").expect(200)
            assert stage.redis.say("DUMP", key_of(lock)) == before, f"{kind}, {first}"
            assert stage.redis.say("PTTL", key_of(lock)) == -1, f"{kind}, {first}"


def test_a_foreign_lock_is_looked_at_once_a_second_however_many_wait():
    stage, foreign = STAGE, STAGE.holders["redsync"]
    lock = new_id("lock")
    foreign.takes(lock)
    callers = [Wire(stage.server.port).acquire(lock, f"w-{i}", waitTimeout=20, requestId=new_id()) for i in range(20)]
    stage.api.until_waiting(lock, 20)
    time.sleep(1)
    looked = looks_at(stage.redis.port, lock, seconds=4)
    print(f"   {len(looked)} looks in 4 s: {[round(at, 2) for at in looked]}", flush=True)
    assert 3 <= len(looked) <= 5
    assert foreign.releases(lock)
    first = eventually(lambda: next((c for c in callers if c.answered()), None), what="a grant")
    assert first is callers[0] and stage.value(lock) == first.read().expect(200)["lockId"]
    for caller in callers:
        caller.close()


def looks_at(port, lock, seconds):
    """When the scripts looked at the lock's key, as Redis' MONITOR has it. What happens within 50 ms is one look."""
    began, seen, text = time.monotonic(), [], b""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"MONITOR\r\n")
        line.settimeout(0.05)
        while (at := time.monotonic() - began) < seconds:
            try:
                text += line.recv(65536)
            except TimeoutError:
                continue
            *lines, text = text.split(b"\r\n")
            if any(b" lua] " in each and b'"' + key_of(lock).encode() + b'"' in each for each in lines) and (not seen or at - seen[-1] > 0.05):
                seen.append(at)
    return seen


def test_all_of_them_at_once_and_never_two_owners():
    stage, lock, rounds = STAGE, new_id("lock"), 15
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
        for _ in range(rounds):
            while not holder.tries(lock, 20_000):
                time.sleep(0.002)
            hold(holder.name)
            if not holder.releases(lock):
                faults.append(f"{holder.name} had lost it")

    def ours(who):
        api = Api(stage.server.port)
        for i in range(rounds):
            # Trying is as good as theirs; waiting would be a look a second while one of them has it.
            while (got := api.acquire(lock, who, timeout=20)).status == 409:
                time.sleep(0.002)
            got.expect(200)
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
    assert len(counts) == 5 and set(counts.values()) == {rounds}, counts


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
