"""What the tests of the command line share: running `dislock`, looking at processes, and a terminal to drive.

The server and the rest of the harness are those of tests/e2e. DISLOCK names the program; without it, it is the one beside dislockd.
"""
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Api, Dislockd, Store, Wire, binary, eventually, frozen, main, now, wait_until  # noqa: E402, F401

PYTHON = sys.executable

# A signal that is ignored stays so in every program that is started from here, and whoever started us in the background
# (nohup, a shell's &) had some of them ignored.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def program():
    return pathlib.Path(os.environ.get("DISLOCK", binary().parent / "dislock")).resolve()


def environment(more=None):
    """The caller's, without what could configure the program under test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DISLOCK_", "REDIS_")) and k not in ("NO_COLOR", "TERM")}
    return {**kept, **(more or {})}


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"

    @property
    def value(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def expect(self, code):
        assert self.code == code, f"wanted exit code {code}: {self!r}"
        return self


class Cli:
    """`dislock` against one server."""

    def __init__(self, server=None, url=None):
        self.url = url or f"http://127.0.0.1:{server.port}"

    def run(self, *arguments, code=0, env=None, stdin=None, timeout=30):
        done = subprocess.run([str(program()), *arguments], input=stdin, capture_output=True, text=True, timeout=timeout,
                              env=environment({"DISLOCK_URL": self.url, **(env or {})}), check=False)
        result = Result(done.returncode, done.stdout, done.stderr)
        return result if code is None else result.expect(code)

    def start(self, *arguments, env=None, **how):
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
        return Running(subprocess.Popen([str(program()), *arguments], env=environment({"DISLOCK_URL": self.url, **(env or {})}), **how))


class Running:
    """A `dislock` that runs. Ends only what it started."""

    def __init__(self, process):
        self.process, self.pid = process, process.pid

    def wait(self, timeout=20):
        out, err = self.process.communicate(timeout=timeout)
        return Result(self.process.returncode, out or "", err or "")

    def expect(self, code, timeout=20):
        return self.wait(timeout).expect(code)

    def signal(self, number):
        self.process.send_signal(number)

    def guard(self):
        """The process between it and the command."""
        return eventually(lambda: next((p for p in children(self.pid)), None), what="a guard")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def stat_of(pid):
    """(state, parent, group) or None."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[2])


def processes():
    return [int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit()]


def children(pid):
    return [p for p in processes() if (s := stat_of(p)) and s[1] == pid]


def alive(mark):
    """The living processes that have the mark among their arguments, but for `dislock` and its guard."""
    found = []
    for pid in processes():
        stat = stat_of(pid)
        if pid == os.getpid() or not stat or stat[0] in "ZX":
            continue
        with contextlib.suppress(OSError):
            if mark.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() and os.readlink(f"/proc/{pid}/exe") != str(program()):
                found.append(pid)
    return found


def new_mark():
    return f"mark-{uuid.uuid4().hex}"


class Folder:
    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="dislock-cli-")
        self.path = pathlib.Path(self.directory.name)
        return self.path

    def __exit__(self, *_):
        self.directory.cleanup()


HEART = """
import sys, time, signal, os
if sys.argv[2] == "deaf":
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, signal.SIG_IGN)
file = open(sys.argv[1], "a")
while True:
    file.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME)} {os.getpid()}\\n")
    file.flush()
    time.sleep(0.002)
"""


def heart(folder, name="beats", deaf=False, mark="x"):
    """(command, beats): a command that writes down every 2 ms that it lives, and a function that reads it."""
    file = folder / name
    command = [PYTHON, "-c", HEART, str(file), "deaf" if deaf else "polite", mark]

    def beats():
        if not file.exists():
            return []
        return [float(line.split()[0]) for line in file.read_text().splitlines() if line.count(" ") == 1 and line.split()[1]]
    return command, beats


class Terminal:
    """A pseudo-terminal with `dislock` (or a shell) on it."""

    def __init__(self, command, env=None, rows=30, columns=100):
        pid, self.descriptor = pty.fork()
        if pid == 0:
            try:
                os.execve(command[0], command, environment({"TERM": "xterm", **(env or {})}))
            finally:
                os._exit(99)
        self.pid, self.text, self.status = pid, "", None
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, timeout=0.05):
        """What has come meanwhile is added to `text`. False at the end."""
        ready, _, _ = select.select([self.descriptor], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self.descriptor, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                return False
            raise
        self.text += data.decode(errors="replace")
        return bool(data)

    def until(self, wanted, timeout=10):
        """Reads until `wanted` (a text, or a function of all text) is there."""
        test = wanted if callable(wanted) else lambda text: wanted in text
        limit = now() + timeout
        while not test(self.text):
            if now() > limit or not self.read():
                raise AssertionError(f"{wanted!r} did not come; the terminal shows {self.text[-3000:]!r}")
        return self.text

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def settings(self):
        return termios.tcgetattr(self.descriptor)

    def wait(self, timeout=10):
        """The exit code as a shell has it."""
        limit = now() + timeout
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                break
            if now() > limit:
                raise AssertionError(f"does not end; the terminal shows {self.text[-3000:]!r}")
            self.read(0.02)
        while self.read(0):
            if not select.select([self.descriptor], [], [], 0)[0]:
                break
        return os.waitstatus_to_exitcode(self.status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)
