#!/usr/bin/python3
"""Kills dislockd (embedded engine, durability sync) again and again under load, and checks what it promised.

    /usr/bin/python3 tests/fault/kill_loop_test.py            50 kills, about a minute
    DISLOCK_KILLS=500 DISLOCK_SEED=7 ...                       more, or the schedule of an earlier run again
    ... --prove                                                does the test see a store that forgets? (must find violations)

What must hold, whatever is killed when (times by CLOCK_BOOTTIME; belief as in openapi.yaml):

  1. A lease that was acknowledged can be renewed and released until its owner's belief ends; its token never changes.
  2. No two owners believe in the same exclusive lock at the same time.
  3. Tokens of one lock strictly rise, over all restarts.
  4. A call repeated with its request id gets the same outcome: lease and token, refusal, or lock_not_held once it was released.
  5. A waiter with a request id keeps its place.
  6. A session, and the lease bound to it, survive.
"""
import collections
import dataclasses
import http.client
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "contract"))
from dislockd_process import Dislockd  # noqa: E402

WORKERS = 10
HOT_LOCKS = 4
GIVE_UP = 20  # seconds without any answer: longer than every restart


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclasses.dataclass
class Ownership:
    """One client's belief that it owned a lock."""
    lock: str
    client: str
    token: int
    begin: float
    end: float


class Record:
    """What happened, and what should not have. Shared by all threads."""

    def __init__(self):
        self.guard = threading.Lock()
        self.violations, self.owned, self.counts = [], [], collections.Counter()
        self.kills = 0  # written by the main thread only
        self.stop = threading.Event()

    def violation(self, text):
        with self.guard:
            self.violations.append(f"kill {self.kills}: {text}")

    def count(self, what, by=1):
        with self.guard:
            self.counts[what] += by

    def own(self, ownership):
        with self.guard:
            self.owned.append(ownership)


def check_ownerships(owned):
    """Invariants 2 and 3, over the whole run."""
    violations, by_lock = [], collections.defaultdict(list)
    for each in owned:
        by_lock[each.lock].append(each)
    for lock, all_of_it in by_lock.items():
        tokens = [o.token for o in all_of_it]
        if len(tokens) != len(set(tokens)):
            violations.append(f"{lock}: a token was given twice")
        real = sorted((o for o in all_of_it if o.end > o.begin), key=lambda o: o.begin)
        last = None
        for each in real:
            if last and each.begin < last.end:
                violations.append(f"{lock}: {last.client} (token {last.token}) and {each.client} (token {each.token}) both owned it for {min(last.end, each.end) - each.begin:.4f} s")
            if last and each.token <= last.token:
                violations.append(f"{lock}: token {each.token} after {last.token}")
            if not last or each.end > last.end:
                last = each
    return violations


@dataclasses.dataclass
class Answer:
    status: int
    value: dict
    sent: float      # of the attempt that was answered
    received: float
    first_sent: float
    attempts: int

    @property
    def code(self):
        return self.value.get("code", "") if self.status >= 400 else ""

    @property
    def believed_until(self):
        return self.sent + 0.99 * (self.value["elapsed"] + self.value["ttl"]) - 0.002


class Connection:
    """Keep-alive to one server that may vanish: repeats the call, the same body, until it is answered."""

    def __init__(self, port, record, pause=0.02):
        self.port, self.record, self.pause, self.connection = port, record, pause, None

    def call(self, path, body=None, give_up=GIVE_UP):
        first, attempts = now(), 0
        content = None if body is None else json.dumps(body)
        while True:
            sent, attempts = now(), attempts + 1
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=give_up)
                self.connection.request("GET" if body is None else "POST", path, content, {"Content-Type": "application/json"} if content else {})
                response = self.connection.getresponse()
                value = json.loads(response.read())
                if response.status >= 500:
                    raise ConnectionError(f"{response.status} {value.get('code')}")
                self.record.count("answered")
                if attempts > 1:
                    self.record.count("answered after a repeat")
                return Answer(response.status, value, sent, now(), first, attempts)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if self.connection:
                    self.connection.close()
                self.connection = None
                if now() - first > give_up:
                    raise RuntimeError(f"{path}: no answer for {give_up} s, last {error!r}") from error
                time.sleep(self.pause)


def acquire(connection, lock, body):
    """Until it is granted or refused; asks again after a 202."""
    while (answer := connection.call(f"/locks/{lock}/acquire", body)).status == 202:
        connection.record.count("still queued")
    return answer


def new_request(client):
    return f"{client}.{uuid.uuid4().hex}"


class Worker(threading.Thread):
    """Takes locks, renews, repeats, releases, and compares every answer with what was promised."""

    def __init__(self, index, seed, port, record):
        super().__init__(daemon=True, name=f"worker-{index}")
        self.index, self.random, self.record = index, random.Random(seed * 1000 + index), record
        self.connection = Connection(port, record)
        self.recent, self.kills_seen = collections.deque(maxlen=6), 0  # what was acknowledged last: a store that forgets, forgets this

    def run(self):
        try:
            while not self.record.stop.is_set():
                if self.kills_seen != self.record.kills:
                    self.kills_seen = self.record.kills
                    self.look_back()
                self.turn()
        except Exception as error:
            self.record.violation(f"{self.name} died: {error!r}")

    def look_back(self):
        """After a kill: what was over before it is still over, and ended as it did."""
        while self.recent:
            lock, wish, release, ended_at = self.recent.popleft()
            if now() - ended_at > 20:  # of the 30 s that it must be remembered
                continue
            again = acquire(self.connection, lock, wish)
            self.record.count("endings repeated")
            if again.code != ("lock_not_held" if release else "lock_not_acquired") or (release and again.value.get("ended") != "released"):
                self.record.violation(f"{lock}: an acquire that was {'released' if release else 'refused'} got {again.status} {again.code} {again.value.get('ended', '')} when repeated")
            if release and (again := self.connection.call(f"/locks/{lock}/release", release)).value != {"released": True, "holdCount": 0}:
                self.record.violation(f"{lock}: a release that was done got {again.status} {again.value} when repeated")

    def turn(self):
        dice, record = self.random, self.record
        lock = f"kill/hot/{dice.randrange(HOT_LOCKS)}" if dice.random() < 0.5 else f"kill/own/{self.index}"
        client = f"w{self.index}"
        wish = {"clientId": client, "timeout": round(dice.uniform(4, 8), 3), "waitTimeout": dice.choice((0, 0.05, 0.5)), "requestId": new_request(client)}
        answer = acquire(self.connection, lock, wish)
        if answer.status == 409 and answer.code == "lock_not_acquired":
            self.recent.append((lock, wish, None, now()))
            if dice.random() < 0.2:
                again = acquire(self.connection, lock, wish)
                record.count("refusals repeated")
                if again.code != "lock_not_acquired":
                    record.violation(f"{lock}: a refusal became {again.status} {again.code} for the same request id")
            time.sleep(dice.uniform(0, 0.01))
            return
        if answer.status == 409 and answer.code == "lock_not_held" and answer.attempts > 1 and answer.value.get("ended") in ("expired", "undelivered"):
            record.count("granted and over before the answer came")
            return
        if answer.status != 200:
            record.violation(f"{lock}: acquire answered {answer.status} {answer.value}")
            time.sleep(0.05)
            return
        self.hold(lock, wish, answer)

    def hold(self, lock, wish, granted):
        dice, record, value = self.random, self.record, granted.value
        kills_then, until, secret, token = record.kills, granted.believed_until, value["lockId"], value["fencingToken"]
        record.count("granted")
        # Three workers keep a lock over the next kill; the others must be busy when it comes, or nothing new is at stake.
        if self.index < 3 and dice.random() < 0.2 and (lock.startswith("kill/own/") or lock == "kill/hot/0"):
            limit = now() + 1.5
            while record.kills == kills_then and now() < limit and not record.stop.is_set():
                time.sleep(0.01)
        else:
            time.sleep(dice.uniform(0, 0.005))

        def lost(answer, what):
            if answer.received < until:
                record.violation(f"{lock}: {what} of token {token} answered {answer.status} {answer.code} {answer.value.get('ended', '')} {until - answer.received:.3f} s before the owner's belief ended")

        if dice.random() < 0.3:
            answer = self.connection.call(f"/locks/{lock}/renew", {"lockId": secret, "timeout": wish["timeout"], "requestId": new_request("n")})
            if answer.status != 200:
                lost(answer, "renewal")
            elif answer.value["fencingToken"] != token:
                record.violation(f"{lock}: token {token} became {answer.value['fencingToken']} by renewal")
            else:
                until = max(until, answer.believed_until)
        if dice.random() < 0.2 or record.kills != kills_then:
            answer = acquire(self.connection, lock, wish)
            record.count("grants repeated")
            if answer.status != 200:
                lost(answer, "repeated acquire")
            elif (answer.value["lockId"], answer.value["fencingToken"]) != (secret, token):
                record.violation(f"{lock}: a repeat got token {answer.value['fencingToken']} instead of {token}, or another lockId")

        asked = now()
        release = {"lockId": secret, "clientId": wish["clientId"], "requestId": new_request("l")}
        answer = self.connection.call(f"/locks/{lock}/release", release)
        record.own(Ownership(lock, wish["clientId"], token, granted.received, min(until, asked)))
        if answer.status != 200:
            lost(answer, "release")
            return
        record.count("released")
        self.recent.append((lock, wish, release, now()))
        if record.kills != kills_then:
            record.count("held over a kill")
        if dice.random() < 0.1:
            again = self.connection.call(f"/locks/{lock}/release", release)
            if (again.status, again.value) != (200, answer.value):
                record.violation(f"{lock}: a repeated release got {again.status} {again.value}")
            again = acquire(self.connection, lock, wish)
            record.count("endings repeated")
            if again.code != "lock_not_held" or again.value.get("ended") not in ("released", None):
                record.violation(f"{lock}: the acquire of a released lease, repeated, got {again.status} {again.value}")


class Session(threading.Thread):
    """Keeps one session alive through everything, with one lease bound to it."""

    def __init__(self, port, record):
        super().__init__(daemon=True, name="session")
        self.record, self.connection = record, Connection(port, record)

    def run(self):
        try:
            opened = self.connection.call("/sessions", {"clientId": "keeper", "ttl": 10, "requestId": new_request("s")})
            assert opened.status == 200, opened
            secret, until = opened.value["sessionId"], opened.believed_until
            lease = acquire(self.connection, "kill/session", {"clientId": "keeper", "sessionId": secret, "requestId": new_request("k")})
            assert lease.status == 200, lease
            while not self.record.stop.is_set():
                answer = self.connection.call("/sessions/keepalive", {"sessionId": secret})
                if answer.status != 200:
                    self.record.violation(f"the session was lost: {answer.value}" + ("" if answer.received < until else " (the test was too slow)"))
                    return
                until = answer.believed_until
                token = lease.value["fencingToken"]
                valid = self.connection.call("/locks/kill/session/validate", {"fencingToken": token})
                if valid.value != {"current": True, "latest": token} and valid.received < until:
                    self.record.violation(f"the session's lease was lost: {valid.value}")
                    return
                self.record.count("keepalives")
                self.record.stop.wait(0.2)
        except Exception as error:
            self.record.violation(f"the session thread died: {error!r}")


class Queue:
    """One holder and three waiters in a known order, over one kill."""

    def __init__(self, number, port, record, dice):
        self.lock, self.port, self.record, self.grants = f"kill/queue/{number}", port, record, []
        self.connection = Connection(port, record)
        self.holder = self.connection.call(f"/locks/{self.lock}/acquire", {"clientId": "holder", "timeout": 60, "requestId": new_request("h")})
        assert self.holder.status == 200, self.holder
        self.threads = []
        pauses = [0.3, 0.1, 0.01] if dice.random() < 0.5 else [0.01, 0.1, 0.3]  # the first may come back last
        for index in range(3):
            thread = threading.Thread(target=self.wait, args=(index, pauses[index]), daemon=True)
            thread.start()
            self.threads.append(thread)
            limit = now() + 10
            while self.connection.call(f"/locks/{self.lock}/status").value["waiterCount"] <= index:
                assert now() < limit, "a waiter does not get into the queue"
                time.sleep(0.005)

    def wait(self, index, pause):
        client = f"waiter-{index}"
        connection = Connection(self.port, self.record, pause)
        try:
            answer = acquire(connection, self.lock, {"clientId": client, "timeout": 30, "waitTimeout": 30, "requestId": new_request(client)})
            if answer.status != 200:
                self.record.violation(f"{self.lock}: {client} got {answer.status} {answer.value}")
                return
            self.grants.append((index, answer.value["fencingToken"]))
            if answer.attempts > 1:
                self.record.count("waiters that came back")
            released_from = now()
            connection.call(f"/locks/{self.lock}/release", {"lockId": answer.value["lockId"], "requestId": new_request("q")})
            self.record.own(Ownership(self.lock, client, answer.value["fencingToken"], answer.received, min(answer.believed_until, released_from)))
        except Exception as error:
            self.record.violation(f"{self.lock}: {client} died: {error!r}")

    def finish(self):
        asked = now()
        answer = self.connection.call(f"/locks/{self.lock}/release", {"lockId": self.holder.value["lockId"], "requestId": new_request("r")})
        self.record.own(Ownership(self.lock, "holder", self.holder.value["fencingToken"], self.holder.received, asked))
        if answer.status != 200:
            self.record.violation(f"{self.lock}: the holder's release got {answer.status} {answer.value}")
        for thread in self.threads:
            thread.join(GIVE_UP)
        if [index for index, _ in sorted(self.grants, key=lambda g: g[1])] != [0, 1, 2]:
            self.record.violation(f"{self.lock}: granted in the order {sorted(self.grants, key=lambda g: g[1])}")


def run(kills, seed, plant=""):
    """Violations and counts of one run. `plant` forget = every third restart finds the state of the kill before."""
    dice, record = random.Random(seed), Record()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="dislock-kill-"))
    store, older = directory / "store", directory / "older"

    def start(port):
        return Dislockd("--durability", "sync", "--log-level", "warn", engine=f"embedded:{store}", port=port)

    began = time.monotonic()
    server = start(0)
    port, longest_start = server.port, 0
    threads = [Worker(i, seed, port, record) for i in range(WORKERS)] + [Session(port, record)]
    try:
        for thread in threads:
            thread.start()
        for number in range(kills):
            queue = Queue(number, port, record, dice)
            time.sleep(dice.uniform(0.15, 0.6))
            if not server.running():
                record.violation(f"the server ended by itself:\n{server.output()[-2000:]}")
                break
            server.kill()
            record.kills += 1
            if plant == "forget":
                if number % 3 == 2 and older.exists():
                    shutil.rmtree(store)
                    older.rename(store)
                else:
                    shutil.rmtree(older, ignore_errors=True)
                    shutil.copytree(store, older)
            time.sleep(dice.choice((0, 0, 0.05, 0.2)))
            started = time.monotonic()
            server = start(port)
            longest_start = max(longest_start, time.monotonic() - started)
            queue.finish()
            if plant and record.violations:
                break
        time.sleep(0.5)
    finally:
        record.stop.set()
        for thread in threads:
            thread.join(GIVE_UP + 5)
        server.kill()
    record.violations += check_ownerships(record.owned)
    took = time.monotonic() - began
    print(f"seed {seed}: {record.kills} kills, {took:.1f} s, slowest restart {longest_start:.2f} s, {len(record.owned)} ownerships")
    print("  " + ", ".join(f"{value} {key}" for key, value in sorted(record.counts.items())))
    if record.violations and not plant:
        print(f"the store is kept in {store}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return record, took


def floors(record, kills):
    """A run in which little happened proves little."""
    wanted = {"answered": 60 * kills, "released": 15 * kills, "answered after a repeat": 5 * kills, "held over a kill": kills, "waiters that came back": 2 * kills,
              "grants repeated": kills, "refusals repeated": kills // 4, "endings repeated": kills // 2, "keepalives": kills}
    short = [f"too few: {record.counts[what]} {what}, wanted {least}" for what, least in wanted.items() if record.counts[what] < least]
    return short + ([f"too few: {record.kills} kills, wanted {kills}"] if record.kills < kills else [])


def self_check():
    """The checks of ownerships, on histories made by hand."""
    def own(begin, end, token, lock="a", client="c"):
        return Ownership(lock, client, token, begin, end)

    assert not check_ownerships([own(0, 1, 1), own(1, 2, 2), own(0.5, 3, 1, lock="b"), own(3, 2.5, 9)])
    assert "both owned" in check_ownerships([own(0, 1, 1), own(0.9, 2, 2)])[0]
    assert "both owned" in check_ownerships([own(0, 9, 1), own(9, 10, 4), own(1, 2, 2)])[0]
    assert "after" in check_ownerships([own(0, 1, 2), own(1, 2, 1)])[0]
    assert "twice" in check_ownerships([own(0, 1, 1), own(1, 2, 1)])[0]


def main():
    self_check()
    kills = int(os.environ.get("DISLOCK_KILLS", "50"))
    seed = int(os.environ.get("DISLOCK_SEED", str(random.SystemRandom().randrange(1_000_000))))
    if "--prove" in sys.argv:
        record, _ = run(12, seed, plant="forget")
        print(f"the planted fault was {'found: ' + record.violations[0] if record.violations else 'NOT found'}")
        return not record.violations
    record, took = run(kills, seed)
    problems = record.violations + floors(record, kills)
    if took > 90 and kills <= 50:
        problems.append(f"took {took:.0f} s, more than 90 s")
    if not problems:
        print("ok all promises were kept")
    for problem in problems[:20]:
        print(f"FAILED {problem}")
    if len(problems) > 20:
        print(f"({len(problems)} problems in all)")
    print(f"{int(not problems)} passed, {min(len(problems), 20)} failed")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
