"""The tally: how many jobs of each name a child has ended, how, and how long they ran; the last part of its board.

Written by the child's exchange thread after each batch, so a crash loses nothing.  Collected by the keeper, which
notes beside each count how much of it is collected: the next keeper goes on there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

OUTCOMES = ("done", "retry", "failed", "bury", "reject")
#: upper bounds of run times in seconds; those from 20 ms on are Sidekiq's
BOUNDS = (
    *(0.001, 0.005, 0.01),
    *(0.02, 0.03, 0.045, 0.065, 0.1, 0.15, 0.225, 0.335, 0.5, 0.75, 1.1, 1.7, 2.5, 3.8, 5.75),
    *(8.5, 13.0, 20.0, 30.0, 45.0, 65.0, 100.0, 150.0, 225.0, 335.0),
)
#: names beyond so many are counted together
MOST_NAMES = 200
OTHER = "(other)"

#: of a row's counts: the outcomes, then of jobs that were done the microseconds and how many ran how long
MICROSECONDS = len(OUTCOMES)
FIRST_BOUND = MICROSECONDS + 1
COUNTS = FIRST_BOUND + len(BOUNDS) + 1

# In words of 8 bytes: the number of rows, then the rows, each a name, counts, and as many that were collected.
_NAME = 16
_ROW = _NAME + 2 * COUNTS
#: one row more than names, for the rest of them
BYTES = 8 * (1 + (MOST_NAMES + 1) * _ROW)
_MOST_NAME_BYTES = 8 * _NAME - 1
_KEPT_NAME_BYTES = 100


class Tally:
    """A view of a tally; of no memory, as on a board of an older forkworker, one that counts nothing."""

    def __init__(self, memory: memoryview) -> None:
        self._bytes = memory
        self._words = memory.cast("Q")
        self._room = (len(self._words) - 1) // _ROW - 1
        self._rows: dict[str, int] = {}

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._bytes.release()

    # The child's exchange thread.

    def row(self, name: str) -> int:
        """Return where a name is counted; 0 if nothing is counted here."""
        row = self._rows.get(name)
        return self._add(name) if row is None else row

    def write(self, row: int, counts: array[int]) -> None:
        """Put the counts of a name, which only ever grow."""
        if row:
            self._words[row : row + COUNTS] = counts

    def _add(self, name: str) -> int:
        if self._room <= 0:
            return 0
        used = len(self._rows)
        if used >= self._room:
            return self._rows.get(OTHER) or self._add_row(OTHER, self._room)
        return self._add_row(name, used)

    def _add_row(self, name: str, number: int) -> int:
        start = 1 + number * _ROW
        text = _short(name.encode("utf-8", "replace"))
        self._bytes[8 * start : 8 * start + 1 + len(text)] = bytes([len(text)]) + text
        self._words[0] = number + 1  # after the name: from here on others read the row
        self._rows[name] = start + _NAME
        return start + _NAME

    # The keeper.

    def collect(self) -> Iterator[tuple[str, list[int]]]:
        """Yield the names that were counted since the last time, with what was added."""
        words = self._words
        for number in range(words[0] if self._room > 0 else 0):
            start = 1 + number * _ROW
            first, middle, end = start + _NAME, start + _NAME + COUNTS, start + _ROW
            counts, collected = words[first:middle].tolist(), words[middle:end].tolist()
            if counts != collected:
                words[middle:end] = words[first:middle]
                yield self._name(start), [now - then for now, then in zip(counts, collected, strict=True)]

    def _name(self, start: int) -> str:
        length = self._bytes[8 * start]
        return bytes(self._bytes[8 * start + 1 : 8 * start + 1 + length]).decode("utf-8", "replace")


def _short(name: bytes) -> bytes:
    """Return a name that fits; a long one keeps its beginning, and differs from others that begin so."""
    if len(name) <= _MOST_NAME_BYTES:
        return name
    import hashlib  # here, as it brings OpenSSL, 3 MB that the master has no need of

    digest = hashlib.sha1(name).hexdigest()[:8]  # noqa: S324 - tells names apart, guards nothing
    return name[:_KEPT_NAME_BYTES] + b"~" + digest.encode("ascii")
