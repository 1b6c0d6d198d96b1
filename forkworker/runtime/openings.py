"""Which queues may be taken from: all but those that the keeper has noted on the board as paused.

Used by the exchange thread, which asks at each turn; that is one look at a number while nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forkworker.runtime.order import Order
    from forkworker.runtime.waiting import Catch, Waits
    from forkworker.settings import Settings
    from forkworker.store.connection import Link
    from forkworker.unix.board import Board


class Openings:
    """Has fetches and waits leave out what is paused."""

    def __init__(self, settings: Settings, board: Board, order: Order, waits: Waits) -> None:
        self._settings = settings
        self._board = board
        self._order = order
        self._waits = waits
        self._seen = 0

    def follow(self, link: Link) -> list[Catch]:
        """Do as the board says; return what waits brought that had to be ended for it.

        To be asked after waits were armed, too: what the keeper noted before that, it cannot end any more.
        """
        closings = self._board.closings
        if closings == self._seen:
            return []
        self._seen = closings
        closed = self._board.closed
        queues = [queue for queue, is_closed in zip(self._settings.queues, closed, strict=True) if not is_closed]
        self._order.choose(queues)
        self._waits.choose([queue.name for queue in queues])
        return self._waits.disarm(link)
