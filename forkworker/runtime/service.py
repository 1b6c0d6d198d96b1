"""One child's worth of work: an exchange thread, job threads, and what they share.

``start``, then any number of ``look`` (the board's gate has changed), then ``stop``.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from forkworker.errors import StoreUnavailable
from forkworker.runtime.exchange import Exchange
from forkworker.runtime.executor import Executor
from forkworker.runtime.hand import Hand
from forkworker.runtime.joblog import JobLog
from forkworker.runtime.processor import Processor
from forkworker.runtime.tallyman import Tallyman
from forkworker.store import orphans
from forkworker.store.connection import Link
from forkworker.unix.board import Board, Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.jobs import Registry
    from forkworker.runtime.outcome import Outcome
    from forkworker.settings import Settings

#: what an interrupted job gets to come to its end
UNWIND_SECONDS = 0.3
_CHECK_SECONDS = 0.02
_log = logging.getLogger(__name__)


class Service:
    """The threads of one child."""

    def __init__(
        self,
        settings: Settings,
        board: Board,
        registry: Registry,
        clock: Clock,
        *,
        slot: int,
        pid: int,
        origin: str,
        on_reached: Callable[[], None],
        on_still: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._board = board
        self._clock = clock
        self._recoveries = _Recoveries(settings.redis_url)
        self._reporters = (Tallyman(board.tally, lambda name: registry.find(name) is not None), JobLog())
        hand = Hand(board, settings.queue_names, clock)
        executor = Executor(
            registry,
            clock,
            apps=settings.apps,
            is_stopping=lambda: board.gate == Gate.STOP,
            count_recoveries=self._recoveries.count,
        )
        self._exchange = Exchange(
            settings,
            board,
            hand,
            clock,
            slot=slot,
            pid=pid,
            origin=origin,
            report=self._report,
            on_reached=on_reached,
            on_still=on_still,
        )
        self._processors = [
            Processor(number, hand, executor, self._exchange.settle, clock) for number in range(settings.concurrency)
        ]

    def _report(self, outcomes: list[Outcome]) -> None:
        """Count and tell what is settled."""
        for reporter in self._reporters:
            reporter.report(outcomes)

    def start(self) -> None:
        """Start all threads."""
        for number, processor in enumerate(self._processors):
            self._board.note_thread(number, processor.start())
        self._exchange.start()

    def look(self) -> None:
        """See that the gate has changed."""
        self._exchange.wake()

    @property
    def is_drained(self) -> bool:
        """Whether nothing is in hand any more; at a shut gate that stays so."""
        return self._exchange.is_drained

    def stop(self) -> bool:
        """Interrupt what still runs, settle what ends within a moment, and end; False if Redis has not answered yet."""
        interrupted = sum(processor.interrupt() for processor in self._processors)
        if interrupted:
            _log.info("%d jobs did not end in time and were interrupted; they go back to their queues", interrupted)
        over = self._clock.monotonic() + UNWIND_SECONDS
        pause = threading.Event()
        while not self._exchange.is_drained and self._clock.monotonic() < over:
            pause.wait(_CHECK_SECONDS)
        return self._exchange.finish(max(0.0, over - self._clock.monotonic()))


class _Recoveries:
    """Counts in how many crashes a payload was running; asked by few jobs, so one connection will do."""

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._lock = threading.Lock()

    def count(self, payload: bytes) -> int:
        """Ask Redis; once more if the connection had been idle for too long."""
        with self._lock:
            try:
                return orphans.crashes(self._link, [payload])[payload]
            except StoreUnavailable:
                return orphans.crashes(self._link, [payload])[payload]
