"""The master's part in health: it opens the door, moves its pulse, and hands both to each keeper."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from forkworker.unix import door, pulse
from forkworker.unix.pulse import Pulse

if TYPE_CHECKING:
    import socket

    from forkworker.clock import Clock

_log = logging.getLogger(__name__)


class Health:
    """An address that is open from the boot to the end, whichever keeper serves it; none without an address."""

    def __init__(self, address: str | None, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._door: socket.socket | None = None
        self._pulse_descriptor = -1
        self._pulse: Pulse | None = None

    def open(self) -> None:
        """Begin to listen; raises ConfigurationError."""
        if self._address:
            self._door = door.listen(self._address)
            self._pulse_descriptor = pulse.create()
            self._pulse = Pulse(self._pulse_descriptor)
            self.beat()
            _log.info("health and metrics are at %s", self._address)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a keeper must have to serve it; nothing without an address."""
        return (self._door.fileno(), self._pulse_descriptor) if self._door else ()

    def beat(self) -> None:
        """Show that the master moves."""
        if self._pulse:
            self._pulse.beat(self._clock.monotonic())

    def close(self) -> None:
        """Close the door for good."""
        if self._door and self._address:
            door.remove(self._address)
            self._door.close()
            os.close(self._pulse_descriptor)
