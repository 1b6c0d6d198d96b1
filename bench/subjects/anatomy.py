"""Where the time of a job goes, in one child of 25 threads: by thread, in the kernel, within Redis and its scripts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from bench import contestants, readings
from bench.cases import Case
from bench.contestants import OURS
from bench.marks import Marks
from bench.servers import Server
from bench.subjects.drain import START_SECONDS, wait
from bench.tables import number, table
from bench.trees import Tree

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

VARIANTS = ("1x25", "1x25, job log")
THREADS = 25


def cases(choice: Choice) -> list[Case]:
    """Return one child, with and without its job log."""
    return [
        Case("anatomy", OURS, variant.name, functools.partial(measure, variant, count))
        for variant, _, count in choice.variants("noop")
        if variant.system == OURS and variant.name in VARIANTS
    ]


def measure(variant: Variant, count: int) -> Row:
    """Drain, and look at each thread before and after."""
    snapshot = contestants.filled(variant, "noop", count)
    with Server(snapshot) as server, Marks() as marks, Tree(variant, server.port, marks) as tree:
        wait(lambda: marks.any_ran(count), tree, START_SECONDS, "no job ran")
        (child,) = tree.titled("forkworker: child")
        client, ran = server.client(), marks.ran(count)
        scripts, redis = client.info("commandstats"), server.cpu_seconds()
        before, kernel = _threads(child), readings.kernel_seconds(child)
        wait(lambda: marks.all_ran(count), tree, 90, "not all jobs ran")
        after, kernel = _threads(child), readings.kernel_seconds(child) - kernel
        redis, now = server.cpu_seconds() - redis, client.info("commandstats")
    jobs = count - ran
    used = {name: 1e6 * (after[name] - before[name]) / jobs for name in after}
    calls, micros = ([each["cmdstat_evalsha"][key] for each in (scripts, now)] for key in ("calls", "usec"))
    return {
        "jobs": jobs,
        **{f"{name}_us": round(value, 3) for name, value in used.items()},
        "kernel_us": round(1e6 * kernel / jobs, 3),
        "redis_us": round(1e6 * redis / jobs, 3),
        "script_us": round((micros[1] - micros[0]) / jobs, 3),
        "jobs_a_trip": round(2 * jobs / (calls[1] - calls[0]), 1),
    }


def _threads(child: int) -> dict[str, float]:
    """Return seconds by kind of thread: the job threads are started after the main one, the exchange last."""
    tasks = sorted(Path(f"/proc/{child}/task").iterdir(), key=lambda task: int(task.name))
    seconds = [int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks]
    return {
        "main": seconds[0],
        "job_threads": sum(seconds[1 : 1 + THREADS]),
        "exchange": sum(seconds[1 + THREADS :]),
    }


PARTS = {
    "job_threads_us": "job threads: payload read, function called, outcome handed over",
    "exchange_us": "exchange thread: fetch and settle, hand table, counts, log lines",
    "main_us": "main thread",
    "kernel_us": "of all these in the kernel: sockets, wake-ups",
    "redis_us": "Redis",
    "script_us": "of that within the two scripts",
}


def report(rows: Rows) -> list[str]:
    """Return the table."""
    groups = rows.groups("variant")
    lines = [[text, *(number(group.median(key), 1) for group in groups.values())] for key, text in PARTS.items()]
    trips = ["jobs for each round trip", *(number(group.median("jobs_a_trip"), 0) for group in groups.values())]
    return table(("µs of processor time for each job", *(f"{variant}" for (variant,) in groups)), [*lines, trips])
