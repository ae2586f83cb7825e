#!/usr/bin/python3
"""Makes one program of the C++ examples in a guide, so that what readers paste is what was run.

    guide_program.py docs/guide/cpp.md guide_cpp.cpp

Every ```cpp block becomes a test case, in the words of the heading above it; `#include` lines go to the top. Lines
`// => text` say what the block prints: the case fails when it prints anything else. A block behind
`<!-- not run: reason -->` is left out.
"""
import pathlib
import re
import sys

BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```cpp\n(.*?)```", re.S)
HEADING = re.compile(r"^#+ (.+)$", re.M)

PRELUDE = """// Made by tools/guide_program.py from {guide}: change that.
{includes}

#include <gtest/gtest.h>

namespace {{

#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"

using namespace std::chrono_literals;
"""

CASE = """
TEST({suite}, {name}) {{
  testing::internal::CaptureStdout();
#line {line} "{guide}"
{body}
  EXPECT_EQ(testing::internal::GetCapturedStdout(), {expected});
}}
"""


def title_above(text, position):
    headings = [match for match in HEADING.finditer(text, 0, position)]
    words = re.findall(r"[A-Za-z0-9]+", headings[-1].group(1)) if headings else ["Start"]
    return "".join(word[0].upper() + word[1:] for word in words)


def cases(text):
    seen = {}
    for match in BLOCK.finditer(text):
        if match.group(1):
            continue
        title = title_above(text, match.start())
        seen[title] = seen.get(title, 0) + 1
        name = title if seen[title] == 1 else f"{title}{seen[title]}"
        yield name, text.count("\n", 0, match.start(2)) + 1, match.group(2)


def as_literal(lines):
    if not lines:
        return '""'
    return "\n            ".join('"' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"' for line in lines)


def main(guide, output):
    text = pathlib.Path(guide).read_text()
    includes, parts = set(), []
    for name, line, body in cases(text):
        code = body.split("\n")
        includes.update(row for row in code if row.startswith("#include"))
        # an include keeps its line, so that errors point into the guide
        inside = "\n".join("" if row.startswith("#include") else row for row in code)
        expected = [row.split("// => ", 1)[1] for row in code if "// => " in row]
        parts.append(CASE.format(suite="Guide", name=name, line=line, guide=guide, body=inside, expected=as_literal(expected)))
    if not parts:
        sys.exit(f"{guide}: no example")
    top = PRELUDE.format(guide=pathlib.Path(guide).name, includes="\n".join(sorted(includes)))
    pathlib.Path(output).write_text(top + "".join(parts) + "\n}  // namespace\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
