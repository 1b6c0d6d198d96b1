"""Puts jobs back: the only path by which a payload leaves a working list without its owner.

After the end of a process its whole lists; from a process that is stuck, what it has not started.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from forkworker.errors import MalformedPayload, Poisonous
from forkworker.store import orphans, sets
from forkworker.store.orphans import Entry, Restored
from forkworker.unix import board
from forkworker.unix.board import Record, State
from forkworker.wire import failure, pages, payload
from forkworker.wire.payload import name_and_jid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from forkworker.clock import Clock
    from forkworker.keeper.charge import Charge
    from forkworker.settings import Settings
    from forkworker.store.connection import Link

#: between the returns of jobs that were running in two crashes together: longer than most jobs run
APART_SECONDS = 2.0
_AT_ONCE = itertools.repeat(0)
_log = logging.getLogger(__name__)


class Restorer:
    """Moves payloads back to the head of their queues, in their old order."""

    def __init__(self, settings: Settings, link: Link, clock: Clock) -> None:
        self._settings = settings
        self._link = link
        self._clock = clock

    def restore_gone(self, charge: Charge) -> Restored:
        """Put back all that a child of ours left when it ended; after a crash, count what was running."""
        started = _Matcher(charge.board.records(State.STARTED))
        ran = (lambda payload, _: started.takes(payload)) if charge.crashed else _none
        return self._restore(charge.identity, self._settings.queue_names, ran, itertools.count())

    def restore_orphans(self, identity: str, queues: Iterable[str], concurrency: int) -> Restored:
        """Put back all that a dead owner left.

        Its board is gone with it.  Units start in the order in which they were taken, so at most the
        oldest ``concurrency`` of a list were running.
        """
        return self._restore(identity, queues, lambda _, age: age < (concurrency or self._settings.concurrency))

    def return_late(self, identity: str, queues: Iterable[str]) -> Restored:
        """Put back what came into the lists of one that had gone already: none of it was running."""
        return self._restore(identity, queues, _none)

    def return_unstarted(self, charge: Charge) -> Restored:
        """Put back what a stuck child has taken and not started; its epoch must be odd meanwhile."""
        lists = {queue: orphans.contents(self._link, charge.identity, queue) for queue in self._settings.queue_names}
        # read after a round trip, so that a mark made before our epoch was seen is seen by us
        keep = _Matcher(charge.board.records(State.STARTED, State.ENDED))
        total = Restored()
        for queue, newest_first in lists.items():
            # the oldest first, as they were started: of two alike the newer one is the unstarted one
            unstarted = [Entry(payload) for payload in reversed(newest_first) if not keep.takes(payload)]
            if unstarted:
                total += orphans.restore(self._link, charge.identity, queue, unstarted[::-1], self._clock.now())
        return total

    def _restore(
        self,
        identity: str,
        queues: Iterable[str],
        ran: Callable[[bytes, int], bool],
        turns: Iterator[int] = _AT_ONCE,
    ) -> Restored:
        """Move all of the queues' lists; what takes a turn other than 0 waits for it in the schedule."""
        total = Restored()
        for queue in queues:
            newest_first = orphans.contents(self._link, identity, queue)
            if newest_first:
                entries = self._entries(queue, newest_first, ran, turns)
                total += orphans.restore(self._link, identity, queue, entries, self._clock.now())
        if total.buried:
            sets.trim_dead(self._link, self._clock.now())
        return total

    def _entries(
        self, queue: str, newest_first: Sequence[bytes], ran: Callable[[bytes, int], bool], turns: Iterator[int]
    ) -> list[Entry]:
        last = len(newest_first) - 1
        crashed = [ran(payload, last - i) for i, payload in enumerate(newest_first)]
        before = orphans.crashes(self._link, list(itertools.compress(newest_first, crashed)))
        oldest_first = [
            self._crashed(queue, payload, before[payload] + 1, turns) if was else Entry(payload)
            for payload, was in zip(reversed(newest_first), reversed(crashed), strict=True)
        ]
        return oldest_first[::-1]

    def _crashed(self, queue: str, payload: bytes, crashes: int, turns: Iterator[int]) -> Entry:
        """Of jobs that crash together most are only neighbours: before it would bury them, let them run one by one."""
        if crashes >= orphans.CRASHES_THAT_BURY:
            return Entry(payload, crashed=True, buried_form=self._buried_form(queue, payload))
        turn = next(turns) if crashes == orphans.CRASHES_THAT_BURY - 1 else 0
        if not (turn and _can_wait(queue, payload)):
            return Entry(payload, crashed=True)
        seconds = turn * APART_SECONDS
        name, jid = name_and_jid(payload)
        _log.warning(
            "jid=%.200s %.200s: was running in two crashes, beside others; runs again apart, in %d s",
            jid,
            name,
            seconds,
        )
        return Entry(payload, crashed=True, later=self._clock.now() + seconds)

    def _buried_form(self, queue: str, text: bytes) -> bytes:
        """The payload with an error that says why it is dead; as it is if it cannot carry one."""
        try:
            return self._with_error(queue, payload.decode(text))
        except (MalformedPayload, ValueError, RecursionError):
            return text

    def _with_error(self, queue: str, job: dict[str, Any]) -> bytes:
        now = self._clock.now()
        name, message = failure.describe_error(
            Poisonous(
                f"it was running in {orphans.CRASHES_THAT_BURY} crashes of its process within "
                f"{orphans.CRASH_MEMORY_SECONDS // 3600} hours, so it is not run again by itself"
            )
        )
        _log.error("jid=%.200s %.200s: %s", job.get("jid"), job["class"], message)
        # the queue, too: a minimal payload has none, and an operator's retry must lead back
        told = {"error_class": name, "error_message": message, "queue": queue}
        job = pages.presentable(job)
        counted = {"retry_count": job.get("retry_count", 0), "failed_at": job.get("failed_at") or now}
        return payload.encode({**job, **told, **counted, "retried_at": now})


class _Matcher:
    """Finds payloads among a board's records, each record once."""

    def __init__(self, records: list[Record]) -> None:
        self._left = Counter(record.key for record in records)

    def takes(self, payload: bytes) -> bool:
        """Whether a record is this payload's; that record is used up then."""
        key = board.key(payload)
        if not self._left[key]:
            return False
        self._left[key] -= 1
        return True


def _can_wait(queue: str, text: bytes) -> bool:
    """Whether the schedule would give it back to its queue as it is."""
    try:
        job = payload.decode(text)
    except (MalformedPayload, RecursionError):
        return False
    return job.get("queue") == queue and "enqueued_at" in job


def _none(_payload: bytes, _age: int) -> bool:
    return False
