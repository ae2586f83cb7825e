#!/usr/bin/python3
"""`dislock run`: the command's exit code and environment, and that nothing of it is alive when somebody else can have the lock."""
import contextlib
import json
import os
import signal
import subprocess
import sys

from cli import (PYTHON, Api, Cli, Dislockd, Folder, Store, Wire, alive, eventually, frozen, heart, main, new_mark, now,
                 program, stat_of, wait_until)

FAST = ["--ttl", "3s", "--kill-after", "800ms"]


def next_grant(wire):
    """When somebody else got the lock, and its token."""
    reply = wire.read().expect(200)
    return now(), reply["fencingToken"]


def no_more(mark, timeout=5):
    eventually(lambda: not alive(mark), timeout=timeout, what=f"nothing of {mark} lives")


def test_keeps_the_exit_code_of_the_command():
    with Dislockd() as server:
        cli = Cli(server)
        for code in (0, 1, 7, 121, 255):
            assert cli.run("run", "a", "--", "sh", "-c", f"exit {code}", code=code).err == ""
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1):
            cli.run("run", "a", "--", "sh", "-c", f"kill -{int(number)} $$", code=128 + number)


def test_says_when_there_is_no_such_command_or_it_cannot_be_run():
    with Dislockd() as server, Folder() as folder:
        cli = Cli(server)
        assert "cannot run 'no-such-program'" in cli.run("run", "a", "--", "no-such-program", code=127).err
        (folder / "plain").write_text("not a program")
        cli.run("run", "a", "--", str(folder / "plain"), code=126)
        assert not Api(server.port).status("a")["locked"], "the lock was given back"


def test_holds_the_lock_while_the_command_runs_and_not_longer():
    with Dislockd() as server:
        api, cli = Api(server.port), Cli(server)
        with cli.start("run", "a", "-m", "host=h1", "--", "cat", stdin=subprocess.PIPE) as running:
            status = eventually(lambda: (s := api.status("a"))["locked"] and s)
            assert status["holders"][0]["metadata"] == {"host": "h1"}
            running.expect(0)  # closes its stdin
        assert not api.status("a")["locked"]


def test_leaves_the_standard_streams_to_the_command():
    with Dislockd() as server:
        result = Cli(server).run("run", "a", "--", "sh", "-c", "cat; echo complaint >&2", stdin="some text\n")
        assert (result.out, result.err) == ("some text\n", "complaint\n")


def test_tells_the_command_about_its_lock():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        outer = {"DISLOCK_LOCK_NAME": "outer", "DISLOCK_LOCK_ID": "a-secret", "DISLOCK_FENCING_TOKEN": "1"}
        with cli.start("run", "inner", "--", PYTHON, "-c", "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()",
                       env=outer, stdin=subprocess.PIPE) as running:
            env = json.loads(running.process.stdout.readline())
            token = int(env["DISLOCK_FENCING_TOKEN"])
            assert api.call("POST", "/locks/inner/validate", {"fencingToken": token}).expect(200)["current"] is True
            holder = api.status("inner")["holders"][0]
            assert env["DISLOCK_LOCK_HELD"] == "1" and env["DISLOCK_LOCK_NAME"] == "inner", env
            assert env["DISLOCK_CLIENT_ID"] == holder["clientId"] and env["DISLOCK_LOCK_MODE"] == "exclusive"
            assert "2000" < env["DISLOCK_LEASE_EXPIRES_AT"] <= holder["expiresAt"], (env["DISLOCK_LEASE_EXPIRES_AT"], holder["expiresAt"])
            assert "DISLOCK_LOCK_ID" not in env and "a-secret" not in str(env), "the secret of another lock"
            running.expect(0)


def test_a_lock_that_is_held_gives_124_or_the_code_that_was_asked_for():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        api.hold("a", "somebody", timeout=60)
        began = now()
        result = cli.run("run", "-n", "a", "--", "true", code=124)
        assert now() - began < 2 and "somebody" in result.err, result
        cli.run("run", "-n", "-E", "9", "a", "--", "true", code=9)
        began = now()
        cli.run("run", "-w", "300ms", "a", "--", "true", code=124)
        assert 0.3 <= now() - began < 3
        assert cli.run("run", "-q", "-n", "a", "--", "true", code=124).err == ""


def test_waits_for_its_turn():
    with Dislockd() as server, Folder() as folder:
        cli, api = Cli(server), Api(server.port)
        held = api.hold("a", "first", timeout=60)
        with cli.start("run", "a", "--", "touch", str(folder / "done")) as running:
            api.until_waiting("a", 1)
            assert not (folder / "done").exists()
            api.release("a", held["lockId"]).expect(200)
            running.expect(0)
            assert (folder / "done").exists()


def test_without_a_service_it_fails_with_125_and_runs_nothing():
    with Folder() as folder:
        result = Cli(url="http://127.0.0.1:1").run("run", "a", "--", "touch", str(folder / "done"), code=125)
        assert "127.0.0.1" in result.err or "unavailable" in result.err, result
        assert not (folder / "done").exists()


def test_refuses_times_that_leave_no_room_to_end_the_command():
    with Dislockd() as server:
        result = Cli(server).run("run", "a", "--ttl", "2s", "--kill-after", "1.8s", "--", "true", code=2)
        assert "--ttl" in result.err and "--kill-after" in result.err, result


def test_interrupted_while_it_waits_it_leaves_the_queue_at_once():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        api.hold("a", "h", timeout=60)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            with cli.start("run", "a", "--", "true") as running:
                api.until_waiting("a", 1)
                sent = now()
                running.signal(number)
                eventually(lambda: api.waiters("a") == [], timeout=1, what="nobody waits")
                running.expect(code)
                assert now() - sent < 2


def test_passes_signals_on_to_the_command():
    script = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    with Dislockd() as server:
        with Cli(server).start("run", "a", "--", "sh", "-c", script) as running:
            read = running.process.stdout.readline
            assert read() == "ready\n"
            running.signal(signal.SIGUSR1)
            assert read() == "usr1\n"
            # What is sent to the job reaches the command once: through `dislock run`, not through the guard as well.
            assert stat_of(running.guard())[2] not in (stat_of(running.pid)[2], os.getpgrp())
            running.signal(signal.SIGTERM)
            assert read() == "term\n"
            running.expect(3)


def test_the_command_does_not_survive_its_lock_when_the_server_is_killed_or_stopped():
    for how in (signal.SIGKILL, signal.SIGSTOP):
        with Dislockd() as server, Folder() as folder:
            command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
            with Cli(server).start("run", "a", *FAST, "--", *command) as running:
                eventually(beats)
                gone = now()
                os.kill(server.process.pid, how)
                result = running.expect(122)
                assert "lost the lock a" in result.err, result
                # The lease may have been renewed right before; it ends 3 s after that.
                assert beats()[-1] < gone + 3.0, f"lived {beats()[-1] - gone:.3f} s"
                assert beats()[-1] > gone + 0.5, "ended before there was a need"
                assert not alive(mark)
            os.kill(server.process.pid, signal.SIGCONT) if how == signal.SIGSTOP else None


def test_a_polite_command_is_told_before_it_is_killed():
    with Dislockd() as server, Folder() as folder:
        script = f"trap 'echo told > {folder}/told; exit 5' TERM; touch {folder}/ready; while :; do sleep 0.01; done"
        with Cli(server).start("run", "a", *FAST, "--", "sh", "-c", script) as running:
            eventually((folder / "ready").exists)
            server.kill()
            running.expect(122)
            assert (folder / "told").exists()


def test_nobody_gets_the_lock_while_the_command_lives_although_dislock_run_is_stopped():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", *FAST, "--", *command) as running:
            eventually(beats)
            waiting = Wire(server.port).acquire("a", "next", waitTimeout=20)
            running.signal(signal.SIGSTOP)
            granted, _ = next_grant(waiting)
            assert not alive(mark), "the guard ends the command without dislock run"
            assert beats()[-1] < granted, f"lived {beats()[-1] - granted:.3f} s longer than its lock"
            running.signal(signal.SIGCONT)
            running.expect(122)


def test_what_was_asleep_until_after_the_lease_ends_the_command_first_of_all():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", *FAST, "--", *command) as running:
            eventually(beats)
            waiting = Wire(server.port).acquire("a", "next", waitTimeout=20)
            asleep = [running.pid, running.guard(), *alive(mark)]
            for pid in asleep:
                os.kill(pid, signal.SIGSTOP)
            granted, _ = next_grant(waiting)
            assert beats()[-1] < granted
            woken = now()
            for pid in asleep:
                with contextlib.suppress(ProcessLookupError):  # the guard may have been quicker than this loop
                    os.kill(pid, signal.SIGCONT)
            no_more(mark)
            running.expect(122)
            assert beats()[-1] < woken + 0.1, f"went on for {beats()[-1] - woken:.3f} s"


def test_goes_on_when_the_server_comes_back_in_time():
    with Dislockd() as server:
        with Cli(server).start("run", "a", "--ttl", "3s", "--kill-after", "300ms", "--", "sh", "-c", "sleep 4; exit 17") as running:
            eventually(lambda: Api(server.port).status("a")["locked"])
            with frozen(server):
                wait_until(now() + 1.2)
            running.expect(17)


def test_goes_on_when_the_server_is_started_again_in_time():
    with Store() as store, Dislockd(engine=store.engine) as server:
        with Cli(server).start("run", "a", "--ttl", "6s", "--kill-after", "500ms", "--", "sh", "-c", "sleep 5; exit 17") as running:
            token = eventually(lambda: (h := Api(server.port).status("a")["holders"]) and h[0]["fencingToken"])
            server.kill()
            with Dislockd(engine=store.engine, port=server.port) as again:
                wait_until(now() + 1)
                assert Api(again.port).status("a")["holders"][0]["fencingToken"] == token
                running.expect(17)


def test_a_lock_that_is_taken_away_ends_the_command_at_once():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", *FAST, "--", *command) as running:
            eventually(beats)
            waiting = Wire(server.port).acquire("a", "next", waitTimeout=20)
            Api(server.port).until_waiting("a", 1)
            Cli(server).run("revoke", "a", "--reason", "test", "--yes")
            granted, _ = next_grant(waiting)
            running.expect(122)
            # Noticed with the next renewal; from then on no manners.
            assert beats()[-1] - granted < 1.5, f"{beats()[-1] - granted:.3f} s"
            assert not alive(mark)


def test_max_hold_ends_the_command():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True)
        with Cli(server).start("run", "a", *FAST, "--max-hold", "4s", "--", *command) as running:
            eventually(beats)
            waiting = Wire(server.port).acquire("a", "next", waitTimeout=20)
            granted, _ = next_grant(waiting)
            running.expect(122)
            assert beats()[-1] < granted


FORKS_TWICE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setpgid(0, 0)
        os.execvp(sys.argv[1], sys.argv[1:])
    os._exit(0)
os.wait()
if os.environ.get("STAY"):
    time.sleep(60)
"""


def test_grandchildren_do_not_survive_the_command():
    with Dislockd() as server, Folder() as folder:
        for deaf in (False, True):
            command, beats = heart(folder, name=f"beats-{deaf}", deaf=deaf, mark=(mark := new_mark()))
            cli = Cli(server)
            began = now()
            wrapper = f"{PYTHON} -c '{FORKS_TWICE}' \"$@\"; while [ ! -s {folder}/beats-{deaf} ]; do sleep 0.01; done; exit 6"
            cli.run("run", "a", *FAST, "--", "sh", "-c", wrapper, "sh", *command, code=6)
            assert not alive(mark), "it left the group, the session and its parent"
            assert beats() and beats()[-1] <= now()
            assert deaf or now() - began < 0.8 + 3, "told politely, and not waited for longer than that takes"


def test_grandchildren_do_not_survive_the_lock():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", *FAST, "--", PYTHON, "-c", FORKS_TWICE, *command, env={"STAY": "1"}) as running:
            eventually(beats)
            gone = now()
            server.kill()
            running.expect(122)
            assert not alive(mark)
            assert beats()[-1] < gone + 3.0


def test_nothing_survives_when_dislock_run_is_killed():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", *FAST, "--", PYTHON, "-c", FORKS_TWICE, *command, env={"STAY": "1"}) as running:
            eventually(beats)
            waiting = Wire(server.port).acquire("a", "next", waitTimeout=20)
            running.signal(signal.SIGKILL)
            running.process.wait()
            granted, _ = next_grant(waiting)
            assert not alive(mark)
            assert beats()[-1] < granted


def test_when_dislock_run_is_killed_the_command_ends_at_once_and_not_with_the_lease():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", "--ttl", "60s", "--kill-after", "300ms", "--on-loss", "ignore", "--", *command) as running:
            eventually(beats)
            running.signal(signal.SIGKILL)
            no_more(mark)


def test_the_command_does_not_survive_when_dislock_run_and_its_guard_are_killed_together():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", "--ttl", "60s", "--", *command) as running:
            eventually(beats)
            guard = running.guard()
            running.signal(signal.SIGSTOP)  # so that neither can act for the other
            os.kill(guard, signal.SIGKILL)
            running.signal(signal.SIGKILL)
            no_more(mark)


def test_nothing_survives_when_the_guard_is_killed():
    with Dislockd() as server, Folder() as folder:
        command, beats = heart(folder, deaf=True, mark=(mark := new_mark()))
        with Cli(server).start("run", "a", *FAST, "--", PYTHON, "-c", FORKS_TWICE, *command, env={"STAY": "1"}) as running:
            eventually(beats)
            os.kill(running.guard(), signal.SIGKILL)
            running.expect(125)
            assert not alive(mark)
        eventually(lambda: not Api(server.port).status("a")["locked"], what="given back")


def test_a_command_in_a_hurry_to_fork_does_not_escape():
    bomb = "import os, sys, time\nfor _ in range(40):\n    if os.fork() == 0: os.setsid()\n    else: break\n    time.sleep(0.001)\nwhile True: time.sleep(1)"
    with Dislockd() as server:
        mark = new_mark()
        with Cli(server).start("run", "a", *FAST, "--", PYTHON, "-c", bomb, mark) as running:
            eventually(lambda: len(alive(mark)) > 5)
            Cli(server).run("revoke", "a", "--reason", "test", "--yes")
            running.expect(122)
            assert not alive(mark)


def test_the_loss_can_be_read_from_a_descriptor():
    script = "import os, sys; fd = int(os.environ['DISLOCK_LOST_FD']); assert fd == 9; print('ready', flush=True); print('end', os.read(fd, 1) == b'', flush=True); sys.stdin.read()"
    with Dislockd() as server:
        with Cli(server).start("run", "a", *FAST, "--lost-fd", "9", "--on-loss", "ignore", "--", PYTHON, "-c", script, stdin=subprocess.PIPE) as running:
            assert running.process.stdout.readline() == "ready\n"
            server.kill()
            assert running.process.stdout.readline() == "end True\n"
            result = running.expect(0)
            assert "lost the lock" in result.err, result


def test_on_loss_signal_only_tells():
    script = "trap 'echo int' INT; echo ready; while :; do sleep 0.01; done"
    with Dislockd() as server:
        with Cli(server).start("run", "a", *FAST, "--on-loss", "signal", "--signal", "INT", "--", "bash", "-c", script + " # " + (mark := new_mark())) as running:
            assert running.process.stdout.readline() == "ready\n"
            server.kill()
            assert running.process.stdout.readline() == "int\n"
            wait_until(now() + 2)
            pids = [p for p in alive(mark) if stat_of(p)[1] == running.guard()]
            assert len(pids) == 1
            os.kill(pids[0], signal.SIGKILL)
            running.expect(122)


def test_a_line_can_be_given_to_a_shell():
    with Dislockd() as server:
        assert Cli(server).run("run", "a", "--shell", "--", "echo $DISLOCK_LOCK_NAME | tr a-z A-Z").out == "A\n"


def test_readers_and_semaphores_run_together():
    with Dislockd() as server:
        cli, api = Cli(server), Api(server.port)
        for flags in (["-s"], ["--limit", "2"]):
            name = "together/" + flags[0].strip("-")
            starts = [cli.start("run", name, *flags, "--", "cat", stdin=subprocess.PIPE) for _ in range(2)]
            eventually(lambda: api.status(name)["holderCount"] == 2)
            for running in starts:
                with running:
                    running.expect(0)


def test_nested_runs_that_wait_for_each_other_are_told_so():
    with Dislockd() as server, Folder() as folder:
        def script(mine, other):
            return f"touch {folder}/{mine}; while [ ! -e {folder}/{other} ]; do sleep 0.01; done; {program()} run -w 10s {other} -- true; echo $?"
        cli = Cli(server)
        with cli.start("run", "a", "--", "sh", "-c", script("a", "b")) as one, cli.start("run", "b", "--", "sh", "-c", script("b", "a")) as two:
            results = [one.expect(0), two.expect(0)]
            assert sorted(r.out.strip() for r in results) == ["0", "125"], results
            victim = next(r for r in results if r.out.strip() == "125")
            assert "deadlock" in victim.err, victim


if __name__ == "__main__":
    sys.exit(main(globals()))
