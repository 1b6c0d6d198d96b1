"""The diary: what every run of a job notes, in files and never in Redis.  Used by jobs, and read by the checker.

Two runs of a job at the same time are found by the kernel: each run locks the byte of its number, by an
open file description of its thread alone, which ends with its process.  Whether the process of the run
before still lives is looked up by the next run itself, so no clock decides it.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from support.processes import start_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: kind, host, failures so far, flags, run, number, pid, monotonic instant
_LINE = struct.Struct("=cBBBIIId")
#: of the run before: pid, start time
_CELL = struct.Struct("=IQxxxx")
_FLOCK = struct.Struct("hhqqi4x")

OVERLAPS, PREVIOUS_LIVES = 1, 2


class Kind(Enum):
    """What a line tells."""

    START = b"S"
    END = b"E"
    FAILED = b"F"
    INTERRUPTED = b"X"


@dataclass(frozen=True)
class Line:
    """One line, as the checker reads it."""

    kind: Kind
    host: int
    #: failures before this run, by the payload
    failures: int
    #: another run of the job was not over
    overlaps: bool
    #: the process of the run before was there
    previous_lives: bool
    #: counts the runs of a process
    run: int
    number: int
    pid: int
    at: float


def create(folder: Path, most_jobs: int) -> None:
    """Make the files."""
    (folder / "diary").touch()
    (folder / "locks").touch()
    with (folder / "cells").open("wb") as cells:
        cells.truncate(most_jobs * _CELL.size)


def read(folder: Path, after: int = 0) -> Iterator[Line]:
    """Return all lines so far, but for the first ones; a job's own are in their true order."""
    with (folder / "diary").open("rb") as file:
        file.seek(after * _LINE.size)
        data = file.read()
    whole = len(data) - len(data) % _LINE.size
    for kind, host, failures, flags, run, number, pid, at in _LINE.iter_unpack(data[:whole]):
        yield Line(
            Kind(kind), host, failures, bool(flags & OVERLAPS), bool(flags & PREVIOUS_LIVES), run, number, pid, at
        )


class Diary:
    """Where the jobs of a process write; opened before the fork, so that no fault can keep it closed."""

    def __init__(self, folder: Path, host: int) -> None:
        self._host = host
        self._locks = str(folder / "locks")
        self._diary = os.open(folder / "diary", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        with (folder / "cells").open("r+b") as cells:
            self._cells = mmap.mmap(cells.fileno(), 0)
        self._mine = threading.local()
        self._runs = itertools.count(1)

    def begin(self, number: int, failures: int) -> int:
        """Note a start; return the number of the run."""
        self._prepare()
        run = next(self._runs)
        flags = 0 if self._lock(number, fcntl.F_WRLCK) else OVERLAPS
        flags |= PREVIOUS_LIVES if self._previous_lives(number) else 0
        pid = os.getpid()
        _CELL.pack_into(self._cells, number * _CELL.size, pid, self._mine.start)
        self._write(Kind.START, failures, flags, run, number)
        return run

    def end(self, kind: Kind, number: int, failures: int, run: int) -> None:
        """Note an end; the run may not write any more."""
        self._write(kind, failures, 0, run, number)
        self._lock(number, fcntl.F_UNLCK)

    def _write(self, kind: Kind, failures: int, flags: int, run: int, number: int) -> None:
        line = _LINE.pack(kind.value, self._host, failures, flags, run, number, os.getpid(), time.monotonic())
        os.write(self._diary, line)

    def _lock(self, number: int, kind: int) -> bool:
        try:
            fcntl.fcntl(self._mine.locks, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, number, 1, 0))
        except BlockingIOError:
            return False
        return True

    def _prepare(self) -> None:
        """Open what a thread needs; one of the faults is that no file can be opened."""
        while not hasattr(self._mine, "start"):
            try:
                self._mine.locks = os.open(self._locks, os.O_RDWR | os.O_CLOEXEC)
                self._mine.start = start_of(os.getpid())
            except OSError:
                time.sleep(0.05)

    def _previous_lives(self, number: int) -> bool:
        pid, start = _CELL.unpack_from(self._cells, number * _CELL.size)
        if not pid:
            return False
        with suppress(OSError):
            return bool(pid == os.getpid() or start_of(pid) == start)
        return False
