"""A cradle: where the master awaits a keeper that a forkserver is asked to fork.

Nothing is said to that keeper before it is lifted out.  One that comes later finds the cradle gone, reads end-of-file,
and leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.supervisor.helpers import Helper
from forkworker.unix import packets

if TYPE_CHECKING:
    from forkworker.unix.packets import Packet


class Cradle:
    """A channel whose far end goes to a forkserver; readable once a keeper is there, or none will ever be."""

    def __init__(self) -> None:
        self._channel, self.far_end = packets.pair()

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._channel.fileno()

    def lift(self, now: float) -> Helper | None:
        """Return the keeper if it is there and lives; whoever comes later is not needed any more."""
        said, lives = self._channel.drain()
        hello = next((packet for packet in said if packet.kind == "hello"), None)
        keeper = self._greet(hello, now) if hello and lives else None
        if not keeper:
            self._channel.close()
        return keeper

    def _greet(self, hello: Packet, now: float) -> Helper | None:
        try:
            return Helper("keeper", hello.fields["pid"], self._channel, now)
        except OSError:  # it has ended just now, and was reaped as a stranger; or descriptors have run out
            return None
