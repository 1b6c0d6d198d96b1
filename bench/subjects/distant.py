"""Redis 1 ms away: no-ops worked off, as Sidekiq's own benchmark does it; and one slow job among many short ones.

Nothing of what is read ahead may wait behind the slow one: no other job starts more than 100 ms after a thread
was free for it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bench import contestants
from bench.cases import Case
from bench.contestants import OURS
from bench.delays import Delay
from bench.marks import Marks
from bench.servers import Server
from bench.subjects.drain import wait, watch
from bench.tables import number, table, times
from bench.trees import Tree, url

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

ROUND_TRIP_SECONDS = 0.001
SHORT, SHORT_SECONDS, LONG_SECONDS = 10_000, 0.001, 5.0
#: where the slow job stands among the others
LONG_AT = 500


def cases(choice: Choice) -> list[Case]:
    """Return the drains of forkworker and Sidekiq, and forkworker with one slow job."""
    drains = [
        Case("distant", variant.system, variant.name, functools.partial(drain, variant, count))
        for variant, _, count in choice.variants("delayed")
    ]
    mixed = [
        Case("distant", OURS, f"{name}, one slow job", functools.partial(mix, choice.ours(name)))
        for name in ("2x25", "2x1")
        if choice.has(OURS, name)
    ]
    return drains + mixed


def drain(variant: Variant, count: int) -> Row:
    """Work off no-ops through the proxy."""
    snapshot = contestants.filled(variant, "noop", count)
    with Server(snapshot) as server, Delay(server.port, ROUND_TRIP_SECONDS) as delay, Marks() as marks:
        away = delay.round_trip_seconds()
        before = delay.cpu_seconds()
        with Tree(variant, delay.port, marks) as tree:
            row = watch(server, marks, tree, count)
            used = delay.cpu_seconds() - before
    return {**row, "round_trip_ms": round(1000 * away, 3), "proxy_us": round(1e6 * used / count, 2)}


def mix(variant: Variant) -> Row:
    """Run many short jobs and one long one; tell how late the latest of the short ones was."""
    with Server() as server, Delay(server.port, ROUND_TRIP_SECONDS) as delay, Marks() as marks:
        _push(server.port)
        with Tree(variant, delay.port, marks) as tree:
            wait(lambda: marks.all_ran(SHORT), tree, 60, "not all jobs ran")
        spans = [marks.instants(job) for job in range(SHORT)]
    starts = [start for job, (start, _, _) in enumerate(spans) if job != LONG_AT]
    return {
        "overtaken_ms": round(overtaken(starts) / 1e6, 2),
        "idle_ms": round(idle(spans) / 1e6, 2),
        "seconds": round((max(end for _, end, _ in spans) - min(start for start, _, _ in spans)) / 1e9, 3),
    }


def _push(port: int) -> None:
    """Push as forkworker's own client does."""
    from forkworker.client import Client, make_job

    lengths = [LONG_SECONDS if job == LONG_AT else SHORT_SECONDS for job in range(SHORT)]
    jobs = [make_job("stamp", [job, length], queue="default", retry=True) for job, length in enumerate(lengths)]
    Client(url(port)).push_jobs(jobs)


def overtaken(starts: list[int]) -> int:
    """Return how long at the most a job began after one that had been pushed later."""
    earliest, most = starts[-1], 0
    for start in reversed(starts):
        most = max(most, start - earliest)
        earliest = min(earliest, start)
    return most


def idle(spans: list[tuple[int, int, int]]) -> int:
    """Return how long at the most a thread had nothing to do between two of its jobs."""
    most, free_since = 0, dict[int, int]()
    for start, end, thread in sorted(spans):
        most = max(most, start - free_since.get(thread, start))
        free_since[thread] = end
    return most


def report(rows: Rows) -> list[str]:
    """Return a table of the drains, and one of the slow job's neighbours."""
    ours = rows.of(system=OURS, variant="1x30")
    drained, mixed = [], []
    for (system, variant), group in rows.groups("system", "variant").items():
        if group.values("rate"):
            ratio = times(ours.ratio(group, "rate")) if system != OURS else ""
            cells = [number(group.median("rate")), ratio, number(group.median("worker_us"), 1)]
            drained.append([system, variant, *cells, number(group.median("round_trip_ms"), 2)])
        else:
            mixed.append([variant, *(number(group.median(key), 1) for key in ("overtaken_ms", "idle_ms", "seconds"))])
    heads = ("system", "configuration", "jobs/s", "forkworker is", "worker CPU, µs/job", "round trip, ms")
    heads_of_mixed = ("configuration", "begun after a later one by, ms", "a thread idle for, ms", "all done in, s")
    return [*table(heads, drained), "", *table(heads_of_mixed, mixed)]
