#!/usr/bin/env python3
"""Text files: no trailing blanks, no CR, a newline at the end, no unresolved merge, and no path of somebody's machine.

    tools/lint_text.py [--fix]      --fix repairs all but the paths
    tools/lint_text.py --list-cpp   our C++ files, NUL-separated, for other tools
    tools/lint_text.py --self-test
"""
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED_FOLDERS = {"build", "node_modules", "target", "dist", "__pycache__"}
TEXT_SUFFIXES = {".cpp", ".hpp", ".h", ".py", ".md", ".txt", ".cmake", ".json", ".yaml", ".yml", ".toml", ".lua", ".sql", ".sh",
                 ".java", ".go", ".js", ".ts", ".html", ".css", ".proto", ""}
# Written in pieces, so that this file passes its own check.
SLASH = "/"
MACHINE_PATH = re.compile("(?<![A-Za-z0-9_.$}~)-])" + SLASH + "(?:" + "|".join(
    ["work" + SLASH + "(?:main|shared)", "root" + SLASH, "home" + SLASH + r"[a-z]", "Users" + SLASH + "[A-Za-z]",
     "tmp" + SLASH + "build-", "tmp" + SLASH + "bash_"]) + ")")


def files():
    """Every file of the tree that is ours, relative to the root. Needs no git, so that an archive can be checked too."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and (not f.startswith(".") or f == ".ci"))
        for name in sorted(names):
            path = pathlib.Path(folder, name)
            if path.suffix in TEXT_SUFFIXES and not path.is_symlink() and name != ".git":  # of a git worktree
                yield path.relative_to(ROOT)


def is_cpp(path):
    return path.suffix in (".cpp", ".hpp")


def repaired(text):
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    stripped = "\n".join(lines).rstrip("\n")
    return stripped + "\n" if stripped else ""


def problems(path, text):
    found = []
    if text != repaired(text):
        line = next((i for i, (a, b) in enumerate(zip(text.split("\n"), repaired(text).split("\n")), 1) if a != b), text.count("\n"))
        found.append(f"{path}:{line}: trailing blank, CR, or no single newline at the end")
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith(("<" * 7 + " ", ">" * 7 + " ")):
            found.append(f"{path}:{number}: an unresolved merge")
        if match := MACHINE_PATH.search(line):
            found.append(f"{path}:{number}: a path of one machine ({match.group()}...)")
    return found


def self_test():
    assert repaired("a \r\nb\t\n\n") == "a\nb\n" and repaired("") == ""
    assert problems("x", "fine\n") == []
    assert len(problems("x", "no newline")) == 1
    assert len(problems("x", "<" * 7 + " HEAD\n")) == 1
    bad = SLASH + "home" + SLASH + "ada" + SLASH + "x\n"
    assert len(problems("x", "see " + bad)) == 1 and problems("x", "https://example.org" + bad) == []


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    if arguments == ["--list-cpp"]:
        sys.stdout.write("".join(f"{path}\0" for path in files() if is_cpp(path)))
        return 0
    found = []
    for path in files():
        raw = (ROOT / path).read_bytes()
        if b"\0" in raw:
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            continue  # a fuzzing corpus and its like
        if "corpus" in path.parts or path.name == "LICENSE":
            continue
        if arguments == ["--fix"] and text != repaired(text):
            (ROOT / path).write_text(repaired(text), newline="")
            text = repaired(text)
        found += problems(path, text)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
