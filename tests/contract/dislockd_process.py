"""One dislockd of a test's own: on a free port, with its output kept."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LISTENING = re.compile(r"dislockd listening on http://([^\s:]+):(\d+)")


def binary():
    return pathlib.Path(os.environ.get("DISLOCKD", ROOT / "build/bin/dislockd")).resolve()


class Dislockd:
    """A running server. Ends only the process that it started."""

    def __init__(self, *flags, engine="memory:", port=0, environment=None, start_timeout=20):
        command = [str(binary()), "--engine", engine, "--port", str(port), *flags]
        # Nothing of the caller's environment may configure the server under test.
        plain = ("REDIS_", "DISLOCK_", "DEFAULT_TIMEOUT", "MAX_TIMEOUT", "RENEWAL_INTERVAL", "DEADLOCK_DETECTION")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(plain) or k == "DISLOCK_PLANT"}
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, env={**kept, **(environment or {})})
        self._lines = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(start_timeout) or not hasattr(self, "port"):
            self.kill()
            raise RuntimeError(f"{' '.join(command)} did not say where it listens:\n{self.output()}")

    def _read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace")
            self._lines.append(text)
            if (found := LISTENING.search(text)) and not self._ready.is_set():
                self.host, self.port = found.group(1), int(found.group(2))
                self._ready.set()
        self._ready.set()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def output(self):
        """Everything that it has printed, log and all."""
        self._log.flush()
        size = os.fstat(self._log.fileno()).st_size
        return "".join(self._lines) + os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def running(self):
        return self.process.poll() is None

    def kill(self):
        """SIGKILL: no farewell."""
        if self.running():
            self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout=20):
        """SIGTERM, and the exit status."""
        if self.running():
            self.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
