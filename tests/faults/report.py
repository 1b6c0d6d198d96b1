"""The report of a run: figures that add up, as a file and as the table of docs/reliability.md.

``python -m faults.report FILE...`` adds up the files that ``--report`` has written, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from faults.checker import Verdict, merge
from faults.faults import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Report:
    """What came out of some rounds."""

    seeds: list[int]
    rounds: int = 0
    #: of storm; of everything, the calms included
    storm_seconds: float = 0
    seconds: float = 0
    verdict: Verdict = field(default_factory=Verdict)
    #: kind of fault -> how often it was done, and worked
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    #: the first violation: seconds since the start
    caught_after: float | None = None

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        told = {**vars(self), "verdict": vars(self.verdict)}
        path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def read(path: Path) -> Report:
    """Return what was kept."""
    told = json.loads(path.read_text("utf-8"))
    verdict = Verdict(**told.pop("verdict"))
    verdict.again = Counter(verdict.again)
    done, missed = Counter(told.pop("faults")), Counter(told.pop("missed"))
    return Report(**told, verdict=verdict, faults=done, missed=missed)


def total(reports: Sequence[Report]) -> Report:
    """Add up."""
    whole = Report([seed for report in reports for seed in report.seeds])
    for report in reports:
        whole.rounds += report.rounds
        whole.storm_seconds += report.storm_seconds
        whole.seconds += report.seconds
        whole.faults += report.faults
        whole.missed += report.missed
        whole.left_out |= report.left_out
    whole.verdict = merge([report.verdict for report in reports])
    return whole


def table(report: Report) -> str:
    """Return the figures in words."""
    verdict = report.verdict
    lines = ["", "| fault | times | jobs run again |", "|---|---|---|"]
    lines += [f"| {kind} | {report.faults[kind]} | {verdict.again[kind]} |" for kind in CATALOGUE]
    seeds = ", ".join(map(str, report.seeds))
    lines += [
        "",
        (
            f"seed {seeds}: {report.rounds} rounds, {report.storm_seconds:.0f} s of storm in {report.seconds:.0f} s: "
            f"{verdict.accepted} jobs accepted, {verdict.doubtful} pushes in doubt, {verdict.refused} refused; "
            f"{verdict.runs} runs, {verdict.ended} jobs ended, {verdict.failed} failures, "
            f"{sum(verdict.again.values())} run again with a cause, {verdict.overlaps} of these while a cut-off owner "
            f"ran on, {verdict.poisoned} taken for poisonous; {len(verdict.violations)} violations"
        ),
    ]
    lines += verdict.violations
    lines += [f"left out: {what}: {why}" for what, why in report.left_out.items()]
    lines += [f"missed: {kind}: {times}" for kind, times in sorted(report.missed.items())]
    return "\n".join(lines)


def main() -> int:
    """Add up, and tell."""
    parser = argparse.ArgumentParser(prog="faults.report", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    whole = total([read(path) for path in parser.parse_args().files])
    print(table(whole))
    return 1 if whole.verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
