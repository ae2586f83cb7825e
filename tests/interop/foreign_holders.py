"""Lock holders that know nothing of dislock: real processes that use redis-py, redsync and node-redlock.

Each reads commands from stdin and answers `yes`, `no` (somebody else has the lock, or it has ended) or `error` and why:

  try KEY MS        takes it, in one attempt; 0 ms: without an end, as redis-py does when it is not told otherwise
  acquire KEY MS    takes it as its library's users do, with the library's own way of trying again
  extend KEY        as long as it was taken for, from now on
  release KEY
"""
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(HERE.parent / "fault")]
import peer_programs  # noqa: E402
from peer_programs import Missing  # noqa: E402, F401
from redis_processes import start  # noqa: E402

LIBRARIES = {"redis-py": HERE / "redis_py", "redsync": HERE / "redsync", "node-redlock": HERE / "node_redlock"}
PATIENCE = 30  # seconds, for any answer


class Holder:
    """One process, which does one thing at a time."""

    def __init__(self, name, command, redis_ports):
        self.name = name
        self.errors = tempfile.TemporaryFile()
        self.process = start([*command, *map(str, redis_ports)], stdout=subprocess.PIPE, stderr=self.errors)
        self.answers = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(line.decode().strip())
        self.answers.put("error it has ended")

    def begin(self, *words):
        """Says it, and does not wait for the answer."""
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def answer(self, timeout=PATIENCE):
        try:
            said = self.answers.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self.name} does not answer; {self.last_words()}") from None
        assert said in ("yes", "no"), f"{self.name}: {said}"
        return said == "yes"

    def last_words(self):
        """What it was doing, of a process that is stuck; it is gone after that."""
        state = next(line for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().split("\n") if line.startswith("State"))
        self.process.send_signal(signal.SIGQUIT)  # Go prints its stacks
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(5)
        self.errors.seek(0)
        return f"{state}; {self.errors.read(6000).decode(errors='replace')}"

    def answered(self):
        return not self.answers.empty()

    def ask(self, *words):
        self.begin(*words)
        return self.answer()

    def tries(self, lock, millis=60_000):
        return self.ask("try", key_of(lock), millis)

    def takes(self, lock, millis=60_000):
        assert self.tries(lock, millis), f"{self.name} was refused {lock}"

    def releases(self, lock):
        return self.ask("release", key_of(lock))

    def extends(self, lock):
        return self.ask("extend", key_of(lock))

    def end(self):
        self.process.kill()
        self.process.wait()


def key_of(lock):
    return f"lock:{lock}"


def start_all(*redis_ports, libraries=tuple(LIBRARIES)):
    """One process for each of the libraries, which asks all of these servers (redis-py can ask one only)."""
    folders = {name: LIBRARIES[name] for name in libraries}
    commands = peer_programs.prepare(list(folders.values()), ROOT / "build" / "interop")
    return {name: Holder(name, commands[folder], redis_ports) for name, folder in folders.items()}
