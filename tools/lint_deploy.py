#!/usr/bin/env python3
"""deploy/docker-compose.yml and deploy/Dockerfile: published to this machine only, with settings that exist, and able to say how they are.

    tools/lint_deploy.py [--self-test]
"""
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
LOOPBACK = re.compile(r"127\.0\.0\.1:\d+:\d+")


def variables():
    """What dislockd reads from its environment, by the table of its keys."""
    text = (ROOT / "src/server/config.cpp").read_text()
    names = re.findall(r'key\{\.name = "(\w+)"', text)
    return {"DISLOCK_" + name.upper() for name in names} | set(re.findall(r'\.plain_name = "(\w+)"', text))


def unknown(names, known):
    return [f"the environment names {name}, which dislockd does not know" for name in names if name not in known]


def compose_problems(document, known):
    found = []
    for name, service in document.get("services", {}).items():
        def say(what, name=name):
            found.append(f"docker-compose.yml: {name}: {what}")

        for port in service.get("ports", []):
            if not isinstance(port, str) or not LOOPBACK.fullmatch(port):
                say(f"port {port} is not of the form 127.0.0.1:PORT:PORT")
        if "network_mode" in service:
            say("network_mode gets around the ports")
        if not service.get("healthcheck", {}).get("test") or service["healthcheck"].get("disable"):
            say("no healthcheck")
        if "build" in service:
            place = DEPLOY / service["build"]["context"]
            if not (place / service["build"]["dockerfile"]).is_file():
                say("its Dockerfile is not there")
            for what in unknown(service.get("environment", {}), known):
                say(what)
        else:
            if not re.fullmatch(r"[\w./-]+:\d[\w.-]*", service.get("image", "")):
                say("the image has no version")
        for other in service.get("depends_on", {}):
            if other not in document["services"]:
                say(f"depends on {other}, which is not there")
        for volume in service.get("volumes", []):
            if volume.split(":")[0] not in document.get("volumes", {}):
                say(f"volume {volume} is not declared")
    store = document.get("services", {}).get("redis", {})
    words = [str(word) for word in store.get("command", [])]
    for pair in (["--appendonly", "yes"], ["--maxmemory-policy", "noeviction"]):
        if not any(words[i:i + 2] == pair for i in range(len(words))):
            found.append(f"docker-compose.yml: redis is not started with {' '.join(pair)}")
    return found


def dockerfile_problems(text, known):
    found = []
    steps = re.findall(r"^([A-Z]+) (.*)$", re.sub(r"\\\n", " ", text), re.M)
    for verb, rest in steps:
        if verb == "FROM" and not re.match(r"debian:12[\w.-]*( AS \w+)?$", rest):
            found.append(f"FROM {rest}: not a Debian 12")
        if verb == "ENV":
            found += unknown(re.findall(r"(\w+)=", rest), known)
        if verb == "COPY" and not rest.startswith("--from"):
            found += [f"COPY {source}: it is not there" for source in rest.split()[:-1] if not (ROOT / source).exists()]
    users = [rest for verb, rest in steps if verb == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.append("it would run as root")
    if not any(verb == "HEALTHCHECK" for verb, _ in steps):
        found.append("no HEALTHCHECK")
    return [f"Dockerfile: {what}" for what in found]


def self_test():
    known = {"REDIS_HOST", "DISLOCK_PORT"}
    good = {"services": {"redis": {"image": "redis:7", "ports": ["127.0.0.1:1:1"], "healthcheck": {"test": ["CMD"]},
                                   "command": ["redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]},
                         "dislockd": {"build": {"context": "..", "dockerfile": "deploy/Dockerfile"}, "ports": ["127.0.0.1:5:5"],
                                      "environment": {"REDIS_HOST": "redis"}, "healthcheck": {"test": ["CMD"]}, "depends_on": ["redis"]}}}
    assert compose_problems(good, known) == [], compose_problems(good, known)

    def spoilt(service, **changes):
        return compose_problems({"services": {**good["services"], service: {**good["services"][service], **changes}}}, known)

    for ports in (["5000:5000"], ["0.0.0.0:5000:5000"], ["5000"], [{"published": 5000}], ["127.0.0.1::5000"]):
        assert spoilt("dislockd", ports=ports), ports
    assert spoilt("dislockd", healthcheck={}) and spoilt("dislockd", network_mode="host")
    assert spoilt("dislockd", environment={"REDIS_HOSTS": "x"}) and spoilt("dislockd", depends_on=["rediss"])
    assert spoilt("redis", command=["redis-server"]) and spoilt("redis", image="redis") and spoilt("redis", volumes=["x:/data"])
    whole = "FROM debian:12-slim AS build\nCOPY scripts/lint x\nENV DISLOCK_PORT=1\nUSER dislock\nHEALTHCHECK CMD x\n"
    assert dockerfile_problems(whole, known) == []
    for was, now in (("debian:12", "debian:11"), ("scripts/lint", "scripts/lents"), ("DISLOCK_PORT", "DISLOCK_PROT"), ("USER dislock", "USER root"),
                     ("USER dislock\n", ""), ("HEALTHCHECK CMD x\n", "")):
        assert dockerfile_problems(whole.replace(was, now), known), was


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    known = variables()
    found = compose_problems(yaml.safe_load((DEPLOY / "docker-compose.yml").read_text()), known)
    found += dockerfile_problems((DEPLOY / "Dockerfile").read_text(), known)
    if len(known) < 20:
        found.append("the table of keys in src/server/config.cpp was not understood")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
