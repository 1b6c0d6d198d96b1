"""CPU-bound jobs, 10 ms of pure Python: what part of the cores they get, beside plain processes of the same loop.

As threads that compute disturb each other in any Python, plain processes of many threads are measured, too.
"""

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
from bench.systems import jobs
from bench.tables import number, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

PYTHON = "python"
PLAIN_SECONDS = 3.0
#: what a job is to take of a core, and for how long runs are counted to find out
JOB_SECONDS, TRIAL_SECONDS = 0.010, 0.5
#: as many threads as a child has by default
THREADS = 25
#: runs the job's own loop, and prints how many it did in a second
PLAIN = """
import sys, threading, time
from systems import jobs
jobs.MARKS = bytearray(1)
counts, began = [], time.perf_counter()
until = began + float(sys.argv[1])

def run():
    count = 0
    while time.perf_counter() < until:
        jobs.compute(0)
        count += 1
    counts.append(count)

threads = [threading.Thread(target=run) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(counts) / (time.perf_counter() - began))
"""


def cases(choice: Choice) -> list[Case]:
    """Return the configurations that have a number of such jobs; as many children as this machine has cores."""
    found = [
        Case("cores", OURS, variant.name, functools.partial(measure, variant, count))
        for variant, _, count in choice.variants("compute")
    ]
    if choice.has(OURS, "2x25"):
        found.append(Case("cores", PYTHON, f"plain processes of {THREADS} threads", measure_threads))
    return found


def measure(variant: Variant, count: int) -> Row:
    """Run the loop as jobs."""
    return _beside_plain(lambda turns: drain(variant, "compute", count, {"BENCH_TURNS": str(turns)}))


def measure_threads() -> Row:
    """Run the loop in plain processes of many threads."""
    return _beside_plain(lambda turns: {"rate": round(plain(turns, PLAIN_SECONDS, THREADS), 1)})


def _beside_plain(run: Callable[[int], Row]) -> Row:
    """Run the loop in plain processes, one for each core, then as asked for, then in plain processes again."""
    turns = turns_of_a_job()
    before = plain(turns, PLAIN_SECONDS)
    row = run(turns)
    ideal = (before + plain(turns, PLAIN_SECONDS)) / 2
    return {**row, "turns": turns, "ideal_rate": round(ideal, 1), "share": round(row["rate"] / ideal, 4)}


def turns_of_a_job() -> int:
    """Return how often the loop turns in the time that a job is to take."""
    per_core = plain(jobs.TURNS, TRIAL_SECONDS) / len(os.sched_getaffinity(0))
    return int(jobs.TURNS * per_core * JOB_SECONDS)


def plain(turns: int, seconds: float, threads: int = 1) -> float:
    """Return how many runs a second all cores do by themselves."""
    line = [sys.executable, "-c", PLAIN, str(seconds), str(threads)]
    environment = os.environ | {"PYTHONPATH": str(places.HERE), "BENCH_TURNS": str(turns)}
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
