#!/usr/bin/python3
"""What a person sees: the screen of `top`, progress, colours, and Ctrl-C and Ctrl-Z of a command under a lock."""
import os
import re
import signal
import sys

from cli import Api, Cli, Dislockd, Folder, Terminal, Wire, children, eventually, main, new_mark, now, program, stat_of, wait_until

ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


def url(server):
    return {"DISLOCK_URL": f"http://127.0.0.1:{server.port}"}


def top(server, *flags, **how):
    return Terminal([str(program()), "top", "--interval", "200ms", *flags], env=url(server), **how)


def last_frame(text):
    return text.rsplit("\x1b[H", 1)[-1]


def test_top_shows_the_hottest_locks_and_the_longest_waits():
    with Dislockd() as server:
        api = Api(server.port)
        api.hold("hot/lock", "holder-1", timeout=60)
        wire = Wire(server.port).acquire("hot/lock", "patient", waitTimeout=30)
        api.until_waiting("hot/lock", 1)
        with top(server) as screen:
            screen.until(lambda text: "hot/lock" in text and "patient" in text and "holder-1" in text)
            assert ALTERNATE in screen.text and NORMAL not in screen.text
            for _ in range(5):
                api.release("busy", api.hold("busy", "c", timeout=60)["lockId"])
            screen.until(lambda text: re.search(r"busy +\d", last_frame(text)))
            screen.type("q")
            assert screen.wait() == 0
            assert screen.text.index(ALTERNATE) < screen.text.rindex(NORMAL) and "\x1b[?25h" in screen.text
        wire.close()


def test_top_gives_the_terminal_back_however_it_ends():
    with Dislockd() as server:
        for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            with top(server) as screen:
                before = screen.settings()[3]
                screen.until("HOTTEST LOCKS")
                eventually(lambda: screen.settings()[3] != before)
                os.kill(screen.pid, number)
                assert screen.wait() == code
                assert NORMAL in screen.text and screen.settings()[3] == before


def test_top_pauses_and_follows_the_size_of_the_terminal():
    with Dislockd() as server, top(server, rows=12, columns=60) as screen:
        api = Api(server.port)
        for i in range(50):
            api.hold(f"lock/{i:02}", "h", timeout=60)
        screen.until(lambda text: re.search(r"and \d+ more", last_frame(text)))
        assert last_frame(screen.text).count("\r\n") <= 11
        screen.type("p")
        screen.until("PAUSED")
        screen.resize(40, 100)
        os.kill(screen.pid, signal.SIGWINCH)
        screen.until(lambda text: last_frame(text).count("\r\n") >= 35)
        screen.type("q")
        assert screen.wait() == 0


def test_top_goes_on_when_the_service_is_away():
    with Dislockd() as server, top(server) as screen:
        screen.until("HOTTEST LOCKS")
        server.kill()
        screen.until("no news", timeout=15)
        screen.type("q")
        assert screen.wait() == 0


def test_top_without_a_terminal_prints_once():
    with Dislockd() as server:
        Api(server.port).hold("a", "h", timeout=60)
        value = Cli(server).run("top", "-o", "json", "--interval", "100ms").value
        assert value["held"] == 1 and value["locks"][0]["lockName"] == "a" and "\x1b" not in str(value), value
        text = Cli(server).run("top", "--interval", "100ms").out
        assert "HOTTEST LOCKS" in text and "\x1b" not in text
        Cli(url="http://127.0.0.1:1").run("top", code=5)


def test_colours_are_for_terminals_that_want_them():
    with Dislockd() as server:
        Api(server.port).hold("a", "h", timeout=60)
        for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            with Terminal([str(program()), "ls"], env={**url(server), **env}) as screen:
                assert screen.wait() == 0
                assert ("\x1b[" in screen.text) == coloured, (env, screen.text)
        with Terminal([str(program()), "ls", "-o", "json"], env=url(server)) as screen:
            assert screen.wait() == 0 and "\x1b" not in screen.text


def test_a_person_who_waits_sees_why():
    with Dislockd() as server:
        api = Api(server.port)
        held = api.hold("a", "somebody", timeout=60)
        with Terminal([str(program()), "run", "a", "--", "echo", "done"], env=url(server)) as screen:
            screen.until(lambda text: re.search(r"waiting for a for [\d.]+m?s, held by somebody", text))
            api.release("a", held["lockId"])
            screen.until("done")
            assert screen.wait() == 0
        api.hold("b", "h", timeout=60)
        with Terminal([str(program()), "run", "b", "--", "true"], env=url(server)) as screen:
            api.until_waiting("b", 1)
            screen.type("\x03")
            assert screen.wait() == 130
            eventually(lambda: api.waiters("b") == [], timeout=1)


def test_bench_shows_how_far_it_is_on_a_terminal_only():
    with Dislockd() as server:
        with Terminal([str(program()), "bench", "--for", "1s", "--concurrent", "2"], env=url(server)) as screen:
            screen.until(lambda text: re.search(r"\r\d+ pairs, \d+/s", text))
            assert screen.wait() == 0 and "pairs of acquire and release" in screen.text
        quiet = Cli(server).run("bench", "--operations", "10", "--concurrent", "2")
        assert quiet.err == "" and "\r" not in quiet.out, quiet


def test_the_command_has_the_terminal():
    with Dislockd() as server:
        with Terminal([str(program()), "run", "a", "--", "sh", "-c", "read x; echo got $x"], env=url(server)) as screen:
            eventually(lambda: Api(server.port).status("a")["locked"])
            screen.type("hello\n")
            screen.until("got hello")
            assert screen.wait() == 0
        with Terminal([str(program()), "run", "a", "--", "sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.01; done"], env=url(server)) as screen:
            screen.until("ready")
            screen.type("\x03")
            screen.until("caught")
            assert screen.wait() == 9, "Ctrl-C is the command's, and so is its exit code"


def shell(server, folder):
    screen = Terminal(["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"], env={**url(server), "PS1": "$ ", "HISTFILE": str(folder / "history"), "HOME": str(folder)})
    screen.until("$ ")
    return screen


def test_a_job_can_be_stopped_and_goes_on():
    with Dislockd() as server, Folder() as folder, shell(server, folder) as screen:
        mark = new_mark()
        screen.type(f"{program()} run a --ttl 30s -- sh -c 'echo {mark[:9]}-ready; read x; echo got-$x; exit 5'\n")
        screen.until(f"\n{mark[:9]}-ready")
        screen.type("\x1a")
        screen.until("Stopped")
        assert Api(server.port).status("a")["locked"]
        screen.type("fg\n")
        screen.until(lambda text: text.count(" run a ") >= 3)  # the shell shows the job
        screen.type("word\n")
        screen.until("got-word")
        screen.type("echo code-$?\n")
        screen.until("code-5")
        screen.type("exit\n")
        screen.wait()


def test_a_job_that_is_stopped_for_too_long_loses_its_lock_and_its_command():
    with Dislockd() as server, Folder() as folder, shell(server, folder) as screen:
        api = Api(server.port)
        screen.type(f"{program()} run a --ttl 2s -- sh -c 'echo is-$((6*7)); read x; echo never-$x'\n")
        screen.until("is-42")
        wire = Wire(server.port).acquire("a", "next", waitTimeout=20)
        api.until_waiting("a", 1)
        screen.type("\x1a")
        screen.until("Stopped")
        wire.read().expect(200)
        screen.type("fg\n")
        screen.until("lost the lock a")
        screen.type("echo code-$?\n")
        screen.until("code-122")
        assert "never-" not in screen.text.replace("echo never-", "")
        screen.type("exit\n")
        screen.wait()


if __name__ == "__main__":
    sys.exit(main(globals()))
