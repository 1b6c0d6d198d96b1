"""The numbers of a tree since its keeper's start: jobs by name and outcome, children that ended, jobs put back.

Collected from the tallies of the children at each beat, and when one of them has gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.store import metrics
from forkworker.store.metrics import SLOTS, Deed
from forkworker.unix.tally import COUNTS, FIRST_BOUND, MICROSECONDS, OTHER, OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.keeper.charge import Charge
    from forkworker.store.connection import Link
    from forkworker.store.orphans import Restored
    from forkworker.unix.tally import Tally

#: in all children together, over all their generations; what is beyond is counted as one
MOST_NAMES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was counted; ``jobs`` by name, in the order of a tally's counts."""

    jobs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    crashed: int = 0
    left_in_order: int = 0
    put_back: int = 0
    recovered: int = 0
    buried: int = 0


NO_FIGURES = Figures()


class Numbers:
    """Adds up."""

    def __init__(self) -> None:
        self._jobs: dict[str, list[int]] = {}
        self._crashed = self._left_in_order = 0
        self._put_back = self._recovered = self._buried = 0
        #: what was added since ``publish``
        self._news: dict[str, list[int]] = {}

    def collect(self, charges: Iterable[Charge]) -> None:
        """Take in what children have counted."""
        for charge in charges:
            self._add(charge.board.tally)

    def note_gone(self, charge: Charge) -> None:
        """Count the end of a child, and take in the last that it has counted."""
        self._add(charge.board.tally)
        self._crashed += charge.crashed
        self._left_in_order += not charge.crashed

    def note_restored(self, restored: Restored) -> None:
        """Count jobs that went back, of ours or of another tree."""
        self._put_back += restored.moved
        self._recovered += restored.recovered
        self._buried += restored.buried

    def figures(self) -> Figures:
        """Return all as a value that does not change any more."""
        return Figures(
            jobs=tuple((name, tuple(counts)) for name, counts in sorted(self._jobs.items())),
            crashed=self._crashed,
            left_in_order=self._left_in_order,
            put_back=self._put_back,
            recovered=self._recovered,
            buried=self._buried,
        )

    def publish(self, link: Link, now: float) -> None:
        """Add what is new to Sidekiq's metrics; where the reply is lost it is rather not counted than twice."""
        news, self._news = self._news, {}
        if news:
            metrics.add(link, [_deed(name, counts) for name, counts in news.items() if name[:1] != "("], now)

    def _add(self, tally: Tally) -> None:
        for name, added in tally.collect():
            kept = name if name in self._jobs or len(self._jobs) < MOST_NAMES else OTHER
            _add_to(self._jobs, kept, added)
            _add_to(self._news, kept, added)


def _deed(name: str, counts: list[int]) -> Deed:
    """Return it in Sidekiq's terms: its shortest runs are those of less than 20 ms."""
    done, failures = counts[0], sum(counts[1 : len(OUTCOMES) - 1])
    slots = counts[FIRST_BOUND:]
    shortest = len(slots) - SLOTS + 1
    return Deed(
        name=name,
        runs=done + failures,
        failures=failures,
        milliseconds=counts[MICROSECONDS] // 1000,
        slots=[sum(slots[:shortest]), *slots[shortest:]],
    )


def _add_to(sums: dict[str, list[int]], name: str, added: list[int]) -> None:
    counts = sums.setdefault(name, [0] * COUNTS)
    for number, more in enumerate(added):
        counts[number] += more
