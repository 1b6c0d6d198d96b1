"""The armed waits of one child, and the poll they share with the exchange thread's wake-up."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, NamedTuple

from forkworker.errors import StoreUnavailable
from forkworker.store.waits import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from forkworker.clock import Clock
    from forkworker.store.connection import Link
    from forkworker.unix.board import Board

#: connections of one child that wait; with more queues Redis would have as many for each child
MOST_WAITS = 16
#: how often a child asks for jobs of queues on which it does not wait
ASK_SECONDS = 1.0
#: what a job thread that was woken gets to start its job
GIVE_WAY_SECONDS = 0.001


class Catch(NamedTuple):
    """A payload that a wait has moved into our working list."""

    queue: str
    payload: bytes
    #: the board's permit when the wait was armed
    permit: int


class Alarm:
    """Wakes the exchange thread; costs next to nothing while that is awake."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.asleep = False

    def __enter__(self) -> None:
        """Be asleep: whoever rings wakes the sleeper."""
        self.asleep = True

    def __exit__(self, *_: object) -> None:
        """Be awake: it will look for itself."""
        self.asleep = False

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._descriptor

    def ring(self) -> None:
        """Wake the sleeper; the first who rings does it for all."""
        if self.asleep:
            self.asleep = False
            os.eventfd_write(self._descriptor, 1)

    def give_way(self, is_idle: Callable[[], bool]) -> None:
        """Let a job thread have the interpreter, until it rings or for a moment; called after it was given a job.

        It would find the interpreter taken and sleep once more.  And if the job is short, one round trip settles
        it and looks for more.
        """
        poll = select.poll()
        poll.register(self, select.POLLIN)
        with self:
            if is_idle() and poll.poll(GIVE_WAY_SECONDS * 1000):
                self.clear()

    def clear(self) -> None:
        """Forget that it rang, as poll has told."""
        os.eventfd_read(self._descriptor)


class Waits:
    """One wait for each queue, as far as there are not too many; used by the exchange thread alone."""

    def __init__(
        self, url: str, queues: tuple[str, ...], board: Board, clock: Clock, alarm: Alarm, *, slot: int
    ) -> None:
        self._waits = [Wait(url, queue, clock) for queue in queues]
        self._slot = slot
        self._clock = clock
        self._asked_at = 0.0
        self.choose(queues)
        self._permits: dict[str, int] = {}
        self._board = board
        self._alarm = alarm
        self._unblock_later: list[Wait] = []

    @property
    def armed(self) -> bool:
        """Whether any wait is."""
        return any(wait.armed for wait in self._waits)

    @property
    def suffice(self) -> bool:
        """Whether there is nothing to ask for: all queues were empty a moment ago, and what comes wakes us."""
        if not all(wait.armed for wait in self._waits if wait.queue in self._chosen):
            return False
        return self._has_all or self._clock.monotonic() < self._asked_at + ASK_SECONDS

    def choose(self, queues: Sequence[str]) -> None:
        """Wait on these queues only, from the next ``arm`` on; on some of them, if there are too many.

        The slots of a tree choose in turn, so that together they wait on as many as they can.
        """
        start = self._slot * MOST_WAITS % max(1, len(queues))
        self._chosen = set([*queues[start:], *queues[:start]][:MOST_WAITS])
        self._has_all = len(self._chosen) == len(queues)

    def arm(self, identity: str, permit: int) -> None:
        """Wait on every chosen queue that is not waited on; all queues must have been asked."""
        self._asked_at = self._clock.monotonic()
        for number, wait in enumerate(self._waits):
            if not wait.armed and wait.queue in self._chosen:
                wait.connect()
                self._board.note_wait(number, wait.client_id)
                self._permits[wait.queue] = permit
                wait.arm(identity)

    def disarm(self, link: Link) -> list[Catch]:
        """Stop waiting; return what the waits brought all the same."""
        return self._collect((wait for wait in self._waits if wait.armed), lambda wait: wait.disarm(link))

    def sleep(self, seconds: float) -> list[Catch]:
        """Sleep until a wait brings something, the alarm rings, or the time has passed."""
        poll = select.poll()
        poll.register(self._alarm, select.POLLIN)
        by_descriptor = {wait.fileno(): wait for wait in self._waits if wait.armed}
        if any(wait.overdue for wait in by_descriptor.values()):
            raise StoreUnavailable("Redis has not answered a wait in time")
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        # from here on a job may be waiting for us, with all caches cold
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)]
        if self._alarm.fileno() in ready:
            ready.remove(self._alarm.fileno())
            self._alarm.clear()
        return self._collect([by_descriptor[descriptor] for descriptor in ready], Wait.read)

    def abandon(self) -> None:
        """Drop all connections, after an error on one of them or elsewhere."""
        self._unblock_later += [wait for wait in self._waits if wait.armed]
        for wait in self._waits:
            wait.close()

    def bury(self, link: Link) -> None:
        """Unblock what the server may still hold for connections that were abandoned."""
        for wait in self._unblock_later:
            wait.unblock(link)
        self._unblock_later = []

    def _collect(self, waits: Iterable[Wait], read: Callable[[Wait], bytes | None]) -> list[Catch]:
        catches = []
        for wait in waits:
            payload = read(wait)
            if payload is not None:
                catches.append(Catch(wait.queue, payload, self._permits[wait.queue]))
        return catches
