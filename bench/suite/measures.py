"""The measurements. Each starts what it needs, interleaves its runs and judges the medians.

Everything is switched on: every mutating call carries a request id, and no feature of dislockd is turned off.
"""
import time

from suite.generator import LibraryPrograms, errors_of, median
from suite.servers import find, reply_of

ENGINES = ["memory", "embedded", "embedded-async"]
SATURATED = 0.9  # of a core: from here on the generator limits what it measures


def interleaved(rounds, servers, run):
    """A B C, A B C, ...: what disturbs the machine for a while disturbs them all. Runs by server name."""
    runs = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            runs[server.name].append(run(server))
    return runs


def throughput(park, load, report, quick):
    rounds, seconds = (1, 1.5) if quick else (3, 4)
    servers = [park.dislock(engine) for engine in ENGINES]
    body = reply_of(servers[0])
    for program, start in (("nginx", lambda: park.nginx(body)), ("etcd", park.etcd)):
        if find(program):
            servers.append(start())
        else:
            report.note(f"{program} is not installed: its ratios are missing")
    servers.sort(key=lambda server: server.name != "nginx")

    rows, saturated = [], []
    for connections in (1, 32, 256):
        runs = interleaved(rounds, servers, lambda server: load.run(
            server, "pairs", "-c", connections, "-s", seconds, "--warm-up", 0.5, "--request-ids"))
        ceiling = median(runs["nginx"], "opsPerSecond") if "nginx" in runs else None
        peer = median(runs["etcd"], "pairsPerSecond") if "etcd" in runs else None
        for name, results in runs.items():
            ops, pairs = median(results, "opsPerSecond"), median(results, "pairsPerSecond")
            row = {"server": name, "connections": connections, "ops/s": ops, "pairs/s": pairs,
                   "of nginx": ops / ceiling if ceiling else None, "x etcd": pairs / peer if peer else None,
                   "p99 ms": median(results, "latency", "p99Ms"), "server CPU": median(results, "serverCpu"),
                   "generator CPU": median(results, "generatorCpu"), "errors": errors_of(results)}
            rows.append(row)
            if row["generator CPU"] > SATURATED:
                saturated.append(f"{name} at {connections}")
            if connections == 32 and name in ("memory", "embedded"):
                failed = bool(row["errors"])
                report.target(f"{name}: requests/s as a share of nginx, 32 connections", row["of nginx"],
                              0.60 if name == "memory" else 0.40, at_least=True, runs_had_errors=failed)
                report.target(f"{name}: pairs/s as a multiple of etcd's, 32 connections", row["x etcd"], 5.0,
                              at_least=True, runs_had_errors=failed)
    report.section("throughput: acquire + release, each connection its own lock", list(rows[0]), rows)
    if saturated:
        report.note("the generator was at its limit against " + ", ".join(saturated) +
                    ": those servers can do more, and ratios to them are upper bounds")
    park.stop(*servers)


def latency(park, load, report, quick):
    rounds, seconds, rate = (1, 2, 5000) if quick else (3, 6, 5000)
    servers = [park.dislock(engine) for engine in ENGINES]
    if find("nginx"):
        servers.insert(0, park.nginx(reply_of(servers[0])))  # the floor: what the machine itself costs
    runs = interleaved(rounds, servers, lambda server: load.run(
        server, "rate", "-r", rate, "-s", seconds, "--warm-up", 1, "--request-ids"))
    rows = []
    for name, results in runs.items():
        figures = {f"{key} ms": median(results, "latency", f"{field}Ms") for key, field in (
            ("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max"), ("mean", "mean"))}
        rows.append({"server": name, "offered/s": rate, "done/s": median(results, "opsPerSecond"), **figures,
                     "late p99 ms": median(results, "generatorLateness", "p99Ms"),
                     "server CPU": median(results, "serverCpu"), "generator CPU": median(results, "generatorCpu"),
                     "errors": errors_of(results)})
        if name == "embedded":
            failed = bool(rows[-1]["errors"]) or any(run["unfinished"] for run in results)
            for key, limit in (("p50 ms", 0.5), ("p99 ms", 5.0), ("mean ms", 2.0)):
                report.target(f"embedded: {key[:-3]} at {rate:,} offered operations/s", figures[key], limit, unit="ms",
                              runs_had_errors=failed)
    report.section("latency at an offered rate, from the instant each request was due", list(rows[0]), rows)
    park.stop(*servers)


def handoff(park, load, report, quick):
    rounds, seconds = (1, 1.5) if quick else (3, 4)
    servers = [park.dislock(engine) for engine in ENGINES]
    rows, exact = [], True
    for waiters in (100, 1000):
        runs = interleaved(rounds, servers, lambda server: load.run(
            server, "handoff", "-c", waiters, "-s", seconds, "--warm-up", 0.5, "--request-ids"))
        for name, results in runs.items():
            fifo = all(run["order"]["fifoExact"] for run in results)
            exact = exact and fifo
            rows.append({"server": name, "waiters": waiters, "hand-offs/s": median(results, "opsPerSecond"),
                         "p50 ms": median(results, "latency", "p50Ms"), "p99 ms": median(results, "latency", "p99Ms"),
                         "max ms": median(results, "latency", "maxMs"), "FIFO": fifo,
                         "jumped over": max(run["order"]["mostJumpedOver"] for run in results),
                         "server CPU": median(results, "serverCpu"),
                         "generator CPU": median(results, "generatorCpu"), "errors": errors_of(results)})
            if name == "memory" and waiters == 100:
                failed = bool(rows[-1]["errors"])
                report.target("memory: hand-offs/s with 100 waiters", rows[-1]["hand-offs/s"], 10_000.0, at_least=True,
                              runs_had_errors=failed)
                report.target("memory: hand-off p99 with 100 waiters", rows[-1]["p99 ms"], 5.0, unit="ms",
                              runs_had_errors=failed)
    report.target("order of grants exactly FIFO, every engine (1 = yes)", int(exact), 1, at_least=True)
    report.section("hand-off: a new owner that was already waiting", list(rows[0]), rows)
    park.stop(*servers)


def memory(park, load, report, quick):
    few, many = (20_000, 100_000) if quick else (100_000, 1_000_000)
    lease = 3600  # longer than the measurement, which must not watch its locks expire
    longer = {"MAX_TIMEOUT": str(lease)}

    def hold(server, locks):
        return load.run(server, "hold", "-n", locks, "-c", 128, "--request-ids", "--timeout", lease)

    rows = []
    for engine in ("memory", "embedded"):
        server = park.dislock(engine, longer)
        empty = server.resident_mb()
        first = hold(server, few)
        resident_few = server.resident_mb()
        rest = hold(server, many - few)
        resident = server.resident_mb()
        held = first["held"] + rest["held"]
        rows.append({"server": engine, "held": held, "MB at 0": empty, f"MB at {few:,}": resident_few,
                     f"MB at {many:,}": resident, "bytes/lock": (resident - empty) * 1e6 / max(held, 1),
                     "acquires/s": rest["opsPerSecond"], "errors": errors_of([first, rest])})
        if engine == "memory":
            # A short run only says what a million would take if it went on like this.
            million = resident if many == 1_000_000 else empty + (resident - empty) * 1_000_000 / many
            report.target("memory: resident with 1,000,000 held locks" + (" (extrapolated)" if quick else ""),
                          million, 600.0, unit="MB", runs_had_errors=held < many)
        park.stop(server)
    report.section("memory: held locks with their request memory, a client each", list(rows[0]), rows)

    rounds, seconds = (1, 1.5) if quick else (5, 3)
    crowd = 100_000
    rows = []
    for engine in ("memory", "embedded"):
        empty, full = park.dislock(engine, longer), park.dislock(engine, longer)
        full.name += f" with {crowd:,} locks"
        held = hold(full, crowd)["held"]
        runs = interleaved(rounds, [empty, full], lambda server: load.run(
            server, "pairs", "-c", 32, "-s", seconds, "--warm-up", 0.5, "--request-ids"))
        before, after = (median(runs[server.name], "opsPerSecond") for server in (empty, full))
        for server in (empty, full):
            rows.append({"server": server.name, "held": held if server is full else 0,
                         "ops/s": median(runs[server.name], "opsPerSecond"),
                         "of empty": median(runs[server.name], "opsPerSecond") / before,
                         "server CPU": median(runs[server.name], "serverCpu"),
                         "generator CPU": median(runs[server.name], "generatorCpu"),
                         "errors": errors_of(runs[server.name])})
        report.target(f"{engine}: throughput lost to {crowd:,} held locks", max(0.0, 1 - after / before), 0.15,
                      runs_had_errors=held < crowd or any(row["errors"] for row in rows[-2:]))
        park.stop(empty, full)
    report.section("throughput beside held locks, 32 connections", list(rows[0]), rows)


def waiters(park, load, report, quick):
    count = 1_000 if quick else 10_000
    rows = []
    for engine in ("memory", "embedded"):
        server = park.dislock(engine)
        empty = server.resident_mb()
        process, queued = load.idle_waiters(server, count)
        resident = server.resident_mb()
        cpu = server.cpu_seconds()
        time.sleep(3)  # what an idle crowd costs
        cpu = (server.cpu_seconds() - cpu) / 3
        process.communicate(timeout=60)
        rows.append({"server": engine, "waiters": queued["queued"], "MB before": empty, "MB with waiters": resident,
                     "KB/waiter": (resident - empty) * 1000 / max(queued["queued"], 1), "idle server CPU": cpu,
                     "errors": queued["errors"]})
        if engine == "memory":
            total = resident if count == 10_000 else empty + (resident - empty) * 10_000 / count
            report.target("memory: resident with 10,000 waiting connections" + (" (extrapolated)" if quick else ""),
                          total, 300.0, unit="MB", runs_had_errors=bool(queued["errors"]))
        park.stop(server)
    report.section("idle waiters on one lock", list(rows[0]), rows)


def library(park, load, report, quick):
    programs = LibraryPrograms(load)
    rounds, seconds, leases = (1, 1.5, 50) if quick else (7, 3, 50)
    server = park.dislock("memory")
    runs = {"dislock_load": [], "library, coroutines": [], "library, threads": []}
    for _ in range(rounds):  # interleaved, and each of them on the generator's cores
        runs["dislock_load"].append(load.run(server, "pairs", "-c", leases, "-s", seconds, "--warm-up", 0.5, "--request-ids"))
        runs["library, coroutines"].append(programs.over_http(server, leases, seconds))
        runs["library, threads"].append(programs.over_http(server, leases, seconds, "--threads"))
    raw = median(runs["dislock_load"], "opsPerSecond")
    rows = []
    for name, results in runs.items():
        cpu = "generatorCpu" if name == "dislock_load" else "clientCpu"
        rows.append({"client": name, "leases": leases, "ops/s": median(results, "opsPerSecond"),
                     "pairs/s": median(results, "pairsPerSecond"), "of dislock_load": median(results, "opsPerSecond") / raw,
                     "p50 ms": median(results, "latency", "p50Ms"), "p99 ms": median(results, "latency", "p99Ms"),
                     "server CPU": median(results, "serverCpu"), "client CPU": median(results, cpu),
                     "client us/op": median(results, cpu) / median(results, "opsPerSecond") * 1e6,
                     "errors": errors_of(results)})
    report.section("the C++ library over HTTP: acquire + release, each lease its own lock, one client", list(rows[0]), rows)
    report.target(f"library over HTTP, {leases} concurrent leases: requests/s as a share of dislock_load's", rows[1]["of dislock_load"],
                  0.7, at_least=True, runs_had_errors=bool(rows[0]["errors"]))
    park.stop(server)

    rounds, seconds = (1, 1) if quick else (5, 2)
    store = park.folder / "library-store"
    runs = [programs.in_process(store, seconds, "memory", "ids", "embedded") for _ in range(rounds)]
    if not quick:  # half a minute, of which most is waiting
        runs.append(programs.in_process(store, seconds, "renewals"))
    names = list(dict.fromkeys(name for run in runs for name in run))
    rows = [{"measure": name, "unit": next(run[name]["unit"] for run in runs if name in run),
             "value": median([run for run in runs if name in run], name, "value")} for name in names]
    report.section("the C++ library in process, through its public header", list(rows[0]), rows)
    value = {row["measure"]: row["value"] for row in rows}
    for name, limit, at_least in (("memory: pairs, 1 thread", 1e6, True),
                                  ("memory: pairs with request ids, 1 thread", 0.3e6, True),
                                  ("embedded: durable pairs, 32 threads", 25e3, True),
                                  ("their share of one core", 5.0, False)):
        what = "auto-renewal of 10,000 leases of 30 s: share of one core" if name.startswith("their") else name
        report.target(f"library, {what}", value.get(name), limit, at_least=at_least, unit="" if at_least else "%")


ALL = {"throughput": throughput, "latency": latency, "handoff": handoff, "memory": memory, "waiters": waiters,
       "library": library}
