"""The sizes of everything, for ``forkworker status``.  Reads only; used by the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.clock import SystemClock
from forkworker.errors import MalformedPayload
from forkworker.store.connection import Link
from forkworker.wire import keys, payload

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class QueueSize:
    """How full a queue is, and for how long its oldest job has waited."""

    name: str
    size: int
    latency_seconds: float


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


def read(redis_url: str) -> Overview:
    """Read the counts; raises StoreUnavailable."""
    link = Link(redis_url)
    try:
        names = sorted(name.decode("utf-8", "replace") for name in link.execute("SMEMBERS", keys.QUEUES))
        sizes = [("ZCARD", keys.SCHEDULE), ("ZCARD", keys.RETRY), ("ZCARD", keys.DEAD), ("SCARD", keys.PROCESSES)]
        counts = link.pipeline([*sizes, ("GET", keys.PROCESSED), ("GET", keys.FAILED)])
        scheduled, retries, dead, processes, processed, failed = (int(count or 0) for count in counts)
        return Overview(
            queues=_queues(link, names),
            scheduled=scheduled,
            retries=retries,
            dead=dead,
            processes=processes,
            processed=processed,
            failed=failed,
        )
    finally:
        link.close()


def _queues(link: Link, names: Sequence[str]) -> list[QueueSize]:
    commands = [command for name in names for command in (("LLEN", keys.queue(name)), ("LINDEX", keys.queue(name), -1))]
    replies = link.pipeline(commands) if commands else []
    return [QueueSize(name, replies[2 * i], _latency(replies[2 * i + 1])) for i, name in enumerate(names)]


def _latency(oldest: bytes | None) -> float:
    try:
        since = payload.instant(payload.decode(oldest).get("enqueued_at")) if oldest else None
    except MalformedPayload:
        return 0.0
    return max(0.0, SystemClock().now() - since) if since else 0.0
