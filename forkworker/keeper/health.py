"""Health: what the keeper's loop shows of its tree, if the master has opened an address for it.

Without one it costs nothing, not even the modules that serve it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.clock import Clock
    from forkworker.keeper.charge import Charge
    from forkworker.keeper.desk import Desk
    from forkworker.keeper.numbers import Numbers
    from forkworker.settings import Settings


class Health:
    """Closed until the master hands over an address."""

    def __init__(self, settings: Settings, numbers: Numbers, clock: Clock) -> None:
        self._settings = settings
        self._numbers = numbers
        self._clock = clock
        self._desk: Desk | None = None
        self._answered_at = 0.0

    def open(self, door: int, pulse: int) -> None:
        """Serve an address from now on."""
        from forkworker.keeper.desk import open_desk

        self._desk = open_desk(self._settings, self._numbers, self._clock, door=door, pulse=pulse)

    def note_answer(self) -> None:
        """Redis has answered all that was asked."""
        self._answered_at = self._clock.monotonic()

    def measure(self) -> None:
        """Take the figures that change at each beat."""
        if self._desk:
            self._desk.measure()

    def show(self, charges: Iterable[Charge], redis_trouble: str) -> None:
        """Show the tree as it is now."""
        if self._desk:
            self._desk.show(charges, redis_trouble, self._answered_at)
