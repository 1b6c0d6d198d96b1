"""A thread that runs jobs, one after the other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from forkworker.errors import JobInterrupted
from forkworker.runtime.outcome import Ended, Interrupted, NotStarted
from forkworker.runtime.shield import Shield

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.runtime.executor import Executor
    from forkworker.runtime.hand import Hand, Unit


class Processor:
    """Claims units, runs them, and hands their outcomes to ``settle``."""

    def __init__(
        self, number: int, hand: Hand, executor: Executor, settle: Callable[[Ended], None], clock: Clock
    ) -> None:
        self._number = number
        self._hand = hand
        self._executor = executor
        self._settle = settle
        self._clock = clock
        self._shield = Shield()
        self._thread = threading.Thread(target=self._run, name=f"job thread {number}", daemon=True)

    def start(self) -> int:
        """Start the thread and return its identifier."""
        self._thread.start()
        return self._thread.ident or 0

    def interrupt(self) -> bool:
        """Interrupt the job that runs, if one does."""
        return self._shield.interrupt()

    def _run(self) -> None:
        while (unit := self._hand.ready.get()) is not None:
            if self._hand.claim(unit):
                self._process(unit)

    def _process(self, unit: Unit) -> None:
        if not self._hand.start(unit, self._number, self._clock.now()):
            self._settle(NotStarted(unit))
            return
        ended: Ended
        try:
            ended = self._executor.run(unit, self._shield)
        except JobInterrupted:  # it came between the job's last step and the shield's
            ended = Interrupted(unit)
        if not isinstance(ended, Interrupted):
            self._hand.end(unit)
        self._settle(ended)
