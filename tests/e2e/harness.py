"""What the end-to-end tests share: clients on plain sockets, polling with a deadline, and the runner.

A client here does to its socket what real ones do by accident: closes it, resets it, half-closes it, does not read.
"""
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import struct
import sys
import tempfile
import time
import traceback
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "contract"))
from dislockd_process import Dislockd, binary  # noqa: E402, F401

HOST = "127.0.0.1"


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_until(moment):
    """For what must *not* have happened by then."""
    while (left := moment - now()) > 0:
        time.sleep(left)


def judge(what, delays, bound=0.1, noise=1.0):
    """Medians are promises, single values may suffer from the machine."""
    delays = sorted(delays)
    late = [d for d in delays if d > bound]
    print(f"   {what}: {len(delays)} times, median {statistics.median(delays) * 1000:.1f} ms, 99 % {delays[len(delays) * 99 // 100] * 1000:.0f} ms, longest {delays[-1] * 1000:.0f} ms")
    assert statistics.median(delays) < bound, f"{what}: median {statistics.median(delays):.3f} s"
    assert len(late) <= max(3, len(delays) // 20), f"{what}: {len(late)} of {len(delays)} took more than {bound} s: {late[:10]}"
    assert delays[-1] < noise, f"{what}: {delays[-1]:.3f} s"


def new_id(stem="r"):
    return f"{stem}-{uuid.uuid4().hex}"


def eventually(probe, timeout=5.0, pause=0.002, what=""):
    """The first true value of `probe`; fails when there is none in time."""
    limit = now() + timeout
    while not (value := probe()):
        if now() > limit:
            raise AssertionError(f"not within {timeout} s: {what or probe.__name__}; last {value!r}")
        time.sleep(pause)
    return value


class Reply:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text

    @property
    def value(self):
        return json.loads(self.text)

    def __getitem__(self, key):
        return self.value[key]

    def __contains__(self, key):
        return key in self.value

    @property
    def code(self):
        return self.value.get("code", "") if self.status >= 400 else ""

    def expect(self, status, code=""):
        assert (self.status, self.code) == (status, code), f"wanted {status} {code}, got {self.status} {self.text[:600]}"
        return self

    def expect_text(self):
        assert self.status == 200, f"{self.status} {self.text[:300]}"
        return self.text


class Wire:
    """One connection. Sends and reads are separate, so that a test can do something in between."""

    def __init__(self, port, timeout=20.0, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect((HOST, port))
        except OSError:
            self.socket.close()
            raise
        self.unread = b""

    def send(self, method, path, body=None, headers=()):
        self.socket.sendall(request(method, path, body, headers))
        return self

    def read_some(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        self.unread += data

    def read(self):
        while b"\r\n\r\n" not in self.unread:
            self.read_some()
        head, self.unread = self.unread.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        while len(self.unread) < length:
            self.read_some()
        text, self.unread = self.unread[:length].decode(), self.unread[length:]
        return Reply(int(lines[0].split()[1]), headers, text)

    def answered(self):
        """Whether any byte of a reply is here, without waiting."""
        if self.unread:
            return True
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
        finally:
            self.socket.settimeout(20)

    def call(self, method, path, body=None):
        return self.send(method, path, body).read()

    def acquire(self, lock, client, **more):
        return self.send("POST", f"/locks/{lock}/acquire", {"clientId": client, **more})

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def request(method, path, body=None, headers=()):
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Api:
    """Calls in good order, over one kept connection; connects again after a restart."""

    def __init__(self, port):
        self.port, self.wire = port, None

    def call(self, method, path, body=None):
        try:
            if self.wire is None:
                self.wire = Wire(self.port)
            reply = self.wire.call(method, path, body)
        except OSError:
            self.close()
            raise
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def acquire(self, lock, client, **more):
        return self.call("POST", f"/locks/{lock}/acquire", {"clientId": client, **more})

    def hold(self, lock, client, **more):
        return self.acquire(lock, client, **more).expect(200)

    def release(self, lock, secret):
        return self.call("POST", f"/locks/{lock}/release", {"lockId": secret})

    def status(self, lock):
        return self.call("GET", f"/locks/{lock}/status").expect(200).value

    def waiters(self, lock):
        return [w["clientId"] for w in self.status(lock)["waiters"]]

    def holders(self, lock):
        return [h["clientId"] for h in self.status(lock)["holders"]]

    def until_waiting(self, lock, count):
        eventually(lambda: self.status(lock)["waiterCount"] == count, what=f"{count} wait for {lock}")

    def metric(self, name):
        """The sum over its labels."""
        lines = self.call("GET", "/metrics").expect_text().split("\n")
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))

    def close(self):
        if self.wire:
            self.wire.close()
        self.wire = None


@contextlib.contextmanager
def frozen(server):
    """Stops the process for a while: whatever is sent meanwhile it finds all at once, in no order."""
    pid = server.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", pause=0.0005, what="stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Stream:
    """A reader of /events."""

    def __init__(self, port, prefix="", last=None, receive_buffer=None):
        self.wire = Wire(port, timeout=10, receive_buffer=receive_buffer)
        headers = [f"Last-Event-ID: {last}"] if last is not None else []
        self.wire.send("GET", "/events" + (f"?prefix={prefix}" if prefix else ""), None, headers)
        while b"\r\n\r\n" not in self.wire.unread:
            self.wire.read_some()
        head, self.wire.unread = self.wire.unread.split(b"\r\n\r\n", 1)
        assert b" 200 " in head.split(b"\r\n")[0] and b"chunked" in head, head
        self.text, self.last, self.ended = b"", None, False

    def chunk(self):
        while b"\r\n" not in self.wire.unread:
            self.wire.read_some()
        size, rest = self.wire.unread.split(b"\r\n", 1)
        length = int(size, 16)
        while len(rest) < length + 2:
            self.wire.read_some()
            rest = self.wire.unread.split(b"\r\n", 1)[1]
        self.text += rest[:length]
        self.wire.unread = rest[length + 2:]
        self.ended = length == 0

    def next(self):
        """The next event as (id, type, data), or None at the end of the stream. Comments are skipped; `last` follows the ids."""
        while True:
            while b"\n\n" not in self.text:
                if self.ended:
                    return None
                self.chunk()
            block, self.text = self.text.split(b"\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
            self.last = fields.get("id", self.last)
            if "event" in fields:
                return fields.get("id"), fields["event"], json.loads(fields["data"])

    def until(self, wanted):
        """Events up to and including the first for which `wanted` is true."""
        seen = []
        while (event := self.next()) is not None:
            seen.append(event)
            if wanted(event):
                return seen
        raise AssertionError(f"the stream ended after {[e[1] for e in seen]}")

    def close(self):
        self.wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Store:
    """A directory for an embedded store; servers of this test come and go on it."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="dislock-e2e-")
        self.path = pathlib.Path(self.directory.name) / "store"
        self.engine = f"embedded:{self.path}"
        return self

    def __exit__(self, *_):
        self.directory.cleanup()


class on_each_engine:
    """Runs a case once with memory: and once with embedded:. The case takes the engine's URL first."""

    def __init__(self, case):
        self.case, self.__name__ = case, case.__name__

    def runs(self):
        def with_embedded():
            with Store() as store:
                self.case(store.engine)
        yield f"{self.__name__}[memory]", lambda: self.case("memory:")
        yield f"{self.__name__}[embedded]", with_embedded


def seed():
    value = int(os.environ.get("DISLOCK_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"   seed {value}", flush=True)
    return value


def main(names):
    """Runs every test_* of the caller in the order of their text, or those whose name contains an argument."""
    passed = failed = 0
    for key, case in list(names.items()):
        if not key.startswith("test_"):
            continue
        for name, run in case.runs() if hasattr(case, "runs") else [(key, case)]:
            if len(sys.argv) > 1 and not any(part in name for part in sys.argv[1:]):
                continue
            began = time.monotonic()
            try:
                run()
            except Exception as error:
                failed += 1
                print(f"FAILED {name}")
                print(f"   {type(error).__name__}: {error}")
                print("   " + traceback.format_exc().rstrip().replace("\n", "\n   "))
            else:
                passed += 1
                print(f"ok {name}")
            print(f"   {time.monotonic() - began:.1f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
