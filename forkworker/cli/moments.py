"""Instants as people write and read them.  Pure but for the local time zone."""

from __future__ import annotations

import re
from datetime import datetime

from forkworker.cli.output import duration

_AGO = re.compile(r"(\+?)([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_EPOCH = re.compile(r"[0-9]{9,10}(?:\.[0-9]+)?")

HELP = "10m (ago; s, m, h, d), +10m (from now), 02:30, 2026-11-24T02:30, or epoch seconds"


def read(text: str, now: float) -> float:
    """Return epoch seconds; local time where no zone is given.  Raises ValueError."""
    text = text.strip()
    if match := _AGO.fullmatch(text):
        seconds = float(match[2]) * _SECONDS[match[3]]
        return now + seconds if match[1] else now - seconds
    if _EPOCH.fullmatch(text):
        return float(text)
    today = datetime.fromtimestamp(now).astimezone()
    if re.fullmatch(r"[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?", text):
        text = f"{today:%Y-%m-%d}T{text}"
    try:
        when = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
    except ValueError:
        raise ValueError(f"{text!r} is no time: write it as {HELP}") from None
    return when.timestamp()


def told(instant: float | None, now: float) -> str:
    """Return an instant in full, with how long that is from now; '-' if there is none."""
    if instant is None:
        return "-"
    distance = f"in {duration(instant - now)}" if instant > now else f"{duration(now - instant)} ago"
    try:
        return f"{datetime.fromtimestamp(instant).astimezone():%Y-%m-%d %H:%M:%S} ({distance})"
    except (ValueError, OverflowError, OSError):
        return f"{instant!r}"
