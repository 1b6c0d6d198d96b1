"""Moves due jobs of the schedule and the retry set to their queues.

One command a second while nothing is due; what is known to become due earlier is awaited to the moment.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from forkworker.store import orphans, sets
from forkworker.store.sets import Promotion
from forkworker.wire import keys, pages, payload

if TYPE_CHECKING:
    from forkworker.clock import Clock
    from forkworker.store.connection import Link

POLL_SECONDS = 1.0
DEFAULT_QUEUE = "default"
_log = logging.getLogger(__name__)


class Poller:
    """Promotes what is due."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        #: how many stay at the front of each set, as their queues take nothing: passed over until the end is reached
        self._stuck = {keys.RETRY: 0, keys.SCHEDULE: 0}
        self._refusing: set[str] = set()

    def poll(self) -> float:
        """Move what is due, a batch of each set at the most; return the seconds until the next poll."""
        now = self._clock.now()
        due = sets.due(self._link, now, (self._stuck[keys.RETRY], self._stuck[keys.SCHEDULE]))
        for source, payloads in due.payloads.items():
            stuck = self._move(source, payloads, now) if payloads else 0
            self._stuck[source] = self._stuck[source] + stuck if len(payloads) == sets.BATCH else 0
        if any(len(payloads) == sets.BATCH for payloads in due.payloads.values()):
            return 0.0
        if due.next_at is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, due.next_at - self._clock.now()))

    def _move(self, source: str, payloads: list[bytes], now: float) -> int:
        """Promote payloads; return how many stay, as they cannot move."""
        kept = self._suspects(payloads) if source == keys.SCHEDULE else set()
        promotions = [self._promotion(text, now, keep=text in kept) for text in payloads]
        moved = sets.promote(self._link, source, promotions, now)
        if any(not promotion.queue for promotion in promotions):
            sets.trim_dead(self._link, now)
        if moved == len(promotions):
            return 0
        stuck = sets.left(self._link, source, promotions)  # all others were moved by another keeper
        self._tell_refusing({promotion.queue for promotion in stuck})
        return len(stuck)

    def _tell_refusing(self, queues: set[str]) -> None:
        for queue in sorted(queues - self._refusing):
            told = f"queue {queue!r:.100}" if queue else "the dead set"
            _log.error("%s takes no due jobs, and they stay: its key is of another type, or Redis is full", told)
        self._refusing |= queues

    def _suspects(self, payloads: list[bytes]) -> set[bytes]:
        """Those that wait because of crashes (`restorer.py`): counted by their bytes, they keep them."""
        crashes = orphans.crashes(self._link, [text for text in payloads if b'"enqueued_at"' in text])
        return {text for text, count in crashes.items() if count}

    def _promotion(self, text: bytes, now: float, *, keep: bool) -> Promotion:
        try:
            job = payload.decode(text)
            queue = job.get("queue")
            if not isinstance(queue, str) or not queue:
                queue = DEFAULT_QUEUE
            new = text if keep else payload.encode({**pages.presentable(job), "queue": queue, "enqueued_at": now})
            return Promotion(text, queue, new)
        except Exception as error:  # noqa: BLE001 - one strange entry must not hold up all that is due behind it
            _log.warning("a due entry is no job (%s): it goes to the dead set as it is", error)
            return Promotion(text, "", text)
