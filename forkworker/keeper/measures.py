"""What Redis holds and how fast it answers, read at each beat for those who ask at the door.

By a connection of its own, whose errors are its own: a strange key among the queues must not stop the beats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.errors import StoreUnavailable
from forkworker.store import overview, paused
from forkworker.store.connection import Link
from forkworker.wire import keys

if TYPE_CHECKING:
    from forkworker.clock import Clock
    from forkworker.store.overview import QueueSize

#: the first by name
MOST_QUEUES = 500
_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What stood in Redis at a beat."""

    queues: tuple[QueueSize, ...]
    schedule: int
    retry: int
    dead: int
    orphaned: int
    round_trip_seconds: float


class Measures:
    """Reads the holdings."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._link = Link(url, timeout_seconds=_TIMEOUT_SECONDS)
        self._clock = clock

    def take(self) -> Holdings | None:
        """Read; None if that cannot be done."""
        try:
            return self._take()
        except StoreUnavailable:
            return None

    def _take(self) -> Holdings:
        self._link.execute("PING")  # opens the connection, if it must be
        began = self._clock.monotonic()
        self._link.execute("PING")
        round_trip = self._clock.monotonic() - began
        names = sorted(name.decode("utf-8", "replace") for name in self._link.execute("SMEMBERS", keys.QUEUES))
        schedule, retry, dead = self._link.pipeline([("ZCARD", key) for key in (keys.SCHEDULE, keys.RETRY, keys.DEAD)])
        return Holdings(
            queues=tuple(overview.sizes_of(self._link, names[:MOST_QUEUES], paused.names(self._link))),
            schedule=schedule,
            retry=retry,
            dead=dead,
            orphaned=sum(orphan.size for orphan in overview.orphaned(self._link)),
            round_trip_seconds=round_trip,
        )
