"""redis-py through its own API: see ../run.   python bench.py PORT pairs|handoff CALLERS SECONDS WARM_UP threads|asyncio"""
import asyncio
import json
import os
import sys
import threading
import time

import redis
import redis.asyncio

TTL = 30


class Count:
    def __init__(self):
        self.value, self.counting, self.over = 0, False, False
        self.last_owner, self.last_release = -1, 0.0

    def pair(self):
        self.value += self.counting

    def granted(self, owner, since):
        """By the one who holds the lock, so there is nobody else here."""
        self.value += self.counting and self.last_owner != owner and since < self.last_release
        self.last_owner, self.last_release = owner, time.monotonic()


def name_for(mode, i):
    return f"lock:peers/{i}" if mode == "pairs" else "lock:peers-handoff"


def in_a_thread(client, mode, i, count):
    while not count.over:
        since = time.monotonic()
        lock = client.lock(name_for(mode, i), timeout=TTL)
        lock.acquire()
        count.pair() if mode == "pairs" else count.granted(i, since)
        lock.release()


async def in_a_task(client, mode, i, count):
    while not count.over:
        since = time.monotonic()
        lock = client.lock(name_for(mode, i), timeout=TTL)
        await lock.acquire()
        count.pair() if mode == "pairs" else count.granted(i, since)
        await lock.release()


def say(count, took):
    print(json.dumps({"count": count.value, "seconds": took}), flush=True)
    os._exit(0)  # whoever still waits


def with_threads(port, mode, callers, seconds, warm_up):
    client, count = redis.Redis(host="127.0.0.1", port=port), Count()
    threading.excepthook = fail
    for i in range(callers):
        threading.Thread(target=in_a_thread, args=(client, mode, i, count), daemon=True).start()
    time.sleep(warm_up)
    began, count.counting = time.monotonic(), True
    time.sleep(seconds)
    count.counting, took = False, time.monotonic() - began
    count.over = True
    time.sleep(0.2)
    say(count, took)


async def with_tasks(port, mode, callers, seconds, warm_up):
    client, count = redis.asyncio.Redis(host="127.0.0.1", port=port), Count()
    tasks = [asyncio.create_task(in_a_task(client, mode, i, count)) for i in range(callers)]
    await asyncio.sleep(warm_up)
    began, count.counting = time.monotonic(), True
    await asyncio.sleep(seconds)
    count.counting, took = False, time.monotonic() - began
    count.over = True
    await asyncio.sleep(0.2)
    for task in tasks:
        if task.done() and task.exception():
            raise task.exception()
    say(count, took)


def fail(what):
    print(f"{what.exc_type.__name__}: {what.exc_value}", file=sys.stderr, flush=True)
    os._exit(1)


def main(port, mode, callers, seconds, warm_up, way):
    terms = (int(port), mode, int(callers), float(seconds), float(warm_up))
    if way == "threads":
        with_threads(*terms)
    else:
        asyncio.run(with_tasks(*terms))


main(*sys.argv[1:])
