"""The sizes of everything, for ``forkworker status`` and ``forkworker.inspect``.  Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from forkworker.clock import SystemClock
from forkworker.errors import MalformedPayload
from forkworker.store import orphans, paused
from forkworker.store.connection import Link, number
from forkworker.wire import keys, payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forkworker.store.connection import Commands


@dataclass(frozen=True, slots=True)
class QueueSize:
    """How full a queue is, for how long its oldest job has waited, and whether anybody may take from it."""

    name: str
    size: int
    latency_seconds: float
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Orphan:
    """A working list that holds jobs and whose owner shows no sign of life."""

    identity: str
    queue: str
    size: int


@dataclass(frozen=True, slots=True)
class Day:
    """Attempts that finished on one day, in UTC, and those of them that failed."""

    day: str
    processed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Counts of everything that stands in Redis."""

    queues: list[QueueSize]
    scheduled: int
    retries: int
    dead: int
    processes: int
    processed: int
    failed: int
    orphans: list[Orphan] = field(default_factory=list)


def read(redis_url: str) -> Overview:
    """Connect, and read the counts; raises StoreUnavailable."""
    link = Link(redis_url)
    try:
        return look(link)
    finally:
        link.close()


def look(commands: Commands) -> Overview:
    """Read the counts."""
    sizes = [("ZCARD", keys.SCHEDULE), ("ZCARD", keys.RETRY), ("ZCARD", keys.DEAD), ("SCARD", keys.PROCESSES)]
    counts = commands.pipeline([*sizes, ("GET", keys.PROCESSED), ("GET", keys.FAILED)])
    scheduled, retries, dead, processes, processed, failed = map(number, counts)
    return Overview(
        queues=queues(commands),
        scheduled=scheduled,
        retries=retries,
        dead=dead,
        processes=processes,
        processed=processed,
        failed=failed,
        orphans=orphaned(commands),
    )


def queues(commands: Commands) -> list[QueueSize]:
    """Return all queues that have a name, paused ones among them, by name."""
    named = {name.decode("utf-8", "replace") for name in commands.execute("SMEMBERS", keys.QUEUES)}
    closed = paused.names(commands)
    return sizes_of(commands, sorted(named | closed), closed)


def sizes_of(commands: Commands, names: Sequence[str], closed: set[str]) -> list[QueueSize]:
    """Return the sizes of these queues."""
    pairs = [command for name in names for command in (("LLEN", keys.queue(name)), ("LINDEX", keys.queue(name), -1))]
    replies = commands.pipeline(pairs) if pairs else []
    return [
        QueueSize(name, replies[2 * i], _latency(replies[2 * i + 1]), name in closed) for i, name in enumerate(names)
    ]


def orphaned(commands: Commands) -> list[Orphan]:
    """Return the working lists that hold something and whose owner has no beat."""
    owners = orphans.owners(commands)
    beats = orphans.signs_of_life(commands, list(owners)) if owners else {}
    lists = [
        (identity, queue) for identity in sorted(owners) if not beats[identity] for queue in sorted(owners[identity])
    ]
    sizes = commands.pipeline([("LLEN", keys.working(*place)) for place in lists]) if lists else []
    return [Orphan(*place, size) for place, size in zip(lists, sizes, strict=True) if size]


def days(commands: Commands, count: int, now: float) -> list[Day]:
    """Return the counters of the last days, today first."""
    today = datetime.fromtimestamp(now, timezone.utc)
    names = [(today - timedelta(days=back)).strftime("%Y-%m-%d") for back in range(count)]
    wanted = [key(name) for key in (keys.processed_on, keys.failed_on) for name in names]
    numbers = [*map(number, commands.execute("MGET", *wanted))] if wanted else []
    return [Day(name, numbers[i], numbers[count + i]) for i, name in enumerate(names)]


def _latency(oldest: bytes | None) -> float:
    try:
        since = payload.instant(payload.decode(oldest).get("enqueued_at")) if oldest else None
    except MalformedPayload:
        return 0.0
    return max(0.0, SystemClock().now() - since) if since else 0.0
