#!/usr/bin/python3
"""Two dislockd on five Redis nodes under load, while the nodes are killed, stopped, wiped and restarted without memory.

    DISLOCK_SEED=7 ...      the schedule of an earlier run again

What must hold, whatever happens to the nodes (times by CLOCK_BOOTTIME; belief as in openapi.yaml):

  1. No two owners believe in the same lock at the same time.
  2. Tokens of one lock strictly rise.
  3. A lease that its owner believes in can be given back, or nobody can say (503), but it is never "not held".
     (Except while no majority of those who held it is left: nobody can know of it then.)
  4. While a majority votes the service goes on; when none can, it comes back within the longest lease and a little.
"""
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from kill_loop_test import Dislockd, Ownership, Record, check_ownerships, now  # noqa: E402
from redis_processes import free_port  # noqa: E402

import http.client  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402

LONGEST = 3  # seconds: the longest lease, and so the silence of a node that forgot
LOCKS = 12


class Node:
    """One redis-server of the test's own."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="dislock-redlock-")
        self.port = free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder.name,
             "--logfile", f"{self.folder.name}/log"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = now() + 10
        while now() < limit:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("a redis-server does not come up")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stand_still(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def say(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), 5) as line:
            line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
            return line.recv(4096)


class Caller:
    """Keep-alive to one dislockd; says so when there is no answer, and does not repeat."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def call(self, method, path, body=None):
        sent = now()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            self.connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"} if body else {})
            response = self.connection.getresponse()
            return response.status, json.loads(response.read() or b"{}"), sent, now()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.connection = None
            return 0, {"code": repr(error)}, sent, now()


class Worker(threading.Thread):
    def __init__(self, index, seed, port, record, grants, worst):
        super().__init__(daemon=True, name=f"worker-{index}")
        self.index, self.random, self.record, self.grants, self.caller = index, random.Random(seed * 1000 + index), record, grants, Caller(port)
        self.worst = worst

    def run(self):
        try:
            while not self.record.stop.is_set():
                self.turn()
        except Exception as error:
            self.record.violation(f"{self.name} died: {error!r}")

    def turn(self):
        dice, record, client = self.random, self.record, f"w{self.index}"
        lock = f"redlock/{dice.randrange(LOCKS)}"
        timeout = round(dice.uniform(1, LONGEST), 3)
        status, value, sent, received = self.caller.call(
            "POST", f"/locks/{lock}/acquire", {"clientId": client, "timeout": timeout, "waitTimeout": dice.choice((0, 1, 3))})
        if status != 200:
            record.count(f"acquire: {status} {value.get('code')}")
            if status not in (409, 503):
                record.violation(f"{lock}: acquire answered {status} {value}")
            time.sleep(dice.uniform(0.005, 0.02))
            return
        until = sent + 0.99 * (value["elapsed"] + value["ttl"]) - 0.002
        self.grants.append(received)
        record.count("granted")
        # Some are kept for as long as they last, so that faults meet owners.
        longer = dice.random() < 0.04
        time.sleep(max(0.0, until - now() - 0.3) if longer else dice.uniform(0, 0.02))
        if dice.random() < 0.3:
            status, again, asked, _ = self.caller.call("POST", f"/locks/{lock}/renew", {"lockId": value["lockId"], "timeout": timeout})
            record.count(f"renew: {status} {again.get('code', '')}")
            if status == 200:
                until = max(until, asked + 0.99 * (again["elapsed"] + again["ttl"]) - 0.002)
        asked = now()
        status, ended, _, answered = self.caller.call("POST", f"/locks/{lock}/release", {"lockId": value["lockId"], "clientId": client})
        record.count(f"release: {status} {ended.get('code', '')}")
        record.own(Ownership(lock, client, value["fencingToken"], received, min(until, asked)))
        if status == 409 and answered < until and not any(begin <= answered and received <= over for begin, over in self.worst):
            record.violation(f"{lock}: release of token {value['fencingToken']} said {ended} {until - answered:.3f} s before the belief ended")


def voting(server):
    status, value, *_ = Caller(server.port).call("GET", "/health")
    return status, value


def until_all_vote(servers, what, limit):
    end = now() + limit
    while now() < end:
        if all("nodes vote" not in json.dumps(voting(s)[1]) and voting(s)[0] == 200 for s in servers):
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: not all nodes vote after {limit} s: {voting(servers[0])}")


def main():
    seed = int(os.environ.get("DISLOCK_SEED", time.time_ns() % 100_000))
    print(f"seed {seed}")
    dice, record, grants = random.Random(seed), Record(), []
    expected, worst = [], []  # (name, from, to) while a majority votes; (from, to) while it does not
    nodes = [Node() for _ in range(5)]
    url = "redlock://" + ",".join(f"127.0.0.1:{n.port}" for n in nodes)
    flags = ("--max-timeout", str(LONGEST), "--default-timeout", "1")
    servers = [Dislockd(*flags, engine=url) for _ in range(2)]
    workers = [Worker(i, seed, servers[i % 2].port, record, grants, worst) for i in range(8)]

    def phase(name, seconds, goes_on=True):
        print(f"   {name}")
        begin = now()
        time.sleep(seconds)
        if goes_on:
            expected.append((name, begin, now()))
        record.kills += 1  # the number in front of a violation

    try:
        until_all_vote(servers, "at the start", 2)
        for worker in workers:
            worker.start()
        phase("nothing happens", 2)
        a, b, c, d, e = order = dice.sample(nodes, 5)
        a.kill()
        b.kill()
        phase("two nodes are dead", 3)
        a.start()
        b.start()
        phase("and come back without memory", 1)
        until_all_vote(servers, "after two restarts", LONGEST + 5)
        c.stand_still()
        d.stand_still()
        phase("two nodes stand still", 3)
        c.go_on()
        d.go_on()
        until_all_vote(servers, "after two stops", LONGEST + 5)
        e.say("FLUSHALL")
        phase("one node is wiped", 1)
        until_all_vote(servers, "after a wipe", LONGEST + 5)

        a.stand_still()
        b.stand_still()
        phase("two nodes miss what the others grant", 1.5)
        worst.append((now(), now() + 4 * LONGEST))
        c.kill()
        d.kill()
        e.kill()
        e.start()
        a.go_on()
        b.go_on()
        stuck = now()
        phase("of those, two are killed and one restarted empty", 1, goes_on=False)
        before = len(grants)
        while len(grants) == before and now() - stuck < 3 * LONGEST + 5:
            time.sleep(0.02)
        assert len(grants) > before, "the service does not come back"
        print(f"   the service was back after {now() - stuck:.1f} s")
        c.start()
        d.start()
        until_all_vote(servers, "after the worst", LONGEST + 5)

        end = now() + 8
        while now() < end:  # one or two at a time, anything
            some = dice.sample(order, dice.choice((1, 2)))
            hows = [dice.choice(("kill", "stop", "wipe")) for _ in some]
            for node, how in zip(some, hows):
                {"kill": node.kill, "stop": node.stand_still, "wipe": lambda: node.say("FLUSHALL")}[how]()
            phase(" ".join(hows), dice.uniform(0.2, 1.5))
            for node, how in zip(some, hows):
                {"kill": node.start, "stop": node.go_on, "wipe": lambda: None}[how]()
            until_all_vote(servers, " ".join(hows), LONGEST + 5)
        phase("nothing happens any more", 1)
    finally:
        record.stop.set()
        for worker in workers:
            worker.join(20)
        alive = [s.running() for s in servers]
        for server in servers:
            server.kill()
        for node in nodes:
            node.go_on()
            node.kill()

    problems = record.violations + check_ownerships(record.owned)
    if not all(alive):
        problems.append("a dislockd died:\n" + servers[alive.index(False)].output()[-3000:])
    longest = 0.0
    for name, begin, over in expected:
        points = [begin] + sorted(g for g in grants if begin <= g <= over) + [over]
        gap = max(y - x for x, y in zip(points, points[1:]))
        longest = max(longest, gap)
        # Somebody may keep each of the locks for the longest lease.
        if gap > LONGEST + 1:
            problems.append(f"{name}: nobody was granted anything for {gap:.1f} s")
    for what, count in sorted(record.counts.items()):
        print(f"   {what}: {count}")
    print(f"   longest time without a grant while a majority votes: {longest * 1000:.0f} ms; {len(record.owned)} ownerships")
    if record.counts["granted"] < 300:
        problems.append(f"only {record.counts['granted']} grants")
    if not problems:
        print("ok all promises were kept")
    for problem in problems[:30]:
        print(f"FAILED {problem}")
    print(f"{int(not problems)} passed, {min(len(problems), 30)} failed")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
