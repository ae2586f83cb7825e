"""Takes, extends and gives back locks through redis-py, as it is told on stdin: see foreign_holders.py."""
import sys

import redis
from redis.exceptions import LockError
from redis.lock import Lock

client = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]))
locks = {}


def obey(verb, key, millis=0):
    if verb in ("try", "acquire"):
        lock = Lock(client, key, timeout=int(millis) / 1000 or None, thread_local=False)
        if not lock.acquire(blocking=verb == "acquire"):
            return False
        locks[key] = lock
    elif verb == "extend":
        locks[key].reacquire()
    else:
        locks.pop(key).release()
    return True


for line in sys.stdin:
    try:
        answer = "yes" if obey(*line.split()) else "no"
    except LockError:
        answer = "no"
    except Exception as error:
        answer = f"error {type(error).__name__}: {error}"
    print(answer, flush=True)
