"""Jobs of the trials.  Runs in the children of the trees under trial."""

from __future__ import annotations

import os
import time

from support.jobs import note, noted

import forkworker
from forkworker.unix.process import private_bytes

MEGABYTE = 1024 * 1024
_leaked: list[bytes] = []


@forkworker.job(name="bloat")
def bloat(megabytes: int, seconds: float) -> None:
    """Keep memory for ever, and note how much of its own the process has at the most."""
    with noted():
        _leaked.append(b"x" * (megabytes * MEGABYTE))
        note("size", text=str(private_bytes(os.getpid())))
        time.sleep(seconds)


@forkworker.job(name="endure", retry_in=0)
def endure(way: str) -> None:
    """End well or otherwise; an error that somebody keeps keeps a lot of small objects with it."""
    held = list(range(1000, 3000))
    if way == "drop":
        raise forkworker.Drop("not needed any more")
    if way == "always" or (way == "once" and not forkworker.current_job().retry_count):
        raise ValueError(way) from LookupError(len(held))
