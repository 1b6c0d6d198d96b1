"""Armed waits: one connection for each queue, blocked in BLMOVE into the working list of a child.

Used by the exchange thread of a child alone.  An idle child is woken by the push itself, with no
command while it waits but the time-outs'.  Whoever stops waiting must read exactly one reply from
each armed wait: nil, or a payload that has been moved meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.errors import StoreUnavailable
from forkworker.store.connection import TIMEOUT_SECONDS, Link
from forkworker.wire import keys

if TYPE_CHECKING:
    from forkworker.clock import Clock

#: how long one BLMOVE blocks.  A half-open connection can move a job that long after it broke.
BLOCK_SECONDS = 5.0
_UNBLOCK_AGAIN_SECONDS = 0.02


class Wait:
    """The wait on one queue."""

    def __init__(self, url: str, queue: str, clock: Clock) -> None:
        self.queue = queue
        self.client_id = 0
        self.armed = False
        self._overdue = 0.0
        self._link = Link(url, timeout_seconds=BLOCK_SECONDS + TIMEOUT_SECONDS)
        self._clock = clock

    def fileno(self) -> int:
        """Return the socket's number, for poll."""
        return self._link.fileno()

    @property
    def overdue(self) -> bool:
        """Whether the server should have answered by now: the connection is half open."""
        return self.armed and self._clock.monotonic() > self._overdue

    def connect(self) -> None:
        """Connect, where that is needed, and learn the id by which others can unblock this wait."""
        if not self._link.is_open:
            self.client_id = int(self._link.execute("CLIENT", "ID"))

    def arm(self, identity: str) -> None:
        """Begin to wait; ``connect`` must have been called."""
        self._link.send(
            [("BLMOVE", keys.queue(self.queue), keys.working(identity, self.queue), "RIGHT", "LEFT", BLOCK_SECONDS)]
        )
        self._overdue = self._clock.monotonic() + BLOCK_SECONDS + TIMEOUT_SECONDS
        self.armed = True

    def read(self) -> bytes | None:
        """Return what the wait brought, None if nothing; it is no longer armed then."""
        self.armed = False
        payload: bytes | None = self._link.read()
        return payload

    def disarm(self, link: Link) -> bytes | None:
        """Unblock the wait through another connection and return what it brought all the same."""
        deadline = self._clock.monotonic() + TIMEOUT_SECONDS
        while not self._link.readable(0):
            # 0: the BLMOVE has been answered, or has not been seen by the server yet
            link.execute("CLIENT", "UNBLOCK", self.client_id)
            if self._link.readable(_UNBLOCK_AGAIN_SECONDS):
                break
            if self._clock.monotonic() > deadline:
                self.armed = False
                self._link.close()
                raise StoreUnavailable("a wait was unblocked but never answered")
        return self.read()

    def close(self) -> None:
        """Give up the connection.  If it was armed, ``unblock`` must follow: the server may not have noticed."""
        self._link.close()
        self.armed = False

    def unblock(self, link: Link) -> None:
        """End the blocked command of a connection given up, lest it move a job that nobody awaits."""
        link.execute("CLIENT", "UNBLOCK", self.client_id)
