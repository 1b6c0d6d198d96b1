"""What one child has taken and not settled.  Owned by the exchange thread; job threads claim and start.

The truth is shared with the keeper through the board's hand table (`unix/board.py`).
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

from forkworker.unix.board import Board, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.clock import Clock


# An enum's members are slow to look up, and these are for each job.
_FREE, _TAKEN, _ENDED = int(State.FREE), int(State.TAKEN), int(State.ENDED)


class Unit:
    """One payload in hand."""

    __slots__ = ("entry", "payload", "permit", "queue", "taken_at", "working")

    def __init__(self, payload: bytes, queue: str, working: str, entry: int, permit: int, taken_at: float) -> None:
        self.payload = payload
        self.queue = queue
        #: name of the working list that it stands in
        self.working = working
        self.entry = entry
        #: the board's permit when it was taken: with another it may have been given away since
        self.permit = permit
        self.taken_at = taken_at


class Hand:
    """The units of one child."""

    def __init__(self, board: Board, queues: tuple[str, ...], clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._queue_numbers = {queue: number for number, queue in enumerate(queues)}
        self._free = list(range(board.entries - 1, -1, -1))
        self._unstarted: dict[Unit, None] = {}
        self.units: dict[int, Unit] = {}
        #: units that may be started, for the job threads; None ends one
        self.ready: SimpleQueue[Unit | None] = SimpleQueue()

    # The exchange thread's.

    @property
    def room(self) -> int:
        """How many more payloads the board can hold."""
        return len(self._free)

    @property
    def unstarted(self) -> list[Unit]:
        """Units that no job thread has claimed, the oldest first."""
        return list(self._unstarted)

    def take(self, payloads: Iterable[bytes], queue: str, working: str, permit: int) -> None:
        """Note payloads that were fetched from a queue, and offer them to the job threads."""
        now, number = self._clock.monotonic(), self._queue_numbers[queue]
        for payload in payloads:
            entry = self._free.pop()
            unit = Unit(payload, queue, working, entry, permit, now)
            self._board.put(entry, number, payload)
            self.units[entry] = unit
            self._unstarted[unit] = None
            self.ready.put(unit)

    def forget(self, unit: Unit) -> None:
        """Strike out a unit that was settled, or is no longer ours."""
        self._board.set_state(unit.entry, _FREE)
        del self.units[unit.entry]
        self._free.append(unit.entry)

    # Either side's: who claims a unit alone decides what becomes of it.

    def claim(self, unit: Unit) -> bool:
        """Take a unit that nobody has claimed yet; False if somebody has."""
        return self._unstarted.pop(unit, 1) is None

    # The job threads'.

    def start(self, unit: Unit, thread: int, now: float) -> bool:
        """Mark a claimed unit as started; False if it may not be run: closed gate, given away, lease over."""
        permit = self._board.start(unit.entry, thread, now)
        if permit == unit.permit and self._board.lease_until > self._clock.monotonic():
            return True
        self._board.set_state(unit.entry, _TAKEN)
        return False

    def end(self, unit: Unit) -> None:
        """Mark a started unit as ended; it stays in hand until it is settled."""
        self._board.set_state(unit.entry, _ENDED)
