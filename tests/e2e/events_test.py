#!/usr/bin/python3
"""GET /events: nothing is missed, nothing comes twice, and one slow reader is its own problem."""
import sys

from harness import Api, Dislockd, Store, Stream, eventually, main, now, on_each_engine


def turn(api, lock, client="c"):
    lease = api.hold(lock, client)
    api.release(lock, lease["lockId"]).expect(200)
    return lease["fencingToken"]


def told(events):
    return [(e[2].get("lockName"), e[1], e[2].get("fencingToken")) for e in events]


def turns(api, lock, count):
    out = []
    for _ in range(count):
        token = turn(api, lock)
        out += [(lock, "acquired", token), (lock, "released", token)]
    return out


@on_each_engine
def test_a_resumed_stream_tells_what_was_missed_once_and_in_order(engine):
    with Dislockd(engine=engine) as server:
        api = Api(server.port)
        with Stream(server.port) as first:
            expected = turns(api, "resume/a", 5)
            seen = [first.next() for _ in expected]
            assert told(seen) == expected
        for cut in range(len(seen)):
            with Stream(server.port, last=seen[cut][0]) as resumed:
                rest = [resumed.next() for _ in seen[cut + 1:]]
                assert rest == seen[cut + 1:], f"after {cut}"
        missed = turns(api, "resume/b", 20)
        with Stream(server.port, last=first.last) as resumed:
            live = turns(api, "resume/c", 5)
            got = [resumed.next() for _ in missed + live]
            assert told(got) == missed + live
            ids = [int(e[0]) for e in seen + got]
            assert ids == sorted(set(ids))


@on_each_engine
def test_the_first_id_of_a_stream_loses_nothing_on_a_reconnect_before_the_first_event(engine):
    with Dislockd(engine=engine) as server:
        api = Api(server.port)
        turns(api, "early", 2)
        with Stream(server.port) as stream:
            while b"id: " not in stream.text:
                stream.chunk()
            first = stream.text.split(b"id: ")[1].split(b"\n")[0].decode()
        missed = turns(api, "early", 3)
        with Stream(server.port, last=first) as stream:
            assert told([stream.next() for _ in missed]) == missed


@on_each_engine
def test_an_id_that_is_too_old_gets_a_reset_and_the_state(engine):
    with Dislockd("--event-log-size", "100", engine=engine) as server:
        api = Api(server.port)
        with Stream(server.port) as stream:
            turn(api, "old")
            stream.next()
            last = stream.last
        turns(api, "old", 60)
        for number in range(130):
            api.hold(f"state/{number:03}", "h")
        for old in (last, "1", "not-an-id", str(1 << 62)):
            with Stream(server.port, prefix="state/", last=old) as stream:
                first = stream.next()
                assert first[1] == "reset", f"{old}: {first}"
                parts = stream.until(lambda e: e[1] == "snapshot" and not e[2]["more"])
                assert len(parts) == 2 and all(len(p[2]["locks"]) <= 100 for p in parts)
                assert sorted(lock["lockName"] for p in parts for lock in p[2]["locks"]) == [f"state/{n:03}" for n in range(130)]
                assert parts[0][0] is None and parts[1][0], "only the last part bears an id"
                lease = api.hold("state/after", "h")
                api.release("state/after", lease["lockId"]).expect(200)
                assert told([stream.next(), stream.next()]) == [("state/after", "acquired", lease["fencingToken"]), ("state/after", "released", lease["fencingToken"])]


def test_a_prefix_shows_its_locks_only():
    with Dislockd(engine="memory:") as server, Stream(server.port, prefix="mine/") as stream:
        api = Api(server.port)
        for _ in range(5):
            turn(api, "yours/1")
            turn(api, "min")
        api.call("POST", "/sessions", {"clientId": "s", "ttl": 30}).expect(200)
        expected = turns(api, "mine/1", 3)
        assert told([stream.next() for _ in expected]) == expected


def test_ids_go_on_over_a_kill():
    with Store() as store:
        with Dislockd(engine=store.engine) as server, Stream(server.port) as stream:
            api = Api(server.port)
            turns(api, "kill", 3)
            seen = [stream.next() for _ in range(6)]
            server.kill()
        with Dislockd(engine=store.engine) as server:
            with Stream(server.port, last=seen[-1][0]) as stream:
                first = stream.next()
                assert first[1] == "reset", "what an earlier process told is not in this one's log"
                stream.until(lambda e: e[1] == "snapshot" and not e[2]["more"])
                turn(Api(server.port), "kill")
                assert int(stream.next()[0]) > int(seen[-1][0])


def test_readers_that_do_not_read_stop_nobody():
    with Dislockd(engine="memory:") as server:
        slow = [Stream(server.port, receive_buffer=2048) for _ in range(5)]
        fast = Stream(server.port)
        api, longest, count = Api(server.port), 0, 0
        began = now()
        while api.metric("dislock_event_streams") > 1:
            for _ in range(250):
                sent = now()
                turn(api, f"slow/{'x' * 200}")
                longest, count = max(longest, now() - sent), count + 1
                fast.next()
                fast.next()
            assert now() - began < 20, f"the slow readers are still there after {count} turns"
        print(f"   let go after {count} turns, the longest took {longest * 1000:.0f} ms")
        assert longest < 1
        expected = turns(api, "slow/still", 2)
        assert told([fast.next() for _ in expected]) == expected
        for each in slow:
            each.close()
        fast.close()
        eventually(lambda: api.metric("dislock_connections") == 1)


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
