"""What a job costs when Redis holds more: jobs, queues, processes, retries; and when its payload is larger.

Processor time is compared, of workers and Redis together, over some seconds of a drain: it depends less on
neighbours than a rate does.  Each pair is measured in the same round.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import stock
from bench.cases import Case
from bench.contestants import OURS
from bench.marks import Marks
from bench.servers import Server
from bench.subjects.drain import wait
from bench.tables import number, table
from bench.trees import Tree

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

VARIANT = "2x25"
START_SECONDS, LOOK_SECONDS = 1.0, 4.0


@dataclass(frozen=True)
class Stock:
    """What stands in Redis when the workers begin."""

    backlog: int = 700_000
    queues: int = 1
    #: where jobs are: in the last queue only, or the backlog in each
    is_spread: bool = False
    size: int = 0
    processes: int = 0
    retries: int = 0


USUAL = Stock()
STOCKS = {
    "usual": USUAL,
    "10,000,000 jobs": replace(USUAL, backlog=10_000_000),
    "50 queues, 49 of them empty": replace(USUAL, queues=50),
    "50 queues, jobs in all": replace(USUAL, queues=50, is_spread=True, backlog=14_000),
    "200 processes": replace(USUAL, processes=200),
    "10,000 retries": replace(USUAL, retries=10_000),
    "1,000,000 retries": replace(USUAL, retries=1_000_000),
    "payload of 1 KB": replace(USUAL, size=1000),
    "payload of 10 KB": replace(USUAL, size=10_000, backlog=200_000),
    "payload of 100 KB": replace(USUAL, size=100_000, backlog=40_000),
}


def cases(choice: Choice) -> list[Case]:
    """Return each stock, with two children of 25 threads."""
    if not choice.has(OURS, VARIANT):
        return []
    return [
        Case("scale", OURS, name, functools.partial(measure, choice.ours(VARIANT), what))
        for name, what in STOCKS.items()
    ]


def measure(variant: Variant, what: Stock) -> Row:
    """Fill, let the workers loose, and look at some seconds."""
    names = [f"q{number}" for number in range(what.queues)]
    commands = [[*line, *(f"-q{name}" for name in names)] for line in variant.commands]
    with Server() as server, Marks() as marks:
        client = server.client()
        for name in names if what.is_spread else names[-1:]:
            stock.jobs(client, name, what.backlog, what.size)
        stock.retries(client, what.retries)
        if what.processes:
            stock.processes(client, what.processes)
        with Tree(replace(variant, commands=commands), server.port, marks) as tree:
            return _look(server, marks, tree)


def _look(server: Server, marks: Marks, tree: Tree) -> Row:
    client = server.client()
    wait(lambda: marks.any_ran(1), tree, 30, "no job ran")
    time.sleep(START_SECONDS)
    settled = int(client.get("stat:processed") or 0)  # type: ignore[arg-type]
    began, redis, workers = time.perf_counter(), server.cpu_seconds(), tree.cpu_seconds()
    time.sleep(LOOK_SECONDS)
    jobs = int(client.get("stat:processed") or 0) - settled  # type: ignore[arg-type]
    seconds = time.perf_counter() - began
    redis, workers = server.cpu_seconds() - redis, tree.cpu_seconds() - workers
    if not stock.left(client):
        raise ValueError("all jobs were done before the look was over")
    return {
        "jobs": jobs,
        "rate": round(jobs / seconds, 1),
        "worker_us": round(1e6 * workers / jobs, 2),
        "redis_us": round(1e6 * redis / jobs, 2),
        "cost_us": round(1e6 * (workers + redis) / jobs, 2),
    }


def report(rows: Rows) -> list[str]:
    """Return the table, each row beside the usual one of its round."""
    usual = rows.of(variant="usual")
    heads = ("in Redis", "jobs/s", "worker CPU, µs/job", "Redis CPU, µs/job", "cost beside the first")
    lines = [
        [
            variant,
            number(group.median("rate")),
            number(group.median("worker_us"), 1),
            number(group.median("redis_us"), 1),
            f"{group.ratio(usual, 'cost_us') - 1:+.0%}",
        ]
        for (variant,), group in rows.groups("variant").items()
    ]
    return table(heads, lines)
