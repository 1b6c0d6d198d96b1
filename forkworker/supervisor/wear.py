"""How worn one child is: what its memory was at each look, how fast it grows, and when to look again.

Used in the master.  Only arithmetic: who measures, and what follows, is ``checkup``'s.
"""

from __future__ import annotations

import random

#: limits of jobs and age are less by up to this part, so that children do not come of age together
JITTER = 0.1
#: how often memory is looked at; the shorter the faster it grows
LEAST_LOOK_SECONDS, MOST_LOOK_SECONDS = 0.05, 0.5


class Wear:
    """What is known of one child's use; sizes in bytes."""

    def __init__(self, now: float) -> None:
        self.share = 1 - JITTER * random.random()
        self.look_at = now
        self.size = self.growth = 0.0
        self.is_heavy_from_birth = False
        self._noted_at = 0.0

    def note(self, now: float, size: float, limit: float) -> None:
        """Take in how much memory it has, and work out when to look again."""
        if not self._noted_at:
            self.is_heavy_from_birth = size >= limit
        else:
            self.growth = max(0.0, (size - self.size) / (now - self._noted_at))
        self.size, self._noted_at = size, now
        quarter = (limit - size) / self.growth / 4 if self.growth else MOST_LOOK_SECONDS
        self.look_at = now + min(max(quarter, LEAST_LOOK_SECONDS), MOST_LOOK_SECONDS)

    def is_over(self, limit: float, within_seconds: float) -> bool:
        """Whether it will be over the limit so soon, if it goes on growing as it did between the last two looks."""
        return self.size + self.growth * within_seconds >= limit
