"""Twenty jobs that do nothing, and a child that counts them by name and does not, in turn.  Runs in the child.

In one process and in turn, as what a job costs varies by more from run to run than counting can.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import forkworker
from forkworker.runtime.tallyman import Tallyman

if TYPE_CHECKING:
    from forkworker.runtime.outcome import Outcome

NAMES = [f"counted.{number}" for number in range(20)]
BLOCK = 5000
_count = Tallyman.report


def nothing() -> None:
    """Do nothing."""


for _name in NAMES:
    forkworker.job(name=_name)(nothing)


class Turns:
    """Notes for each block of jobs whether they were counted, and what the process used, in µs for a job."""

    def __init__(self) -> None:
        self._jobs = 0
        self._is_counting = True
        self._began = time.process_time()

    def report(self, man: Tallyman, outcomes: list[Outcome]) -> None:
        """Stand for ``Tallyman.report``."""
        if self._is_counting:
            _count(man, outcomes)
        self._jobs += len(outcomes)
        if self._jobs >= BLOCK:
            self._note()

    def _note(self) -> None:
        micros = 1e6 * (time.process_time() - self._began) / self._jobs
        with open(os.environ["FORKWORKER_TEST_RECORD"], "a", encoding="ascii") as notes:
            notes.write(f"{json.dumps([self._is_counting, micros])}\n")
        self._jobs, self._is_counting, self._began = 0, not self._is_counting, time.process_time()


def _in_turn(man: Tallyman, outcomes: list[Outcome]) -> None:
    _turns.report(man, outcomes)


_turns = Turns()
Tallyman.report = _in_turn  # type: ignore[method-assign]
