"""Redis processes of a test's own: servers behind proxies that can hold replication up, and Sentinels.

Everything listens on free ports of 127.0.0.1, lives in temporary folders, and ends with the test, also where that crashes.
Whoever wants to reach a server is told the address of its proxy, so that a link can be cut without touching a process:
SIGSTOP would not do, because a stopped replica still gets what is in its socket when it goes on.
"""
import contextlib
import ctypes
import os
import pathlib
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HOST = "127.0.0.1"


claims = []


def free_port():
    """Nobody else is given it while this process lives, and below those that the kernel gives to outgoing connections: one of these may take any of them before a server does.

    The claim is a name in the kernel's abstract namespace, the same as that of the tests in C++ (test_ports.hpp).
    """
    while True:
        port = random.SystemRandom().randrange(10240, 32000)
        claim = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError), socket.socket() as probe:
            claim.bind(f"\0dislock-test-port-{port}")
            probe.bind((HOST, port))
            claims.append(claim)
            return port
        claim.close()


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **environment):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, preexec_fn=die_with_parent,
                            env={**os.environ, **environment})


def remove(folder):
    """Also where a child of a server that was killed still writes a file into it."""
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def say(port, *words, timeout=5.0):
    """What the server answers: a text, a number, a list, None, or an exception for an error."""
    with socket.create_connection((HOST, port), timeout=timeout) as line:
        line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(x).encode() for x in words)))
        return read_reply(line.makefile("rb"))


def read_reply(lines):
    line = lines.readline().rstrip(b"\r\n")
    if not line:
        raise ConnectionError("closed")
    kind, rest = line[:1], line[1:].decode()
    if kind == b"+":
        return rest
    if kind == b"-":
        raise RuntimeError(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        if rest == "-1":
            return None
        text = lines.read(int(rest) + 2)[:-2]
        return text.decode(errors="replace")
    return None if rest == "-1" else [read_reply(lines) for _ in range(int(rest))]


def eventually(probe, timeout=20.0, pause=0.02, what=""):
    limit = time.monotonic() + timeout
    while True:
        try:
            if value := probe():
                return value
        except (OSError, RuntimeError):
            pass
        if time.monotonic() > limit:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)


class Proxy:
    """Carries bytes to one server. While it holds, nothing that the server sends to its replicas arrives; what was held never does."""

    def __init__(self, target):
        self.port = free_port()
        self.process = start([sys.executable, __file__, str(self.port), str(target)])
        eventually(lambda: socket.create_connection((HOST, self.port), timeout=1).close() or True, what="a proxy")

    def hold(self, on):
        self.process.stdin.write(b"hold\n" if on else b"pass\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()


class Server:
    """redis-server. `place` is where others find it."""

    def __init__(self, *flags, proxied=True, clock=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dislock-redis-"))
        self.port, self.flags, self.process = free_port(), flags, None
        self.proxy = Proxy(self.port) if proxied else None
        self.place = self.proxy.port if proxied else self.port
        self.offset = self.folder / "offset"
        self.offset.write_bytes(bytes(8))
        self.clock = clock

    def start(self, primary=None):
        command = ["redis-server", "--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), "--logfile", "log", "--save", "", "--appendonly", "yes",
                   "--repl-diskless-sync-delay", "0", "--repl-timeout", "60", "--replica-announce-ip", HOST, "--replica-announce-port", str(self.place), *self.flags]
        if primary:
            command += ["--replicaof", HOST, str(primary.place)]
        environment = {"LD_PRELOAD": str(self.clock), "DISLOCK_CLOCK_OFFSET": str(self.offset)} if self.clock else {}
        self.process = start(command, **environment)
        eventually(lambda: self.say("PING") == "PONG", what="a redis-server")
        return self

    def say(self, *words):
        return say(self.port, *words)

    def info(self):
        return dict(line.split(":", 1) for line in self.say("INFO").splitlines() if ":" in line)

    def set_clock_by(self, seconds):
        self.offset.open("r+b").write(int(seconds * 1_000_000).to_bytes(8, "little", signed=True))

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def end(self):
        self.kill()
        if self.proxy:
            self.proxy.end()
        remove(self.folder)


class Sentinel:
    def __init__(self, primary, down_after_ms=700, failover_ms=2000):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dislock-sentinel-"))
        self.port = free_port()
        (self.folder / "conf").write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.folder}\nlogfile {self.folder}/log\nsentinel monitor prod {HOST} {primary.place} 2\n"
            f"sentinel down-after-milliseconds prod {down_after_ms}\nsentinel failover-timeout prod {failover_ms}\nsentinel parallel-syncs prod 2\n")
        self.process = start(["redis-sentinel", str(self.folder / "conf")])
        eventually(lambda: self.say("PING") == "PONG", what="a Sentinel")

    def say(self, *words):
        return say(self.port, *words)

    def sees(self):
        fields = self.say("SENTINEL", "MASTER", "prod")
        return dict(zip(fields[::2], fields[1::2]))

    def end(self):
        self.process.kill()
        self.process.wait()
        remove(self.folder)


class Group:
    """A primary, two replicas and three Sentinels."""

    def __init__(self):
        self.servers, self.sentinels = [], []
        try:
            self.servers = [Server() for _ in range(3)]
            self.servers[0].start()
            for replica in self.servers[1:]:
                replica.start(self.servers[0])
            self.sentinels = [Sentinel(self.servers[0]) for _ in range(3)]
            eventually(lambda: all(s.sees()["num-slaves"] == "2" and s.sees()["num-other-sentinels"] == "2" for s in self.sentinels), what="Sentinels that know everybody")
            self.wait_for_replicas()
        except BaseException:
            self.end()
            raise

    @property
    def url(self):
        return "redis+sentinel://" + ",".join(f"{HOST}:{s.port}" for s in self.sentinels) + "/prod"

    def primary(self):
        """As the Sentinels have it, once they agree and it takes itself for one."""
        def agreed():
            places = {int(s.sees()["port"]) for s in self.sentinels}
            found = [s for s in self.servers if {s.place} == places]
            return found[0] if found and found[0].running() and found[0].info()["role"] == "master" else None
        return eventually(agreed, 60, what="a primary")

    def wait_for_replicas(self, count=2):
        eventually(lambda: int(self.primary().info()["connected_slaves"]) >= count, 60, what="replicas")
        eventually(lambda: all(s.info().get("master_link_status", "up") == "up" for s in self.servers if s.running()), 60, what="replicas in sync")

    def end(self):
        for each in self.sentinels + self.servers:
            each.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def serve(port, target):
    """The proxy's own process: one thread, no waiting but in select. A connection that asks for PSYNC is a replica's."""
    selector = selectors.DefaultSelector()
    listener = socket.create_server((HOST, port), backlog=200)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ, "accept")
    os.set_blocking(0, False)
    selector.register(0, selectors.EVENT_READ, "order")
    held = False
    pairs = {}  # socket -> [other, bytes to write, from the server, of a replica]

    def close(one):
        other = pairs[one][0]
        for each in (one, other):
            if pairs.pop(each, None) is not None:
                if selector.get_map().get(each):
                    selector.unregister(each)
                each.close()

    def wants(one):
        """Reads while the other takes; what a replica is sent is not even read while it is held."""
        other, unwritten, from_server, replica = pairs[one]
        waits = len(pairs[other][1]) > 1 << 20 or (held and from_server and replica)
        events = (0 if waits else selectors.EVENT_READ) | (selectors.EVENT_WRITE if unwritten else 0)
        key = selector.get_map().get(one)
        if events and key is None:
            selector.register(one, events, "pair")
        elif not events and key is not None:
            selector.unregister(one)
        elif events and key.events != events:
            selector.modify(one, events, "pair")

    def refresh(one):
        if one in pairs:
            other = pairs[one][0]
            wants(one)
            wants(other)

    while True:
        for key, events in selector.select():
            if key.data == "accept":
                client, _ = listener.accept()
                try:
                    server = socket.create_connection((HOST, target), timeout=1)
                except OSError:
                    client.close()
                    continue
                for each in (client, server):
                    each.setblocking(False)
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pairs[client], pairs[server] = [server, b"", False, False], [client, b"", True, False]
                for each in (client, server):
                    selector.register(each, selectors.EVENT_READ, "pair")
                continue
            if key.data == "order":
                order = os.read(0, 1000)
                if not order:
                    return
                was, held = held, order.strip().split(b"\n")[-1] == b"hold"
                for each in [p for p in list(pairs) if pairs[p][3]] if was and not held else []:
                    if each in pairs:
                        close(each)
                for each in list(pairs):
                    wants(each)
                continue
            one = key.fileobj
            if one not in pairs:
                continue
            other = pairs[one][0]
            try:
                if events & selectors.EVENT_READ:
                    data = one.recv(65536)
                    if not data:
                        raise ConnectionError
                    if not pairs[one][2] and b"PSYNC" in data.upper():
                        pairs[one][3] = pairs[other][3] = True
                    pairs[other][1] += data
                    sent = other.send(pairs[other][1])
                    pairs[other][1] = pairs[other][1][sent:]
                if events & selectors.EVENT_WRITE and pairs[one][1]:
                    sent = one.send(pairs[one][1])
                    pairs[one][1] = pairs[one][1][sent:]
            except BlockingIOError:
                pass
            except OSError:
                close(one)
                continue
            refresh(one)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
