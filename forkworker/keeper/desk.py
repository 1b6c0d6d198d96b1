"""The desk: answers what is asked at the door, from what it was last shown.

``show`` and ``measure`` are called by the keeper's loop, ``answer`` by the porter's thread; they share frozen values.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from forkworker.keeper import exposition, verdict
from forkworker.keeper.measures import Measures
from forkworker.keeper.porter import Answer, Porter
from forkworker.keeper.sight import Sight, look_at
from forkworker.unix import process
from forkworker.unix.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.clock import Clock
    from forkworker.keeper.charge import Charge
    from forkworker.keeper.measures import Holdings
    from forkworker.keeper.numbers import Numbers
    from forkworker.settings import Settings


class Desk:
    """Knows what the tree looks like."""

    def __init__(self, settings: Settings, numbers: Numbers, clock: Clock, pulse: Pulse) -> None:
        self._settings = settings
        self._numbers = numbers
        self._clock = clock
        self._pulse = pulse
        self._measures = Measures(settings.redis_url, clock)
        self._figures = numbers.figures()
        self._holdings: Holdings | None = None
        self._sight = Sight()
        #: set once Redis has answered
        self.is_informed = threading.Event()

    def measure(self) -> None:
        """Take the figures that change at each beat."""
        self._figures = self._numbers.figures()
        self._holdings = self._measures.take()

    def show(self, charges: Iterable[Charge], redis_trouble: str, answered_at: float) -> None:
        """Show the tree as it is now."""
        now = self._clock.monotonic()
        self._sight = Sight(
            children=tuple(look_at(charge, now) for charge in charges if not charge.gone),
            redis_trouble=redis_trouble,
            answered_at=answered_at,
            figures=self._figures,
            holdings=None if redis_trouble else self._holdings,
        )
        if answered_at:
            self.is_informed.set()

    def answer(self, path: str) -> Answer | None:
        """Answer a question; None if it is not understood."""
        sight, pulse_at, now = self._sight, self._pulse.last, self._clock.monotonic()
        if path == "/live":
            return _told(verdict.why_not_alive(pulse_at, now))
        if path == "/ready":
            return _told(verdict.why_not_ready(sight, pulse_at, now))
        if path == "/metrics":
            return Answer(200, exposition.render(self._settings, sight, pulse_at, now), exposition.KIND)
        return None


def _told(trouble: str) -> Answer:
    return Answer(503, f"{trouble}\n") if trouble else Answer(200, "ok\n")


def open_desk(settings: Settings, numbers: Numbers, clock: Clock, *, door: int, pulse: int) -> Desk:
    """Serve an address that the master has opened."""
    desk = Desk(settings, numbers, clock, Pulse(pulse))
    os.close(pulse)
    listener, master = socket.socket(fileno=door), process.open_pidfd(os.getppid())
    Porter(listener, master, desk.answer, desk.is_informed, clock).start()
    return desk
