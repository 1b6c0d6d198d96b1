"""A delay as users give it: seconds or a timedelta.  Pure; used in every process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


def seconds(delay: float | timedelta) -> float:
    """Return a delay in seconds; raises TypeError or ValueError for what is none."""
    total_seconds = getattr(delay, "total_seconds", None)  # not isinstance: the master need not load datetime
    number = total_seconds() if total_seconds else delay
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"a delay is a number of seconds or a timedelta, not {delay!r}")
    try:
        if math.isfinite(number):
            return float(number)
    except OverflowError:
        pass
    raise ValueError("a delay must be a finite number of seconds")
