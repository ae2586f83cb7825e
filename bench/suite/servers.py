"""Starts, watches and stops the servers under test. Each is a process of our own in a folder of its own."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

START_PATIENCE = 20  # seconds; RocksDB and etcd create their files first
STOP_PATIENCE = 15
TICKS = os.sysconf("SC_CLK_TCK")

NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{body}'; }} }}
}}
"""


class Failed(Exception):
    """A server did not start, or the generator gave up; the message says which and why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One running process. `kind` is what dislock_load must speak to it."""

    def __init__(self, name, kind, command, folder, cores, port=None, environment=None):
        self.name, self.kind, self.port, self.folder = name, kind, port, folder
        self.log = folder / "log"
        command = [str(word) for word in command]
        if cores:
            command = ["taskset", "-c", cores, *command]
        with open(self.log, "wb") as log:
            # A session of its own: Ctrl-C reaches only us, and we stop the servers in order.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                                            start_new_session=True, env={**os.environ, **(environment or {})})

    def wait_until_ready(self):
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self.port is None:
                found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.log.read_text(errors="replace"))
                self.port = int(found.group(1)) if found else None
            if self.port is not None:
                try:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return self
                except OSError:
                    pass
            time.sleep(0.02)
        self.stop()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
        raise Failed(f"{self.name} did not start:\n{tail}")

    def alive(self):
        return self.process.poll() is None

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024 / 1e6

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Redis(Server):
    def ask(self, *words):
        """What it answers to one command: a text; an error is a failure of the measurement."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(x).encode() for x in words)))
            reply = line.makefile("rb")
            head = reply.readline()
            if head[:1] == b"-":
                raise Failed(f"Redis: {head.decode().strip()}")
            return (reply.read(int(head[1:])) if head[:1] == b"$" else head[1:].strip()).decode()


class Park:
    """All servers of one run; a context manager that leaves nothing behind."""

    def __init__(self, folder, dislockd, cores):
        self.folder, self.dislockd, self.cores = folder, dislockd, cores
        self.running = []
        self.started = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave a server behind
        for server in self.running:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name, kind, command_for, port=None, environment=None):
        self.started += 1
        folder = self.folder / f"{self.started}-{name}"
        folder.mkdir()
        server = (Redis if kind == "redis" else Server)(name, kind, command_for(folder), folder, self.cores, port, environment)
        self.running.append(server)
        return server.wait_until_ready()

    def stop(self, *servers):
        for server in servers:
            server.stop()
            self.running.remove(server)
            shutil.rmtree(server.folder, ignore_errors=True)

    def dislock(self, engine, environment=None):
        def command(folder):
            url = {"memory": "memory:"}.get(engine, f"embedded:{folder}/locks")
            words = [self.dislockd, "--engine", url, "--listen", "127.0.0.1", "--port", "0"]
            return words + (["--durability=async"] if engine == "embedded-async" else [])
        return self._start(engine, "dislock", command, environment=environment)

    def redis(self):
        """Keeps nothing on disk: what is measured is what locks cost, the same for everybody."""
        port = free_port()

        def command(folder):
            return [find("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        return self._start("redis", "redis", command, port)

    def dislock_on(self, redis):
        def command(folder):
            return [self.dislockd, "--engine", f"redis://127.0.0.1:{redis.port}", "--listen", "127.0.0.1", "--port", "0"]
        return self._start("dislockd", "dislock", command)

    def nginx(self, body):
        port = free_port()

        def command(folder):
            (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder, port=port, body=body))
            return [find("nginx"), "-c", folder / "nginx.conf", "-p", folder]
        return self._start("nginx", "nginx", command, port)

    def etcd(self):
        port, peer = free_port(), free_port()

        def command(folder):
            return [find("etcd"), "--data-dir", folder / "data", "--log-level", "error",
                    "--listen-client-urls", f"http://127.0.0.1:{port}",
                    "--advertise-client-urls", f"http://127.0.0.1:{port}",
                    "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-cluster", f"default=http://127.0.0.1:{peer}"]
        return self._start("etcd", "etcd", command, port)


def find(program):
    """The path of a Debian daemon, which may be outside an ordinary user's PATH; None when not installed."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def reply_of(server):
    """The body with which dislock grants a lock, so that nginx can answer with exactly as much."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("POST", "/locks/bench-xxxxx-000000001/acquire",
                           json.dumps({"clientId": "bench-xxxxx-000000001", "timeout": 1}),
                           {"Content-Type": "application/json"})
        reply = connection.getresponse()
        body = reply.read().decode()
        if reply.status != 200:
            raise Failed(f"{server.name} refused the first acquire: {reply.status} {body}")
        return body
    finally:
        connection.close()
