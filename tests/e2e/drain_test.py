#!/usr/bin/python3
"""SIGTERM: who waits is told, who is being answered gets the answer, what is held stays held."""
import signal
import sys
import threading

from harness import Api, Dislockd, Store, Stream, Wire, eventually, main, new_id, now, on_each_engine, request


def exit_status(server, timeout):
    began = now()
    status = server.process.wait(timeout)
    return status, now() - began


def refused(server):
    try:
        Wire(server.port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        return False


@on_each_engine
def test_a_drain_tells_everybody_who_waits_and_ends_with_0(engine):
    with Dislockd(engine=engine) as server, Stream(server.port) as stream:
        api, lock = Api(server.port), "drain"
        api.hold(lock, "h")
        named = Wire(server.port).acquire(lock, "named", waitTimeout=60, requestId=new_id())
        api.until_waiting(lock, 1)
        plain = Wire(server.port).acquire(lock, "plain", waitTimeout=60)
        api.until_waiting(lock, 2)
        multi = Wire(server.port).send("POST", "/locks/acquire", {"clientId": "multi", "waitTimeout": 60, "locks": [{"name": lock}, {"name": "drain-2"}]})
        api.until_waiting(lock, 3)
        last_words = []
        server.terminate()
        for wire in (named, plain, multi):
            reply = wire.read()
            assert reply.status == 202 and wire is named or (reply.status, reply.code) == (503, "draining"), f"{reply.status} {reply.text}"
            if reply.status == 503:
                assert reply["effect"] == "none" and reply.headers["retry-after"].isdigit(), reply.headers
            last_words.append(reply.headers.get("connection"))
            wire.close()
        while stream.next():
            pass
        assert stream.ended, "the stream has a proper end"
        stream.close()
        status, took = exit_status(server, 15)
        assert status == 0 and took < 3, f"exit status {status} after {took:.1f} s"
        assert refused(server), "somebody still listens"
        assert last_words == ["close"] * 3, f"replies before a close that do not say so: {last_words}"


def test_leases_and_places_are_there_after_a_drain_and_a_restart():
    with Store() as store:
        with Dislockd(engine=store.engine) as server:
            api = Api(server.port)
            held = {n: api.hold(f"stay/{n}", f"c{n}", timeout=60, requestId=new_id()) for n in range(20)}
            wish = {"waitTimeout": 60, "requestId": new_id()}
            wire = Wire(server.port).acquire("stay/0", "next", **wish)
            api.until_waiting("stay/0", 1)
            assert server.stop() == 0
            wire.close()
        with Dislockd(engine=store.engine) as server:
            api = Api(server.port)
            assert api.waiters("stay/0") == ["next"]
            with Wire(server.port) as back:
                back.acquire("stay/0", "next", **wish)
                for n, lease in held.items():
                    renewed = api.call("POST", f"/locks/stay/{n}/renew", {"lockId": lease["lockId"]}).expect(200)
                    assert renewed["fencingToken"] == lease["fencingToken"]
                    api.release(f"stay/{n}", lease["lockId"]).expect(200)
                assert back.read().expect(200)["fencingToken"] > held[0]["fencingToken"]


@on_each_engine
def test_a_drain_under_load_answers_or_closes_and_keeps_what_it_acknowledged(engine):
    """Callers in a hurry while the server drains. Each call is answered, or its connection ends before any byte of a reply."""
    done, acknowledged, problems = threading.Event(), {}, []

    def caller(index, port):
        wire, turn = None, 0
        while not done.is_set():
            turn += 1
            lock = f"hurry/{index}/{turn}"
            try:
                wire = wire or Wire(port)
                reply = wire.call("POST", f"/locks/{lock}/acquire", {"clientId": f"c{index}", "timeout": 60})
                if reply.status == 200:
                    acknowledged[lock] = reply["fencingToken"]
                elif (reply.status, reply.code) != (503, "draining"):
                    problems.append(f"{reply.status} {reply.text}")
                if reply.headers.get("connection") == "close":
                    wire.close()
                    wire = None
            except OSError as error:
                if wire and wire.unread:
                    problems.append(f"cut in the middle: {error!r} after {wire.unread[:80]!r}")
                break

    with Dislockd(engine=engine) as server:
        threads = [threading.Thread(target=caller, args=(i, server.port), daemon=True) for i in range(8)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(acknowledged) > 100)
        server.terminate()
        status, took = exit_status(server, 15)
        done.set()
        for thread in threads:
            thread.join(10)
        assert status == 0 and took < 5, f"exit status {status} after {took:.1f} s"
        assert not problems, problems[:3]
    if engine == "memory:":
        return
    with Dislockd(engine=engine) as server:
        api = Api(server.port)
        for lock, token in acknowledged.items():
            holders = api.status(lock)["holders"]
            assert [h["fencingToken"] for h in holders] == [token], f"{lock}: acknowledged with {token}, and now {holders}"


def one_that_hangs(server):
    """A client that asks for megabytes and takes none: its call is being answered for as long as we let it."""
    wire = Wire(server.port, receive_buffer=2048)
    wire.socket.settimeout(0.2)
    try:
        while True:
            wire.socket.sendall(request("GET", "/openapi.yaml") * 20)
    except TimeoutError:
        return wire


def test_a_call_that_hangs_holds_the_drain_up_no_longer_than_the_drain_timeout():
    with Dislockd("--drain-timeout", "1", engine="memory:") as server, one_that_hangs(server):
        server.terminate()
        status, took = exit_status(server, 10)
        assert status == 0 and 0.8 < took < 3, f"exit status {status} after {took:.1f} s"


def test_a_second_signal_ends_at_once():
    with Store() as store, Dislockd("--drain-timeout", "30", engine=store.engine) as server, one_that_hangs(server):
        held = Api(server.port).hold("kept", "h", timeout=60)
        server.terminate()

        eventually(lambda: refused(server), what="new connections are refused")
        assert server.running(), "a call is being answered still"
        server.process.send_signal(signal.SIGINT)
        _, took = exit_status(server, 10)
        assert took < 1, f"{took:.1f} s"
        with Dislockd(engine=store.engine) as again:
            assert Api(again.port).status("kept")["holders"][0]["fencingToken"] == held["fencingToken"]


def test_while_a_drain_goes_on_new_work_is_refused_and_health_says_so():
    with Dislockd("--drain-timeout", "1.5", engine="memory:") as server, one_that_hangs(server):
        api = Api(server.port)
        held = api.hold("held", "h")
        calls = {"acquire": request("POST", "/locks/late/acquire", {"clientId": "late"}), "ready": request("GET", "/health/ready"),
                 "live": request("GET", "/health/live"), "release": request("POST", "/locks/held/release", {"lockId": held["lockId"]})}
        wires = {what: Wire(server.port) for what in calls}
        for what, wire in wires.items():  # half a request: a connection that is not idle
            wire.socket.sendall(calls[what][:30])
        eventually(lambda: api.metric("dislock_connections") == len(calls) + 2)
        server.terminate()
        eventually(lambda: refused(server))
        for what, wire in wires.items():
            wire.socket.sendall(calls[what][30:])
        wires["acquire"].read().expect(503, "draining")
        ready = wires["ready"].read()
        assert (ready.status, ready["status"], ready["draining"]) == (503, "unavailable", True), ready.text
        live = wires["live"].read()
        assert live.status == 200 and live["draining"], live.text
        wires["release"].read().expect(200)
        status, _ = exit_status(server, 10)
        assert status == 0, status


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
