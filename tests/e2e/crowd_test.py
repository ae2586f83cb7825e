#!/usr/bin/python3
"""Many clients at once: thousands that wait for one lock, and hundreds that drip their requests byte by byte."""
import pathlib
import selectors
import socket
import sys

from harness import HOST, Api, Dislockd, Wire, eventually, judge, main, now, on_each_engine, request

CROWD = 2000  # a quarter of it with embedded:, where each turn is a write to the disk
DRIPPERS = 200


def threads_of(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.split("\n") if line.startswith("Threads:")).split()[1])


@on_each_engine
def test_a_crowd_waits_for_one_lock_and_is_served_in_order(engine):
    """The answer of each is the secret with which the lock is released for the next."""
    with Dislockd(engine=engine) as server:
        api, lock, crowd, size = Api(server.port), "crowd", [], CROWD if engine == "memory:" else CROWD // 4
        held = api.hold(lock, "first", timeout=120)
        threads, began = threads_of(server), now()
        try:
            for number in range(size):
                crowd.append(Wire(server.port).acquire(lock, f"c{number}", timeout=120, waitTimeout=120))
                if number % 100 == 99:  # within a hundred the order of arrival is the server's to see
                    api.until_waiting(lock, number + 1)
            api.until_waiting(lock, size)
            assert threads_of(server) == threads, f"{threads} threads became {threads_of(server)}"
            came = now() - began
            order = {}
            with selectors.DefaultSelector() as ready:
                for number, wire in enumerate(crowd):
                    ready.register(wire.socket, selectors.EVENT_READ, number)
                token, secret, began = held["fencingToken"], held["lockId"], now()
                for _ in range(size):
                    api.release(lock, secret).expect(200)
                    answered = ready.select(timeout=5)
                    assert len(answered) == 1, f"{len(answered)} were answered by one release"
                    number = answered[0][0].data
                    granted = crowd[number].read().expect(200)
                    assert granted["clientId"] == f"c{number}" and granted["fencingToken"] > token
                    order[number] = len(order)
                    token, secret = granted["fencingToken"], granted["lockId"]
                    ready.unregister(crowd[number].socket)
                served = now() - began
            api.release(lock, secret).expect(200)
            assert not api.status(lock)["locked"]
            # A hundred came together; beyond that nobody was overtaken.
            overtaken = [n for n, place in order.items() if n // 100 != place // 100]
            assert not overtaken, f"{len(overtaken)} were overtaken, such as c{overtaken[0]}"
            print(f"   {size} came in {came:.1f} s and were served in {served:.1f} s; {threads} threads, {server_memory(server)} MiB")
        finally:
            for wire in crowd:
                wire.close()
        eventually(lambda: api.metric("dislock_connections") == 1)
        assert threads_of(server) == threads


def server_memory(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.split("\n") if line.startswith("VmRSS:")).split()[1]) // 1024


def test_a_crowd_that_leaves_at_once_is_forgotten_at_once():
    with Dislockd(engine="memory:") as server:
        api = Api(server.port)
        held = api.hold("gone", "first")
        crowd = [Wire(server.port).acquire("gone", f"c{n}", waitTimeout=60) for n in range(500)]
        api.until_waiting("gone", 500)
        last = Wire(server.port).acquire("gone", "last", waitTimeout=60)
        api.until_waiting("gone", 501)
        began = now()
        for wire in crowd:
            wire.close()
        api.release("gone", held["lockId"]).expect(200)
        last.read().expect(200)
        took = now() - began
        assert took < 1, f"{took:.2f} s"
        last.close()


def test_clients_that_drip_keep_nobody_waiting_and_are_let_go():
    """Half of them drip a header, half a body. 5 s for a header, 10 s for a body; those who drip a body are not waited for here."""
    with Dislockd(engine="memory:") as server:
        api, drippers = Api(server.port), []
        for number in range(DRIPPERS):
            s = socket.create_connection((HOST, server.port))
            text = request("POST", f"/locks/drip/{number}/acquire", {"clientId": "drip", "metadata": {"x": "y" * 100}}, ["X-Pad: " + "z" * 400])
            if number % 2:
                head = text.index(b"\r\n\r\n") + 4
                s.sendall(text[:head])
                text = text[head:]
            s.setblocking(False)
            drippers.append([s, text, number % 2])
        began, delays, over = now(), [], {}
        next_drip = began
        while now() < began + 9 and len(over) < DRIPPERS // 2:
            if now() >= next_drip:
                next_drip += 0.1
                for each in drippers:
                    s, text, in_body = each
                    if s in over:
                        continue
                    try:
                        s.send(text[:1])
                        each[1] = text[1:]
                    except OSError:
                        over[s] = (now() - began, b"")
                        continue
                    try:
                        said = s.recv(4096)
                        over[s] = (now() - began, said)
                    except BlockingIOError:
                        pass
                    except OSError:
                        over[s] = (now() - began, b"")
            sent = now()
            lease = api.hold("normal", "n")
            api.release("normal", lease["lockId"]).expect(200)
            delays.append(now() - sent)
        for each in drippers:
            each[0].close()
        print(f"   {len(delays)} normal turns meanwhile; {len(over)} were let go after {min(o[0] for o in over.values()):.1f} to {max(o[0] for o in over.values()):.1f} s")
        judge("normal turns", delays, bound=0.05)
        of_headers = [over.get(each[0]) for each in drippers if not each[2]]
        assert all(of_headers), f"{sum(o is None for o in of_headers)} that drip a header are still there"
        assert all(4.9 < at < 8 for at, _ in of_headers), of_headers[:5]
        assert all(b" 408 " in said.split(b"\r\n")[0] for _, said in of_headers), of_headers[0]
        assert not any(api.status(f"drip/{n}")["locked"] for n in range(0, DRIPPERS, 10))


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
