"""The only door to time.  Used in every process."""

from __future__ import annotations

import functools
import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of forkworker knows of time."""

    def now(self) -> float:
        """Return seconds since the epoch; may step."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never step, the same in every process of this host."""
        ...


class SystemClock:
    """The machine's clocks.

    CLOCK_BOOTTIME also runs while the machine is suspended: other hosts' patience with us does, too.
    """

    # Asked several times for each job: without a frame of Python's that takes half as long.
    now = staticmethod(time.time)
    monotonic = staticmethod(functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME))


def sleep(seconds: float) -> None:
    """Do nothing for so many seconds."""
    time.sleep(seconds)
