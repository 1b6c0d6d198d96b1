"""What a job costs when Redis holds more: jobs, queues, processes, retries; and when its payload is larger.

Processor time is compared, of workers and Redis together, over some seconds of a drain: it depends less on
neighbours than a rate does.  Each pair is measured in the same round.
"""

from __future__ import annotations

import functools
import json
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
    import redis as redispy

    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

VARIANT = "2x25"
START_SECONDS, LOOK_SECONDS = 0.7, 2.5

#: the cost of the bytes alone
PLAIN = "payload of 100 KB, by LMOVE, json.loads and LREM alone"


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
    stocked = [
        Case("scale", OURS, name, functools.partial(measure, choice.ours(VARIANT), what))
        for name, what in STOCKS.items()
    ]
    return [*stocked, Case("scale", "plain", PLAIN, functools.partial(plain, STOCKS["payload of 100 KB"]))]


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


def plain(what: Stock) -> Row:
    """Take jobs and acknowledge them without anything else, 25 at a time."""
    with Server() as server:
        client = server.client()
        stock.jobs(client, "q0", what.backlog, what.size)
        began, redis, ours, jobs = time.perf_counter(), server.cpu_seconds(), time.process_time(), 0
        while time.perf_counter() - began < LOOK_SECONDS:
            jobs += _plainly(client)
        redis, ours = server.cpu_seconds() - redis, time.process_time() - ours
    micros = {"worker_us": 1e6 * ours / jobs, "redis_us": 1e6 * redis / jobs, "cost_us": 1e6 * (ours + redis) / jobs}
    return {"jobs": jobs, **{key: round(value, 2) for key, value in micros.items()}}


def _plainly(client: redispy.Redis) -> int:
    with client.pipeline(transaction=False) as taking, client.pipeline(transaction=False) as settling:
        for _ in range(25):
            taking.lmove("queue:q0", "working:plain", "RIGHT", "LEFT")
        for payload in taking.execute():
            json.loads(payload)
            settling.lrem("working:plain", -1, payload)
        settling.execute()
    return 25


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
    """Return the table: the least of the rounds, as neighbours only add to what a job costs."""
    usual = min(rows.of(variant="usual").values("cost_us"), default=float("nan"))
    heads = ("in Redis", "worker CPU, µs/job", "Redis CPU, µs/job", "cost beside the first")
    lines = []
    for (variant,), group in rows.groups("variant").items():
        least = min(group, key=lambda row: row["cost_us"])
        cells = [number(least["worker_us"], 1), number(least["redis_us"], 1), f"{least['cost_us'] / usual - 1:+.0%}"]
        lines.append([variant, *cells])
    return table(heads, lines)
