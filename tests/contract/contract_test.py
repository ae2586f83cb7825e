#!/usr/bin/python3
"""Drives every operation of openapi.yaml against a real dislockd and checks every request and reply against it.

    /usr/bin/python3 tests/contract/contract_test.py [pytest options]      DISLOCKD=path/of/the/binary

The tests of one run share one server and are read from top to bottom; the last section asks what the run as a whole
has shown: no operation undriven, no code unprovoked, no secret seen anywhere.
"""
import http.client
import json
import re
import socket
import sys
import threading
import time
import uuid

import pytest

from contract import Contract, Violation, check_metrics
from dislockd_process import Dislockd

contract = Contract()
driven = {}    # operationId -> statuses seen
provoked = {}  # code -> operationId that gave it first
secrets = {}   # secret -> what it is
seen = []      # (where, text) of every reply, without the secrets that this very reply may hold

# Codes that no client can provoke over the API, and why.
NOT_OVER_THE_API = {
    "overloaded": "needs more load than a test should make; src/server has a unit test",
    "draining": "a replica may also close the connection; test_drain accepts a 202 as well",
    "engine_unavailable": "memory: cannot fail; the faulty engine is in src/engine",
    "outcome_unknown": "memory: cannot fail; the faulty engine is in src/engine",
    "internal_error": "would be a bug",
    "request_timeout": "takes longer than the whole suite",
}


def secret(kind):
    value = f"{kind}-{uuid.uuid4().hex}"
    secrets[value] = kind
    return value


def name(stem="lock"):
    return f"contract/{stem}/{uuid.uuid4().hex[:12]}"


class Reply:
    def __init__(self, operation, status, headers, value):
        self.operation, self.status, self.headers, self.value = operation, status, headers, value

    def __getitem__(self, key):
        return self.value[key]

    def expect(self, status, code=None):
        got = self.value.get("code") if isinstance(self.value, dict) else None
        assert (self.status, got) == (status, code), f"{self.operation}: {self.status} {self.value}"
        return self


OWN_SECRETS = {"acquire": ("lockId", "renewalToken", "requestId"), "acquireMulti": ("lockId", "renewalToken", "requestId"), "openSession": ("sessionId",)}


def without_own_secrets(operation, value):
    """The reply as everybody else might see it; what it gave away is noted as secret."""
    if isinstance(value, list):
        return [without_own_secrets(operation, v) for v in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, each in value.items():
        if key in OWN_SECRETS.get(operation, ()) and isinstance(each, str):
            secrets.setdefault(each, key)
        else:
            out[key] = without_own_secrets(operation, each)
    return out


class Client:
    """Sends calls and lets nothing pass that is not in the contract."""

    def __init__(self, server):
        self.server = server

    def raw(self, method, target, body=None, headers=None, timeout=40):
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=timeout)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def send(self, method, target, body=None, headers=None, timeout=40):
        """A call with a body as it is; only the reply is checked."""
        operation = contract.operation_of(method, target)
        if body is not None and not any(h.lower() == "content-type" for h in headers or {}):
            headers = {**(headers or {}), "Content-Type": "application/json"}
        status, headers, text = self.raw(method, target, body, headers, timeout)
        value = contract.check_reply(operation, status, headers.get("Content-Type", ""), text)
        if headers.get("Cache-Control") != "no-store":
            raise Violation(f"{method} {target} -> {status}: no Cache-Control: no-store")
        driven.setdefault(operation, set()).add(status)
        if isinstance(value, dict) and "code" in value and status >= 400:
            provoked.setdefault(value["code"], operation)
            if status in (429, 503) and "retryAfter" in value and headers.get("Retry-After") is None:
                raise Violation(f"{method} {target} -> {status}: retryAfter without Retry-After")
        shown = without_own_secrets(operation, value) if status < 400 else value
        seen.append((f"{method} {target.split('?')[0]} -> {status}", json.dumps(shown)))
        return Reply(operation, status, headers, value)

    def call(self, operation, lock=None, query="", **body):
        """A call that the contract allows: the request is checked too."""
        path, method, definition = contract.operations[operation]
        target = path.replace("{name}", lock or "") + query
        content = body if "requestBody" in definition else None
        contract.check_request(operation, content)
        assert contract.operation_of(method, target) == operation
        return self.send(method, target, None if content is None else json.dumps(content))

    def acquire(self, lock, client, **rest):
        return self.call("acquire", lock, clientId=client, **rest)

    def status(self, lock):
        return self.call("status", lock).expect(200)

    def wait_for_waiters(self, lock, count):
        deadline = time.monotonic() + 10
        while (status := self.status(lock))["waiterCount"] != count:
            assert time.monotonic() < deadline, status.value
            time.sleep(0.01)
        return status


class Background(threading.Thread):
    """A call that waits, and what came of it."""

    def __init__(self, function, *args, **kwargs):
        super().__init__(daemon=True)
        self.work = lambda: function(*args, **kwargs)
        self.start()

    def run(self):
        try:
            self.outcome, self.error = self.work(), None
        except BaseException as error:
            self.outcome, self.error = None, error

    def result(self, timeout=40):
        self.join(timeout)
        assert not self.is_alive(), "the call did not come back"
        if self.error:
            raise self.error
        return self.outcome


@pytest.fixture(scope="module")
def server():
    with Dislockd("--log-level", "debug", "--poll-slice", "1") as process:
        yield process


@pytest.fixture(scope="module")
def client(server):
    return Client(server)


# ---- one lock ------------------------------------------------------------------------------------------------


def test_acquire_renew_validate_release(client):
    lock = name()
    lease = client.acquire(lock, "alice", timeout=20, metadata={"job": "invoices"}).expect(200)
    assert 19 < lease["ttl"] <= 20 and lease["lockName"] == lock and lease["holdCount"] == 1 and lease["mode"] == "exclusive"
    assert "renewedUntil" not in lease.value
    status = client.status(lock)
    assert status["locked"] and status["holders"][0]["metadata"] == {"job": "invoices"} and status["fencingToken"] == lease["fencingToken"]
    renewed = client.call("renew", lock, lockId=lease["lockId"], timeout=60).expect(200)
    assert renewed["fencingToken"] == lease["fencingToken"] and 59 < renewed["ttl"] <= 60
    assert client.call("renew", lock, renewalToken=lease["renewalToken"], timeout=1).expect(200)["ttl"] > 58, "a renewal shortened the lease"
    assert client.call("renew", lock, lockId=lease["lockId"], clientId="alice").expect(200)["ttl"] > 58
    assert client.call("validate", lock, fencingToken=lease["fencingToken"]).expect(200).value == {"current": True, "latest": lease["fencingToken"]}
    client.call("release", lock, lockId=lease["lockId"], clientId="bob").expect(409, "lock_not_held")
    client.call("release", lock, lockId=lease["renewalToken"]).expect(409, "lock_not_held")
    assert client.call("release", lock, lockId=lease["lockId"], clientId="alice").expect(200).value == {"released": True, "holdCount": 0}
    client.call("release", lock, lockId=lease["lockId"]).expect(409, "lock_not_held")
    assert client.call("validate", lock, fencingToken=lease["fencingToken"]).expect(200).value == {"current": False, "latest": None}
    again = client.acquire(lock, "alice").expect(200)
    assert again["fencingToken"] > lease["fencingToken"] and 29 < again["ttl"] <= 30, "the default timeout is 30 s"
    client.call("release", lock, lockId=again["lockId"]).expect(200)
    idle = client.status(lock)
    assert not idle["locked"] and idle["mode"] is None and idle["fencingToken"] is None and idle["holders"] == []


def test_a_renewal_without_timeout_extends_by_the_timeout_of_the_acquire(client):
    lock = name()
    lease = client.acquire(lock, "alice", timeout=7).expect(200)
    assert 6 < client.call("renew", lock, lockId=lease["lockId"]).expect(200)["ttl"] <= 7


def test_a_refusal_names_the_holder(client):
    lock = name()
    held = client.acquire(lock, "alice", timeout=20).expect(200)
    refused = client.acquire(lock, "bob").expect(409, "lock_not_acquired")
    assert refused["holders"][0]["clientId"] == "alice" and refused["holderCount"] == 1 and refused["queueLength"] == 0
    began = time.monotonic()
    refused = client.acquire(lock, "bob", waitTimeout=0.3, requestId=secret("request")).expect(409, "lock_not_acquired")
    assert 0.29 < time.monotonic() - began < 3 and 0.29 < refused["waitTime"] < 3
    client.call("release", lock, lockId=held["lockId"]).expect(200)


def test_a_repeat_gets_the_same_outcome(client):
    lock, request = name(), secret("request")
    body = {"timeout": 20, "requestId": request}
    first = client.acquire(lock, "alice", **body).expect(200)
    second = client.acquire(lock, "alice", **body).expect(200)
    assert [first[k] for k in ("lockId", "fencingToken", "renewalToken", "holdCount")] == [second[k] for k in ("lockId", "fencingToken", "renewalToken", "holdCount")]
    assert second["ttl"] <= first["ttl"]
    reused = client.acquire(lock, "alice", timeout=21, requestId=request).expect(422, "request_id_reused")
    assert reused["field"] == "requestId"
    other = client.acquire(lock, "bob", **body).expect(409, "lock_not_acquired")
    release = {"lockId": first["lockId"], "requestId": secret("request")}
    assert client.call("release", lock, **release).expect(200)["released"]
    assert client.call("release", lock, **release).expect(200)["released"]
    assert client.acquire(lock, "alice", **body).expect(409, "lock_not_held")["ended"] == "released"
    again = client.acquire(lock, "bob", **body).expect(409, "lock_not_acquired")  # remembered, although the lock is free now
    assert other["holderCount"] == 1 and again["holders"] == [], "but who holds the lock is told as it is now"


def test_a_long_wait_is_queued_and_taken_up_again(client):
    lock = name()
    held = client.acquire(lock, "alice", timeout=60).expect(200)
    body = {"timeout": 10, "waitTimeout": 30, "requestId": secret("request")}
    queued = client.acquire(lock, "bob", **body).expect(202)
    assert queued["queuePosition"] == 1 and queued["holders"][0]["clientId"] == "alice" and queued["requestId"] == body["requestId"]
    waiting = Background(client.acquire, lock, "bob", **body)
    waiter = client.wait_for_waiters(lock, 1)["waiters"][0]
    assert waiter["clientId"] == "bob" and waiter["position"] == 1
    client.call("release", lock, lockId=held["lockId"]).expect(200)
    granted = waiting.result().expect(200)
    assert granted["clientId"] == "bob" and granted["waitTime"] > 0.5, "the wait counts over all calls"


def test_the_newer_call_of_a_request_wins(client):
    lock, body = name(), {"waitTimeout": 20, "requestId": secret("request")}
    held = client.acquire(lock, "alice").expect(200)
    older = Background(client.acquire, lock, "bob", **body)
    client.wait_for_waiters(lock, 1)
    newer = Background(client.acquire, lock, "bob", **body)
    older.result().expect(409, "superseded")
    client.call("release", lock, lockId=held["lockId"]).expect(200)
    outcome = newer.result()
    (outcome if outcome.status == 200 else client.acquire(lock, "bob", **body)).expect(200)


def test_cancel(client):
    lock, waiting, holding, unseen = name(), secret("request"), secret("request"), secret("request")
    held = client.acquire(lock, "alice", requestId=holding).expect(200)
    waiter = Background(client.acquire, lock, "bob", waitTimeout=20, requestId=waiting)
    client.wait_for_waiters(lock, 1)
    assert client.call("cancel", lock, clientId="bob", requestId=waiting).expect(200)["cancelled"] is True
    waiter.result().expect(409, "request_cancelled")
    assert client.call("cancel", lock, clientId="carol", requestId=unseen).expect(200)["cancelled"] is True
    client.acquire(lock, "carol", requestId=unseen).expect(409, "request_cancelled")
    assert client.call("cancel", lock, clientId="alice", requestId=holding).expect(200)["cancelled"] is True
    client.call("release", lock, lockId=held["lockId"]).expect(409, "lock_not_held")
    assert client.call("cancel", lock, clientId="alice", requestId=holding).expect(200)["cancelled"] is True, "a repeat says the same"
    assert not client.status(lock)["locked"]


def test_re_entry(client):
    lock = name()
    first = client.acquire(lock, "alice", timeout=20).expect(200)
    second = client.acquire(lock, "alice", timeout=20, lockId=first["lockId"], requestId=secret("request")).expect(200)
    assert second["fencingToken"] == first["fencingToken"] and second["holdCount"] == 2
    assert client.call("release", lock, lockId=first["lockId"]).expect(200).value == {"released": False, "holdCount": 1}
    assert client.call("release", lock, lockId=first["lockId"]).expect(200).value == {"released": True, "holdCount": 0}
    client.acquire(lock, "alice", lockId=first["lockId"], requestId=secret("request")).expect(409, "lock_not_held")


def test_modes(client):
    lock = name("modes")
    readers = [client.acquire(lock, f"reader-{i}", mode="shared").expect(200) for i in range(12)]
    writer = client.acquire(lock, "writer").expect(409, "lock_not_acquired")
    assert len(writer["holders"]) == 10 and writer["holderCount"] == 12
    conflict = client.acquire(lock, "s", mode="semaphore", limit=3).expect(409, "lock_mode_conflict")
    assert conflict["mode"] == "shared"
    for reader in readers:
        client.call("release", lock, lockId=reader["lockId"]).expect(200)
    permit = client.acquire(lock, "s-1", mode="semaphore", limit=3, permits=2).expect(200)
    assert permit["permits"] == 2 and permit["limit"] == 3
    client.acquire(lock, "s-2", mode="semaphore", limit=3, permits=2).expect(409, "lock_not_acquired")
    assert client.acquire(lock, "s-3", mode="semaphore", limit=3).expect(200)["permits"] == 1
    assert client.acquire(lock, "s-4", mode="semaphore", limit=4).expect(409, "lock_mode_conflict")["limit"] == 3
    status = client.status(lock)
    assert status["limit"] == 3 and status["used"] == 3 and status["mode"] == "semaphore"


def test_auto_renewal_by_the_service(client):
    lock = name()
    lease = client.acquire(lock, "cron", timeout=0.6, autoRenew=True, maxHold=100).expect(200)
    assert "renewedUntil" in lease.value
    time.sleep(1.5)
    assert client.call("validate", lock, fencingToken=lease["fencingToken"]).expect(200)["current"]
    assert client.status(lock)["holders"][0]["autoRenew"]
    client.call("release", lock, lockId=lease["lockId"]).expect(200)


def test_expiry_and_lock_delay(client):
    lock = name()
    lease = client.acquire(lock, "alice", timeout=0.2, lockDelay=30).expect(200)
    deadline = time.monotonic() + 5
    while client.status(lock)["locked"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.call("renew", lock, lockId=lease["lockId"]).expect(409, "lock_not_held").value.get("ended") in ("expired", None)
    client.acquire(lock, "bob").expect(409, "lock_not_acquired")
    assert "closedUntil" in client.status(lock).value


def test_force_release(client):
    lock = name()
    held = [client.acquire(lock, f"r{i}", mode="shared").expect(200) for i in range(3)]
    token, request = held[1]["fencingToken"], secret("request")
    one = client.call("forceRelease", lock, query=f"?fencingToken={token}&reason=stuck%20host&requestId={request}").expect(200)
    assert one.value == {"released": 1, "tokens": [token]}
    assert client.call("forceRelease", lock, query=f"?fencingToken={token}&reason=stuck%20host&requestId={request}").expect(200).value == one.value
    assert client.call("forceRelease", lock, query=f"?fencingToken={token}").expect(200).value == {"released": 0, "tokens": []}
    assert client.call("renew", lock, lockId=held[1]["lockId"]).expect(409, "lock_not_held")["ended"] == "forced"
    everything = client.call("forceRelease", lock).expect(200)
    assert everything["released"] == 2 and sorted(everything["tokens"]) == sorted([held[0]["fencingToken"], held[2]["fencingToken"]])
    for wrong in ("fencingtoken=1", "fencingToken=x", "fencingToken=0", "fencingToken=1&fencingToken=2", "reason=" + "x" * 201):
        bad = client.send("DELETE", f"/locks/{lock}?{wrong}").expect(400, "invalid_field")
        assert bad["field"] == wrong.split("=")[0]


def test_deadlocks_are_refused_and_remembered(client):
    one, two = name("deadlock"), name("deadlock")
    a = client.acquire(one, "dl-a", timeout=60).expect(200)
    b = client.acquire(two, "dl-b", timeout=60).expect(200)
    waiting = Background(client.acquire, two, "dl-a", waitTimeout=20)
    client.wait_for_waiters(two, 1)
    edges = client.call("graph").expect(200)["edges"]
    assert {"from": "dl-a", "to": "dl-b", "lockName": two, "kind": "held"} in edges
    refused = client.acquire(one, "dl-b", waitTimeout=20).expect(409, "deadlock_detected")
    assert {(s["clientId"], s["waitsFor"], s["heldBy"]) for s in refused["cycle"]} == {("dl-a", two, "dl-b"), ("dl-b", one, "dl-a")}
    latest = client.call("deadlocks").expect(200)
    assert latest["total"] >= 1 and latest["deadlocks"][0]["victim"] == {"clientId": "dl-b", "lockName": one}
    client.acquire(one, "dl-a", waitTimeout=20).expect(409, "deadlock_detected")  # waits for itself
    client.call("release", two, lockId=b["lockId"]).expect(200)
    waiting.result().expect(200)
    client.call("release", one, lockId=a["lockId"]).expect(200)


# ---- several locks ----------------------------------------------------------------------------------------------


def test_multi_locks(client):
    names = [name("multi") for _ in range(3)]
    locks = [{"name": names[0]}, {"name": names[1], "mode": "shared"}, {"name": names[2], "mode": "semaphore", "limit": 5, "permits": 2}]
    request = secret("request")
    held = client.call("acquireMulti", clientId="m", locks=locks, timeout=20, requestId=request).expect(200)
    assert [g["lockName"] for g in held["locks"]] == names and held["locks"][2]["permits"] == 2
    again = client.call("acquireMulti", clientId="m", locks=locks, timeout=20, requestId=request).expect(200)
    assert again["locks"] == held["locks"]
    refused = client.call("acquireMulti", clientId="n", locks=[{"name": name()}, {"name": names[0]}]).expect(409, "lock_not_acquired")
    assert refused["lockName"] == names[0] and refused["holders"][0]["clientId"] == "m"
    body = {"clientId": "n", "locks": [{"name": n} for n in names[:2]], "waitTimeout": 20, "requestId": secret("request")}
    queued = client.call("acquireMulti", **body).expect(202)
    assert [p["lockName"] for p in queued["locks"]] == names[:2]
    assert client.call("cancelMulti", clientId="n", requestId=body["requestId"]).expect(200)["cancelled"] is True
    client.call("acquireMulti", **body).expect(409, "request_cancelled")
    proofs = [{"name": g["lockName"], "lockId": g["lockId"]} for g in held["locks"]]
    renewed = client.call("renewMulti", locks=[{"name": names[0], "renewalToken": held["locks"][0]["renewalToken"]}, *proofs[1:]], timeout=40).expect(200)
    assert renewed["renewed"] and 39 < renewed["ttl"] <= 40 and [r["fencingToken"] for r in renewed["locks"]] == [g["fencingToken"] for g in held["locks"]]
    release = {"clientId": "m", "locks": proofs[:1], "requestId": secret("request")}
    assert client.call("releaseMulti", **release).expect(200)["released"] is True
    assert client.call("releaseMulti", **release).expect(200)["released"] is True
    mixed = client.call("releaseMulti", locks=proofs).expect(200)
    assert mixed["released"] is False and [r["released"] for r in mixed["locks"]] == [False, True, True] and mixed["locks"][0]["code"] == "lock_not_held"
    gone = client.call("renewMulti", locks=proofs).expect(200)
    assert gone["renewed"] is False and "ttl" not in gone.value


@pytest.mark.parametrize("locks, field", [
    ([], "locks"), ([{"name": "a"}] * 2, "locks"), ([{"name": f"n{i}"} for i in range(33)], "locks"), ([{"name": "a", "mood": 1}], "locks[0].mood"), ([{"name": "a"}, {}], "locks[1].name"),
    ([{"name": "a"}, {"name": "b//c"}], "locks[1].name"), ([{"name": "a", "limit": 3}], "locks[0].limit"), ("a", "locks"), ([1], "locks[0]"), ([{"name": "a", "mode": "semaphore"}], "locks[0].limit")])
def test_bad_multi_requests(client, locks, field):
    bad = client.send("POST", "/locks/acquire", json.dumps({"clientId": "m", "locks": locks}))
    assert bad.status == 400 and bad["code"] in ("invalid_field", "invalid_lock_name") and bad["field"].startswith(field), bad.value


# ---- sessions -------------------------------------------------------------------------------------------------------


def test_sessions(client):
    lock, request = name("session"), secret("request")
    opened = client.call("openSession", clientId="worker", ttl=20, requestId=request).expect(200)
    assert client.call("openSession", clientId="worker", ttl=20, requestId=request).expect(200)["sessionId"] == opened["sessionId"]
    assert 19 < opened["ttl"] <= 20
    lease = client.acquire(lock, "worker/1", sessionId=opened["sessionId"]).expect(200)
    assert 18 < lease["ttl"] <= 20 and client.status(lock)["holders"][0]["sessionBound"]
    listed = [s for s in client.call("listSessions").expect(200)["sessions"] if s["publicId"] == opened["publicId"]]
    assert listed and listed[0]["leases"] == 1 and listed[0]["clientId"] == "worker"
    assert client.call("keepSessionAlive", sessionId=opened["sessionId"]).expect(200)["ttl"] > 19
    close = {"sessionId": opened["sessionId"], "requestId": secret("request")}
    assert client.call("closeSession", **close).expect(200).value == {"closed": True, "released": 1}
    assert client.call("closeSession", **close).expect(200).value == {"closed": True, "released": 1}
    assert not client.status(lock)["locked"]
    client.call("keepSessionAlive", sessionId=opened["sessionId"]).expect(409, "session_not_found")
    client.acquire(lock, "worker/1", sessionId=opened["sessionId"]).expect(409, "session_not_found")
    assert client.send("POST", f"/locks/{lock}/acquire", json.dumps({"clientId": "w", "sessionId": "s", "timeout": 1})).expect(400, "invalid_field")["field"] == "timeout"


# ---- insight --------------------------------------------------------------------------------------------------------


def pages(client, operation, key, query):
    cursor, out = None, []
    for _ in range(1000):
        page = client.call(operation, query=query + (f"&cursor={cursor}" if cursor else "")).expect(200)
        out += page[key]
        if not (cursor := page.value.get("nextCursor")):
            return out
    raise AssertionError("the pages do not end")


def test_lists_in_pages(client):
    prefix = f"contract/list/{uuid.uuid4().hex[:8]}/"
    for i in range(25):
        client.acquire(f"{prefix}{i}", "lister-even" if i % 2 == 0 else "lister-odd").expect(200)
    assert {lock["lockName"] for lock in pages(client, "listLocks", "locks", f"?prefix={prefix}&limit=4")} == {f"{prefix}{i}" for i in range(25)}
    odd = pages(client, "listLocks", "locks", f"?prefix={prefix}&clientId=lister-odd&limit=100")
    assert {lock["lockName"] for lock in odd} == {f"{prefix}{i}" for i in range(1, 25, 2)}
    for bad in ("limit=0", "limit=1001", "limit=x", "limit=1.5", "cursor=!!!", "prefix=a%20b", "clientId=a%20b", "page=2", "limit=1&limit=2"):
        assert client.send("GET", f"/locks?{bad}").expect(400, "invalid_field")["field"] == bad.split("=")[0]


def test_stats(client):
    stats = client.call("stats").expect(200)
    assert stats["waitTime"]["count"] > 10 and stats["holdTime"]["count"] > 5 and stats["mostContended"] and stats["activeLocks"] >= 25


class Stream:
    """GET /events, read in the background."""

    def __init__(self, client, query="", last=None):
        self.connection = http.client.HTTPConnection(client.server.host, client.server.port, timeout=40)
        self.connection.request("GET", "/events" + query, headers={"Last-Event-ID": last} if last else {})
        self.response = self.connection.getresponse()
        assert self.response.status == 200 and self.response.getheader("Content-Type").split(";")[0] == "text/event-stream"
        driven.setdefault("events", set()).add(200)
        self.events, self.last_id, self.broken = [], None, None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        fields = {}
        try:
            while line := self.response.readline():
                text = line.decode().rstrip("\r\n")
                if text.startswith(":"):
                    continue
                if text:
                    key, _, value = text.partition(":")
                    fields[key] = fields.get(key, "") + value.removeprefix(" ")
                    continue
                self.last_id = fields.get("id", self.last_id)
                if "data" in fields:
                    seen.append(("GET /events", fields["data"]))
                    event = contract.check_event(json.loads(fields["data"]))
                    assert event["type"] == fields.get("event") and fields.get("id", event["id"]) == event["id"], fields
                    self.events.append(event)
                fields = {}
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # the test closed it
        except BaseException as error:
            self.broken = error

    def until(self, condition):
        deadline = time.monotonic() + 10
        while not condition(self.events):
            assert not self.broken, self.broken
            assert time.monotonic() < deadline, [e["type"] for e in self.events]
            time.sleep(0.01)
        return self.events

    def close(self):
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.reader.join(5)
        self.connection.close()
        assert not self.broken, self.broken


def test_events(client):
    lock, other = name("events"), name("other")
    stream = Stream(client, "?prefix=contract/events/")
    time.sleep(0.2)
    first = client.acquire(lock, "alice", timeout=20).expect(200)
    client.acquire(other, "alice").expect(200)
    waiting = Background(client.acquire, lock, "bob", waitTimeout=10, requestId=secret("request"), timeout=20)
    client.wait_for_waiters(lock, 1)
    client.call("release", lock, lockId=first["lockId"]).expect(200)
    second = waiting.result()
    second.expect(200)
    client.call("forceRelease", lock, query="?reason=test").expect(200)
    events = stream.until(lambda e: any(x["type"] == "forced" for x in e))
    stream.close()
    assert all(e["lockName"] == lock for e in events if "lockName" in e), "the prefix filters"
    assert [e["type"] for e in events] == ["acquired", "queued", "released", "acquired", "forced"]
    tokens = [e["fencingToken"] for e in events if e["type"] == "acquired"]
    assert tokens == [first["fencingToken"], second["fencingToken"]]
    resumed = Stream(client, "?prefix=contract/events/", last=events[1]["id"])
    assert [e["type"] for e in resumed.until(lambda e: len(e) >= 3)] == ["released", "acquired", "forced"]
    resumed.close()
    held = client.acquire(name("events"), "dora").expect(200)
    lost = Stream(client, "?prefix=contract/events/", last="no.such.event")
    events = lost.until(lambda e: any(x["type"] == "snapshot" and not x["more"] for x in e))
    lost.close()
    assert events[0]["type"] == "reset"
    assert held["lockName"] in {lock["lockName"] for e in events if e["type"] == "snapshot" for lock in e["locks"]}


# ---- operations -----------------------------------------------------------------------------------------------------


def test_health_and_capabilities(client):
    for operation in ("health", "live", "ready"):
        health = client.call(operation).expect(200)
        assert health["status"] == "ok" and health["engine"] == {**health["engine"], "name": "memory", "ready": True} and not health["draining"]
    capabilities = client.call("capabilities").expect(200)
    assert capabilities["engine"] == "memory" and capabilities["durable"] is False and capabilities["maxTimeout"] == 300 and capabilities["fifo"]
    refused = client.acquire(name(), "careful", require=["fifo", "durable"]).expect(422, "unsupported_by_engine")
    assert refused["missing"] == ["durable"] and refused["field"].startswith("require")
    lock = name()
    client.acquire(lock, "careful", require=[c for c in ("fifo", "shared", "semaphore", "multi", "sessions", "lockDelay") if capabilities[c]]).expect(200)


def test_the_served_contract_is_this_file(client):
    status, headers, text = client.raw("GET", "/openapi.yaml")
    driven.setdefault("openapi", set()).add(status)
    assert status == 200 and headers["Content-Type"].split(";")[0] == "application/yaml" and text == contract.text


def test_metrics_are_those_of_the_list(client):
    def acquired():
        samples = check_metrics(contract, client.call("metrics").expect(200).value)
        return sum(v for n, _, v in samples if n == "distributed_locks_acquired_total")

    assert client.call("metrics").headers["Content-Type"].replace(" ", "").startswith("text/plain;version=0.0.4")
    before, lock = acquired(), name()
    client.acquire(lock, "metered").expect(200)
    assert acquired() == before + 1


def test_names_that_are_unusual_and_allowed(client):
    for odd in ("a", "stats", "acquire", "x/acquire", "a.b/..c/~:@+=,-_", "x" * 255):
        lease = client.acquire(odd, "namer").expect(200)
        assert lease["lockName"] == odd
        client.call("release", odd, lockId=lease["lockId"]).expect(200)
    lease = client.send("POST", "/locks/contract%2Fesc%61ped/acquire", json.dumps({"clientId": "namer"})).expect(200)
    assert lease["lockName"] == "contract/escaped"


# ---- bad input: always a 4xx problem that names the field, and the lock unchanged ------------------------------------


def nested(levels):
    """An acquire body of so many levels, the body itself counted."""
    value = "bottom"
    for _ in range(levels - 1):
        value = {"n": value}
    return json.dumps({"clientId": "c", "metadata": value})


def body(**fields):
    return json.dumps({"clientId": "c", **fields})


# what, body, code(s), field
BAD_BODIES = [
    ("no clientId", "{}", "invalid_field", "clientId"),
    ("clientId is a number", '{"clientId": 7}', "invalid_field", "clientId"),
    ("clientId is null", '{"clientId": null}', "invalid_field", "clientId"),
    ("clientId is empty", '{"clientId": ""}', "invalid_field", "clientId"),
    ("clientId is too long", json.dumps({"clientId": "x" * 129}), "invalid_field", "clientId"),
    ("clientId has a space", '{"clientId": "a b"}', "invalid_field", "clientId"),
    ("clientId ends in a newline", '{"clientId": "a\\n"}', "invalid_field", "clientId"),
    ("clientId with NUL", '{"clientId": "a\\u0000"}', "invalid_field", "clientId"),
    ("an unknown field", body(ttl=3), "invalid_field", "ttl"),
    ("a field in another case", body(Timeout=3), "invalid_field", "Timeout"),
    ("a repeated field", '{"clientId": "c", "timeout": 1, "timeout": 2}', ("invalid_field", "invalid_json"), ("timeout", "body")),
    ("timeout is text", body(timeout="30"), "invalid_field", "timeout"),
    ("timeout is true", body(timeout=True), "invalid_field", "timeout"),
    ("timeout is null", body(timeout=None), "invalid_field", "timeout"),
    ("timeout is zero", body(timeout=0), "invalid_field", "timeout"),
    ("timeout is negative", body(timeout=-1), "invalid_field", "timeout"),
    ("timeout is too short", body(timeout=0.05), "invalid_field", "timeout"),
    ("timeout above MAX_TIMEOUT", body(timeout=300.001), "invalid_field", "timeout"),
    ("timeout is NaN", '{"clientId": "c", "timeout": NaN}', "invalid_json", "body"),
    ("timeout is Infinity", '{"clientId": "c", "timeout": Infinity}', "invalid_json", "body"),
    ("timeout is 1e999", '{"clientId": "c", "timeout": 1e999}', ("invalid_field", "invalid_json"), ("timeout", "body")),
    ("timeout is -1e999", '{"clientId": "c", "timeout": -1e999}', ("invalid_field", "invalid_json"), ("timeout", "body")),
    ("timeout has 400 digits", '{"clientId": "c", "timeout": 1' + "0" * 400 + "}", ("invalid_field", "invalid_json"), ("timeout", "body")),
    ("timeout is 2^64", body(timeout=2**64), "invalid_field", "timeout"),
    ("waitTimeout is negative", body(waitTimeout=-0.001), "invalid_field", "waitTimeout"),
    ("waitTimeout above 600", body(waitTimeout=600.001), "invalid_field", "waitTimeout"),
    ("waitTimeout is an array", body(waitTimeout=[1]), "invalid_field", "waitTimeout"),
    ("autoRenew is 1", body(autoRenew=1), "invalid_field", "autoRenew"),
    ("autoRenew is text", body(autoRenew="true"), "invalid_field", "autoRenew"),
    ("metadata is text", body(metadata="x"), "invalid_field", "metadata"),
    ("metadata is an array", body(metadata=[]), "invalid_field", "metadata"),
    ("metadata above 4 KiB", body(metadata={"x": "y" * 4096}), "invalid_field", "metadata"),
    ("metadata is 17 levels deep", nested(17), ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("metadata is 5000 levels deep", '{"clientId": "c", "metadata": ' + '{"n":' * 5000 + "1" + "}" * 5001, ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("metadata with a lone surrogate", '{"clientId": "c", "metadata": {"x": "\\ud800"}}', ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("metadata with a lone low surrogate", '{"clientId": "c", "metadata": {"x": "\\udc00"}}', ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("metadata with 1e999", '{"clientId": "c", "metadata": {"x": 1e999}}', ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("clientId is a lone surrogate", '{"clientId": "\\ud800"}', ("invalid_json", "invalid_field"), ("body", "clientId")),
    ("requestId is empty", body(requestId=""), "invalid_field", "requestId"),
    ("requestId is too long", body(requestId="r" * 129), "invalid_field", "requestId"),
    ("mode is unknown", body(mode="write"), "invalid_field", "mode"),
    ("mode is a number", body(mode=1), "invalid_field", "mode"),
    ("semaphore without limit", body(mode="semaphore"), "invalid_field", "limit"),
    ("limit of an exclusive lock", body(limit=3), "invalid_field", "limit"),
    ("permits of a shared lock", body(mode="shared", permits=1), "invalid_field", "permits"),
    ("limit is zero", body(mode="semaphore", limit=0), "invalid_field", "limit"),
    ("limit is 1.5", body(mode="semaphore", limit=1.5), "invalid_field", "limit"),
    ("limit is true", body(mode="semaphore", limit=True), "invalid_field", "limit"),
    ("limit is too large", body(mode="semaphore", limit=1_000_001), "invalid_field", "limit"),
    ("limit is 2^32 + 1", body(mode="semaphore", limit=2**32 + 1), "invalid_field", "limit"),
    ("permits above limit", body(mode="semaphore", limit=2, permits=3), "invalid_field", "permits"),
    ("permits is negative", body(mode="semaphore", limit=2, permits=-1), "invalid_field", "permits"),
    ("lockId without requestId", body(lockId="0" * 32), "invalid_field", "requestId"),
    ("lockId is a number", body(lockId=1, requestId="r"), "invalid_field", "lockId"),
    ("sessionId with timeout", body(sessionId="0" * 32, timeout=3), "invalid_field", "timeout"),
    ("lockDelay above 60", body(lockDelay=60.001), "invalid_field", "lockDelay"),
    ("lockDelay is negative", body(lockDelay=-1), "invalid_field", "lockDelay"),
    ("maxHold is zero", body(maxHold=0), "invalid_field", "maxHold"),
    ("require is text", body(require="fifo"), "invalid_field", "require"),
    ("require of an unknown thing", body(require=["speed"]), "invalid_field", ("require", "require[0]")),
    ("require holds a number", body(require=[1]), "invalid_field", ("require", "require[0]")),
    ("not JSON", "clientId=c", "invalid_json", "body"),
    ("empty body", "", "invalid_json", "body"),
    ("half of it", '{"clientId": "c"', "invalid_json", "body"),
    ("two bodies", '{"clientId": "c"} {"clientId": "c"}', "invalid_json", "body"),
    ("an array", '[{"clientId": "c"}]', "invalid_json", "body"),
    ("a text", '"c"', "invalid_json", "body"),
    ("null", "null", "invalid_json", "body"),
    ("a comment", '{"clientId": "c" /* me */}', "invalid_json", "body"),
    ("a trailing comma", '{"clientId": "c",}', "invalid_json", "body"),
    ("single quotes", "{'clientId': 'c'}", "invalid_json", "body"),
    ("a leading zero", '{"clientId": "c", "timeout": 030}', "invalid_json", "body"),
    ("bytes that are not UTF-8", b'{"clientId": "\xff"}', ("invalid_json", "invalid_field"), ("body", "clientId")),
    ("an overlong encoding", b'{"clientId": "c", "metadata": {"x": "\xc0\xaf"}}', ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("a raw newline in a text", '{"clientId": "c", "metadata": {"x": "a\nb"}}', ("invalid_json", "invalid_field"), ("body", "metadata")),
    ("UTF-16", '{"clientId": "c"}'.encode("utf-16"), "invalid_json", "body"),
]


@pytest.mark.parametrize("what, content, codes, fields", BAD_BODIES, ids=[b[0] for b in BAD_BODIES])
def test_bad_bodies(client, what, content, codes, fields):
    lock = name("bad")
    bad = client.send("POST", f"/locks/{lock}/acquire", content)
    assert bad.status == 400, bad.value
    assert bad["code"] in (codes if isinstance(codes, tuple) else (codes,)), bad.value
    assert bad["field"] in (fields if isinstance(fields, tuple) else (fields,)), bad.value
    status = client.status(lock)
    assert not status["locked"] and status["waiterCount"] == 0, "a refused request changed the lock"


OTHER_BAD = [
    ("release", {}, "lockId"), ("release", {"lockId": 1}, "lockId"), ("release", {"lockId": "x", "force": True}, "force"), ("release", {"lockId": "x", "clientId": "a b"}, "clientId"),
    ("renew", {}, "lockId"), ("renew", {"lockId": "x", "renewalToken": "y"}, "renewalToken"), ("renew", {"lockId": "x", "timeout": 301}, "timeout"), ("renew", {"lockId": "x", "timeout": -1}, "timeout"),
    ("cancel", {"clientId": "c"}, "requestId"), ("cancel", {"requestId": "r"}, "clientId"), ("cancel", {"clientId": "c", "requestId": ""}, "requestId"),
    ("validate", {}, "fencingToken"), ("validate", {"fencingToken": "1"}, "fencingToken"), ("validate", {"fencingToken": 2**53}, "fencingToken"), ("validate", {"fencingToken": -1}, "fencingToken"),
    ("validate", {"fencingToken": 1.5}, "fencingToken"), ("validate", {"fencingToken": 10**30}, "fencingToken"), ("validate", {"fencingToken": True}, "fencingToken"),
    ("openSession", {"clientId": "c"}, "ttl"), ("openSession", {"clientId": "c", "ttl": 0}, "ttl"), ("openSession", {"clientId": "c", "ttl": 301}, "ttl"), ("openSession", {"ttl": 3}, "clientId"),
    ("keepSessionAlive", {}, "sessionId"), ("closeSession", {"sessionId": 4}, "sessionId"), ("closeSession", {"sessionId": "x", "reason": "y"}, "reason"),
    ("releaseMulti", {"locks": [{"name": "a"}]}, "locks[0].lockId"), ("renewMulti", {"locks": [{"name": "a"}]}, "locks[0]"), ("cancelMulti", {"clientId": "c"}, "requestId"), ("releaseMulti", {"clientId": "c"}, "locks"),
]


@pytest.mark.parametrize("operation, content, field", OTHER_BAD)
def test_bad_bodies_of_the_other_calls(client, operation, content, field):
    path, method, _ = contract.operations[operation]
    bad = client.send(method, path.replace("{name}", name("bad")), json.dumps(content)).expect(400, "invalid_field")
    assert bad["field"].startswith(field), bad.value


def test_sixteen_levels_are_allowed(client):
    client.send("POST", f"/locks/{name()}/acquire", nested(16)).expect(200)


BAD_NAMES = ["", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "a/..", "../a", "x" * 256, "a%20b", "a%2520b", "%2561", "%252e%252e", "a%00", "a%0A", "%C3%BC", "%FF", "a%2F%2Fb", "%2e%2e", "a%2F..",
             "a%", "a%zz", "a*b", "a%3Fb", "a%23b", "a%5Cb", "a;b", "a'b", "%2F", "a" + "/b" * 128]


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_bad_lock_names(client, bad):
    for method, verb, content in (("POST", "/acquire", '{"clientId": "c"}'), ("GET", "/status", None), ("DELETE", "", None)):
        if bad == "":
            continue  # /locks//acquire, below
        headers = {"Content-Type": "application/json"} if content else {}
        status, headers, text = client.raw(method, f"/locks/{bad}{verb}", content, headers)
        problem = contract.check_reply(contract.operation_of(method, f"/locks/{bad}{verb}"), status, headers.get("Content-Type", ""), text)
        provoked.setdefault(problem.get("code"), "acquire")
        assert (status, problem.get("code"), problem.get("field")) == (400, "invalid_lock_name", "name"), (method, problem)


def test_an_empty_lock_name(client):
    status, headers, text = client.raw("POST", "/locks//acquire", '{"clientId": "c"}', {"Content-Type": "application/json"})
    assert status == 400 and contract.check_reply("acquire", status, headers["Content-Type"], text)["code"] == "invalid_lock_name"


def test_http_that_is_refused(client):
    lock = name()
    path, good = f"/locks/{lock}/acquire", '{"clientId": "c"}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
        assert client.send("POST", path, good, {"Content-Type": content_type}).expect(415, "unsupported_media_type")["field"] == "Content-Type"
    assert client.send("POST", path, json.dumps({"clientId": "c", "metadata": {"x": "y" * 66_000}})).expect(413, "body_too_large")["field"] == "body"
    assert client.send("POST", path, good, {"Host": "evil.example"}).expect(421, "unknown_host")["field"] == "Host"
    assert client.send("POST", path, good, {"Origin": "http://evil.example"}).expect(403, "forbidden_origin")["field"] == "Origin"
    assert client.send("GET", "/events", headers={"Origin": "null"}).expect(403, "forbidden_origin")["field"] == "Origin"
    client.send("GET", "/health", headers={"X-Long": "x" * 20_000}).expect(431, "headers_too_large")
    for method, target, allowed in (("PUT", path, "POST"), ("GET", path, "POST"), ("DELETE", "/health", "GET"), ("POST", "/locks/stats", None), ("PATCH", "/sessions", "POST")):
        refused = client.send(method, target, good if method != "GET" else None).expect(405, "method_not_allowed")
        assert allowed is None or allowed in refused.headers["Allow"].replace(" ", "").split(",")
    for target in ("/", "/nope", "/lock/a/acquire", "/sessions/x", "/health/dead"):
        client.send("GET", target).expect(404, "not_found")
    client.send("POST", path, good, {"Content-Type": "application/json; charset=utf-8"}).expect(200)


@pytest.mark.parametrize("text", [b"nonsense\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", b"GET / health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                                  b"POST /locks/a/acquire HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: x\r\n\r\n"])
def test_what_is_not_http(client, server, text):
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(text)
        response = http.client.HTTPResponse(connection)
        response.begin()
        problem = contract.check_reply(None, response.status, response.getheader("Content-Type", ""), response.read())
        assert problem["code"] == "malformed_http"
        provoked.setdefault("malformed_http", None)
    client.call("live").expect(200)


# ---- limits, each with a server of its own ---------------------------------------------------------------------------


def test_a_full_request_memory_refuses_before_any_effect():
    with Dislockd("--request-memory-max", "8") as process:
        client = Client(process)
        replies = [client.acquire(f"full/{i}", "c", requestId=secret("request")) for i in range(40)]
        refused = [r for r in replies if r.status != 200]
        assert refused and replies[0].status == 200
        refused[0].expect(503, "request_memory_full")
        assert not client.status(f"full/{replies.index(refused[0])}")["locked"]
        client.acquire("full/without-id", "c").expect(200)


def test_a_queue_of_ten_thousand_is_full():
    with Dislockd("--waiter-grace", "600", "--poll-slice", "0.1") as process:
        client, lock = Client(process), "popular"
        held = client.acquire(lock, "owner", timeout=300).expect(200)
        base, failures = uuid.uuid4().hex, []

        def enqueue(first):
            for i in range(first, 10_000, 4):
                content = json.dumps({"clientId": f"w{i}", "waitTimeout": 600, "requestId": f"{base}{i}"})
                try:  # ask and leave: the place is kept for the grace
                    with socket.create_connection((process.host, process.port), timeout=20) as connection:
                        connection.sendall(f"POST /locks/{lock}/acquire HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode())
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(4096):
                            pass
                except OSError as error:
                    failures.append(error)

        for thread in [Background(enqueue, i) for i in range(4)]:
            thread.result(300)
        assert not failures, failures[0]
        deadline = time.monotonic() + 20
        while client.status(lock)["queueLength"] < 10_000 and time.monotonic() < deadline:
            time.sleep(0.1)
        status = client.status(lock)
        assert status["waiterCount"] == 10_000 and len(status["waiters"]) == 100
        client.acquire(lock, "late", waitTimeout=5, requestId=secret("request")).expect(429, "queue_full")
        client.call("renew", lock, lockId=held["lockId"]).expect(200)


def test_drain():
    with Dislockd("--drain-timeout", "3") as process:
        client = Client(process)
        client.acquire("drained", "owner").expect(200)
        waiting = Background(client.acquire, "drained", "waiter", waitTimeout=20, requestId=secret("request"))
        client.wait_for_waiters("drained", 1)
        process.terminate()
        try:
            outcome = waiting.result()
            assert outcome.status == 202 or (outcome.status, outcome["code"]) == (503, "draining"), outcome.value
        except (OSError, http.client.HTTPException):
            pytest.fail("an open wait was cut instead of answered")
        assert process.process.wait(15) == 0


# ---- what the whole run has shown ------------------------------------------------------------------------------------


@pytest.fixture
def whole_run(request):
    if any(not item.name.startswith("test_overall") and not hasattr(item, "_ran") for item in request.session.items) or request.config.option.keyword:
        pytest.skip("only after a run of the whole file")


@pytest.fixture(autouse=True)
def _note_that_it_ran(request):
    request.node._ran = True
    yield


def test_overall_every_operation_was_driven(whole_run):
    successful = {operation for operation, statuses in driven.items() if any(s < 300 for s in statuses)}
    assert sorted(contract.operations.keys() - successful) == []


def test_overall_every_code_was_provoked(whole_run):
    assert sorted(contract.errors.keys() - provoked.keys() - NOT_OVER_THE_API.keys()) == []
    assert sorted(NOT_OVER_THE_API.keys() - contract.errors.keys()) == [], "a reason for a code that is gone"
    assert not {"internal_error", "outcome_unknown"} & provoked.keys(), provoked


def test_overall_no_secret_was_shown(whole_run, client, server):
    assert {"lockId", "renewalToken", "sessionId", "request"} <= set(secrets.values()) and len(secrets) > 40
    for operation in ("listLocks", "listSessions", "graph", "deadlocks", "stats", "metrics"):
        client.call(operation).expect(200)
    everything = [*seen, ("the log", server.output())]
    assert len(server.output()) > 100, "nothing was logged at level debug"
    finder = re.compile("|".join(re.escape(s) for s in secrets))
    shown = {(where, secrets[hit]) for where, text in everything for hit in finder.findall(text)}
    assert not shown, f"secrets were shown: {sorted(shown)}"


def test_overall_the_server_still_lives_and_stops_in_order(whole_run, server):
    assert server.running()
    assert server.stop() == 0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
