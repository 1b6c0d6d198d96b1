"""Shared memory in which jobs leave a mark, so that a no-op stays one and Redis sees the system's own commands only.

One byte for each job says that it ran; beside it there is room for three instants of each.  The jobs' side of
it is ``systems/jobs.py``.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

#: bytes for marks; behind them as many instants, of eight bytes, three for each of the first jobs
MOST_JOBS = 1 << 20
SIZE = 4 * MOST_JOBS
_RAN = b"\1"
_NOT_RUN = b"\0"


class Marks:
    """A context manager: the memory, and what the harness wants to know of it."""

    def __enter__(self) -> Self:
        descriptor, self.path = tempfile.mkstemp(prefix="bench-", dir="/dev/shm")
        os.ftruncate(descriptor, SIZE)
        self._memory = mmap.mmap(descriptor, SIZE)
        os.close(descriptor)
        self._first_missing = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()
        os.unlink(self.path)

    def any_ran(self, jobs: int) -> bool:
        """Whether any of the first jobs has run."""
        return self._memory.find(_RAN, 0, jobs) >= 0

    def all_ran(self, jobs: int) -> bool:
        """Whether all of the first jobs have run; cheap, as it looks on from where it last stood."""
        found = self._memory.find(_NOT_RUN, self._first_missing, jobs)
        self._first_missing = jobs if found < 0 else found
        return found < 0

    def ran(self, jobs: int) -> int:
        """Return how many of the first jobs have run."""
        return self._memory[:jobs].count(_RAN)

    def set(self, job: int) -> None:
        """Mark a job from here, for one that waits for it."""
        self._memory[job] = 1

    def clear(self) -> None:
        """Forget all marks."""
        self._memory[:MOST_JOBS] = bytes(MOST_JOBS)
        self._first_missing = 0

    def instants(self, job: int) -> tuple[int, int, int]:
        """Return what a job has noted: nanoseconds of the monotonic clock at its start and end, and its thread."""
        start, end, thread = struct.unpack_from("<qqq", self._memory, MOST_JOBS + 24 * job)
        return start, end, thread
