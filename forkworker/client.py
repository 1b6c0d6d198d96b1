"""Pushing jobs, by name, from any program.  Starts no thread, and imports no worker code."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from forkworker import config, delay, middleware, options, values
from forkworker.clock import SystemClock
from forkworker.errors import PushFailed, PushInDoubt
from forkworker.store import batches
from forkworker.wire import payload, portable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    import redis

    #: gets jobs, and the time for which they are
    Taker = Callable[[list["Parcel"], float | None], None]

#: pushed by one round trip
BATCH = 1000
#: a payload of more bytes is named in a warning: Redis keeps it in memory, and each move reads and writes it whole
LARGE_BYTES = 1_000_000
#: a failed job goes back with its old and its new form in one request, and Redis hangs up on one of 1 GB
MOST_BYTES = 256 * 1024 * 1024

_clock = SystemClock()
_log = logging.getLogger(__name__)


class Parcel(NamedTuple):
    """A job ready to be pushed."""

    queue: str
    jid: str
    payload: bytes


class Client:
    """Pushes jobs to one Redis; safe to share between threads and across forks.

    ``url``: the address; None means what ``configure`` was last told, else the daemon's own in a daemon's child, else
    what ``forkworker run`` would find, looked up when the first job is pushed.  Raises ValueError for what is none.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url: str | None = None if url is None else values.ADDRESS.from_text(url)
        #: with the process it is for: what a fork has copied shares its sockets, and may be locked for ever;
        #: and with what ``configure`` had been told by then
        self._redis: tuple[int, tuple[str | None], redis.Redis] | None = None

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

        ``at`` is epoch seconds or an aware datetime; further ``fields`` (``kwargs``, ``tags``, …) go into
        the payload as they are.  Raises TypeError or ValueError for what cannot be; PushFailed if Redis did
        not accept the job; PushInDoubt if the connection was lost: it may or may not have been accepted.
        """
        _check(name, args, queue, retry, fields)
        job = make_job(name, args, queue=queue, retry=retry, **fields)
        return self.push_jobs([job], None if at is None else epoch(at))[0]

    def push_jobs(self, jobs: Iterable[dict[str, Any]], at: float | None = None) -> list[str | None]:
        """Push payload dicts, a thousand for each round trip; return the jids as ``push`` does."""
        ready, jids = _admitted(jobs)
        now = _clock.now()
        due = at if at is not None and at > now else None
        parcels = [_pack(job if due else {**job, "enqueued_at": now}) for job in ready]
        (_diversion or self._deliver)(parcels, due)
        return jids

    def _deliver(self, parcels: list[Parcel], at: float | None) -> None:
        accepted: list[str] = []
        try:
            for batch in [parcels] if len(parcels) == 1 else _batches(parcels, at):
                self._write(batch, at)
                accepted += [parcel.jid for parcel in batch]
        except (PushFailed, PushInDoubt) as error:
            error.accepted = accepted
            raise

    def _write(self, batch: Sequence[Parcel], at: float | None) -> None:
        queues = _queues()
        if at is None:
            queues.push(self._client(), batch[0].queue, [parcel.payload for parcel in batch])
        else:
            queues.schedule(self._client(), [(parcel.payload, at) for parcel in batch])

    def _client(self) -> redis.Redis:
        """Two threads may each make one at first: no lock, which a fork could copy while it is held."""
        me, told, made = os.getpid(), _told, self._redis
        if made is None or made[0] != me or made[1] is not told:
            from forkworker.store import connection

            made = me, told, connection.make_client(self._url or told[0] or _home or config.redis_url())
            self._redis = made
        return made[2]


@functools.cache
def _queues() -> ModuleType:
    """Import redis-py, and what needs it, with the first push; an import statement in each costs too much."""
    from forkworker.store import queues

    return queues


def _admitted(jobs: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Return the jobs that middleware lets pass, and the jid of each, None for what it keeps back."""
    if middleware.client.is_empty:
        all_of_them = list(jobs)
        return all_of_them, [job["jid"] for job in all_of_them]
    ready: list[dict[str, Any]] = []
    jids: list[str | None] = []
    for job in jobs:
        before = len(ready)
        middleware.client.run(job, functools.partial(ready.append, job))
        jids.append(job["jid"] if len(ready) > before else None)
    return ready, jids


def _check(name: object, args: object, queue: object, retry: object, fields: dict[str, Any]) -> None:
    """Refuse what is no job by the look of it; what the job itself expects only the worker knows."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a job must be a string that is not empty, not {name!r:.60}")
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        raise TypeError(f"{name}: args must be a list of arguments, not {args!r:.60}")
    options.check_queue(queue)
    options.check_retry(retry)
    for field in ("class", "args", "enqueued_at"):
        if field in fields:
            raise TypeError(f"{name}: the field {field!r} cannot be given by itself")
    if not isinstance(fields.get("kwargs", {}), dict):
        raise TypeError(f"{name}: kwargs must be a dict, not {fields['kwargs']!r:.60}")
    if not isinstance(fields.get("jid", ""), str):
        raise TypeError(f"{name}: jid must be a string, not {fields['jid']!r:.60}")
    for field, value in {"args": args, **fields}.items():
        portable.refuse_misfit(value, f"{name}: {field}")


def make_job(
    name: str, args: Sequence[Any], *, queue: str, retry: bool | int, jid: str | None = None, **fields: Any
) -> dict[str, Any]:
    """Return the payload of a new job as a dict, of values that have been checked."""
    return {
        "class": name,
        "args": list(args),
        "retry": retry,
        "queue": queue,
        "jid": payload.new_jid() if jid is None else jid,
        "created_at": _clock.now(),
        **fields,
    }


def _pack(job: dict[str, Any]) -> Parcel:
    """Turn a job, as middleware has left it, into bytes."""
    options.check_queue(job["queue"])
    text = payload.encode(job)
    if len(text) > MOST_BYTES:
        raise ValueError(f"{job['class']}: a payload of {len(text):,} bytes is too large: send a reference to the data")
    if len(text) > LARGE_BYTES:
        _log.warning(
            "jid=%s %.100s: its payload has %s bytes; Redis keeps it in memory and each move copies it: "
            "better store the data elsewhere and send a reference",
            job["jid"],
            job["class"],
            f"{len(text):,}",
        )
    return Parcel(job["queue"], job["jid"], text)


def _batches(parcels: Iterable[Parcel], at: float | None) -> Iterator[list[Parcel]]:
    """Group what one round trip can carry: what is due now by queue."""
    groups: dict[str, list[Parcel]] = {}
    for parcel in parcels:
        groups.setdefault(parcel.queue if at is None else "", []).append(parcel)
    for group in groups.values():
        start = 0
        while start < len(group):
            next_ones = group[start : start + BATCH]
            count = batches.how_many((len(parcel.payload) for parcel in next_ones), BATCH)
            yield next_ones[:count]
            start += count


def epoch(when: float | datetime) -> float:
    """Return epoch seconds; raises ValueError for a datetime without a time zone, or for milliseconds."""
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise ValueError(f"{when!r} has no time zone: use an aware datetime, such as datetime.now(timezone.utc)")
        return when.timestamp()
    if isinstance(when, bool) or not isinstance(when, int | float):
        raise TypeError(f"a time is an aware datetime or epoch seconds, not {when!r}")
    if not -math.inf < when < payload.LEAST_MILLISECONDS:
        raise ValueError(f"{when!r} is no time in epoch seconds (in milliseconds?)")
    return float(when)


def seconds_from_now(later: float | timedelta) -> float:
    """Return the epoch seconds of an instant so many seconds, or a timedelta, from now."""
    return epoch(_clock.now() + delay.seconds(later))


_default = Client()
#: the address that ``configure`` was told; another tuple each time
_told: tuple[str | None] = (None,)
#: the address of the daemon in whose child this is
_home: str | None = None
#: takes what is pushed instead of Redis
_diversion: Taker | None = None


def default() -> Client:
    """Return the client that job functions push with."""
    return _default


def configure(*, redis_url: str | None = None) -> None:
    """Set the Redis address for all that this program pushes by job functions, and by clients without one of their own.

    None looks it up again.  Raises ValueError for what is none.
    """
    global _told  # noqa: PLW0603 - the one setting of a program that enqueues
    _told = (None if redis_url is None else values.ADDRESS.from_text(redis_url),)


def settle_in(redis_url: str) -> None:
    """Have clients without an address push where the daemon takes its jobs from; called by the daemon."""
    global _home  # noqa: PLW0603 - one for each process
    _home = redis_url


def divert(taker: Taker | None) -> Taker | None:
    """Give to ``taker`` what all clients of this process push, None: to Redis again; return the last one."""
    global _diversion
    last, _diversion = _diversion, taker
    return last
