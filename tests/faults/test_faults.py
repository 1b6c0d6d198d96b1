"""The short part of the fault harness, in every run of the tests; `make faults` is the long one."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.tools import tool

from faults import bugs, harness, nemesis, outage, report
from faults.checker import Verdict
from faults.faults import CATALOGUE

if TYPE_CHECKING:
    from pathlib import Path

#: always the same seeds here, so that a failure is the work of the change under test
SEED = int(os.environ.get("FORKWORKER_FAULTS_SEED", "1"))
SECONDS = float(os.environ.get("FORKWORKER_FAULTS_SECONDS", "60"))


@pytest.mark.integration
@pytest.mark.timeout(400 + 4 * SECONDS)
def test_no_fault_breaks_a_promise() -> None:
    """Half of the storm on Redis, half on Valkey, whose clock can be set."""
    tool("ip", "iproute2")
    if shutil.which("faketime") is None:
        tool("faketime", "faketime")

    done = harness.run(SEED, SECONDS, round_seconds=SECONDS / 2)

    print(report.table(done))
    assert done.verdict.violations == []
    assert done.verdict.accepted > 1000
    assert sum(done.faults.values()) > SECONDS / 4


@pytest.mark.integration
def test_no_live_job_runs_twice_because_redis_was_away_for_leases() -> None:
    """`make faults-outage` has ten leases of it, in three ways."""
    done = outage.run("frozen", leases=1.5, seed=SEED)

    assert done.verdict.violations == []
    assert done.ended_meanwhile == done.jobs / 2
    assert done.again == done.verdict.again["SIGKILL of a child"] > 0


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_planted_bug_is_caught() -> None:
    """One of `faults/bugs.py`, which hunts all of them by hand."""
    assert bugs.hunt("the due are moved in two steps", SEED, seconds=60).caught_after is not None


@pytest.mark.unit
@pytest.mark.parametrize("name", bugs.BUGS)
def test_a_bug_can_still_be_planted(name: str, tmp_path: Path) -> None:
    """Where a line has changed that an edit names, the edit is to follow."""
    assert bugs.plant(name, tmp_path) == tmp_path


@pytest.mark.unit
def test_a_seed_repeats_its_schedule_of_faults() -> None:
    assert nemesis.show(7, steps=50) == nemesis.show(7, steps=50)
    assert nemesis.show(7, steps=50) != nemesis.show(8, steps=50)


@pytest.mark.unit
def test_two_hours_in_parts_have_each_kind_of_fault_often_enough() -> None:
    """As far as a front gets in a minute; what misses is not counted here."""
    drawn = Counter(
        step.kind
        for run in range(101, 113)
        for number in range(10)
        for steps in nemesis.fronts(run * nemesis.ROUNDS + number).values()
        for step in itertools.islice(steps, nemesis.ROUND_CARDS)
    )

    assert set(drawn) == set(CATALOGUE)
    assert min(drawn.values()) > 60


@pytest.mark.unit
def test_reports_of_parts_add_up(tmp_path: Path) -> None:
    verdict = Verdict(["lost: job 1"], accepted=5, again=Counter({"Redis killed": 1}))
    for seed in (1, 2):
        part = report.Report([seed], 3, 180, 200, verdict, Counter({"Redis killed": 4}), Counter({"a partition: x": 1}))
        part.write(tmp_path / f"{seed}.json")

    whole = report.total([report.read(tmp_path / "1.json"), report.read(tmp_path / "2.json")])

    assert (whole.seeds, whole.rounds, whole.storm_seconds, whole.seconds) == ([1, 2], 6, 360, 400)
    assert (whole.faults["Redis killed"], whole.verdict.again["Redis killed"]) == (8, 2)
    assert (whole.verdict.accepted, len(whole.verdict.violations)) == (10, 2)
    assert "| Redis killed | 8 | 2 |" in report.table(whole)
    assert "missed: a partition: x: 2" in report.table(whole)


@pytest.mark.unit
def test_every_fault_and_every_bug_stands_in_the_document() -> None:
    text = (bugs.PACKAGE.parent / "docs" / "reliability.md").read_text("utf-8")
    missing = [name for name in (*CATALOGUE, *bugs.BUGS) if f"| {name} |" not in text]
    assert missing == []
