#!/usr/bin/python3
"""Runs the stages of scripts/test one after another and counts their cases.

A stage goes on after a failed one; what cannot be built or does not finish counts as failed. Everything that a stage
prints is in build/logs/STAGE.log. The last line is `N passed, N failed`.
"""
import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
CORES = len(os.sched_getaffinity(0))
PYTHON = "/usr/bin/python3"
FUZZ_SECONDS = 20
BUILD_LIMIT = 1800  # seconds; a limit is there to end a hang, not to measure
RUN_LIMIT = 900
PYTHON_FOLDERS = ("contract", "e2e", "cli", "fault", "interop", "install")
PROGRESS_EVERY = 10  # seconds

SANITIZER_SETTINGS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclasses.dataclass
class Outcome:
    passed: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)


INTERRUPTED = threading.Event()  # for the threads of side_by_side()


class Stage:
    """One stage's log, its running command, and what it found."""

    def __init__(self, name):
        self.name = name
        self.outcome = Outcome()
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log_path = LOGS / f"{name}.log"
        self.log_path.write_text("")

    def fail(self, what):
        self.outcome.failures.append(f"{self.name}: {what}")

    def run(self, command, limit, **settings):
        """The exit code; None when the limit ended it. The output is appended to the log, its last line shown now and then."""
        with self.log_path.open("ab") as log:
            log.write(f"$ {' '.join(map(str, command))}\n".encode())
            log.flush()
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True, env={**os.environ, **settings})
        started = time.monotonic()
        shown_at = started
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=0.5)
                now = time.monotonic()
                if INTERRUPTED.is_set():
                    return None
                if now - started > limit:
                    self.append(f"ended after {limit} s")
                    return None
                if now - shown_at > PROGRESS_EVERY:
                    shown_at = now
                    print(f"   {self.last_line()}", flush=True)
        finally:
            end_group(process)

    def append(self, text):
        with self.log_path.open("a") as log:
            log.write(text + "\n")

    def last_line(self):
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - 2000))
            lines = [line for line in re.split(r"[\r\n]+", log.read().decode(errors="replace")) if line.strip()]
        return lines[-1][:140] if lines else ""

    def show_errors(self):
        """The lines of the log that a reader looks for first."""
        show_lines(telling_lines(self.log_path.read_text(errors="replace"),
                                 r"(?i)\berror\b|CMake Error|Sanitizer|undefined reference|Assertion", 0))


def telling_lines(text, pattern, after):
    """The first lines that match, each with the `after` lines behind it; the last lines of the text where none does."""
    lines = text.split("\n")
    telling = sorted({n + more for n, line in enumerate(lines) if re.search(pattern, line) for more in range(after + 1)})
    return ([lines[n] for n in telling if n < len(lines)] or lines[-15:])[:15]


def show_lines(lines):
    for line in lines:
        print(f"   | {line[:200]}", flush=True)


def end_group(process):
    """Ends what the command left running; its own group, so that nothing else is hit."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def build_folder(preset):
    return BUILD if preset == "release" else BUILD / preset


def configure(stage, preset):
    options = ["-DDISLOCK_BUILD_TESTS=ON", "-DDISLOCK_BUILD_BENCH=OFF"]
    return stage.run(["cmake", "--preset", preset, *options], BUILD_LIMIT) == 0


def fuzz_programs():
    listing = subprocess.run(["ninja", "-C", build_folder("fuzz"), "-t", "targets", "all"], capture_output=True, text=True, check=False)
    rules = (line.rsplit(": ", 1) for line in listing.stdout.split("\n") if "_EXECUTABLE_LINKER__" in line)
    return sorted(path for path, _ in rules if path.endswith("_fuzz"))


def build(stage, preset, targets):
    """targets: None = everything. True when all of it is built; otherwise the failure is recorded."""
    if not configure(stage, preset):
        stage.fail(f"cannot configure ({preset})")
    elif stage.run(["ninja", "-C", build_folder(preset), "-j", str(CORES), *(["-k", "0"] if targets is None else []),
                    *(targets or [])], BUILD_LIMIT) != 0:
        stage.fail(f"cannot build ({preset})")
    else:
        return True
    stage.show_errors()
    return False


def without_address_randomisation():
    """Newer kernels randomise more address bits than the thread sanitizer of clang 16 can map."""
    command = ["setarch", os.uname().machine, "-R"]
    usable = shutil.which("setarch") and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if usable else []


def run_ctest(stage, preset, selection, required, wrapper=(), **settings):
    report = LOGS / f"{stage.name}.xml"
    report.unlink(missing_ok=True)
    code = stage.run([*wrapper, "ctest", "--test-dir", build_folder(preset), *selection, "-j", str(CORES), "--output-on-failure",
                      f"--no-tests={'error' if required else 'ignore'}", "--output-junit", report], RUN_LIMIT, **settings)
    before = len(stage.outcome.failures)
    if report.exists():
        count_junit(stage, report)
    if code != 0 and len(stage.outcome.failures) == before:
        stage.fail("ctest did not finish" if code is None else "ctest failed outside any case")


def count_junit(stage, report):
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        status = case.get("status")
        skipped = case.find("skipped")
        reason = skipped.get("message", "") if skipped is not None else ""
        if status == "run":
            stage.outcome.passed += 1
        elif status == "disabled" or reason.startswith(("SKIP_", "Disabled")):
            stage.outcome.skipped += 1
        else:  # fail, or not run because its program is missing
            stage.fail(case.get("name") + (f" ({reason})" if reason else ""))
            show_lines(telling_lines(case.findtext("system-out", ""), r"Failure$|Sanitizer|runtime error|Assertion", 8))


def count_lines(stage, code, whole_text):
    """`ok NAME` and `FAILED NAME` lines, and `N passed, N failed` at the end, as our Python tests and scripts/lint print them."""
    passed = re.findall(r"^ok (.+)$", whole_text, re.M)
    failed = re.findall(r"^FAILED (.+)$", whole_text, re.M)
    summary = re.findall(r"^(\d+) passed, (\d+) failed$", whole_text, re.M)
    stage.outcome.passed += len(passed)
    for name in failed:
        stage.fail(name)
    if code is None:
        stage.fail("did not finish")
    elif not summary or tuple(map(int, summary[-1])) != (len(passed), len(failed)):
        stage.fail("ended without a summary of its cases")
    elif code != 0 and not failed:
        stage.fail(f"exit code {code} although no case failed")


PYTEST_SUMMARY = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.M)


def count_pytest(stage, code, summary, whole_text):
    """pytest's own last line, for the files that it runs; it repeats each failed case as `FAILED file::case - why`."""
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", summary)}
    stage.outcome.passed += counts.get("passed", 0)
    failed = re.findall(r"^(?:FAILED|ERROR) \S*?::(.+?)(?: - .*)?$", whole_text, re.M)
    for name in failed:
        stage.fail(name)
    if counts.get("skipped"):
        stage.fail(f"{counts['skipped']} cases were skipped")
    if not counts.get("passed") or code != 0 and not failed:
        stage.fail(f"exit code {code}, {summary}")


def side_by_side(stage, run_one, paths):
    """Calls run_one(part, path) for each, as many at once as there are cores. A part is a stage with a log of its own."""
    parts = {path: Stage(f"{stage.name}.{pathlib.PurePath(path).stem}") for path in paths}
    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        try:
            list(pool.map(run_one, parts.values(), parts))
        except KeyboardInterrupt:
            INTERRUPTED.set()  # before the pool waits for its threads
            raise
    for part in parts.values():
        stage.append(part.log_path.read_text(errors="replace"))
        stage.outcome.passed += part.outcome.passed
        stage.outcome.failures += part.outcome.failures


class Release:
    """The release tree, built once, when the first stage needs it."""

    def __init__(self):
        self.built = None

    def ready(self, stage):
        if self.built is None:
            self.built = build(stage, "release", None)
        elif not self.built:
            stage.fail("not run: the release build failed")
        return self.built


RELEASE = Release()


def lint(stage):
    code = stage.run([ROOT / "scripts/lint"], RUN_LIMIT)
    count_lines(stage, code, stage.log_path.read_text(errors="replace"))


def release_build(stage):
    if RELEASE.ready(stage):
        stage.outcome.passed += 1


def release_tests(selection, required):
    def run(stage):
        if RELEASE.ready(stage):
            run_ctest(stage, "release", selection, required)
    return run


def sanitized_tests(preset):
    """But for the Cluster: its engine is that of a single Redis, with other keys."""
    def run(stage):
        if build(stage, preset, ["unit_tests", "conformance_tests"]):
            wrapper = without_address_randomisation() if preset == "tsan" else []
            run_ctest(stage, preset, ["-L", "^(unit|conformance)$", "-E", "/(RedisCluster|OneNodeOfACluster)"], True, wrapper, **SANITIZER_SETTINGS)
    return run


def gcc_tests(stage):
    if build(stage, "gcc", ["unit_tests"]):
        run_ctest(stage, "gcc", ["-L", "^unit$"], True)


def fuzz(stage):
    if not configure(stage, "fuzz"):
        stage.fail("cannot configure (fuzz)")
        stage.show_errors()
        return
    targets = fuzz_programs()
    if targets and build(stage, "fuzz", targets):
        side_by_side(stage, fuzz_one, targets)


def fuzz_one(part, target):
    name = pathlib.PurePath(target).name
    found = BUILD / "fuzz" / "corpus" / name  # what earlier runs found stays out of the source tree
    found.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "tests" / "fuzz" / "corpus" / re.sub(r"^fuzz_|_fuzz$", "", name)
    code = part.run([BUILD / "fuzz" / target, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-rss_limit_mb=2048",
                     f"-artifact_prefix={LOGS}/{name}.", found, *([seeds] if seeds.is_dir() else [])], FUZZ_SECONDS * 6,
                    **SANITIZER_SETTINGS)
    if code == 0:
        part.outcome.passed += 1
    else:
        part.fail(f"build/logs/{part.log_path.name}")


def python_tests(folder):
    def run(stage):
        if RELEASE.ready(stage):
            side_by_side(stage, python_one, python_files(folder))
    return run


def python_one(part, path):
    code = part.run([PYTHON, path], RUN_LIMIT, DISLOCKD=str(BUILD / "bin/dislockd"), PYTHONUNBUFFERED="1")
    text = part.log_path.read_text(errors="replace")
    if by_pytest := PYTEST_SUMMARY.findall(text):
        count_pytest(part, code, by_pytest[-1], text)
    else:
        count_lines(part, code, text)


def python_files(folder):
    """The longest first: its cases take longest too, more or less, and the others fit beside it."""
    return sorted((ROOT / "tests" / folder).glob("*_test.py"), key=lambda path: (-path.stat().st_size, path))


def all_stages():
    stages = {
        "lint": lint,
        "build": release_build,
        "unit": release_tests(["-L", "^unit$"], True),
        "conformance": release_tests(["-L", "^conformance$"], False),
        "integration": release_tests(["-LE", "^(unit|conformance)$"], False),
        "asan": sanitized_tests("asan"),
        "tsan": sanitized_tests("tsan"),
        "gcc": gcc_tests,
        "fuzz": fuzz,
    }
    stages.update((folder, python_tests(folder)) for folder in PYTHON_FOLDERS if python_files(folder))
    return stages


def run_stage(name, action):
    print(f"== {name}", flush=True)
    stage = Stage(name)
    started = time.monotonic()
    try:
        action(stage)
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        stage.fail(f"{type(error).__name__}: {error}")
    outcome = stage.outcome
    skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
    print(f"   {outcome.passed} passed, {len(outcome.failures)} failed{skipped} in {time.monotonic() - started:.0f} s", flush=True)
    for failure in outcome.failures[:20]:
        print(f"   FAILED {failure}")
    if outcome.failures:
        print(f"   log: {stage.log_path.relative_to(ROOT)}", flush=True)
    return outcome


def main(arguments):
    stages = all_stages()
    parser = argparse.ArgumentParser(prog="scripts/test", description="Checks everything, or the named stages.")
    parser.add_argument("stage", nargs="*", help=", ".join(stages))
    parser.add_argument("--only", action="append", default=[], metavar="STAGE", help="the same as naming the stage")
    parser.add_argument("--list", action="store_true", help="print the names of the stages")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(stages))
        return 0
    chosen = options.stage + options.only or list(stages)
    if unknown := [name for name in chosen if name not in stages]:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(stages)}")

    started = time.monotonic()
    outcomes = []
    interrupted = False
    try:
        for name in chosen:
            outcomes.append(run_stage(name, stages[name]))
    except KeyboardInterrupt:
        interrupted = True

    failures = [failure for outcome in outcomes for failure in outcome.failures]
    if interrupted:
        failures.append("interrupted")
    print(f"\n{len(outcomes)} of {len(chosen)} stages in {time.monotonic() - started:.0f} s")
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{sum(outcome.passed for outcome in outcomes)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # so that what runs is ended too
    sys.exit(main(sys.argv[1:]))
