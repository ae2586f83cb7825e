#!/usr/bin/env python3
"""Writes a C++ header that holds a text file, so that the binary needs no file beside it.

usage: embed_text.py SOURCE HEADER NAME
"""
import pathlib
import sys


def main(source, header, name):
    text = pathlib.Path(source).read_text()
    pieces = [text[i : i + 8000] for i in range(0, len(text), 8000)]  # literals have a length limit
    body = "\n".join(f'    R"_text_({piece})_text_"' for piece in pieces)
    out = (
        f"// Generated from {pathlib.Path(source).name} by tools/embed_text.py. Do not edit.\n#pragma once\n\n"
        f"#include <string_view>\n\nnamespace dislock::server {{\n\ninline constexpr std::string_view {name} =\n{body};\n\n"
        "}  // namespace dislock::server\n"
    )
    path = pathlib.Path(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != out:
        path.write_text(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
