"""Jobs pushed as any Sidekiq client would, without forkworker's own.  Runs in the test process."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis


def payload(name: str, args: Sequence[Any] = (), queue: str = "default", **fields: Any) -> dict[str, Any]:
    """Return a job as Sidekiq 7 describes it; fields that are None are left out."""
    now = time.time()
    job = {
        "class": name,
        "args": list(args),
        "jid": secrets.token_hex(12),
        "queue": queue,
        "retry": True,
        "created_at": now,
        "enqueued_at": now,
        **fields,
    }
    return {key: value for key, value in job.items() if value is not None}


def encode(job: dict[str, Any]) -> bytes:
    """Return the bytes of a job."""
    return json.dumps(job).encode()


def push(client: redis.Redis, name: str, args: Sequence[Any] = (), queue: str = "default", **fields: Any) -> str:
    """Push one job; return its id."""
    return push_many(client, name, [args], queue, **fields)[0]


def push_many(
    client: redis.Redis, name: str, rows: Iterable[Sequence[Any]], queue: str = "default", **fields: Any
) -> list[str]:
    """Push a job for each row of arguments, in one transaction; return their ids in order."""
    jobs = [payload(name, args, queue, **fields) for args in rows]
    with client.pipeline(transaction=True) as pipe:
        pipe.sadd("queues", queue)
        pipe.lpush(f"queue:{queue}", *map(encode, jobs))
        pipe.execute()
    return [job["jid"] for job in jobs]


def push_at(
    client: redis.Redis,
    when: float,
    name: str,
    args: Sequence[Any] = (),
    key: str = "schedule",
    **fields: Any,
) -> str:
    """Put one job into the schedule (or the retry set), due at ``when``; return its id."""
    job = payload(name, args, **{"enqueued_at": None, **fields})
    client.zadd(key, {encode(job): when})
    return str(job["jid"])
