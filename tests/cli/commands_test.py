#!/usr/bin/python3
"""Every command but `run` and `top`: what it does, its JSON, and its exit codes."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

from cli import Api, Cli, Dislockd, Folder, Wire, eventually, main, new_mark, now, program, wait_until

NOWHERE = "http://127.0.0.1:1"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def evaluate(text):
    """What a shell has after `eval`."""
    shown = subprocess.run(["sh", "-c", text + "\nenv"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=True).stdout
    return {k: v for k, v in (line.split("=", 1) for line in shown.splitlines() if "=" in line) if k.startswith("DISLOCK_")}


def test_acquire_leaves_the_lock_held_and_release_gives_it_back():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        env = evaluate(cli.run("acquire", "orders/42", "--ttl", "60s", "-o", "env").out)
        assert set(env) == {"DISLOCK_LOCK_NAME", "DISLOCK_LOCK_ID", "DISLOCK_CLIENT_ID", "DISLOCK_FENCING_TOKEN", "DISLOCK_LEASE_EXPIRES_AT"}, env
        status = api.status("orders/42")
        assert [h["clientId"] for h in status["holders"]] == [env["DISLOCK_CLIENT_ID"]]
        assert str(status["holders"][0]["fencingToken"]) == env["DISLOCK_FENCING_TOKEN"]
        assert re.fullmatch(TIME, env["DISLOCK_LEASE_EXPIRES_AT"])
        before = status["holders"][0]["expiresAt"]

        renewed = cli.run("renew", "--ttl", "120s", "-o", "json", env=env).value
        assert renewed["renewed"] is True and 118 < renewed["ttl"] <= 120 and renewed["lockName"] == "orders/42", renewed
        assert api.status("orders/42")["holders"][0]["expiresAt"] > before
        assert evaluate(cli.run("renew", "-o", "env", env=env).out).keys() == {"DISLOCK_LEASE_EXPIRES_AT"}

        assert cli.run("release", env=env).out == ""
        assert not api.status("orders/42")["locked"]
        assert "lock_not_held" in cli.run("release", env=env, code=4).err
        assert "lock_not_held" in cli.run("renew", env=env, code=4).err


def test_an_acquired_lock_ends_with_its_ttl():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        cli.run("acquire", "a", "--ttl", "1s")
        assert api.status("a")["locked"]
        eventually(lambda: not api.status("a")["locked"], timeout=3)


def test_the_secret_can_come_from_a_file_or_from_stdin_and_never_from_the_command_line():
    with Dislockd() as server, Folder() as folder:
        cli, api = Cli(server), Api(server.port)
        for source in ("file", "stdin"):
            lease = cli.run("acquire", "a", "-o", "json").value
            assert lease["lockName"] == "a" and lease["mode"] == "exclusive" and lease["fencingToken"] > 0 and lease["ttl"] == 30, lease
            (folder / "id").write_text(lease["lockId"] + "\n")
            if source == "file":
                cli.run("renew", "a", "--lock-id-file", str(folder / "id"))
                cli.run("release", "a", "--lock-id-file", str(folder / "id"))
            else:
                assert cli.run("release", "a", "--lock-id-file", "-", "-o", "json", stdin=lease["lockId"]).value == {"lockName": "a", "released": True}
            assert not api.status("a")["locked"]
        assert "no flag --lock-id" in cli.run("release", "a", "--lock-id", "secret", code=2).err


def test_acquire_says_why_not():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        api.hold("a", "somebody", timeout=60)
        result = cli.run("acquire", "-n", "a", code=3)
        assert "somebody" in result.err and result.out == "", result
        problem = json.loads(cli.run("acquire", "-w", "200ms", "a", "-o", "json", code=3).err)
        assert problem["code"] == "lock_not_acquired" and problem["effect"] == "none" and problem["holders"][0]["clientId"] == "somebody", problem
        assert problem["waitTime"] >= 0.19
        assert Cli(url=NOWHERE).run("acquire", "a", code=5).err
        cli.run("acquire", "not a name", code=2)
        cli.run("acquire", "b", "--ttl", "1h", code=2)
        api.hold("semaphore", "c", timeout=60, mode="semaphore", limit=3)
        cli.run("acquire", "-n", "semaphore", "--limit", "4", code=3)


def test_acquire_takes_several_together_or_none():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        locks = cli.run("acquire", "a", "b", "c", "-o", "json").value["locks"]
        assert [x["lockName"] for x in locks] == ["a", "b", "c"] and len({x["lockId"] for x in locks}) == 3
        cli.run("acquire", "-n", "d", "b", code=3)
        assert not api.status("d")["locked"]


def test_acquire_with_hold_renews_until_it_is_told_to_end():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        with cli.start("acquire", "a", "--ttl", "1s", "--hold", "-o", "jsonl") as running:
            lease = json.loads(running.process.stdout.readline())
            assert "lockId" not in lease
            wait_until(now() + 1.5)
            assert api.status("a")["holders"][0]["fencingToken"] == lease["fencingToken"]
            running.signal(signal.SIGTERM)
            running.expect(0)
            assert not api.status("a")["locked"]
        with cli.start("acquire", "a", "--ttl", "2s", "--hold") as running:
            eventually(lambda: api.status("a")["locked"])
            cli.run("revoke", "a", "--reason", "test", "-y")
            assert "lost the lock a" in running.expect(4).err


def test_interrupted_while_it_waits_acquire_leaves_the_queue():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        api.hold("a", "h", timeout=60)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with cli.start("acquire", "a") as running:
                api.until_waiting("a", 1)
                running.signal(number)
                eventually(lambda: api.waiters("a") == [], timeout=1)
                running.expect(code)


def test_get_shows_a_lock_or_says_that_nobody_holds_it():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        idle = cli.run("get", "a", "-o", "json", code=1).value
        assert idle["locked"] is False and idle["holders"] == [] and idle["mode"] is None
        held = api.hold("a", "me", timeout=60, metadata={"pid": 5})
        shown = cli.run("get", "a", "-o", "json").value
        status = api.status("a")
        for member in ("lockName", "locked", "mode", "holderCount", "queueLength", "fencingToken"):
            assert shown[member] == status[member], member
        for member in ("clientId", "fencingToken", "mode", "acquiredAt", "expiresAt", "holdCount", "metadata", "autoRenew", "sessionBound"):
            assert shown["holders"][0][member] == status["holders"][0][member], member
        text = cli.run("get", "a").out
        assert re.search(r"HOLDER +me\n", text) and str(held["fencingToken"]) in text, text
        assert held["lockId"] not in text + json.dumps(shown)
        Cli(url=NOWHERE).run("get", "a", code=5)


def test_ls_lists_filters_and_sorts():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        assert cli.run("ls", "-o", "json", code=1).value == {"locks": []}
        assert cli.run("ls", code=1).err == "no locks are in use\n"
        for name in ("jobs/1", "jobs/2", "other"):
            api.hold(name, "c-" + name.replace("/", "-"), timeout=60)
        wire = Wire(server.port).acquire("jobs/2", "w", waitTimeout=20)
        api.until_waiting("jobs/2", 1)

        def names(*flags, code=0):
            return [x["lockName"] for x in cli.run("ls", *flags, "-o", "jsonl", code=code).lines]
        assert names() == ["jobs/1", "jobs/2", "other"]
        assert names("jobs/") == ["jobs/1", "jobs/2"]
        assert names("--waiting") == ["jobs/2"]
        assert names("--owner", "c-other") == ["other"]
        assert names("--sort", "waiting")[0] == "jobs/2"
        assert names("--sort", "age") == ["jobs/1", "jobs/2", "other"]
        assert names("--older-than", "1h", code=1) == []
        table = cli.run("ls").out.splitlines()
        assert table[0].split() == ["LOCK", "MODE", "HOLDER", "TOKEN", "HELD", "ENDS", "IN", "WAITING"] and len(table) == 4, table
        assert "METADATA" in cli.run("ls", "-o", "wide").out
        wire.close()


def test_waiters_shows_the_queue():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        assert cli.run("waiters", "a").err == "nobody waits for a\n"
        api.hold("a", "h", timeout=60)
        wires = [Wire(server.port).acquire("a", f"w{i}", waitTimeout=20) or None for i in range(3) if api.until_waiting("a", i) is None]
        api.until_waiting("a", 3)
        queue = cli.run("waiters", "a", "-o", "json").value["waiters"]
        assert [(w["position"], w["clientId"]) for w in queue] == [(1, "w0"), (2, "w1"), (3, "w2")], queue
        assert re.fullmatch(TIME, queue[0]["waitingSince"])
        for wire in wires:
            wire.close()


def test_watch_follows_events():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        api.release("early", api.hold("early", "x", timeout=60)["lockId"])
        with cli.start("watch", "jobs/", "-o", "jsonl", "--count", "3") as running:
            wait_until(now() + 0.5)  # it follows from the moment that it asks; there is nothing to see of that
            api.hold("elsewhere", "c", timeout=60)
            held = api.hold("jobs/1", "c", timeout=60)
            api.release("jobs/1", held["lockId"])
            api.hold("jobs/2", "c", timeout=60)
            events = running.expect(0).lines
        assert [(e["type"], e["lockName"]) for e in events] == [("acquired", "jobs/1"), ("released", "jobs/1"), ("acquired", "jobs/2")], events
        assert events[0]["fencingToken"] == held["fencingToken"] and events[0]["id"] < events[1]["id"] and re.fullmatch(TIME, events[0]["at"])
        again = cli.run("watch", "--since", str(events[0]["id"]), "--count", "1", "-o", "jsonl").lines
        assert again == [events[1]], "from the log"
        only = cli.run("watch", "--since", str(events[0]["id"]), "--event", "acquired", "--count", "1").out
        assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  acquired +jobs/2 ", only), only
        with cli.start("watch") as running:
            wait_until(now() + 0.3)
            running.signal(signal.SIGINT)
            running.expect(-signal.SIGINT)  # 130 in a shell
        Cli(url=NOWHERE).run("watch", code=5)


def test_graph_shows_who_waits_for_whom():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        assert cli.run("graph").out == "nobody waits\n"
        api.hold("a", "alice", timeout=60)
        wire = Wire(server.port).acquire("a", "bob", waitTimeout=20)
        api.until_waiting("a", 1)
        assert cli.run("graph").out == "alice\n  bob  waits for a\n"
        shown = cli.run("graph", "-o", "json").value
        assert shown == {"edges": [{"from": "bob", "to": "alice", "lockName": "a", "behind": False}], "cycles": []}, shown
        assert cli.run("graph", "--format", "json").value == shown
        assert '"bob" -> "alice" [label="a"]' in cli.run("graph", "--format", "dot").out
        cli.run("graph", "--fail-on-cycle")
        wire.close()


def test_deadlocks_shows_victim_and_cycle():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        assert cli.run("deadlocks", "-o", "json").value == {"deadlocks": []}
        api.hold("a", "alice", timeout=60)
        api.hold("b", "bob", timeout=60)
        wire = Wire(server.port).acquire("b", "alice", waitTimeout=20)
        api.until_waiting("b", 1)
        result = cli.run("acquire", "a", "--client", "bob", code=7)
        assert "alice waits for b" in result.err, result
        found = cli.run("deadlocks", "-o", "json").value["deadlocks"]
        assert len(found) == 1 and found[0]["victim"] == "bob" and {s["clientId"] for s in found[0]["cycle"]} == {"alice", "bob"}, found
        assert "bob waits for a, held by alice" in cli.run("deadlocks").out
        wire.close()


def test_elect_has_one_leader_whose_value_everybody_sees():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        cli.run("elect", "--observe", "--once", "boss", code=1)
        with cli.start("elect", "-l", "boss", "-o", "jsonl") as observer:
            read = lambda: json.loads(observer.process.stdout.readline())  # noqa: E731
            assert read() == {"election": "boss", "leader": None}
            with cli.start("elect", "boss", "10.0.0.1:80", "--ttl", "2s") as first:
                assert first.process.stdout.readline() == "10.0.0.1:80\n"
                assert read()["value"] == "10.0.0.1:80"
                assert cli.run("elect", "-l", "--once", "boss").out == "10.0.0.1:80\n"
                with cli.start("elect", "boss", "two", "--", "sh", "-c", "echo $DISLOCK_ELECTION_VALUE $DISLOCK_FENCING_TOKEN; exit 4") as second:
                    api.until_waiting("boss", 1)
                    first.signal(signal.SIGTERM)
                    first.expect(0)
                    assert re.fullmatch(r"two \d+\n", second.expect(4).out)
                values = [read().get("value")]
                while values[-1] is not None:
                    values.append(read().get("value"))
                assert "two" in values or values == [None], values
            observer.signal(signal.SIGINT)
            observer.expect(-signal.SIGINT)
        with cli.start("elect", "boss", "x", "--ttl", "1s") as leader:
            assert leader.process.stdout.readline() == "x\n"
            server.kill()
            assert "no longer the leader" in leader.expect(4).err
        Cli(url=NOWHERE).run("elect", "boss", "x", code=5)
        Cli(url=NOWHERE).run("elect", "boss", "x", "--", "true", code=125)


def test_revoke_takes_a_lock_away_when_it_is_meant():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        token = api.hold("a", "h", timeout=60)["fencingToken"]
        assert "--reason" in cli.run("revoke", "a", "-y", code=2).err
        assert "--yes" in cli.run("revoke", "a", "--reason", "stuck", stdin="", code=2).err
        assert "--confirm" in cli.run("revoke", "a", "--reason", "stuck", "--confirm", "b", code=2).err
        cli.run("revoke", "a", "--reason", "stuck", "-y", "--token", str(token + 1), code=4)
        dry = cli.run("revoke", "a", "--reason", "stuck", "--dry-run", "-o", "json").value
        assert dry["revoked"] == [] and dry["wouldRevoke"][0]["clientId"] == "h"
        assert api.status("a")["locked"]
        assert cli.run("revoke", "a", "--reason", "stuck", "--confirm", "a", "-o", "json").value == {"lockName": "a", "revoked": [token], "reason": "stuck"}
        assert not api.status("a")["locked"]
        cli.run("revoke", "a", "--reason", "stuck", "-y", code=4)
        Cli(url=NOWHERE).run("revoke", "a", "--reason", "x", "-y", code=5)


def test_check_is_a_probe():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        assert cli.run("check").out.startswith("ok: answers in ")
        api.hold("a", "h", timeout=60)
        wire = Wire(server.port).acquire("a", "w", waitTimeout=20)
        api.until_waiting("a", 1)
        wait_until(now() + 0.3)
        assert "1 wait for a" in cli.run("check", "--max-queue", "0", code=1).out
        assert "has waited" in cli.run("check", "--max-wait", "100ms", code=1).out
        assert "h has held a" in cli.run("check", "a", "--max-hold", "100ms", code=1).out
        cli.run("check", "a", "--held-by", "h", "--held", "--max-wait", "1h")
        cli.run("check", "a", "--held-by", "other", code=1)
        cli.run("check", "a", "--free", code=1)
        cli.run("check", "b", "--held", code=1)
        cli.run("check", "--held", code=2)
        value = cli.run("check", "--max-queue", "0", "--format", "json", code=1).value
        assert value["ok"] is False and value["locks"] == 1 and value["longestQueue"] == 1 and value["longestWait"] >= 0, value
        assert re.match(r"DISLOCK OK - 1 locks in use \| rtt=[\d.]+s locks=1 queue=1 ", cli.run("check", "--format", "nagios").out)
        assert cli.run("check", "--max-queue", "0", "--format", "nagios", code=1).out.startswith("DISLOCK WARNING - 1 wait for a")
        assert Cli(url=NOWHERE).run("check", "--format", "nagios", code=2).out.startswith("DISLOCK CRITICAL - ")
        text = cli.run("check", "--format", "prometheus").out
        assert "dislock_check_up 1\n" in text and "dislock_check_longest_queue 1\n" in text, text
        assert "dislock_check_up 0\n" in Cli(url=NOWHERE).run("check", "--format", "prometheus", code=5).out
        Cli(url=NOWHERE).run("check", code=5)
        wire.close()


def test_doctor_finds_what_is_wrong():
    with Dislockd() as server:
        cli = Cli(server)
        checks = {c["check"]: c for c in cli.run("doctor", "-o", "json", code=1).value["checks"]}
        assert checks["TCP"]["verdict"] == checks["HTTP"]["verdict"] == checks["round trips"]["verdict"] == checks["version"]["verdict"] == "ok", checks
        assert checks["engine"]["verdict"] == "warning" and "not durable" in checks["engine"]["found"]
        assert "clock" in checks
        text = cli.run("doctor", code=1).out
        assert re.search(r"^ok +TCP +127.0.0.1:\d+", text, re.M), text
        assert "tcp://" in cli.run("doctor", env={"REDIS_PORT": "tcp://10.0.0.1:6379"}, code=1).out
    nowhere = Cli(url=NOWHERE).run("doctor", code=2)
    assert re.search(r"^failure +TCP +127.0.0.1:1: Connection refused", nowhere.out, re.M), nowhere
    assert "failure" in Cli(url="http://no-such-host.invalid:5000").run("doctor", code=2).out


def test_doctor_recognises_another_program_on_the_port():
    import socket
    import threading
    for answer, words in ((b"HTTP/1.1 403 Forbidden\r\nServer: AirTunes/670.6.2\r\nContent-Length: 0\r\n\r\n", "AirPlay"),
                          (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "another program"), (b"SSH-2.0-OpenSSH_9\r\n", "not HTTP")):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve(listener=listener, answer=answer):
                peer, _ = listener.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(answer)
            thread = threading.Thread(target=serve)
            thread.start()
            result = Cli(url=f"http://127.0.0.1:{listener.getsockname()[1]}").run("doctor", code=2)
            thread.join()
            assert words in result.out, result


def test_bench_measures():
    with Dislockd() as server:
        cli = Cli(server)
        value = cli.run("bench", "--concurrent", "20", "--operations", "1000", "-o", "json").value
        assert value["operations"] == 1000 and value["concurrent"] == 20 and value["keys"] == 20 and value["errors"] == {}, value
        for what in ("acquire", "release"):
            p = value[what]
            assert 0 < p["p50"] <= p["p90"] <= p["p99"] <= p["p999"] <= p["max"], value
        assert abs(value["pairsPerSecond"] - 1000 / value["seconds"]) < 1
        assert Api(server.port).metric("distributed_locks_acquired_total") == 1000
        text = cli.run("bench", "--concurrent", "5", "--operations", "100", "--contended").out
        assert re.search(r"100 pairs of acquire and release in [\d.]+ s: \d+/s", text) and "p99.9" in text, text
        assert cli.run("bench", "--keys", "3", "--operations", "50", "--concurrent", "4", "-o", "json").value["keys"] == 3
        timed = cli.run("bench", "--for", "500ms", "--concurrent", "2", "-o", "json").value
        assert 0.4 < timed["seconds"] < 3 and timed["operations"] > 0
        Api(server.port).hold("fixed/0", "h", timeout=60)
        busy = cli.run("bench", "--contended", "--prefix", "fixed/", "--wait", "0", "--operations", "3", "--concurrent", "1", "-o", "json", code=3).value
        assert busy["errors"] == {"lock_not_acquired": 3}
    Cli(url=NOWHERE).run("bench", code=5)


def test_bench_can_be_interrupted():
    with Dislockd() as server:
        with Cli(server).start("bench", "--for", "60s", "--concurrent", "4") as running:
            eventually(lambda: Api(server.port).metric("distributed_locks_acquired_total") > 10)
            running.signal(signal.SIGINT)
            assert "pairs of acquire" in running.expect(130).out


def test_errors_config_version_and_completion():
    with Dislockd() as server:
        cli = Cli(server)
        codes = cli.run("errors", "-o", "json").value["errors"]
        contract = json.loads((pathlib.Path(__file__).resolve().parents[2] / "api" / "errors.json").read_text())
        assert [e["code"] for e in codes] == [e["code"] for e in contract["errors"]]
        one = cli.run("errors", "outcome_unknown", "-o", "json").value
        assert one["effect"] == "unknown" and one["exitCode"] == 5 and one["httpStatus"] == 503, one
        cli.run("errors", "no_such_code", code=1)

        settings = {s["name"]: s for s in cli.run("config", "explain", "-o", "json", env={"DISLOCK_ADDR": "http://elsewhere"}).value["settings"]}
        assert settings["address"] == {**settings["address"], "value": cli.url, "source": "DISLOCK_URL", "overridden": ["DISLOCK_ADDR=http://elsewhere"]}
        assert "DISLOCK_URL" in cli.run("config", "explain").out

        version = cli.run("version", "-o", "json").value
        assert version["client"] == version["service"] and version["engine"] == "memory" and version["class"] in "ABC", version
        assert Cli(url=NOWHERE).run("version", code=5).out.startswith("CLIENT")
        assert cli.run("version", "--client-only", "-o", "json").value == {"client": version["client"]}
        assert cli.run("--version").out == f"dislock {version['client']}\n"

        script = cli.run("completion", "bash").out
        words = subprocess.run(["bash", "-c", script + "\nCOMP_WORDS=(dislock run --ki); COMP_CWORD=2; _dislock; echo ${COMPREPLY[@]}\n"
                                "COMP_WORDS=(dislock el); COMP_CWORD=1; _dislock; echo ${COMPREPLY[@]}"], capture_output=True, text=True, check=True)
        assert words.stdout == "--kill-after\nelect\n" and words.stderr == "", words
        for shell in ("zsh", "fish"):
            assert "kill-after" in cli.run("completion", shell).out
        cli.run("completion", "tcsh", code=2)


def test_usage_errors_are_one_sentence_that_names_the_flag():
    cli = Cli(url=NOWHERE)
    assert "127.0.0.1:1: Connection refused" in cli.run("ls", code=5).err
    for arguments, words in (([], "Usage"), (["lock"], "no command 'lock'"), (["ls", "--sort", "size"], "--sort"), (["get"], "NAME"),
                             (["ls", "-o", "yaml"], "--output"), (["acquire", "a", "--ttl", "x"], "--ttl"), (["get", "a", "b"], "'b'"),
                             (["bench", "--concurrent", "none"], "--concurrent must be a whole number"), (["acquire", "a", "--limit", "-1"], "--limit"),
                             (["watch", "--event", "relased"], "released"), (["ls", "-a", "nonsense://x"], "--addr"), (["ls", "-a", "h:99999"], "--addr"),
                             (["acquire", "a", "-a", "memory:", "--ttl", "1ms"], "--ttl"), (["acquire", "a", "-a", "memory:", "--client", "x y"], "--client"),
                             (["acquire", "a", "-a", "memory:", "--lock-delay", "90s"], "--lock-delay"), (["top", "--interval", "1ms"], "--interval")):
        result = cli.run(*arguments, code=2)
        assert words in result.err and result.out == "", result
        assert not arguments or result.err.count("\n") == 1, result


def test_no_secret_is_shown_where_nobody_asked_for_it():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        held = api.hold("a", "h", timeout=60, requestId=new_mark())
        for command in (["get", "a"], ["ls"], ["waiters", "a"], ["graph"], ["top", "--once", "--interval", "100ms"], ["check"], ["watch", "--since", "0", "--count", "1"]):
            if command[0] == "watch":
                continue
            for how in ("table", "wide", "json"):
                result = cli.run(*command, "-o", how)
                assert held["lockId"] not in result.out + result.err and held["renewalToken"] not in result.out, command


def test_any_engine_url_will_do():
    with Folder() as folder:
        cli = Cli(url=f"embedded:{folder}/store")
        env = evaluate(cli.run("acquire", "a", "--ttl", "60s", "-o", "env").out)
        assert cli.run("get", "a", "-o", "json").value["locked"] is True, "it is on disk"
        cli.run("run", "-n", "a", "--", "true", code=124)
        cli.run("release", env=env)
        cli.run("run", "a", "--", "sh", "-c", "exit 3", code=3)
        cli.run("elect", "--observe", "--once", "boss", code=1)
        cli.run("doctor")
    Cli(url="memory:").run("run", "a", "--", "sh", "-c", "exit 3", code=3)
    assert Cli(url="memory:").run("bench", "--operations", "2000", "-o", "json").value["errors"] == {}
    Cli(url="nonsense://x").run("get", "a", code=2)


if __name__ == "__main__":
    sys.exit(main(globals()))
