"""Programs outside of the tree find, build and use the library: by CMake, by pkg-config and as a subdirectory."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CONSUMER = pathlib.Path(__file__).resolve().parent / "consumer"
COMPILERS = ["clang++-16", "g++-12"]


def run(*command, **settings):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=900, **settings)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--build", BUILD, "--target", "dislock", "dislockd", "dislock_program")
    run("cmake", "--install", BUILD, "--prefix", prefix)
    return prefix


def library_folder(prefix):
    return next(prefix.rglob("libdislock.so")).parent


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_consumer_finds_it_by_find_package(installed, tmp_path, compiler):
    run("cmake", "-S", CONSUMER, "-B", tmp_path, "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "consumer") == "all is well\n"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_consumer_finds_it_by_pkg_config(installed, tmp_path, compiler):
    folder = library_folder(installed)
    flags = run("pkg-config", "--cflags", "--libs", "dislock", env={**os.environ, "PKG_CONFIG_PATH": str(folder / "pkgconfig")}).split()
    run(compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "consumer", CONSUMER / "main.cpp", *flags)
    assert run(tmp_path / "consumer", env={**os.environ, "LD_LIBRARY_PATH": str(folder)}) == "all is well\n"


def test_a_consumer_adds_it_as_a_subdirectory(tmp_path):
    run("cmake", "-S", CONSUMER, "-B", tmp_path, "-G", "Ninja", "-DCMAKE_CXX_COMPILER=clang++-16", f"-DDISLOCK_SOURCE={ROOT}",
        "-DCMAKE_CXX_FLAGS=-O0")  # it is there to be built, not to be fast
    run("cmake", "--build", tmp_path, "--target", "consumer")
    assert run(tmp_path / "consumer") == "all is well\n"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_public_header_stands_alone_and_pulls_in_no_heavy_library(installed, tmp_path, compiler):
    include = installed / "include"
    headers = sorted((include / "dislock").glob("*.hpp"))
    assert len(headers) > 5
    for header in headers:
        source = tmp_path / "one.cpp"
        source.write_text(f"#include <dislock/{header.name}>\n#include <dislock/{header.name}>\n")
        seen = run(compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-H", f"-I{include}", source)
        assert seen == ""
        listed = subprocess.run([compiler, "-std=c++20", "-M", f"-I{include}", str(source)], capture_output=True, text=True, check=True).stdout
        for heavy in ("boost/asio", "boost/beast", "rocksdb/", "boost/json", "spdlog"):
            assert heavy not in listed, f"{header.name} includes {heavy}"


def test_the_library_shows_only_its_own_names(installed):
    """Another RocksDB, Boost or spdlog in the same program must not meet ours."""
    folder = library_folder(installed)
    names = run("nm", "-D", "--defined-only", "--demangle", folder / "libdislock.so")
    strangers = [line for line in names.splitlines() if " T " in line and not re.search(r"dislock::", line)]
    assert not strangers, strangers[:10]
    inner = [line for line in names.splitlines() if re.search(r" T dislock::(core|embedded|http|server)::", line)]
    assert not inner, inner[:10]


def test_the_installed_programs_run(installed):
    assert "dislockd 0." in run(installed / "bin" / "dislockd", "--version")
    assert "dislock 0." in run(installed / "bin" / "dislock", "--version")


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", *sys.argv[1:]]))
