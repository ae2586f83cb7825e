#!/usr/bin/python3
"""Is the contract sound, and would the contract test notice? Needs no server."""
import json
import sys

import pytest

from contract import Contract, Violation, check_api, check_metrics, strict_json

contract = Contract()
PROBLEM = {"type": "urn:dislock:error:lock_not_held", "title": contract.errors["lock_not_held"]["title"], "status": 409, "code": "lock_not_held", "effect": "none"}


def example(operation, status, name=None):
    response = check_api.resolve(contract.document, contract.operations[operation][2]["responses"][str(status)])
    media_type, media = next(iter(response["content"].items()))
    examples = dict(check_api.examples_of(media))
    return media_type, json.loads(json.dumps(examples[name] if name else next(iter(examples.values()))))


def reply(operation, status, body, content_type="application/json"):
    return contract.check_reply(operation, status, content_type, json.dumps(body).encode())


def test_the_files_of_api_agree_with_each_other():
    problems, summary = check_api.check()
    assert not problems, "\n".join(problems)
    print(summary)


def test_every_example_passes_the_same_check_as_the_servers_replies():
    count = 0
    for operation, (_, _, definition) in contract.operations.items():
        for status, response in definition["responses"].items():
            if status == "default":
                continue
            for media_type, media in check_api.resolve(contract.document, response)["content"].items():
                for _, value in check_api.examples_of(media):
                    text = value if isinstance(value, str) else json.dumps(value)
                    contract.check_reply(operation, int(status), media_type, text.encode())
                    count += 1
    assert count > 100


def corrupted():
    _, good = example("acquire", 200, "exclusive")
    yield "a field is missing", {k: v for k, v in good.items() if k != "fencingToken"}
    yield "a field is unknown", {**good, "token": 1}
    yield "a token is text", {**good, "fencingToken": str(good["fencingToken"])}
    yield "a token is beyond 2^53", {**good, "fencingToken": 2**53}
    yield "a ttl is negative", {**good, "ttl": -0.001}
    yield "a ttl is true", {**good, "ttl": True}
    yield "a time has no milliseconds", {**good, "expiresAt": "2026-11-21T02:00:30Z"}
    yield "a time is local", {**good, "expiresAt": "2026-11-21T02:00:30.000+01:00"}
    yield "a semaphore without its limit", {**good, "mode": "semaphore", "permits": 1}
    yield "permits of an exclusive lock", {**good, "permits": 1}
    yield "not acquired with 200", {**good, "acquired": False}


@pytest.mark.parametrize("what, body", corrupted(), ids=lambda v: v if isinstance(v, str) else "")
def test_notices_a_broken_reply(what, body):
    with pytest.raises(Violation):
        reply("acquire", 200, body)


@pytest.mark.parametrize("what, operation, status, body, content_type", [
    ("effect of another code", "release", 409, {**PROBLEM, "effect": "unknown"}, "application/problem+json"),
    ("another title", "release", 409, {**PROBLEM, "title": "no"}, "application/problem+json"),
    ("status in the body differs", "release", 409, {**PROBLEM, "status": 404}, "application/problem+json"),
    ("type of another code", "release", 409, {**PROBLEM, "type": "urn:dislock:error:draining"}, "application/problem+json"),
    ("plain JSON", "release", 409, PROBLEM, "application/json"),
    ("an unknown code", "release", 409, {**PROBLEM, "code": "nope"}, "application/problem+json"),
    ("a code that this call cannot give", "status", 409, PROBLEM, "application/problem+json"),
    ("a status that this call cannot give", "release", 202, {"released": True, "holdCount": 0}, "application/json"),
    ("a cycle where there is none", "release", 409, {**PROBLEM, "cycle": []}, "application/problem+json"),
    ("no field for a bad one", "release", 400, {**PROBLEM, "status": 400, "code": "invalid_field", "type": "urn:dislock:error:invalid_field",
                                              "title": contract.errors["invalid_field"]["title"]}, "application/problem+json"),
], ids=lambda v: v if isinstance(v, str) and " " in v else "")
def test_notices_a_broken_problem(what, operation, status, body, content_type):
    with pytest.raises(Violation):
        reply(operation, status, body, content_type)


def test_accepts_the_problem_that_those_were_made_from():
    assert reply("release", 409, PROBLEM, "application/problem+json") == PROBLEM


@pytest.mark.parametrize("text", [b'{"ttl": NaN}', b'{"a": 1, "a": 2}', b"", b"{", b'"\xff"'])
def test_replies_are_strict_json(text):
    with pytest.raises(Violation):
        strict_json(text)


@pytest.mark.parametrize("name, allowed", [
    ("a", True), ("orders/1", True), ("a.b..c", True), (".a/..b", True), ("...", True), ("~:@+=,-_/x", True), ("x" * 255, True),
    ("", False), ("x" * 256, False), ("/a", False), ("a/", False), ("a//b", False), (".", False), ("..", False), ("a/./b", False), ("a/..", False),
    ("../a", False), ("a b", False), ("ü", False), ("a%2Fb", False), ("a\n", False), ("a\nb", False), ("a?b", False), ("a\x00", False)])
def test_lock_names(name, allowed):
    assert (check_api.why_invalid(contract.document, {"$ref": "#/components/schemas/LockName"}, name) is None) == allowed


@pytest.mark.parametrize("method, target, operation", [
    ("POST", "/locks/acquire", "acquireMulti"), ("POST", "/locks/acquire/acquire", "acquire"), ("POST", "/locks/a/release/acquire", "acquire"), ("GET", "/locks/stats", "stats"),
    ("GET", "/locks/stats/status", "status"), ("DELETE", "/locks/a/acquire", "forceRelease"), ("DELETE", "/locks/a?reason=x", "forceRelease"), ("GET", "/locks/a/acquire", None),
    ("GET", "/locks?prefix=a", "listLocks"), ("POST", "/locks/a/b", None)])
def test_knows_which_operation_a_call_reaches(method, target, operation):
    assert contract.operation_of(method, target) == operation


@pytest.mark.parametrize("body, allowed", [
    ({"clientId": "c"}, True), ({}, False), ({"clientId": "c", "mode": "semaphore"}, False), ({"clientId": "c", "mode": "semaphore", "limit": 2}, True), ({"clientId": "c", "limit": 2}, False),
    ({"clientId": "c", "lockId": "x"}, False), ({"clientId": "c", "lockId": "x", "requestId": "r"}, True), ({"clientId": "c", "sessionId": "s", "timeout": 1}, False),
    ({"clientId": "c", "sessionId": "s"}, True), ({"clientId": "c", "timeout": 0.05}, False), ({"clientId": "c", "waitTimeout": 601}, False), ({"clientId": "c", "require": ["speed"]}, False)])
def test_acquire_requests(body, allowed):
    assert (check_api.why_invalid(contract.document, {"$ref": "#/components/schemas/AcquireRequest"}, body) is None) == allowed


def hand_made_metrics():
    lines = []
    for metric in contract.metrics.values():
        labels = ",".join(f'{k}="{(v or ["x"])[0]}"' for k, v in metric["labels"].items())
        lines += [f"# HELP {metric['name']} {metric['help']}", f"# TYPE {metric['name']} {metric['type']}"]
        for suffix in ("_sum", "_count") if metric["type"] == "histogram" else ("",):
            lines.append(f"{metric['name']}{suffix}{'{' + labels + '}' if labels else ''} 0")
    return "\n".join(lines) + "\n"


def test_metrics_must_be_those_of_the_list():
    good = hand_made_metrics()
    check_metrics(contract, good)
    for bad in (good + "extra 1\n", good.replace("# TYPE distributed_locks_active gauge", "# TYPE distributed_locks_active counter"), good.replace("distributed_locks_active 0\n", ""),
                good.replace('mode="exclusive"', 'mode="orders/1"'), good.replace("distributed_locks_active 0", 'distributed_locks_active{lock="a"} 0'), good + "# TYPE a gauge\na 1\n"):
        with pytest.raises(Violation):
            check_metrics(contract, bad)


def test_events_are_checked():
    event = {"id": "1", "at": "2026-11-21T02:00:00.123Z", "type": "acquired", "lockName": "a", "clientId": "c", "fencingToken": 1, "mode": "exclusive"}
    contract.check_event(event)
    for bad in ({**event, "lockId": "x"}, {**event, "type": "renewed"}, {k: v for k, v in event.items() if k != "fencingToken"}, {**event, "type": "snapshot"}):
        with pytest.raises(Violation):
            contract.check_event(bad)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", *sys.argv[1:]]))
