"""Counting jobs by name: nothing is lost, nothing counted twice, and names have a bound."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from forkworker.runtime.hand import Unit
from forkworker.runtime.outcome import Outcome
from forkworker.runtime.tallyman import UNKNOWN, UNREADABLE, Tallyman
from forkworker.unix import board
from forkworker.unix.board import Board
from forkworker.unix.tally import BOUNDS, COUNTS, FIRST_BOUND, MICROSECONDS, MOST_NAMES, OTHER, OUTCOMES, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

UNIT = Unit(payload=b"{}", queue="default", working="w", entry=0, permit=0, taken_at=0.0)


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = board.create(threads=1, waits=1, entries=3)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def view(memory: int) -> Iterator[Board]:
    view = Board(memory)
    yield view
    view.close()


def ended(name: str, kind: Any = "done", seconds: float = 0.0) -> Outcome:
    return Outcome(UNIT, kind, name, "jid", seconds)


def counts_of(tally: Tally) -> dict[str, list[int]]:
    return dict(tally.collect())


def test_outcomes_and_run_times_are_counted_by_name(view: Board) -> None:
    man = Tallyman(view.tally, lambda _: True)
    man.report([ended("a", seconds=0.0005), ended("b", "retry", 9.0), ended("a", seconds=0.2), ended("a", "back")])
    man.report([ended("a", "failed"), ended("a", "bury"), ended("", "reject"), ended("a", seconds=1000.0)])
    found = counts_of(view.tally)
    assert dict(zip(OUTCOMES, found["a"], strict=False)) == {"done": 3, "retry": 0, "failed": 1, "bury": 1, "reject": 0}
    assert found["a"][MICROSECONDS] == 1_000_200_500
    slots = found["a"][FIRST_BOUND:]
    assert (slots[0], slots[BOUNDS.index(0.225)], slots[-1], sum(slots)) == (1, 1, 1, 3)
    assert (found["b"][1], sum(found["b"])) == (1, 1), "how long a failure ran is not counted"
    assert found[UNREADABLE][OUTCOMES.index("reject")] == 1
    assert set(found) == {"a", "b", UNREADABLE}


def test_what_is_collected_is_not_collected_again_by_the_next_keeper(memory: int, view: Board) -> None:
    man = Tallyman(view.tally, lambda _: True)
    man.report([ended("a")] * 3)
    assert counts_of(view.tally)["a"][0] == 3
    man.report([ended("a")] * 2)
    successor = Board(memory)
    assert counts_of(successor.tally)["a"][0] == 2
    assert counts_of(successor.tally) == {}
    successor.close()


def test_names_of_nobody_have_one_row_and_too_many_names_another(view: Board) -> None:
    man = Tallyman(view.tally, lambda name: name.startswith("job"))
    man.report([ended(f"hostile{n}", "retry") for n in range(5000)])
    man.report([ended(f"job{n}") for n in range(2 * MOST_NAMES)])
    man.report([ended("job0"), ended(f"job{MOST_NAMES + 5}")])
    found = counts_of(view.tally)
    assert found[UNKNOWN][1] == 5000
    assert found["job0"][0] == 2
    assert len(found) == MOST_NAMES + 1
    assert found[OTHER][0] == MOST_NAMES + 2
    assert all(len(counts) == COUNTS for counts in found.values())


def test_any_name_fits_and_long_ones_stay_apart(view: Board) -> None:
    man = Tallyman(view.tally, lambda _: True)
    names = ["x" * 127, "y" * 5000 + "1", "y" * 5000 + "2", "\ud800", "\0\n", "ж" * 300]
    man.report([ended(name) for name in names])
    found = list(counts_of(view.tally))
    assert len(set(found)) == len(names)
    assert found[0] == names[0]
    assert found[1].startswith("y" * 100 + "~")
    assert found[4] == "\0\n"


def test_a_board_without_a_tally_counts_nothing() -> None:
    tally = Tally(memoryview(b""))
    Tallyman(tally, lambda _: True).report([ended("a"), ended("b")])
    assert counts_of(tally) == {}
    tally.close()
