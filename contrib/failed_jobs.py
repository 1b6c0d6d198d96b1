"""Lists the jobs that failed, and runs one again now.

    python failed_jobs.py          what is in the retry set (by when it is due) and in the dead set, and why
    python failed_jobs.py JID      that job is due at once

Finds Redis as "forkworker run" does: run it in the app's folder, with the app's variables.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from forkworker import config
from forkworker.errors import MalformedPayload
from forkworker.store.connection import make_client
from forkworker.wire.payload import decode

# In one step, and only if it is still there: a job must never be in two places.
MAKE_DUE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
return redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
"""


def main(wanted: str = "") -> int:
    """List all, or retry the one that is wanted."""
    redis: Any = make_client(config.redis_url())
    found = 0
    for where in ("retry", "dead"):
        for payload, score in redis.zrange(where, 0, -1, withscores=True):
            job = as_job(payload)
            if not wanted:
                print(where, time.strftime("%F %T", time.localtime(score)), *describe(job))
            elif job.get("jid") == wanted:
                found += redis.eval(MAKE_DUE, 2, where, "retry", payload, time.time())
    if wanted:
        print(f"{wanted} is due now" if found else f"{wanted} is in neither set")
    return 0 if found or not wanted else 1


def as_job(payload: bytes) -> dict[str, Any]:
    """Read a payload; the dead set keeps what is no job, too."""
    try:
        return decode(payload)
    except MalformedPayload:
        return {"class": repr(payload[:60])}


def describe(job: dict[str, Any]) -> list[str]:
    """Say what job it is and why it failed."""
    arguments = [json.dumps(value) for value in job.get("args") or ()]
    arguments += [f"{name}={json.dumps(value)}" for name, value in (job.get("kwargs") or {}).items()]
    call = f"{job.get('class')}({', '.join(arguments)})"
    return [str(job.get("jid")), call, f"{job.get('error_class')}: {job.get('error_message')}"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
