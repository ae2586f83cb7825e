#!/usr/bin/python3
"""When dislockd refuses to start: with which status, in which words, and that nothing is changed by it."""
import os
import re
import socket
import subprocess
import sys

from harness import HOST, Api, Dislockd, Store, binary, eventually, main


def start(*flags, environment=None):
    """Runs it to its end: (exit status, what it said on stderr)."""
    plain = ("REDIS_", "DISLOCK_", "DEFAULT_TIMEOUT", "MAX_TIMEOUT", "RENEWAL_INTERVAL", "DEADLOCK_DETECTION")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(plain)}
    ended = subprocess.run([str(binary()), *flags], capture_output=True, text=True, timeout=10, env={**kept, **(environment or {})}, check=False)
    assert "listening" not in ended.stdout, ended.stdout
    return ended.returncode, ended.stderr


def refused(status, pattern, *flags, environment=None):
    got, text = start(*flags, environment=environment)
    assert got == status, f"{flags}: exit status {got} instead of {status}: {text}"
    assert re.search(pattern, text), f"{flags}: does not say {pattern!r}: {text}"
    assert "terminate called" not in text and "what():" not in text, text
    return text


def tree(path):
    return {str(p.relative_to(path)): (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in sorted(path.rglob("*"))}


def test_a_second_process_on_a_store_is_told_who_has_it_and_the_first_goes_on():
    with Store() as store, Dislockd(engine=store.engine) as server:
        api = Api(server.port)
        held = api.hold("first", "h", timeout=60)
        for _ in range(3):
            refused(1, rf"in use by process {server.process.pid}\b", "--engine", store.engine, "--port", "0")
        api.call("POST", "/locks/first/renew", {"lockId": held["lockId"]}).expect(200)
        assert server.stop() == 0
        with Dislockd(engine=store.engine) as again:
            assert Api(again.port).holders("first") == ["h"]


def test_a_foreign_directory_is_left_as_it_is():
    with Store() as store:
        store.path.mkdir()
        (store.path / "thesis.txt").write_text("years of work")
        before = tree(store.path)
        refused(1, "not a dislock store.*thesis.txt", "--engine", store.engine, "--port", "0")
        assert tree(store.path) == before
        file = store.path / "thesis.txt"
        refused(1, "is a file", "--engine", f"embedded:{file}", "--port", "0")
        assert tree(store.path) == before


def test_a_store_of_a_newer_version_or_a_damaged_one_is_left_as_it_is():
    with Store() as store:
        with Dislockd(engine=store.engine) as server:
            Api(server.port).hold("a", "h", timeout=60)
            Api(server.port).hold("b", "h", timeout=60)  # in a second commit, whatever the first one held
            server.kill()
        whole = (store.path / "format").read_text()
        (store.path / "format").write_text(whole.replace("2", "3"))
        before = tree(store.path)
        refused(1, "format 3, written by a newer dislock.*formats up to 2", "--engine", store.engine, "--port", "0")
        (store.path / "format").write_text("something else\n")
        refused(1, "not the format file of a dislock store", "--engine", store.engine, "--port", "0")
        (store.path / "format").write_text(whole)
        newest = max((store.path / "records").glob("*.log"), key=lambda p: p.stat().st_size)
        good = newest.read_bytes()
        # In the first commit: later ones prove that it was whole once. Damage of the last one looks like a write that was cut off.
        newest.write_bytes(good[:30] + bytes(8) + good[38:])
        before = {k: v for k, v in tree(store.path).items() if k != "owner"}
        refused(1, "damaged and was left as it is", "--engine", store.engine, "--port", "0")
        assert {k: v for k, v in tree(store.path).items() if k != "owner"} == before
        newest.write_bytes(good)
        with Dislockd(engine=store.engine) as server:
            assert Api(server.port).holders("a") == ["h"]


def test_a_directory_that_cannot_be_written_is_named():
    with Store() as store:
        refused(1, "/proc/nothing", "--engine", "embedded:/proc/nothing/here", "--port", "0")
        del store


def test_other_addresses_than_loopback_need_insecure():
    refused(2, "--insecure", "--engine", "memory:", "--port", "0", "--listen", "0.0.0.0")
    refused(2, "--insecure", "--engine", "memory:", "--port", "0", "--listen", "::")
    refused(2, "--insecure", "--engine", "memory:", "--port", "0", environment={"DISLOCK_LISTEN": "0.0.0.0"})
    with Dislockd("--listen", "0.0.0.0", "--insecure", engine="memory:") as server:
        assert Api(server.port).call("GET", "/health").status == 200


def test_a_port_in_use_is_named_and_the_store_is_free_again():
    with Store() as store, socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        for engine in ("memory:", store.engine):
            refused(1, rf"{port}.*(?i:in use)", "--engine", engine, "--port", str(port))
        with Dislockd(engine=store.engine) as server:
            assert Api(server.port).call("GET", "/health").status == 200


def test_unknown_engines_are_named_without_their_password():
    for url in ("mysql://u:geheim@h/db", "embedded", "redis://u:geheim@h:port", "redlock://u:geheim@h,i", "postgres://u:geheim@h", "memory://x", "", "embedded:"):
        got, text = start("--engine", url, "--port", "0")
        assert got in (1, 2) and text.strip(), f"{url!r}: exit status {got}: {text}"
        assert "geheim" not in text, text
        assert "engine" in text, text


def test_parameters_of_a_redis_url_that_mean_nothing_are_named():
    refused(1, "'akcs'", "--engine", "redis://127.0.0.1:1?akcs=all")
    refused(1, "failover is exclusive or fence-only", "--engine", "redis+sentinel://127.0.0.1:1/m?failover=maybe")
    refused(2, "redis-acks.*all or none", "--redis-acks", "some", "--redis-host", "127.0.0.1")


def test_a_redis_that_is_not_there_is_waited_for_and_said_in_health():
    with Dislockd(engine="redis://u:geheim@127.0.0.1:1") as server:
        def why():
            got = Api(server.port).call("GET", "/health").expect(503)
            assert got["engine"]["name"] == "redis" and not got["engine"]["ready"], got
            return got["engine"]["detail"]

        eventually(lambda: "127.0.0.1:1" in why())
        assert "geheim" not in why() + server.output()
        assert server.stop() == 0


def test_unknown_keys_name_the_nearest():
    refused(2, "--prot.*--port", "--prot", "5001")
    refused(2, "DISLOCK_PROT.*DISLOCK_PORT", environment={"DISLOCK_PROT": "1"})
    refused(2, "port", "--port", "70000")
    refused(2, "max-timeout", "--max-timeout", "soon")
    refused(2, "/nowhere/x.toml", "--config", "/nowhere/x.toml")
    with Store() as store:
        store.path.mkdir()
        config = store.path / "dislock.toml"
        config.write_text("engin = 'memory:'\n")
        refused(2, "engin.*engine", "--config", str(config))


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
