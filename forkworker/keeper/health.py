"""Health: what the keeper shows of its tree at the door.

``show`` is called by the keeper's loop at each turn, the answers are given by the porter's thread; the two
share one frozen value.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from forkworker.keeper import verdict
from forkworker.keeper.porter import Answer, Porter
from forkworker.keeper.sight import Sight, look_at
from forkworker.unix import process
from forkworker.unix.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.clock import Clock
    from forkworker.keeper.charge import Charge


class Health:
    """Closed, and without any cost, until the master hands over an address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pulse: Pulse | None = None
        self._sight = Sight()
        self._answered_at = 0.0

    def open(self, door: int, pulse: int) -> None:
        """Serve an address that the master has opened."""
        self._pulse = Pulse(pulse)
        os.close(pulse)
        listener = socket.socket(fileno=door)
        Porter(listener, process.open_pidfd(os.getppid()), self._answer, self._clock).start()

    # The keeper's loop.

    def note_answer(self) -> None:
        """Redis has answered all that was asked."""
        self._answered_at = self._clock.monotonic()

    def show(self, charges: Iterable[Charge], redis_trouble: str) -> None:
        """Show the tree as it is now."""
        if self._pulse is None:
            return
        now = self._clock.monotonic()
        self._sight = Sight(
            children=tuple(look_at(charge, now) for charge in charges if not charge.gone),
            redis_trouble=redis_trouble,
            answered_at=self._answered_at,
        )

    # The porter's thread.

    def _answer(self, path: str) -> Answer | None:
        assert self._pulse
        sight, pulse_at, now = self._sight, self._pulse.last, self._clock.monotonic()
        if path == "/live":
            return _told(verdict.why_not_alive(pulse_at, now))
        if path == "/ready":
            return _told(verdict.why_not_ready(sight, pulse_at, now))
        return None


def _told(trouble: str) -> Answer:
    return Answer(503, f"{trouble}\n") if trouble else Answer(200, "ok\n")
