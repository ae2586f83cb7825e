"""Programs of ours that use other people's lock libraries: fetches what they name, in exactly the versions that they name, and builds them.

A program is a folder: `requirements.txt` beside a .py, `package-lock.json` beside a .js, `go.sum` beside a .go, `pom.xml` beside a .java.
What comes of it lies in a folder of the build tree, and is made again only when a file of the program has changed.
"""
import concurrent.futures
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import time

ATTEMPTS = 3  # a registry may hiccup
PATIENCE = 300  # seconds, for one command
PYTHON = "/usr/bin/python3"  # the one that the packages of scripts/packages.txt belong to


class Missing(Exception):
    """A program cannot be made; the message is what its tools said."""


def prepare(folders, into):
    """Makes them all, at the same time; the commands that start them, by folder."""
    with concurrent.futures.ThreadPoolExecutor(len(folders)) as pool:
        return dict(zip(folders, pool.map(lambda folder: make(folder, into / folder.name), folders)))


def make(folder, into):
    for lock_file, recipe in (("requirements.txt", python), ("package-lock.json", node), ("go.sum", go), ("pom.xml", java)):
        if (folder / lock_file).exists():
            break
    else:
        raise Missing(f"{folder} names no dependencies")
    into.parent.mkdir(parents=True, exist_ok=True)
    with open(into.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once share one tree
        stamp, inputs = into / "made-of", digest(folder)
        if not stamp.exists() or stamp.read_text() != inputs:
            print(f"   fetching what {folder.name} needs", flush=True)
            began = time.monotonic()
            shutil.rmtree(into, ignore_errors=True)
            shutil.copytree(folder, into)
            command = recipe(into, True)
            stamp.write_text(inputs)
            print(f"   {folder.name} is ready, after {time.monotonic() - began:.0f} s", flush=True)
            return command
        return recipe(into, False)


def digest(folder):
    content = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        content.update(f"{path.relative_to(folder)}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return content.hexdigest()


def python(folder, fresh):
    if fresh:
        run([PYTHON, "-m", "venv", "venv"], folder)
        run(["venv/bin/pip", "install", "--quiet", "--no-deps", "--no-input", "--requirement", "requirements.txt"], folder, ATTEMPTS)
    return [str(folder / "venv/bin/python"), str(the_only(folder, "py"))]


def node(folder, fresh):
    if fresh:
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], folder, ATTEMPTS)
    return ["node", str(the_only(folder, "js"))]


def go(folder, fresh):
    if fresh:
        as_it_stands = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
        run(["go", "mod", "download"], folder, ATTEMPTS, **as_it_stands)
        run(["go", "build", "-buildvcs=false", "-o", "program", "."], folder, **as_it_stands)
    return [str(folder / "program")]


def java(folder, fresh):
    if fresh:
        run(["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=jars"], folder, ATTEMPTS)
        run(["javac", "-cp", "jars/*", "-d", "classes", str(the_only(folder, "java"))], folder)
    return ["java", "-cp", f"{folder}/classes:{folder}/jars/*", the_only(folder, "java").stem]


def the_only(folder, suffix):
    found = list(folder.glob(f"*.{suffix}"))
    if len(found) != 1:
        raise Missing(f"{folder} has {len(found)} files *.{suffix}")
    return found[0]


def run(command, folder, attempts=1, **environment):
    why = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(3)
        try:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
                                  env={**os.environ, **environment})
        except FileNotFoundError:
            raise Missing(f"{command[0]} is not installed; scripts/install-packages names the sections to install") from None
        except subprocess.TimeoutExpired:
            why = f"no end within {PATIENCE} s"
            continue
        if done.returncode == 0:
            return
        why = (done.stderr or done.stdout).strip()[-1500:]
    raise Missing(f"{pathlib.Path(folder).name}: {' '.join(map(str, command[:3]))} failed:\n{why}")
