"""Paused queues: read in Redis again and again, and noted on the boards of all children.

Polled, as a pub/sub message may be lost: two commands a second for each master, and none for a child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.store import orphans, paused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.keeper.charge import Charge
    from forkworker.settings import Settings
    from forkworker.store.connection import Link

#: a pause is in force everywhere within a second: this, and what a child needs to see it
LOOK_SECONDS = 0.5


class Pauses:
    """Hands on which queues are paused."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self._settings = settings
        self._link = link

    def look(self, charges: Iterable[Charge]) -> None:
        """Bring the boards up to date; waits are ended from outside, as a child may be slow to do it."""
        names = paused.names(self._link)
        closed = [queue in names for queue in self._settings.queue_names]
        for charge in charges:
            if charge.board.close_queues(closed):
                orphans.unblock(self._link, charge.board.waits)
