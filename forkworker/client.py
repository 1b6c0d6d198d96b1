"""Pushing jobs, by name, from any program.  Starts no thread, and imports no worker code."""

from __future__ import annotations

import functools
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from forkworker import config, middleware
from forkworker.clock import SystemClock
from forkworker.settings import QUEUE_NAME
from forkworker.wire import payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

#: pushed by one round trip
BATCH = 1000
_clock = SystemClock()


class Client:
    """Pushes jobs to one Redis; safe to share between threads and across forks.

    ``url``: the address; None looks it up as ``forkworker run`` would, when the first job is pushed.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._redis: redis.Redis | None = None

    def push(
        self,
        name: str,
        args: Sequence[Any] = (),
        *,
        queue: str = "default",
        at: float | datetime | None = None,
        retry: bool | int = True,
        **fields: Any,
    ) -> str | None:
        """Push one job; return its jid, or None if a middleware kept it back.

        ``at`` is epoch seconds or an aware datetime; further ``fields`` go into the payload as they are.
        Raises PushInDoubt if the connection was lost: the job may or may not have been accepted.
        Raises TypeError or ValueError for what JSON cannot carry.
        """
        job = make_job(name, args, queue=queue, retry=retry, **fields)
        return self.push_jobs([job], None if at is None else epoch(at))[0]

    def push_jobs(self, jobs: Iterable[dict[str, Any]], at: float | None = None) -> list[str | None]:
        """Push payload dicts, a thousand for each round trip; all of one call must be of one queue."""
        jids: list[str | None] = []
        ready: list[dict[str, Any]] = []
        for job in jobs:
            before = len(ready)
            middleware.client.run(job, functools.partial(ready.append, job))
            jids.append(job["jid"] if len(ready) > before else None)
        for start in range(0, len(ready), BATCH):
            self._write(ready[start : start + BATCH], at)
        return jids

    def _write(self, jobs: list[dict[str, Any]], at: float | None) -> None:
        from forkworker.store import queues

        now = _clock.now()
        if at is not None and at > now:
            queues.schedule(self._client(), [(payload.encode(job), at) for job in jobs])
            return
        by_queue: dict[str, list[bytes]] = {}
        for job in jobs:
            by_queue.setdefault(job["queue"], []).append(payload.encode({**job, "enqueued_at": now}))
        for queue, payloads in by_queue.items():
            queues.push(self._client(), queue, payloads)

    def _client(self) -> redis.Redis:
        if self._redis is None:
            from forkworker.store import connection

            with self._lock:
                self._redis = connection.make_client(self._url or config.redis_url())
        return self._redis


def make_job(name: str, args: Sequence[Any], *, queue: str, retry: bool | int, **fields: Any) -> dict[str, Any]:
    """Return the payload of a new job as a dict; raises ValueError for a name of a queue that cannot be."""
    if not QUEUE_NAME.fullmatch(queue):
        raise ValueError(f"queue {queue!r}: a name may have letters, digits and _ : . - only")
    job = {"class": name, "args": list(args), "retry": retry, "queue": queue, "jid": payload.new_jid()}
    return {**job, "created_at": _clock.now(), **fields}


def epoch(when: float | datetime) -> float:
    """Return epoch seconds; raises ValueError for a datetime that does not know its time zone."""
    if not isinstance(when, datetime):
        return float(when)
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone: use an aware datetime, such as datetime.now(timezone.utc)")
    return when.timestamp()


def seconds_from_now(delay: float | timedelta) -> float:
    """Return the epoch seconds of an instant so many seconds, or a timedelta, from now."""
    return _clock.now() + (delay.total_seconds() if isinstance(delay, timedelta) else float(delay))


_default = Client()


def default() -> Client:
    """Return the client that job functions push with."""
    return _default


def configure(*, redis_url: str | None = None) -> None:
    """Set the Redis address for this program's pushes; None looks it up again."""
    global _default  # noqa: PLW0603 - the one setting of a program that enqueues
    _default = Client(redis_url)
