"""How many payloads to take beyond the free threads, from the pace at which jobs have ended of late.

What is read ahead stands in the working list like all else; it is to be started within a few
milliseconds, so that nothing waits behind a busy child while another is idle.  Used by the exchange thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forkworker.clock import Clock

#: read ahead for so long, at the present pace
AHEAD_SECONDS = 0.004
MOST_AHEAD = 200
#: how much the last batch counts
_WEIGHT = 0.2


class Pace:
    """Jobs a second, smoothed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._per_second = 0.0
        self._noted_at = 0.0

    def note(self, count: int) -> None:
        """So many jobs have ended since the last note."""
        now = self._clock.monotonic()
        per_second = count / max(now - self._noted_at, 1e-6)
        self._per_second += (per_second - self._per_second) * _WEIGHT
        self._noted_at = now

    def forget(self) -> None:
        """What was read ahead was not started in time: begin anew."""
        self._per_second = 0.0

    @property
    def ahead(self) -> int:
        """How many payloads beyond the free threads will be started in a moment."""
        return min(MOST_AHEAD, int(self._per_second * AHEAD_SECONDS))
