"""Counts jobs by name as they are settled.  In the exchange thread, so that job threads pay nothing for it.

Only names of registered jobs have a row of their own: names come from payloads, which anybody may have written.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from forkworker.unix.tally import BOUNDS, COUNTS, FIRST_BOUND, MICROSECONDS, OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.runtime.outcome import Outcome
    from forkworker.unix.tally import Tally

UNKNOWN, UNREADABLE = "(unknown)", "(unreadable)"
_NUMBERS: dict[str, int] = {kind: number for number, kind in enumerate(OUTCOMES)}
_SHORTEST = BOUNDS[0]


class _Counts:
    """What stands in one row."""

    __slots__ = ("seconds", "words")

    def __init__(self) -> None:
        self.words = array("Q", bytes(8 * COUNTS))
        #: how long those ran that were done; its word is set last
        self.seconds = 0.0


class Tallyman:
    """Writes the tally of a child."""

    def __init__(self, tally: Tally, is_known: Callable[[str], bool]) -> None:
        self._tally = tally
        self._is_known = is_known
        #: row of the tally -> what stands there
        self._counts: dict[int, _Counts] = {}
        #: registered name -> its row
        self._rows: dict[str, int] = {}

    def report(self, outcomes: list[Outcome]) -> None:
        """Count these; what went back to its queue was not run.

        Every job passes through here: it is counted in memory of our own, which is faster, and a name
        is looked up only where it is not the one before.
        """
        name: str | None = None
        counts = _Counts()
        touched: dict[int, _Counts] = {}
        for outcome in outcomes:
            kind = outcome.kind
            if kind == "back":
                continue
            if outcome.name != name:
                name = outcome.name
                row = self._rows.get(name) or self._find_row(name)
                counts = touched[row] = self._counts[row]
            if kind == "done":
                seconds = outcome.seconds
                counts.seconds += seconds
                counts.words[0] += 1
                counts.words[FIRST_BOUND if seconds <= _SHORTEST else FIRST_BOUND + bisect_left(BOUNDS, seconds)] += 1
            else:
                counts.words[_NUMBERS[kind]] += 1
        for row, changed in touched.items():
            changed.words[MICROSECONDS] = int(changed.seconds * 1_000_000)
            self._tally.write(row, changed.words)

    def _find_row(self, name: str) -> int:
        is_known = bool(name) and self._is_known(name)
        row = self._tally.row(name if is_known else UNKNOWN if name else UNREADABLE)
        self._counts.setdefault(row, _Counts())
        if is_known:
            self._rows[name] = row
        return row
