#!/usr/bin/python3
"""Kills the primary of a Redis with three Sentinels under load, also after the link to its replicas was cut, and checks what two dislockd promised.

    /usr/bin/python3 tests/fault/redis_failover_test.py     2 kills, one A -> B -> A, what operators do, and the planted bugs: 2 minutes
    DISLOCK_KILLS=10 DISLOCK_SEED=7 ...                      the long run, or the choices of an earlier one again
    ... --prove                                             only: does the test see a plain counter, and failovers without a pause?

What must hold with the policy `exclusive` (times by CLOCK_BOOTTIME; belief as in openapi.yaml):

  1. No two owners believe in the same lock at the same time, whatever was lost.
  2. Tokens of one lock never repeat and never fall.
  3. Grants go on by themselves, within 40 s of every kill (mostly 4).
  4. A step of the store's clock, FLUSHALL, SCRIPT FLUSH and CLIENT KILL break none of it, and what they broke is said in /health or /metrics.
"""
import collections
import http.client
import json
import os
import pathlib
import random
import sys
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "contract")]
from dislockd_process import Dislockd, binary  # noqa: E402
from kill_loop_test import Ownership, check_ownerships, now, self_check  # noqa: E402
from redis_processes import Group, Server, eventually  # noqa: E402

WORKERS = 12
LOCKS = 40
QUARANTINE = 6  # seconds; every lease is shorter, and some outlive the 3 s that electing takes
RECOVERY = 40


class Record:
    def __init__(self):
        self.guard = threading.Lock()
        self.owned, self.counts, self.violations = [], collections.Counter(), []
        self.stop = threading.Event()
        self.last_grant = 0.0

    def own(self, ownership):
        with self.guard:
            self.owned.append(ownership)

    def count(self, what):
        with self.guard:
            self.counts[what] += 1


class Caller:
    """Keep-alive to one dislockd; an error ends the connection, and is the caller's to deal with."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def call(self, path, body=None):
        """(status, value, when it was sent)"""
        sent = now()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), {} if body is None else {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read()), sent
        except (OSError, http.client.HTTPException, ValueError):
            if self.connection:
                self.connection.close()
            self.connection = None
            raise


def late(owned):
    return ", late" if now() > owned.end else ""


def believed_until(value, sent):
    return sent + 0.99 * (value["elapsed"] + value["ttl"]) - 0.002


class Worker(threading.Thread):
    """Takes locks, keeps some, renews some, releases some: what it believes goes into the record."""

    def __init__(self, index, seed, port, record):
        super().__init__(daemon=True, name=f"worker-{index}")
        self.index, self.random, self.record, self.caller = index, random.Random(seed * 1000 + index), record, Caller(port)

    def run(self):
        while not self.record.stop.is_set():
            try:
                self.turn()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.record.count(f"no answer: {type(error).__name__}")
                time.sleep(0.02)
            except Exception as error:  # a bug of the test
                self.record.violations.append(f"{self.name} died: {error!r}")
                return

    def turn(self):
        dice, record = self.random, self.record
        lock, client = f"failover/{dice.randrange(LOCKS)}", f"w{self.index}"
        long = dice.random() < 0.3
        wish = {"clientId": client, "timeout": round(dice.uniform(5, 5.9) if long else dice.uniform(0.4, 1.8), 3), "waitTimeout": dice.choice((0, 0.3, 2)), "requestId": f"{client}.{uuid.uuid4().hex}"}
        status, value, sent = self.caller.call(f"/locks/{lock}/acquire", wish)
        received = now()
        if status != 200:
            record.count(f"acquire: {value.get('code')}")
            time.sleep(dice.uniform(0.005, 0.03))
            return
        until, token, secret = believed_until(value, sent), value["fencingToken"], value["lockId"]
        record.count("granted")
        record.last_grant = received
        owned = Ownership(lock, client, token, received, until)
        record.own(owned)  # at once: who does not come back from a call believes until the end
        if long and dice.random() < 0.6:  # somebody who has it over the next failover, and does not ask
            record.count("kept")
            return
        time.sleep(dice.choice((0, 0.005, 0.02, 0.3)))
        for _ in range(dice.choice((0, 0, 1, 3))):
            status, value, sent = self.caller.call(f"/locks/{lock}/renew", {"lockId": secret, "timeout": wish["timeout"]})
            if status == 200:
                if value["fencingToken"] != token:
                    record.violations.append(f"{lock}: token {token} became {value['fencingToken']} by renewal")
                owned.end = max(owned.end, believed_until(value, sent))
                record.count("renewed")
            else:
                record.count(f"renew: {value.get('code')}{late(owned)}")
            time.sleep(dice.choice((0, 0.1)))
        if dice.random() < 0.2:  # it dies, or is paused: its lease has to run out
            record.count("left")
            return
        believed = owned.end
        owned.end = min(believed, now())
        status, value, _ = self.caller.call(f"/locks/{lock}/release", {"lockId": secret, "clientId": client})
        record.count("released" if status == 200 else f"release: {value.get('code')}{', late' if now() > believed else ''}")


class Load:
    """Two dislockd on one store, and their callers."""

    def __init__(self, url, seed, plant="", more=()):
        environment = {"DISLOCK_PLANT": plant} if plant else {}
        flags = ["--redis-quarantine", str(QUARANTINE), "--log-level", "info", *more]
        self.record = Record()
        self.services = [Dislockd(*flags, engine=url, environment=environment) for _ in range(2)]
        self.workers = [Worker(i, seed, self.services[i % 2].port, self.record) for i in range(WORKERS)]
        for worker in self.workers:
            worker.start()
        self.wait_for_grants(30)

    def wait_for_grants(self, within):
        """How long it took until somebody got a lock that asked after this was called."""
        since = now()
        eventually(lambda: self.record.last_grant > since + 0.001, within, what=f"a grant; health {self.health(0)}; {dict(self.record.counts)}")
        return now() - since

    def health(self, which):
        return Caller(self.services[which].port).call("/health")[1]

    def capabilities(self, which):
        return Caller(self.services[which].port).call("/capabilities")[1]

    def metric(self, which, name):
        connection = http.client.HTTPConnection("127.0.0.1", self.services[which].port, timeout=10)
        connection.request("GET", "/metrics")
        for line in connection.getresponse().read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")

    def end(self):
        self.record.stop.set()
        for worker in self.workers:
            worker.join(35)
        for service in self.services:
            if not service.running():
                self.record.violations.append(f"a service ended by itself:\n{service.output()[-3000:]}")
            service.kill()
        return self.record.violations + check_ownerships(self.record.owned)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.record.stop.set()
        for service in self.services:
            service.kill()

    def summary(self):
        return ", ".join(f"{value} {key}" for key, value in sorted(self.record.counts.items()))


def kill_primary(group, load, dice, cut):
    """One failover. `cut`: its replicas get nothing any more for a moment before (or so many seconds)."""
    old = group.primary()
    replicas = [s for s in group.servers if s is not old]
    if cut:
        old.proxy.hold(True)
        time.sleep(cut if cut is not True else dice.uniform(0.3, 1.5))
    old.kill()
    killed = now()
    old.proxy.hold(False)
    eventually(lambda: group.primary() in replicas, 30, what="another primary")
    elected = now() - killed
    load.wait_for_grants(RECOVERY)
    took = now() - killed
    promoted = group.primary()
    # Sometimes it comes back as the primary that it was, and only then is told that it is not.
    old.start(None if dice.random() < 0.5 else promoted)
    return elected, took


def settled_class(load):
    for which in (0, 1):
        eventually(lambda: load.capabilities(which)["failoverSafeExclusion"], 20, what=f"class B: {load.health(which)}")


def settled(group, load):
    group.wait_for_replicas()
    settled_class(load)


def there_and_back(group, load):
    """A -> B -> A, with what A granted last not on B, and A's process alive all the time."""
    a = group.primary()
    b, c = [s for s in group.servers if s is not a]
    run_id = a.info()["run_id"]
    b.say("CONFIG", "SET", "replica-priority", 1)
    c.say("CONFIG", "SET", "replica-priority", 0)
    time.sleep(0.3)
    a.proxy.hold(True)
    time.sleep(0.7)

    def move(to):
        def asked():
            try:
                return group.sentinels[0].say("SENTINEL", "FAILOVER", "prod") == "OK"
            except RuntimeError as error:
                return "INPROG" in str(error)
        eventually(asked, 30, 0.3, what="a failover")
        eventually(lambda: to.info()["role"] == "master", 30, what="B as the primary")

    eventually(lambda: group.sentinels[0].say("SENTINEL", "REPLICAS", "prod") and priority(group, b) == "1" and priority(group, c) == "0", 15, 0.1, what="priorities")
    move(b)
    eventually(lambda: group.primary() is b, 30, what="B by all Sentinels")
    eventually(lambda: a.info()["role"] == "slave", 30, what="A told that it is a replica")
    a.proxy.hold(False)
    a.say("CONFIG", "SET", "replica-priority", 1)
    eventually(lambda: a.info()["role"] == "slave" and a.info()["master_link_status"] == "up", 30, what="A as a replica")
    eventually(lambda: priority(group, a) == "1" and priority(group, c) == "0", 15, 0.1, what="priorities")
    move(a)
    eventually(lambda: group.primary() is a, 30, what="A by all Sentinels")
    assert a.info()["run_id"] == run_id, "A is another process"
    load.wait_for_grants(RECOVERY)
    for server in (a, b, c):
        server.say("CONFIG", "SET", "replica-priority", 100)


def priority(group, server):
    for fields in group.sentinels[0].say("SENTINEL", "REPLICAS", "prod"):
        seen = dict(zip(fields[::2], fields[1::2]))
        if int(seen["port"]) == server.place:
            return seen["slave-priority"]
    return None


def failovers(kills, seed, back_and_forth=True):
    dice = random.Random(seed)
    with Group() as group, Load(group.url, seed) as load:
        settled(group, load)
        assert load.capabilities(0)["class"] == "B", load.capabilities(0)
        for number in range(kills):
            elected, took = kill_primary(group, load, dice, cut=number % 2 == 1)
            health = load.health(0)
            assert load.metric(0, "dislock_engine_degraded") == 1 and health["status"] == "degraded", f"a replica is missing, or grants paused: {health}"
            print(f"  kill {number + 1}{' with the link cut before' if number % 2 else ''}: another primary after {elected:.1f} s, grants after {took:.1f} s", flush=True)
            settled(group, load)
            time.sleep(dice.uniform(0.3, 1))
        if back_and_forth:
            began = now()
            there_and_back(group, load)
            print(f"  A -> B -> A: {now() - began:.1f} s", flush=True)
            time.sleep(1)
        violations = load.end()
        print(f"  {len(load.record.owned)} ownerships; {load.summary()}", flush=True)
    if load.record.counts["granted"] < 30 * kills:
        violations.append(f"too few grants to prove anything: {load.record.counts['granted']}")
    return violations


def zombie():
    """A primary that was cut off from all replicas stops by itself, within the 2 s of the ceiling, and says so."""
    with Group() as group, Load(group.url, 1) as load:
        settled(group, load)
        group.primary().proxy.hold(True)
        cut = now()
        time.sleep(3.5)
        late = load.record.last_grant - cut
        health = load.health(0)
        assert late < 3, f"it granted {late:.1f} s after it was cut off"
        assert health["status"] == "degraded" and "watermark" in health["engine"]["detail"], health
        assert not load.capabilities(0)["durableFence"], "nobody has it any more"
        group.primary().proxy.hold(False)
        load.wait_for_grants(RECOVERY)
        print(f"  cut off: the last grant {late:.2f} s later", flush=True)
        return load.end()


def operators():
    """What people do to a Redis, under load, on a single server."""
    shim = binary().parent.parent / "tests/libfrozen_clock.so"
    server = Server("--appendfsync", "always", proxied=False, clock=shim)
    try:
        server.start()
        with Load(f"redis://127.0.0.1:{server.port}", 1) as load:
            assert load.capabilities(0)["durable"], load.health(0)
            for _ in range(5):
                server.say("SCRIPT", "FLUSH")
                time.sleep(0.05)
            load.wait_for_grants(1)
            for _ in range(5):
                server.say("CLIENT", "KILL", "TYPE", "normal")
                time.sleep(0.1)
            load.wait_for_grants(5)

            server.set_clock_by(31)
            stepped = now()
            time.sleep(1)
            assert load.record.last_grant < stepped + 0.2, "it granted while leases of before lived"
            assert load.metric(0, 'dislock_clock_steps_total{direction="forward"}') == 1
            assert load.metric(0, "dislock_clock_suspect") == 1 and load.health(0)["status"] == "degraded"
            took = load.wait_for_grants(20)
            print(f"  +31 s: grants again after {1 + took:.1f} s", flush=True)
            server.set_clock_by(27)  # leases that nobody gives back end 4 s late
            load.wait_for_grants(20)
            eventually(lambda: load.metric(0, 'dislock_clock_steps_total{direction="backward"}') == 1, what="the step back in /metrics")
            time.sleep(1)

            server.say("FLUSHALL")
            load.wait_for_grants(20)
            assert "emptied" in load.health(0)["engine"]["detail"] or "emptied" in load.health(1)["engine"]["detail"], load.health(0)
            time.sleep(0.5)
            violations = load.end()
            print(f"  {load.summary()}", flush=True)
            return violations
    finally:
        server.end()


def prove(seed, **how):
    """What a service that promises less does: this must be seen."""
    dice = random.Random(seed)
    for _ in range(3):
        with Group() as group, Load(group.url, seed, **how) as load:
            group.wait_for_replicas()
            time.sleep(1)
            kill_primary(group, load, dice, cut=1.5)
            time.sleep(2.5)
            if violations := load.end():
                return violations
    return []


def run_cases(cases):
    """`cases(seed)`: names, and what returns a list of problems. Prints what became of them; whether any failed."""
    self_check()
    seed = int(os.environ.get("DISLOCK_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"seed {seed}")
    passed, problems = 0, []
    for name, run in cases(seed):
        began = time.monotonic()
        try:
            found = run()
        except Exception as error:  # a case that cannot go on is a failure like any other
            found = [f"{type(error).__name__}: {error}"]
        print(f"{'ok' if not found else 'FAILED'} {name} ({time.monotonic() - began:.0f} s)", flush=True)
        for problem in found[:10]:
            print(f"  {problem}")
        passed += not found
        problems.extend(f"{name}: {p}" for p in found[:1])
    for problem in problems:
        print(f"FAILED {problem}")
    print(f"{passed} passed, {len(problems)} failed")
    return bool(problems)


def main():
    kills = int(os.environ.get("DISLOCK_KILLS", "2"))

    def planted(seed):
        found = prove(seed, plant="plain_counter")
        print(f"  found: {found[0] if found else 'nothing'}")
        return [] if any("token" in f and "both owned" not in f for f in found) else ["the planted counter was not noticed"]

    def without_pause(seed):
        found = prove(seed, more=("--redis-failover-policy", "fence-only"))
        print(f"  found: {found[0] if found else 'nothing'}")
        return [f for f in found if "both owned" not in f] if found else ["two owners were not noticed"]

    def cases(seed):
        kept = [(f"{kills} kills, and A -> B -> A", lambda: failovers(kills, seed)), ("a primary without replicas", zombie), ("what operators do", operators)]
        seen = [("a planted counter is noticed", lambda: planted(seed)), ("without the pause two owners are noticed, and tokens still rise", lambda: without_pause(seed))]
        return seen if "--prove" in sys.argv else kept + seen

    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
