"""The pulse: a word of shared memory by which a keeper sees that its master moves.

A master that hangs or was stopped by a signal is alive to the kernel; its pulse stands still.
"""

from __future__ import annotations

import mmap
import os

_BYTES = 8


def create() -> int:
    """Return the descriptor of a new pulse."""
    descriptor = os.memfd_create("forkworker-pulse", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _BYTES)
    return descriptor


class Pulse:
    """A view of a pulse; takes no ownership of the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._f64 = memoryview(mmap.mmap(descriptor, _BYTES)).cast("d")

    def beat(self, now: float) -> None:
        """Note the instant, monotonic."""
        self._f64[0] = now

    @property
    def last(self) -> float:
        """The last beat, monotonic."""
        return self._f64[0]
