#!/usr/bin/python3
"""A Redis Cluster under load: the slot of the locks moves from node to node, and the node that has it is killed.

    /usr/bin/python3 tests/fault/redis_cluster_test.py       6 moves, one of them to a node that has just come; 1 kill; the planted bug: 1 minute
    DISLOCK_MOVES=60 DISLOCK_KILLS=10 DISLOCK_SEED=7 ...      the long run

What must hold while a slot moves: no call is refused for it, nothing that was granted or queued is lost, nothing is granted twice, and grants do not
pause. What must hold in a failover: see redis_failover_test.py.
"""
import contextlib
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "contract")]
from dislockd_process import Dislockd, binary  # noqa: E402
from kill_loop_test import now  # noqa: E402
from redis_failover_test import QUARANTINE, RECOVERY, Caller, Load, run_cases, settled_class  # noqa: E402
from redis_processes import HOST, Server, eventually, free_port  # noqa: E402

ANY = ("{dislock}:fence",)
SHIM = binary().parent.parent / "tests/libfrozen_clock.so"
AHEAD = (0, 0.35, -0.25, 0.15)  # seconds: the clocks of the nodes, as they come


class Node(Server):
    """A node of a Cluster, which the others and its clients reach through its proxy."""

    def __init__(self, proxied, ahead):
        super().__init__(proxied=proxied, clock=SHIM)
        self.set_clock_by(ahead)
        self.bus = free_port()
        self.flags = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-replica-validity-factor", "0",
                      "--cluster-migration-barrier", "9",  # nobody's replica goes over to another primary
                      "--cluster-port", str(self.bus),
                      "--cluster-announce-ip", HOST, "--cluster-announce-port", str(self.place), "--cluster-announce-bus-port", str(self.bus))

    def start(self, primary=None):
        super().start(primary)
        self.id = self.say("CLUSTER", "MYID")
        return self


class Cluster:
    """Three primaries, and as many replicas of the one that has the locks as asked for."""

    def __init__(self, replicas=0, proxied=False, clocks=False):
        self.proxied, self.clocks, self.nodes = proxied, clocks, []
        try:
            for number in range(3):
                node = self.add()
                node.say("CLUSTER", "ADDSLOTSRANGE", number * 5461, 16383 if number == 2 else (number + 1) * 5461 - 1)
                node.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self.meet()
            self.slot = self.nodes[0].say("CLUSTER", "KEYSLOT", *ANY)
            for _ in range(replicas):
                replica = self.add()
                self.meet()
                replica.say("CLUSTER", "REPLICATE", self.owner().id)
            eventually(lambda: int(self.owner().info()["connected_slaves"]) == replicas, what="replicas")
            # One that is still reading what there is confirms nothing.
            eventually(lambda: not any(",offset=0," in self.owner().info()[f"slave{i}"] for i in range(replicas)), what="replicas that confirm")
        except BaseException:
            self.end()
            raise

    @property
    def url(self):
        return "redis+cluster://" + ",".join(f"{HOST}:{n.place}" for n in self.nodes[:2])

    def add(self):
        self.nodes.append(Node(self.proxied, AHEAD[len(self.nodes) % len(AHEAD)] if self.clocks else 0))
        return self.nodes[-1].start()

    def add_primary(self):
        """It has another slot already: who gives away his last one becomes a replica. And a server says its age in whole seconds."""
        to = self.add()
        self.meet()
        eventually(lambda: int(to.info()["uptime_in_seconds"]) >= 4, what="a node that is old enough to be trusted")
        self.move(to, random.Random(1), slot=0 if self.slot else 1)
        return to

    def meet(self):
        for node in self.nodes[1:]:
            node.say("CLUSTER", "MEET", HOST, self.nodes[0].place, self.nodes[0].bus)

        def agreed():
            states = [n.say("CLUSTER", "INFO") for n in self.nodes]
            return all("cluster_state:ok" in s and f"cluster_known_nodes:{len(self.nodes)}" in s for s in states)
        eventually(agreed, 30, what="a Cluster that agrees")

    def owner(self, slot=None):
        """Of the slot of the locks, or another, as the living nodes have it."""
        slot = self.slot if slot is None else slot

        def found():
            views = {next(r[2][1] for r in n.say("CLUSTER", "SLOTS") if r[0] <= slot <= r[1]) for n in self.nodes if n.running()}
            owners = [n for n in self.nodes if {n.place} == views]
            return owners[0] if owners and owners[0].running() and owners[0].info()["role"] == "master" else None
        return eventually(found, 30, what="an owner of the slot")

    def move(self, to, dice, slot=None):
        """As redis-cli does it, at any pace. How many keys there were, and how long it took."""
        slot = self.slot if slot is None else slot
        source, began, moved = self.owner(slot), now(), 0
        to.say("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        while keys := source.say("CLUSTER", "GETKEYSINSLOT", slot, dice.choice((3, 20, 100))):
            source.say("MIGRATE", HOST, to.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
            if dice.random() < 0.1:
                time.sleep(dice.uniform(0, 0.02))
        to.say("CLUSTER", "SETSLOT", slot, "NODE", to.id)
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0, 0.3))  # who has given it away does not know yet that he has
        for node in [source] + [n for n in self.nodes if n not in (to, source) and n.info()["role"] == "master"]:
            node.say("CLUSTER", "SETSLOT", slot, "NODE", to.id)
        return moved, now() - began

    def end(self):
        for node in self.nodes:
            node.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Patient(threading.Thread):
    """Holds a lock through all the moves and renews it; behind it somebody waits who gets it in the end."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.callers = [Caller(s.port) for s in load.services]
        self.problems, self.stop, self.finished = [], threading.Event(), threading.Event()
        status, self.lease, _ = self.callers[0].call("/locks/patient/acquire", {"clientId": "holder", "timeout": 5, "requestId": "holder.1"})
        assert status == 200, self.lease
        self.waiter = threading.Thread(target=self.wait, daemon=True)
        self.waiter.start()

    def wait(self):
        self.answer = (202, "not asked yet")
        with contextlib.suppress(OSError):
            while self.answer[0] == 202 and not self.finished.is_set():
                self.answer = self.callers[1].call("/locks/patient/acquire", {"clientId": "waiter", "timeout": 5, "waitTimeout": 200, "requestId": "waiter.1"})

    def run(self):
        while not self.stop.wait(0.3):
            try:
                status, value, _ = self.callers[0].call("/locks/patient/renew", {"lockId": self.lease["lockId"], "clientId": "holder"})
            except OSError as error:
                status, value = 0, repr(error)
            if status != 200:
                self.problems.append(f"a renewal was refused: {value}")
                return

    def finish(self):
        self.stop.set()
        self.join(20)
        status, value, _ = self.callers[0].call("/locks/patient/release", {"lockId": self.lease["lockId"], "clientId": "holder"})
        if status != 200:
            self.problems.append(f"the lease was lost: {value}")
        self.waiter.join(20)
        self.finished.set()
        if self.waiter.is_alive() or self.answer[0] != 200 or self.answer[1]["fencingToken"] <= self.lease["fencingToken"]:
            self.problems.append(f"the waiter was lost: {'no answer' if self.waiter.is_alive() else self.answer}")
        return self.problems


HARMLESS = {"acquire: deadlock_detected", "granted", "kept", "left", "renewed", "released", "acquire: lock_not_acquired", "renew: lock_not_held, late", "release: lock_not_held, late"}


def moves(count, seed):
    dice = random.Random(seed)
    with Cluster(replicas=1, clocks=True) as cluster, Load(cluster.url, seed) as load:
        settled_class(load)
        patient = Patient(load)
        patient.start()
        worst, keys, longest = 0.0, 0, 0.0
        for number in range(count):
            source = cluster.owner()
            if number == count // 2:
                to = cluster.add_primary()
            else:
                to = dice.choice([n for n in cluster.nodes if n is not source and n.info()["role"] == "master"])
            if number == count - 1:  # somebody comes who has never seen the one before
                newcomer = Dislockd("--redis-quarantine", str(QUARANTINE), engine=cluster.url)
                load.services.append(newcomer)
            moved, took = cluster.move(to, dice)
            keys, longest = max(keys, moved), max(longest, took)
            worst = max(worst, load.wait_for_grants(RECOVERY))
            for which in (0, 1):
                what = f"health after move {number + 1}{' to a node that has just come' if number == count // 2 else ''}"
                eventually(lambda which=which: load.health(which)["status"] == "ok", 2, what=what)
            time.sleep(dice.uniform(0, 0.5))
        violations = patient.finish() + load.end()
        print(f"  {count} moves of up to {keys} keys, each within {longest * 1000:.0f} ms; grants at most {worst * 1000:.0f} ms later; {load.summary()}", flush=True)
    violations += [f"{number} times: {what}" for what, number in load.record.counts.items() if what not in HARMLESS]
    if load.record.counts["granted"] < 5 * count:
        violations.append(f"too few grants to prove anything: {load.record.counts['granted']}")
    return violations


def kill(cluster, load, cut):
    """What was granted at the end is not on the replica, where the link was cut."""
    old = cluster.owner()
    if cut:
        old.proxy.hold(True)
        time.sleep(cut)
    old.kill()
    killed = now()
    old.proxy.hold(False)
    others = [n for n in cluster.nodes if n is not old]
    promoted = eventually(lambda: next((n for n in others if "myself,master" in n.say("CLUSTER", "NODES") and n.id != old.id and cluster.owner() is n), None), 30, what="another owner")
    return old, promoted, killed


def failovers(kills, seed):
    """Two replicas: with one nothing is granted after its promotion, because nobody confirms anything."""
    dice = random.Random(seed)
    with Cluster(replicas=2, proxied=True) as cluster, Load(cluster.url, seed) as load:
        settled_class(load)
        for number in range(kills):
            old, promoted, killed = kill(cluster, load, cut=dice.uniform(0.3, 1.2) if number % 2 == 0 else 0)
            elected = now() - killed
            load.wait_for_grants(RECOVERY)
            print(f"  kill {number + 1}: another owner after {elected:.1f} s, grants after {now() - killed:.1f} s", flush=True)
            old.start()
            eventually(lambda: old.info()["role"] == "slave" and old.info()["master_link_status"] == "up", 30, what="the old owner as a replica")
            settled_class(load)
        violations = load.end()
        print(f"  {load.summary()}", flush=True)
    if load.record.counts["granted"] < 30 * kills:
        violations.append(f"too few grants to prove anything: {load.record.counts['granted']}")
    return violations


def planted(seed):
    """Who takes a failover for a move grants what was lost."""
    for _ in range(3):
        with Cluster(replicas=2, proxied=True) as cluster, Load(cluster.url, seed, plant="trusted_moves") as load:
            time.sleep(1)
            kill(cluster, load, cut=1.5)
            load.wait_for_grants(RECOVERY)
            time.sleep(2)
            if found := load.end():
                print(f"  found: {found[0]}")
                return []
    return ["a failover that was taken for a move was not noticed"]


def main():
    count, kills = int(os.environ.get("DISLOCK_MOVES", "6")), int(os.environ.get("DISLOCK_KILLS", "1"))
    return run_cases(lambda seed: [(f"{count} moves of the slot", lambda: moves(count, seed)), (f"{kills} kills of its node", lambda: failovers(kills, seed)),
                                   ("a failover that is taken for a move is noticed", lambda: planted(seed))])


if __name__ == "__main__":
    sys.exit(main())
