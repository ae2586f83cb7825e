#!/usr/bin/python3
"""`dislock` over three Redis servers of which a majority decides: every command is a process of its own, and none keeps the lock for another."""
import pathlib
import re
import subprocess
import sys

from cli import Cli, alive, eventually, main, new_mark, now

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fault"))
from redis_processes import Server  # noqa: E402


class Nodes:
    def __init__(self, *flags):
        self.flags, self.nodes = flags, []

    def __enter__(self):
        for _ in range(3):
            self.nodes.append(Server(*self.flags, proxied=False).start())
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.end()

    @property
    def url(self):
        return "redlock://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def holding(self, lock):
        return sum(node.say("EXISTS", f"lock:{lock}") for node in self.nodes if node.running())


def test_runs_a_command_under_a_lock_and_keeps_others_out():
    with Nodes() as nodes:
        cli = Cli(url=nodes.url)
        with cli.start("run", "a", "--client", "first", "--", "cat", stdin=subprocess.PIPE) as running:
            eventually(lambda: nodes.holding("a") == 3, what="held on all nodes")
            refused = cli.run("run", "--try", "a", "--", "true", code=124)
            assert "lock_not_acquired" in refused.err and "Held by first." in refused.err, refused
            assert cli.run("get", "a", "-o", "json").value["holders"][0]["clientId"] == "first"
            waiting = cli.start("run", "a", "--", "echo", "second")
            running.expect(0)
            assert waiting.expect(0).out == "second\n"
        assert nodes.holding("a") == 0
        tokens = [int(cli.run("run", "a", "--", "sh", "-c", "echo $DISLOCK_FENCING_TOKEN").out) for _ in range(3)]
        assert tokens == sorted(set(tokens)), tokens


def test_a_lock_goes_from_one_process_to_the_next():
    with Nodes() as nodes:
        cli = Cli(url=nodes.url)
        taken = cli.run("acquire", "orders/42", "--ttl", "20s", "--client", "worker-3", "-o", "json").value
        assert nodes.holding("orders/42") == 3
        mine = {"DISLOCK_LOCK_NAME": taken["lockName"], "DISLOCK_LOCK_ID": taken["lockId"], "DISLOCK_CLIENT_ID": "worker-3"}
        assert cli.run("renew", "--ttl", "60s", "-o", "json", env=mine).value["ttl"] > 55
        cli.run("acquire", "orders/42", "--try", code=3)
        cli.run("release", env=mine)
        assert nodes.holding("orders/42") == 0
        assert "lock_not_held" in cli.run("renew", env=mine, code=None).err
        cli.run("acquire", "orders/42", "--ttl", "20s")
        cli.run("revoke", "orders/42", "--reason", "over", "-y")
        eventually(lambda: nodes.holding("orders/42") == 0, what="taken away")


def test_one_dead_server_changes_nothing_and_two_end_the_command_in_time():
    with Nodes() as nodes:
        cli, mark = Cli(url=nodes.url), new_mark()
        with cli.start("run", "a", "--ttl", "2s", "--kill-after", "600ms", "--", "sh", "-c", "sleep 60", mark) as running:
            eventually(lambda: nodes.holding("a") == 3, what="held on all nodes")
            nodes.nodes[0].kill()
            began = now()
            while now() < began + 2.2:
                assert running.process.poll() is None, "the lease is renewed"
                cli.run("run", "--try", "a", "--", "true", code=124)
            nodes.nodes[1].kill()
            killed = now()
            running.expect(122)
            assert now() - killed < 2.0, "before the ttl is over"
            assert not alive(mark)
        got = cli.run("run", "--try", "a", "--", "true", code=None)
        assert got.code != 0 and "cannot be reached" in got.err and f"127.0.0.1:{nodes.nodes[1].port}" in got.err, got


def test_says_what_it_cannot_do():
    with Nodes() as nodes:
        cli = Cli(url=nodes.url)
        for flags, flag in ((["--shared"], "--shared"), (["--limit", "3"], "--limit"), (["--lock-delay", "2s"], "--lock-delay"), (["--ttl", "301s"], "--ttl")):
            got = cli.run("run", *flags, "a", "--", "true", code=None)
            assert got.code != 0 and re.match(rf"dislock: [^:]*{flag}[^:]*: ", got.err), got
        assert "every process knows its own" in cli.run("ls", code=1).err
        assert "redlock, class C" in cli.run("doctor", code=1).out
    got = Cli(url="redlock://127.0.0.1:1,127.0.0.1:2").run("run", "a", "--", "true", code=None)
    assert got.code != 0 and "odd number" in got.err and "--addr (or DISLOCK_URL)" in got.err, got


if __name__ == "__main__":
    sys.exit(main(globals()))
