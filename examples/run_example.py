#!/usr/bin/env python3
"""Runs an example as its test: on memory:, on embedded:, or two of it at once against a dislockd.

    run_example.py PROGRAM memory|embedded|http DISLOCKD
"""
import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile
import time

LIMIT = 100  # seconds; there to end a hang
ROUNDS = 50  # that each critical_section counts
CALLS = 10  # that each rate_limit makes
# What two copies have to say between them, besides ending well.
EXPECTED = {
    "critical_section": r"the file says \d+",
    "try_and_skip": r"skipped",
    "leader_election": r"leads, round 3(.|\n)*resigned",
    "rate_limit": r"call 10 at",
    "resource_pool": r"worker 6 has a licence",
    "fenced_write": r"the second holder wrote(.|\n)*has lost its lease(.|\n)*the first holder was refused",
    "coroutines": r"had turn 20",
}
ALONE = {"fenced_write"}  # which plays both holders itself, one after the other


@contextlib.contextmanager
def service(dislockd):
    process = subprocess.Popen([dislockd, "--engine", "memory:", "--port", "0", "--log-level", "off"], stdout=subprocess.PIPE,
                               text=True)
    try:
        port = re.search(r":(\d+)\s*$", process.stdout.readline()).group(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def run(program, url, folder, copies):
    name = pathlib.Path(program).name.removeprefix("example_")
    extra = {"critical_section": [f"{folder}/count"], "fenced_write": [f"{folder}/report"]}
    began = time.monotonic()
    running = []
    for number in range(copies):
        arguments = extra.get(name, [f"candidate-{number}"] if name == "leader_election" else [])
        running.append(subprocess.Popen([program, url, *arguments], stdout=subprocess.PIPE, text=True, cwd=folder))
    said = [process.communicate(timeout=LIMIT)[0] for process in running]
    took = time.monotonic() - began
    print("\n".join(said))
    assert [process.returncode for process in running] == [0] * copies
    for text in said:
        if name != "try_and_skip" or copies == 1:
            assert re.search(EXPECTED[name], text), f"expected {EXPECTED[name]}"
    if name == "critical_section":
        assert int(pathlib.Path(folder, "count").read_text()) == ROUNDS * copies, "rounds were lost"
    if name == "rate_limit":
        assert took >= shortest_time(CALLS * copies), f"all calls within {took} s"


def shortest_time(calls):
    """What so many calls take at the least: four at once, and then four in each half second."""
    return (calls - 1) // 4 * 0.5


def main(program, engine, dislockd):
    with tempfile.TemporaryDirectory(prefix="dislock-example-") as folder:
        if engine == "http":
            with service(dislockd) as url:
                run(program, url, folder, 1 if pathlib.Path(program).name.removeprefix("example_") in ALONE else 2)
        else:
            run(program, f"embedded:{folder}/store" if engine == "embedded" else "memory:", folder, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
