#!/usr/bin/python3
"""A holder is stopped (SIGSTOP) past its ttl. When it goes on it has to learn that it lost its lease before it acts
under it, and what it writes all the same has to be refused by the fence.

Many holders in one process, each with a lock and a fenced file of its own, so that the stop hits them at many places.
The last cases plant a bug into the holder and must find a violation: a test that cannot fail shows nothing.
"""
import collections
import contextlib
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Dislockd, binary, eventually, main, now  # noqa: E402

HOLDER = pathlib.Path(os.environ.get("DISLOCK_PAUSED_HOLDER", binary().parent.parent / "tests" / "paused_holder"))
LOCKS = 12
TTL = 2.0


def locked(path):
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


class Holder:
    """The program of paused_holder.cpp: a process, and what it has said so far."""

    def __init__(self, server, folder, name, *flags):
        command = [str(HOLDER), f"http://{server.address}", str(folder), name, "--locks", str(LOCKS), "--ttl", str(TTL), *flags]
        self.name, self.events, self._guard = name, [], threading.Lock()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            with self._guard:
                self.events.append(event)

    def said(self, event):
        """The locks of which it has said this."""
        with self._guard:
            failed = [each for each in self.events if each["event"] == "failed"]
            assert not failed, f"{self.name}: {failed}"
            return {each["lock"] for each in self.events if each["event"] == event}

    def until_all_said(self, event, timeout):
        eventually(lambda: len(self.said(event)) == LOCKS, timeout=timeout, what=f"{self.name}: all {LOCKS} say '{event}'")

    def pause(self, files):
        """Not while it has a file's own lock: that would keep the other one out of the file, and tell us nothing."""
        while True:
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # it stands still from here on
            if not any(locked(path) for path in files):
                return
            self.process.send_signal(signal.SIGCONT)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def finish(self):
        """It gives back what it holds and ends."""
        self.process.stdin.close()
        status = self.process.wait(20)
        self._reader.join(20)
        assert status == 0, f"{self.name} ended with {status}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()  # a stopped process too
        self.process.wait()


Story = collections.namedtuple("Story", "first second files resumed")


def tell(*plants):
    """The first holder works, is stopped, loses its locks to the second one, and goes on."""
    with contextlib.ExitStack() as ends:
        folder = pathlib.Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="dislock-paused-")))
        server = ends.enter_context(Dislockd())
        files = [folder / str(lock) for lock in range(LOCKS)]
        first = ends.enter_context(Holder(server, folder, "first", *(word for plant in plants for word in ("--plant", plant))))
        first.until_all_said("wrote", 20)
        working_until = now() + 0.3
        eventually(lambda: now() > working_until)
        first.pause(files)
        second = ends.enter_context(Holder(server, folder, "second"))
        second.until_all_said("wrote", TTL + 20)
        resumed = now()
        first.go_on()
        # Without a lost signal only the file can tell it.
        first.until_all_said("refused" if "no-lost-signal" in plants else "released", 20)
        first.finish()
        second.finish()
        return Story(first.events, second.events, [file.read_text().splitlines() for file in files], resumed)


def violations_of(story):
    """What must never be, whatever was stopped where. From the outside: no word of the library's is believed."""
    found = []
    owned_by_second = {each["lock"]: each["at"] for each in story.second if each["event"] == "acquired"}
    for lock in range(LOCKS):
        mine = [each for each in story.first if each["lock"] == lock]
        # Before it lost the lock, what it was stopped in the middle of may follow. Asked after that, it may not act.
        for act in (each for each in mine if each["event"] == "acts" and each["at"] > owned_by_second[lock]):
            found.append(f"{lock}: took itself for the owner {act['at'] - owned_by_second[lock]:.3f} s after another had the lock")
        tokens = [int(line.split()[0]) for line in story.files[lock]]
        if tokens != sorted(tokens):
            found.append(f"{lock}: the file took a write of an older token after one of a newer")
        writers = [line.split()[1] for line in story.files[lock]]
        if "first" in writers[writers.index("second"):]:
            found.append(f"{lock}: the first holder wrote after the second")
    return found


def test_a_holder_that_was_stopped_learns_that_it_lost_before_it_acts():
    story = tell()
    found = violations_of(story)
    assert not found, found
    for lock in range(LOCKS):
        after = [each for each in story.first if each["lock"] == lock and each["at"] > story.resumed]
        steps = [each["event"] for each in after]
        # It may have been stopped between an act and its word about it. Whether the write came in time, the file knows.
        if steps[0] in ("wrote", "refused"):
            steps.pop(0)
        assert steps == ["lost", "late write refused", "released"], f"{lock}: {steps}"
        lost = next(each for each in after if each["event"] == "lost")
        assert (lost["stage"], lost["cause"]) == ("lost", "expired"), lost
        assert after[-1]["result"] == "lock_not_held", after[-1]
        taken = [each["at"] for each in story.second if each["lock"] == lock and each["event"] == "acquired"]
        assert taken and taken[0] < story.resumed
    print(f"   {LOCKS} leases lost; the file refused each late write")


def test_a_holder_that_is_not_stopped_loses_nothing():
    """Renewals carry a lease of two seconds over two ttls of work; without this the test above would show little."""
    with tempfile.TemporaryDirectory(prefix="dislock-paused-") as folder, Dislockd() as server:
        with Holder(server, folder, "first") as first:
            first.until_all_said("acquired", 20)
            until = now() + 2 * TTL
            eventually(lambda: now() > until, timeout=2 * TTL + 5)
            first.finish()
        assert not first.said("lost") and not first.said("refused")
        assert all(each["result"] == "done" for each in first.events if each["event"] == "released")
        assert len(first.said("released")) == LOCKS


def test_finds_a_holder_that_takes_a_lease_for_held_as_long_as_it_has_one():
    story = tell("no-lost-signal")
    found = violations_of(story)
    assert len([one for one in found if "took itself for the owner" in one]) >= LOCKS, found
    # And the fence alone has kept the files right.
    assert not [one for one in found if "older token" in one or "wrote after" in one], found


def test_finds_a_file_that_does_not_look_at_tokens():
    story = tell("no-fence-check")
    found = violations_of(story)
    assert len([one for one in found if "older token" in one]) == LOCKS, found
    # And the lost signal alone has kept the holder from acting as an owner; the late write was on purpose.
    assert not [one for one in found if "took itself for the owner" in one], found


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
