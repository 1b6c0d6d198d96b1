"""Pushing jobs: into a queue, or into the schedule for later.  Used by clients, in any process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from forkworker.errors import PushInDoubt, StoreUnavailable
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Sequence


def push(client: redis.Redis, queue: str, payloads: Sequence[bytes]) -> None:
    """Append payloads to a queue, all or none; a lost connection raises PushInDoubt."""
    with client.pipeline(transaction=True) as pipe:
        pipe.sadd(keys.QUEUES, queue)
        pipe.lpush(keys.queue(queue), *payloads)
        _execute(pipe)


def schedule(client: redis.Redis, entries: Sequence[tuple[bytes, float]]) -> None:
    """Put payloads into the schedule, each with the time it is due, all or none."""
    with client.pipeline(transaction=True) as pipe:
        pipe.zadd(keys.SCHEDULE, dict(entries))
        _execute(pipe)


def _execute(pipe: redis.client.Pipeline) -> None:
    try:
        pipe.execute()
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise PushInDoubt(
            f"the connection to Redis failed during a push ({type(error).__name__}): "
            "the job may or may not have been accepted; push again only if running twice is harmless"
        ) from error
    except redis.RedisError as error:
        raise StoreUnavailable(f"Redis refused the push, nothing was accepted: {error}") from error
