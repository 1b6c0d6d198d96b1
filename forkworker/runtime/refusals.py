"""What Redis refuses to a child: told by the child, as the keeper, which asks for other things, may be well served.

Used by the exchange thread.  All else that keeps Redis from working is the keeper's to tell, once for the tree.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forkworker.clock import Clock

AGAIN_SECONDS = 60.0
_MOST_TOLD_CHARACTERS = 500
#: in Redis' words, and in those of its errors inside of scripts: a right that is missing, a key of another type
_REFUSAL = re.compile(r"NOPERM|no permissions|can't run this command|WRONGTYPE|wrong kind of value", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Refusals:
    """Says what is refused, not more than once a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._again_at = 0.0

    def note(self, why: str) -> None:
        """Take in why a command failed."""
        _log.debug("lost touch with Redis: %s", why)
        if is_refusal(why) and self._clock.monotonic() >= self._again_at:
            self._again_at = self._clock.monotonic() + AGAIN_SECONDS
            _log.warning(
                "Redis refuses what this process needs: %s; trying again: see docs/operations.md, Redis",
                why[:_MOST_TOLD_CHARACTERS],
            )


def is_refusal(why: str) -> bool:
    """Tell whether Redis works, and yet does not do what was asked."""
    return _REFUSAL.search(why) is not None
