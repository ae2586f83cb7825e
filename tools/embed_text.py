#!/usr/bin/env python3
"""Writes a C++ header that holds text files, one after another, so that the binary needs no file beside it.

usage: embed_text.py SOURCE... HEADER NAME [--namespace dislock::server]
"""
import argparse
import pathlib


def main(sources, header, name, namespace):
    text = "\n".join(pathlib.Path(source).read_text() for source in sources)
    pieces = [text[i : i + 8000] for i in range(0, len(text), 8000)]  # literals have a length limit
    body = "\n".join(f'    R"_text_({piece})_text_"' for piece in pieces)
    names = ", ".join(pathlib.Path(source).name for source in sources)
    out = (
        f"// Generated from {names} by tools/embed_text.py. Do not edit.\n#pragma once\n\n"
        f"#include <string_view>\n\nnamespace {namespace} {{\n\ninline constexpr std::string_view {name} =\n{body};\n\n"
        f"}}  // namespace {namespace}\n"
    )
    path = pathlib.Path(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != out:
        path.write_text(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", nargs="+")
    parser.add_argument("header")
    parser.add_argument("name")
    parser.add_argument("--namespace", default="dislock::server")
    main(**vars(parser.parse_args()))
