#!/usr/bin/python3
"""Runs the README's shell blocks that are marked with `<!-- walkthrough -->`, and compares what they print.

    /usr/bin/python3 tests/e2e/walkthrough_test.py [FILE.md ...]      default: README.md

All marked blocks of a file run in order in one bash, in an empty directory, against one server of the test's own:

  - a line with `./scripts/run` is left out: the server runs already;
  - `127.0.0.1:5000` and `localhost:5000` become its real address, `./build/bin/` the folder of the binary;
  - DISLOCK_PORT, DISLOCK_URL and DISLOCK_ENGINE are set for it, and that folder is in PATH.

A line `# => PATTERN` says what the commands above it (since the last pattern) print: the pattern is one line, `...` in it
stands for anything, and several patterns in a row must match in this order, other lines may stand between them.
A command that fails ends the walkthrough; write `|| true` where that is what it shows.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/contract"))
from dislockd_process import Dislockd, binary  # noqa: E402

BLOCK = re.compile(r"^<!-- walkthrough -->[ \t]*\n+```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATTERN = re.compile(r"^\s*#\s*=>\s?(.*)$")


def steps_of(text):
    """[(commands, patterns)]: each step is the lines up to the last of the patterns that follow them."""
    steps = []
    for block in BLOCK.findall(text):
        commands, patterns = [], []
        for line in block.splitlines():
            if found := PATTERN.match(line):
                patterns.append(found[1].strip())
                continue
            if patterns:
                steps.append((commands, patterns))
                commands, patterns = [], []
            if "./scripts/run" not in line:
                commands.append(line)
        if any(c.strip() for c in commands) or patterns:
            steps.append((commands, patterns))
    return steps


def unmatched(patterns, output):
    """The first pattern that no line matches, in order; or None."""
    lines = iter(output.splitlines())
    for pattern in patterns:
        expression = re.compile(r"\s*" + ".*".join(re.escape(part) for part in pattern.split("...")) + r"\s*")
        if not any(expression.fullmatch(line) for line in lines):
            return pattern
    return None


def run(steps, environment, substitute=lambda text: text, timeout=120):
    """The failures of the steps, in one bash in an empty directory."""
    mark = "@@walkthrough-step@@"
    script = "set -eo pipefail\nexec 2>&1\n" + "".join("\n".join(map(substitute, commands)) + f"\nprintf '\\n{mark}\\n'\n" for commands, _ in steps)
    with tempfile.TemporaryDirectory(prefix="dislock-walkthrough-") as directory:
        path = pathlib.Path(directory) / ".walkthrough"
        path.write_text(script)
        out = pathlib.Path(directory) / ".output"
        with out.open("wb") as sink:  # a file, not a pipe: a job left in the background must not keep us waiting
            process = subprocess.Popen(["bash", str(path)], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                status = f"nothing after {timeout} s"
        outputs = out.read_text(errors="replace").split(mark)
    failures = []
    for index, (commands, patterns) in enumerate(steps):
        shown = "\n".join(c for c in commands if c.strip())
        if index >= len(outputs) - 1:
            failures.append(f"step {index + 1} ended with {status}:\n{shown}\n--- it printed\n{outputs[-1].strip()}")
            break
        if (missing := unmatched(patterns, outputs[index])) is not None:
            failures.append(f"step {index + 1}:\n{shown}\n--- should print\n{missing}\n--- but printed\n{outputs[index].strip()}")
    return failures


def self_check():
    text = "\n".join(["text", "```sh", "exit 9", "```", "<!-- walkthrough -->", "```sh", "./scripts/run --port 5000 &", "X=7", 'echo "{\\"acquired\\":true,\\"lockId\\":\\"$X\\"}"',
                      '# => {"acquired":true,...}', "cat <<E", "one", "two", "E", "# => one", "# => two", "```", "<!-- walkthrough -->", "```bash", "echo $X; pwd", "# => 7", "# => /...", "```"])
    steps = steps_of(text)
    assert len(steps) == 3 and steps[1][1] == ["one", "two"]
    environment = {"PATH": os.environ["PATH"]}
    assert run(steps, environment) == []
    assert "should print" in run([(["echo no"], ["yes"])], environment)[0]
    assert "should print" in run([(["echo 1; echo 2"], ["2", "1"])], environment)[0]
    assert "ended with 3" in run([(["echo a; (exit 3)"], ["a"]), (["echo b"], ["b"])], environment)[0]
    assert unmatched(["a...c"], "abcd") == "a...c" and unmatched(["a.c"], "abc") == "a.c" and unmatched(["a...c"], "  abbbc ") is None


def walk(path):
    text = path.read_text()
    steps = steps_of(text)
    if not steps or not any(patterns for _, patterns in steps):
        return [f"{path.name} has no walkthrough, or none that says what it prints"]
    with tempfile.TemporaryDirectory(prefix="dislock-data-") as data:
        engine = f"embedded:{data}/locks"
        with Dislockd(engine=engine) as server:
            def substitute(line):
                for host in ("127.0.0.1", "localhost"):
                    line = line.replace(f"{host}:5000", server.address)
                return line.replace("./build/bin/", f"{binary().parent}/")

            environment = {**os.environ, "DISLOCK_PORT": str(server.port), "DISLOCK_URL": f"http://{server.address}", "DISLOCK_ENGINE": engine,
                           "PATH": f"{binary().parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
            failures = run(steps, environment, substitute)
            if not server.running():
                failures.append(f"the server ended:\n{server.output()[-2000:]}")
            print(f"{path.name}: {len(steps)} steps, {sum(len(p) for _, p in steps)} lines compared")
            if not failures:
                print(f"ok {path.name} prints what it says")
            return failures


def main():
    self_check()
    if sys.argv[1:] == ["--self-check"]:
        return 0
    names = sys.argv[1:] or [ROOT / "README.md"]
    walks = [walk(pathlib.Path(name)) for name in names]
    failures = [failure for each in walks for failure in each]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{sum(not each for each in walks)} passed, {len(failures)} failed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
