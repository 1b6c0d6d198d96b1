"""The jobs of the fault harness.  Runs in the children of the daemons under attack."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import forkworker
from faults.diary import Diary, Kind

STEP_SECONDS = 0.02
HOG_BYTES = 1_500_000_000
_diary = Diary(Path(os.environ["FAULTS_FOLDER"]), int(os.environ["FAULTS_HOST"]))
#: fail with this, and nothing else
Planned = type("Planned", (forkworker.RetryIn,), {})


@forkworker.job(name="faults.work")
def work(number: int, seconds: float, failures: int, how: str) -> None:
    """Take so many seconds, and fail so many times before it succeeds."""
    before = forkworker.current_job().retry_count
    run = _diary.begin(number, before)
    kind = Kind.INTERRUPTED
    try:
        _MANNERS[how](seconds)
        kind = Kind.FAILED if before < failures else Kind.END
    finally:
        _diary.end(kind, number, before, run)
    if kind is Kind.FAILED:
        raise Planned(0.1 + (number % 10) / 5)


def _sleep(seconds: float) -> None:
    """In steps: an interruption arrives between two of them."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, STEP_SECONDS))


def _keep_gil(seconds: float) -> None:
    """In C code: no other thread of the process can run."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


def _hog(_seconds: float) -> None:
    """Take more memory than there is."""
    with mmap.mmap(-1, HOG_BYTES) as memory:
        piece = bytes(16 << 20)
        while memory.tell() + len(piece) <= HOG_BYTES:
            memory.write(piece)


_MANNERS = {"sleep": _sleep, "gil": _keep_gil, "hog": _hog}
