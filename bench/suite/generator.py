"""Runs dislock_load against a server and puts the cost of both beside the result."""
import json
import pathlib
import select
import statistics
import subprocess
import time

from suite.servers import Failed

PATIENCE = 600  # seconds; one million durable acquires on a slow disk


class Generator:
    def __init__(self, program, cores):
        self.command = (["taskset", "-c", cores] if cores else []) + [str(program)]

    def run(self, server, mode, *options):
        """One run; the generator's JSON with `serverCpu`, its share of one core over the whole run."""
        target = ["--target", server.kind] if mode == "pairs" else []
        command = [*self.command, mode, "--port", str(server.port), *target, *(str(o) for o in options)]
        cpu, began = server.cpu_seconds(), time.monotonic()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0 or not server.alive():
            what = done.stderr.strip() or "the server ended"
            raise Failed(f"{mode} against {server.name}: {what}")
        result = json.loads(done.stdout.splitlines()[-1])
        result["serverCpu"] = (server.cpu_seconds() - cpu) / (time.monotonic() - began)
        return result

    def idle_waiters(self, server, count, options=()):
        """Starts waiters and returns (process, its first line of JSON) once all are queued."""
        command = [*self.command, "idle-waiters", "--port", str(server.port), "-c", str(count), *options]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        ready, _, _ = select.select([process.stdout], [], [], 150)
        line = process.stdout.readline() if ready else ""
        if not line:
            process.kill()
            raise Failed(f"idle-waiters against {server.name}: {process.communicate()[1].strip()}")
        return process, json.loads(line)


class LibraryPrograms:
    """The programs that measure the C++ library, found beside dislock_load."""

    def __init__(self, generator):
        *self.pin, program = generator.command
        self.folder = pathlib.Path(program).parent

    def over_http(self, server, leases, seconds, *options):
        """One run of dislock_remote_bench, on the generator's cores; its JSON with `serverCpu`."""
        cpu, began = server.cpu_seconds(), time.monotonic()
        url = f"http://127.0.0.1:{server.port}"
        result = self._run([*self.pin, self._find("dislock_remote_bench"), url, "-n", str(leases), "-s", str(seconds),
                            "--warm-up", "0.5", *options])
        if not server.alive():
            raise Failed(f"{server.name} ended")
        result["serverCpu"] = (server.cpu_seconds() - cpu) / (time.monotonic() - began)
        return result

    def in_process(self, store, seconds, *only):
        """One run of dislock_library_bench, on all cores: its figures by name."""
        figures = self._run([self._find("dislock_library_bench"), "--json", "--seconds", str(seconds), "--store", str(store),
                             *only])
        return {each["what"]: each for each in figures}

    def _find(self, name):
        program = self.folder / name
        if not program.exists():
            raise Failed(f"{program} is missing: build it first")
        return str(program)

    def _run(self, command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise Failed(f"{pathlib.Path(command[0]).name}: {done.stderr.strip() or done.returncode}")
        return json.loads(done.stdout)


def median(runs, *path):
    """The median over runs of one figure; `path` leads to it."""
    def figure(run):
        for key in path:
            run = run[key]
        return run
    return statistics.median(figure(run) for run in runs)


def errors_of(runs):
    """All errors of several runs, added up."""
    total = {}
    for run in runs:
        for name, count in run["errors"].items():
            total[name] = total.get(name, 0) + count
    return total
