#!/usr/bin/env python3
"""Concurrency rules that no compiler checks:

* no co_await inside the condition of an if, while, switch or for: g++ 12 miscompiles some of them without a warning
  (docs/adr/0005-clang.md). Write:  const auto answer = co_await x; if (answer) ...
* nothing is detached: a task_group counts, names and joins every coroutine
* the wall clock is read in src/base/clock only; everybody else is given a time

    tools/lint_coroutines.py [--self-test]

A file whose name contains `canary` may break the first rule: it shows the fault.
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import lint_text  # noqa: E402

CONDITION = re.compile(r"\b(if|while|switch|for)\b(?:\s+constexpr)?\s*\(")
AWAIT = re.compile(r"\bco_await\b")
FORBIDDEN = [
    (re.compile(r"\b" + "asio" + r"\s*::\s*" + "detached" + r"\b"), ("",), "nothing is detached: use a task_group"),
    (re.compile(r"\b" + "system_clock" + r"\s*::\s*" + "now" + r"\b"), ("src/base/clock",), "only src/base/clock reads the wall clock"),
]
# A raw string, a text, a character, or a comment. A digit before ' is a digit separator.
OPAQUE = re.compile(r'R"([^()\s\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', re.S)


def blanked(text):
    """The code with comments and literals replaced by blanks, so that lines and columns stay."""
    return OPAQUE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def condition_end(code, start):
    """Where the parenthesis closes that is open at `start`."""
    depth = 0
    for i in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return i
    return len(code)


def without_lambda_bodies(condition):
    while (shorter := re.sub(r"\{[^{}]*\}", lambda m: " " * len(m.group()), condition)) != condition:
        condition = shorter
    return condition


def problems(path, text):
    path = str(path)
    code = blanked(text)
    line_of = lambda at: code.count("\n", 0, at) + 1  # noqa: E731
    found = []
    if "canary" not in pathlib.PurePath(path).name:
        for match in CONDITION.finditer(code):
            start = match.end() - 1
            if AWAIT.search(without_lambda_bodies(code[start:condition_end(code, start)])):
                found.append(f"{path}:{line_of(match.start())}: co_await inside the condition of {match.group(1)}: take the result first")
    for pattern, allowed, why in FORBIDDEN:
        if any(place and path.startswith(place) for place in allowed):
            continue
        found += [f"{path}:{line_of(match.start())}: {why}" for match in pattern.finditer(code)]
    return found


def self_test():
    caught = ["if (co_await f()) {}", "while (!(co_await f())) {}", "for (auto x : co_await f()) {}", "switch (co_await f()) {}",
              "do {} while (\n  co_await f());", "if (auto x = g(1); co_await f(x)) {}", "if constexpr (co_await f()) {}",
              "spawn(x, boost::asio::" + "detached);", "std::chrono::system_clock" + "::now();",
              "const auto n = 1'000; if (co_await f('a')) {}"]
    passed = ["const auto x = co_await f(); if (x) {}", "if (x) co_await f();", "// if (co_await f())", "s = \"if (co_await f())\";",
              "if (run([] { co_await f(); })) {}", "for (;;) { co_await f(); }", "R\"(if (co_await f()))\"", "notify (co_await f());"]
    assert all(len(problems("src/x.cpp", text)) == 1 for text in caught), [t for t in caught if len(problems("src/x.cpp", t)) != 1]
    assert all(problems("src/x.cpp", text) == [] for text in passed), [t for t in passed if problems("src/x.cpp", t)]
    assert problems("src/base/clock.cpp", "std::chrono::system_clock" + "::now();") == []
    assert problems("tests/gcc_canary_test.cpp", caught[0]) == []


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    found = []
    for path in filter(lint_text.is_cpp, lint_text.files()):
        found += problems(path.as_posix(), (lint_text.ROOT / path).read_text())
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
