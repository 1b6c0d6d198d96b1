"""The work that every system does, registered by each module here under these names.

What a job has done it notes in shared memory (``bench/marks.py``).
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PORT = int(os.environ.get("BENCH_PORT", "6379"))
URL = f"redis://127.0.0.1:{PORT}/0"
#: other settings of a configuration come by such variables
SETTINGS = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
INSTANTS = 1 << 20


def _memory() -> mmap.mmap | bytearray:
    """Return the marks; a producer, which runs no job, has none."""
    path = os.environ.get("BENCH_MARKS")
    if not path:
        return bytearray()
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


MARKS = _memory()
#: an app of 200 MB
HEAVY = [[number, str(number)] for number in range(1_100_000)] if os.environ.get("BENCH_HEAVY") else []


def noop(n: int) -> None:
    """Do nothing."""
    MARKS[n] = 1


def sleep10(n: int) -> None:
    """Wait for 10 ms, as for another server."""
    time.sleep(0.010)
    MARKS[n] = 1


def stamp(n: int, seconds: float = 0) -> None:
    """Note when it started, when it ended, and on which thread; wait in between."""
    start = time.monotonic_ns()
    if seconds:
        time.sleep(seconds)
    struct.pack_into("<qqq", MARKS, INSTANTS + 24 * n, start, time.monotonic_ns(), threading.get_native_id())
    MARKS[n] = 1


#: turns of the loop; bench/subjects/cores.py tells those that take 10 ms of one core here
TURNS = int(os.environ.get("BENCH_TURNS", "200000"))


def compute(n: int) -> None:
    """Keep one core busy in pure Python."""
    total = 0
    for number in range(TURNS):
        total += number
    MARKS[n] = 1


def hold(n: int) -> None:
    """Mark its start, and wait until the harness marks the byte beside it."""
    MARKS[n] = 1
    while not MARKS[n + 1]:
        time.sleep(0.02)


SYNC: dict[str, Callable[..., None]] = {job.__name__: job for job in (noop, sleep10, stamp, compute, hold)}


async def _noop(n: int) -> None:
    MARKS[n] = 1


async def _sleep10(n: int) -> None:
    await asyncio.sleep(0.010)
    MARKS[n] = 1


async def _stamp(n: int) -> None:
    stamp(n)


ASYNC: dict[str, Callable[[int], Awaitable[None]]] = {"noop": _noop, "sleep10": _sleep10, "stamp": _stamp}
