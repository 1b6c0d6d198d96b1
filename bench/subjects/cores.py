"""CPU-bound jobs, 10 ms of pure Python: what part of the cores they get, beside plain processes of the same loop."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import places
from bench.cases import Case
from bench.contestants import OURS
from bench.subjects.drain import drain
from bench.tables import number, table

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

PLAIN_SECONDS = 3.0
#: runs the job's own loop, and prints how many it did in a second
PLAIN = """
import sys, time
from systems import jobs
jobs.MARKS = bytearray(1)
until, count = time.perf_counter() + float(sys.argv[1]), 0
began = time.perf_counter()
while time.perf_counter() < until:
    jobs.compute(0)
    count += 1
print(count / (time.perf_counter() - began))
"""


def cases(choice: Choice) -> list[Case]:
    """Return the configurations that have a number of such jobs; as many children as this machine has cores."""
    return [
        Case("cores", OURS, variant.name, functools.partial(measure, variant, count))
        for variant, _, count in choice.variants("compute")
    ]


def measure(variant: Variant, count: int) -> Row:
    """Run the loop in plain processes, one for each core, then as jobs, then in plain processes again."""
    before = plain()
    row = drain(variant, "compute", count)
    ideal = (before + plain()) / 2
    return {**row, "ideal_rate": round(ideal, 1), "share": round(row["rate"] / ideal, 4)}


def plain() -> float:
    """Return how many runs a second all cores do by themselves."""
    line = [sys.executable, "-c", PLAIN, str(PLAIN_SECONDS)]
    environment = os.environ | {"PYTHONPATH": str(places.HERE)}
    started = [
        subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) for _ in os.sched_getaffinity(0)
    ]
    return sum(float(process.communicate()[0]) for process in started)


def report(rows: Rows) -> list[str]:
    """Return the table."""
    heads = ("configuration", "jobs/s", "plain processes, runs/s", "share of the cores")
    return table(
        heads,
        [
            (
                variant,
                number(group.median("rate"), 1),
                number(group.median("ideal_rate"), 1),
                f"{group.median('share'):.1%}",
            )
            for (variant,), group in rows.groups("variant").items()
        ],
    )
