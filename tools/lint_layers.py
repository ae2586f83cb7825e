#!/usr/bin/env python3
"""Includes may only point the way that docs/internals/layout.md draws: a room sees the rooms above it, no others.

    tools/lint_layers.py [--self-test]
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import lint_text  # noqa: E402

# What a room may see besides itself and the public headers.
ROOMS = {
    "base": set(),
    "core": {"base"},
    "engine": {"base", "core"},
    "engines": {"base", "core", "engine"},
    "client": {"base", "core", "engine"},
    "http": {"base"},
    "server": {"base", "core", "engine", "engines", "client", "http"},
    "library": {"base", "core", "engine", "engines", "client", "http"},
}
# Engines do not know each other, with these exceptions: the embedded engine is the memory table with a journal, and redlock talks
# to its nodes with the client of redis.
ENGINES_THAT_SEE = {"embedded": {"memory"}, "redlock": {"redis"}}
# A library that only these places may name, so that it can be replaced there.
LIBRARIES = {
    "spdlog/": ("src/base/log.cpp",),
    "toml++/": ("src/server/config.cpp",),
    "CLI/": ("src/server/config.cpp", "apps/", "bench/", "tests/"),
    "rocksdb/": ("src/engines/embedded/",),
    "prometheus/": ("src/server/",),
    "boost/beast": ("src/base/boost_sources.cpp", "src/http/", "src/engines/etcd/", "src/library/remote/", "tests/", "bench/",
                    "apps/"),
    "boost/asio": ("src/base/", "src/engine/", "src/engines/", "src/client/", "src/http/", "src/library/remote/",
                   "src/library/store/", "src/server/", "include/", "apps/", "tests/", "bench/"),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def room_of(path):
    """('engines', 'redis') for src/engines/redis/x.cpp; (None, None) outside src."""
    parts = pathlib.PurePath(path).parts
    if len(parts) < 3 or parts[0] != "src" or parts[1] not in ROOMS:
        return None, None
    return parts[1], parts[2] if parts[1] == "engines" and len(parts) > 3 else None


def mistake(path, quote, target):
    """Why `path` may not include `target`, or None."""
    path = str(path)
    for library, places in LIBRARIES.items():
        if target.startswith(library) and not path.startswith(places):
            return f"only {' '.join(places)} may name {library.rstrip('/')}"
    here, engine_here = room_of(path)
    there, engine_there = room_of("src/" + target)
    if path.startswith("include/"):
        return f"a public header may not show src/{there}" if there else None
    if there is None or here is None:
        return None  # a public header, a library, the own folder; or the includer is a program or a test, which see all
    if quote == "<":
        return 'our own headers are included with ""'
    if here == there == "engines":
        if engine_here is None or engine_there in {engine_here, None} | ENGINES_THAT_SEE.get(engine_here, set()):
            return None
        return f"the engine {engine_here} may not know the engine {engine_there}"
    if there != here and there not in ROOMS[here]:
        return f"{here} may see {', '.join(sorted(ROOMS[here])) or 'no other room'}, not {there}"
    return None


def self_test():
    assert mistake("src/core/a.cpp", '"', "base/log.hpp") is None
    assert mistake("src/core/a.cpp", '"', "engine/engine.hpp")
    assert mistake("src/http/a.cpp", '"', "core/lock_table.hpp")
    assert mistake("src/engines/redis/a.cpp", '"', "engines/redis/b.hpp") is None
    assert mistake("src/engines/redis/a.cpp", '"', "engines/memory/b.hpp")
    assert mistake("src/engines/embedded/a.cpp", '"', "engines/memory/b.hpp") is None
    assert mistake("src/server/a.cpp", '"', "engines/redis/b.hpp") is None
    assert mistake("src/client/a.cpp", '"', "server/config.hpp")
    assert mistake("src/library/a.cpp", '"', "engines/memory/b.hpp") is None
    assert mistake("src/library/a.cpp", '"', "server/config.hpp")
    assert mistake("src/server/a.cpp", '"', "library/core.hpp")
    assert mistake("src/library/a.cpp", '"', "boost/asio/post.hpp")
    assert mistake("src/library/remote/a.cpp", "<", "boost/asio/post.hpp") is None
    assert mistake("src/core/a.cpp", "<", "boost/asio/post.hpp")
    assert mistake("src/core/a.cpp", "<", "base/ids.hpp")
    assert mistake("src/http/a.cpp", "<", "spdlog/spdlog.h")
    assert mistake("include/dislock/lease.hpp", '"', "client/session.hpp")
    assert mistake("apps/dislockd/main.cpp", '"', "server/config.hpp") is None
    assert mistake("src/core/a.cpp", '"', "dislock/errc.hpp") is None


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    found = []
    for path in filter(lint_text.is_cpp, lint_text.files()):
        for number, line in enumerate((lint_text.ROOT / path).read_text().split("\n"), 1):
            if (match := INCLUDE.match(line)) and (why := mistake(path.as_posix(), *match.groups())):
                found.append(f"{path}:{number}: {match.group(2)}: {why}")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
