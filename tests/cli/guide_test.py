#!/usr/bin/python3
"""The examples of docs/guide/cli.md print what the guide says.

Every ```console block is run, all of them in one shell against one server, in the order of the page: `$ ` begins a command, what follows
is its output. Times, tokens, ids and rates differ from run to run and are compared as such. `guide_test.py --write` puts the real output
into the page.
"""
import os
import pathlib
import re
import subprocess
import sys

from cli import Dislockd, Folder, environment, main, program

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide" / "cli.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
PORT = "5000"  # the guide's

VARYING = [
    (r" Waited [\d.]+ s\.", ""),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
    (r"\b[0-9a-f]{32}\b", "ID"),
    (r"\b\d{12,}\b", "TOKEN"),
    (r"\b(\d+(\.\d+)?(us|ms|s|m|h|d))+\b", "DURATION"),
    (r"\b\d+\.\d+\b(?!\.)", "NUMBER"),
    (r"\b\d+(/s| %)", r"NUMBER\1"),
    (r" +", " "),  # columns
]


def alike(text):
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return [line.strip() for line in text.strip().splitlines()]


def examples(text):
    """[(command, output)] of all blocks."""
    found = []
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def outputs(commands, server, folder):
    """What each of the commands prints, in one shell, where `$?` is that of the command before."""
    end = "---- end of an example ----"
    port = str(server.port)
    # A busy machine gets more time for what the guide does beside something else.
    slower = [re.sub(r"^sleep ([\d.]+)$", lambda m: f"sleep {float(m[1]) * 2}", c) for c in commands]
    script = "".join(f"{{ {c.replace(':' + PORT, ':' + port)}\n}} 2>&1; code=$?; echo '{end}'; (exit $code)\n" for c in slower)
    env = environment({"PATH": f"{program().parent}:{os.environ['PATH']}"})
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    # A table keeps its columns.
    text = re.sub(f":{port}( {{2,}}|)", lambda m: f":{PORT}{m[1]}" + " " * (len(port) - len(PORT) if m[1] else 0), done.stdout)
    parts = text.split(end + "\n")
    assert len(parts) == len(commands) + 1 and not parts[-1], f"{len(parts) - 1} of {len(commands)} examples ended: {done.stdout[-500:]}{done.stderr}"
    return [part.rstrip("\n") for part in parts[:-1]]


def printed():
    wanted = examples(GUIDE.read_text())
    assert len(wanted) > 30, "examples are missing"
    with Dislockd() as server, Folder() as folder:
        return wanted, outputs([command for command, _ in wanted], server, folder)


def test_every_example_prints_what_the_guide_says():
    wanted, got = printed()
    wrong = [f"$ {command}\n--- the guide\n{text}\n--- printed\n{out}" for (command, text), out in zip(wanted, got) if alike(text) != alike(out)]
    assert not wrong, "\n\n".join(wrong)


def test_the_guide_has_an_example_of_every_command():
    helped = subprocess.run([str(program()), "--help"], capture_output=True, text=True, env=environment(), check=True).stdout
    commands = re.findall(r"^  ([a-z]+)  ", helped.split("SUBCOMMANDS")[-1].split("Subcommands:")[-1], re.M)
    assert len(commands) >= 20, helped
    shown = "\n".join(command for command, _ in examples(GUIDE.read_text()))
    missing = [c for c in commands if f"dislock {c}" not in shown]
    assert not missing, missing


def test_the_guide_has_every_exit_code():
    text = GUIDE.read_text()
    for code in (0, 1, 2, 3, 4, 5, 7, 8, 122, 124, 125):
        assert re.search(rf"^\| {code} \|", text, re.M), code


def write():
    wanted, got = printed()
    new = iter(f"$ {command}\n{out}\n" if out else f"$ {command}\n" for (command, _), out in zip(wanted, got))

    def block(match):
        return "```console\n" + "".join(next(new) for line in match[1].splitlines() if line.startswith("$ ")) + "```"
    GUIDE.write_text(BLOCK.sub(block, GUIDE.read_text()))


if __name__ == "__main__":
    sys.exit(write() if sys.argv[1:] == ["--write"] else main(globals()))
