#!/usr/bin/python3
"""Writes begin to fail under a running dislockd (embedded): what it says then, and what is there after a restart.

The fault is RLIMIT_FSIZE, set from outside while the server runs (with SIGXFSZ ignored, as a full disk kills nobody): every
write beyond the limit fails, from then on.
"""
import contextlib
import os
import pathlib
import resource
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Api, Dislockd, Store, Stream, Wire, binary, eventually, main, new_id  # noqa: E402

UNAVAILABLE = ("outcome_unknown", "engine_unavailable")


@contextlib.contextmanager
def with_weak_disk(store, *flags, environment=None):
    """A server that survives SIGXFSZ. The wrapper is the same process, so the pid is the server's."""
    wrapper = store.path.parent / "dislockd"
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{binary()}' \"$@\"\n")
    wrapper.chmod(0o700)
    before = os.environ.get("DISLOCKD")
    os.environ["DISLOCKD"] = str(wrapper)
    try:
        server = Dislockd(*flags, engine=store.engine, environment=environment)
    finally:
        if before is None:
            del os.environ["DISLOCKD"]
        else:
            os.environ["DISLOCKD"] = before
    with server:
        yield server


def fill_disk(server, store, room):
    """From now on no file of this process grows beyond the present size of its log and `room`."""
    largest = max((p.stat().st_size for p in (store.path / "records").glob("*.log")), default=0)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest + room, largest + room))


class Client(threading.Thread):
    """Takes, keeps some and releases the others, and writes down what was acknowledged. Ends with the first 503."""

    def __init__(self, index, port):
        super().__init__(daemon=True)
        self.index, self.port = index, port
        self.held, self.free, self.unknown, self.refusals, self.problem = {}, [], [], [], None

    def run(self):
        try:
            with Wire(self.port, timeout=10) as wire:
                for turn in range(100_000):
                    lock = f"full/{self.index}/{turn}"
                    wish = {"clientId": f"c{self.index}", "timeout": 120, "requestId": new_id()}
                    got = wire.call("POST", f"/locks/{lock}/acquire", wish)
                    if got.status != 200:
                        return self.stopped(got, lock, wish, None)
                    self.held[lock] = (wish, got.value)
                    if turn % 3:
                        continue
                    release = {"lockId": got["lockId"], "requestId": new_id()}
                    done = wire.call("POST", f"/locks/{lock}/release", release)
                    if done.status != 200:
                        return self.stopped(done, lock, wish, release)
                    del self.held[lock]
                    self.free.append((lock, wish))
        except Exception as error:
            self.problem = f"{error!r}"

    def stopped(self, reply, lock, wish, release):
        self.refusals.append((reply.status, reply.code, reply["effect"], reply.headers.get("retry-after")))
        if release:
            self.held.pop(lock, None)
        if reply["effect"] == "unknown" or release:
            self.unknown.append((lock, wish, release))


def test_when_writes_fail_nothing_is_acknowledged_that_is_lost_and_a_restart_heals():
    writes_fail("sync")


def test_when_writes_fail_with_durability_async_it_is_the_same():
    writes_fail("async")


def writes_fail(durability):
    with Store() as store:
        with with_weak_disk(store, "--durability", durability, environment={"DISLOCK_POLL_SLICE": "1", "DISLOCK_WAITER_GRACE": "3"}) as server:
            api = Api(server.port)
            held = api.hold("before/held", "h", timeout=120, requestId=new_id())
            wish = {"waitTimeout": 60, "requestId": new_id()}
            named = Wire(server.port).acquire("before/held", "named", **wish)
            api.until_waiting("before/held", 1)
            plain = Wire(server.port).acquire("before/held", "plain", waitTimeout=60)
            api.until_waiting("before/held", 2)
            api.hold("before/auto", "auto", timeout=1, autoRenew=True)
            stream = Stream(server.port)
            clients = [Client(i, server.port) for i in range(6)]
            for client in clients:
                client.start()
            eventually(lambda: sum(len(c.held) for c in clients) > 20)
            api.hold("before/short", "short", timeout=4)  # longer than it takes until writes fail
            next_of_short = Wire(server.port).acquire("before/short", "next", waitTimeout=60)
            api.until_waiting("before/short", 1)
            fill_disk(server, store, 20_000)
            for client in clients:
                client.join(20)
                assert not client.is_alive(), "a call was never answered"
                assert client.problem is None, f"{client.problem}\n{server.output()[-2000:]}"
            refusals = [r for c in clients for r in c.refusals]
            print(f"   {sum(len(c.held) + len(c.free) for c in clients)} acknowledged, then {sorted({r[:3] for r in refusals})}")
            misnamed = [r for r in refusals if r[1] not in UNAVAILABLE]  # judged at the end: it is the smallest of all worries
            for status, code, effect, retry in refusals:
                assert status == 503, refusals
                assert effect == ("unknown" if code == "outcome_unknown" else "none"), refusals
                assert retry and retry.isdigit(), refusals

            # From here on: nothing is granted, nothing expires, and it says why.
            assert server.running()
            for path in ("/health", "/health/ready"):
                health = api.call("GET", path)
                assert health.status == 503 and health["status"] == "unavailable" and not health["engine"]["ready"], health.text
                assert health["engine"]["detail"], health.text
            live = api.call("GET", "/health/live")
            assert live.status == 200 and not live["engine"]["ready"], live.text
            assert api.metric("dislock_engine_up") == 0
            late = api.acquire("late", "l")
            assert (late.status, late["effect"]) == (503, "none"), late.text
            misnamed += [(late.status, late.code)] * (late.code not in UNAVAILABLE)
            for reply in (api.release("before/held", held["lockId"]), api.call("POST", "/locks/before/held/renew", {"lockId": held["lockId"]}),
                          api.call("POST", "/sessions", {"clientId": "s", "ttl": 10}), api.call("GET", "/locks/before/held/status"), api.call("DELETE", "/locks/before/held")):
                reply.expect(503, "engine_unavailable")
                assert reply["effect"] == "none" and reply.headers["retry-after"].isdigit()
            for wire in (named, plain, next_of_short):  # nobody waits for what can never come
                reply = wire.read()
                if wire is named and reply.status == 202:  # its slice was over before the writes failed
                    reply = wire.acquire("before/held", "named", **wish).read()
                assert reply.status == 503 and reply.code in UNAVAILABLE, reply.text
                wire.close()
            assert api.call("GET", "/metrics").status == 200 and api.call("GET", "/capabilities").status == 200
            stream.close()
            server.terminate()
            assert server.process.wait(10) == 0, "a failed store must not keep the server from ending"

        with Dislockd(engine=store.engine) as server:
            api = Api(server.port)
            assert api.call("GET", "/health").status == 200
            assert [h["fencingToken"] for h in api.status("before/held")["holders"]] == [held["fencingToken"]]
            assert "named" in api.waiters("before/held")
            for client in clients:
                for lock, (wish_of_it, lease) in client.held.items():
                    holders = api.status(lock)["holders"]
                    assert [h["fencingToken"] for h in holders] == [lease["fencingToken"]], f"{lock} was acknowledged with {lease['fencingToken']}; now {holders}"
                    again = api.call("POST", f"/locks/{lock}/acquire", wish_of_it).expect(200)
                    assert (again["lockId"], again["fencingToken"]) == (lease["lockId"], lease["fencingToken"])
                for lock, wish_of_it in client.free:
                    assert not api.status(lock)["locked"], f"{lock} was released, acknowledged"
                    assert api.call("POST", f"/locks/{lock}/acquire", wish_of_it).expect(409, "lock_not_held")["ended"] == "released"
                for lock, wish_of_it, release in client.unknown:  # a repeat settles it, one way or the other
                    if release:
                        done = api.call("POST", f"/locks/{lock}/release", release).expect(200)
                        assert done["released"] and not api.status(lock)["locked"]
                    else:
                        lease = api.call("POST", f"/locks/{lock}/acquire", wish_of_it).expect(200)
                        assert [h["fencingToken"] for h in api.status(lock)["holders"]] == [lease["fencingToken"]]
            newest = max([held["fencingToken"]] + [v[1]["fencingToken"] for c in clients for v in c.held.values()])
            assert api.hold("after", "a")["fencingToken"] > newest
            api.release("before/held", held["lockId"]).expect(200)
            with Wire(server.port) as back:
                assert back.acquire("before/held", "named", **wish).read().expect(200)["fencingToken"] > newest
            eventually(lambda: not api.status("before/short")["locked"], timeout=8, what="the short lease ends after all")
    assert not misnamed, f"a failed store is engine_unavailable, not {misnamed[:3]}"


def start_with_room(store, room):
    """What becomes of a start with no more than `room` bytes a file: its last words, or its answer to /health."""
    wrapper = store.path.parent / "limited"
    wrapper.write_text("#!/usr/bin/python3\nimport os, resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
                       f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\nos.execv('{binary()}', ['dislockd', *sys.argv[1:]])\n")
    wrapper.chmod(0o700)
    command = [str(wrapper), "--engine", store.engine, "--port", "0", "--log-level", "off"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(10, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        if "listening" not in line:
            words = process.stderr.read()
            return process.wait(), words
        with Wire(int(line.rsplit(":", 1)[1])) as wire:
            return 0, f"/health {wire.call('GET', '/health').status}, acquire {wire.call('POST', '/locks/b/acquire', {'clientId': 'c'}).status}"
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_no_room_from_the_start_is_told_in_words_and_leaves_the_store_whole():
    with Store() as store:
        with Dislockd(engine=store.engine) as server:
            Api(server.port).hold("a", "h", timeout=120)
            server.kill()
        crashed = []
        for room in (0, 50, 400, 4096, 8000, 20_000):
            status, words = start_with_room(store, room)
            print(f"   room {room}: {status}, {words.strip()[:170]}")
            if not (status == 0 or status == 1 and words.startswith("dislockd: ")):
                crashed.append(f"room {room}: exit status {status}, {words.strip()[:200]}")
        with Dislockd(engine=store.engine) as server:
            assert Api(server.port).holders("a") == ["h"]
        assert not crashed, crashed


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
