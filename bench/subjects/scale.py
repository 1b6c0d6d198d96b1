"""What a job costs when Redis holds more: jobs, processes, retries; when there are more queues; when it is larger.

What Redis holds cannot change what a child does for a job, only what Redis does.  So a child is simulated, and sends
the same to two servers in turn, in pieces of a few milliseconds: that shows a difference of a percent on a machine
whose pace varies by a third.  Queues and payloads change the child's part, too: those are drains by a real tree, and
the processor time of workers and Redis is compared.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import readings, stock
from bench.cases import Case
from bench.contestants import OURS
from bench.marks import Marks
from bench.servers import Server
from bench.subjects.drain import wait
from bench.subjects.full import Child
from bench.tables import number, table
from bench.trees import Tree

if TYPE_CHECKING:
    import redis as redispy

    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

VARIANT = "2x25"
START_SECONDS, LOOK_SECONDS = 0.7, 2.5
#: pairs of pieces, turns in a piece, jobs in a turn
PAIRS, TURNS, AT_A_TIME = 60, 40, 25

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

    def fill(self, client: redispy.Redis, names: list[str]) -> None:
        """Put all that into Redis."""
        for name in names if self.is_spread else names[-1:]:
            stock.jobs(client, name, self.backlog, self.size)
        stock.retries(client, self.retries)
        if self.processes:
            stock.processes(client, self.processes)


USUAL = Stock()
#: only Redis has more to do, if anybody has
HELD = {
    "the same": Stock(backlog=100_000),
    "10,000,000 jobs": Stock(backlog=10_000_000),
    "200 processes": Stock(backlog=100_000, processes=200),
    "1,000,000 retries": Stock(backlog=100_000, retries=1_000_000),
}
DRAINED = {
    "usual": USUAL,
    "50 queues, 49 of them empty": replace(USUAL, queues=50),
    "50 queues, jobs in all": replace(USUAL, queues=50, is_spread=True, backlog=14_000),
    "payload of 1 KB": replace(USUAL, size=1000),
    "payload of 10 KB": replace(USUAL, size=10_000, backlog=200_000),
    "payload of 100 KB": replace(USUAL, size=100_000, backlog=40_000),
}


def cases(choice: Choice) -> list[Case]:
    """Return each stock; drains are by two children of 25 threads."""
    if not choice.has(OURS, VARIANT):
        return []
    return [
        *(Case("scale", OURS, name, functools.partial(compare, what)) for name, what in HELD.items()),
        *(
            Case("scale", OURS, name, functools.partial(drain, choice.ours(VARIANT), what))
            for name, what in DRAINED.items()
        ),
        Case("scale", "plain", PLAIN, functools.partial(plain, DRAINED["payload of 100 KB"])),
    ]


def compare(what: Stock) -> Row:
    """Let one Redis hold that, and another the usual, and have a child's commands cost both of them in turn."""
    with Server() as usual, Server() as full:
        HELD["the same"].fill(usual.client(), ["default"])
        what.fill(full.client(), ["default"])
        sides = [(server.pid, Child(server.port, 1)) for server in (usual, full)]
        for side in sides:
            _piece(*side)
        pairs = [[_piece(*side) for side in sides] for _ in range(PAIRS)]
        for _, child in sides:
            child.close()
    before, after = map(min, zip(*pairs, strict=True))  # neighbours only add
    return {"redis_us": round(after, 3), "ratio": round(after / before, 4)}


def _piece(pid: int, child: Child) -> float:
    """Return the microseconds of Redis for each job."""
    began, settled = readings.exact_cpu_seconds(pid), 0
    for _ in range(TURNS):
        child.send(AT_A_TIME)
        settled += child.read()
    return 1e6 * (readings.exact_cpu_seconds(pid) - began) / settled


def drain(variant: Variant, what: Stock) -> Row:
    """Fill, let the workers loose, and look at some seconds."""
    names = [f"q{number}" for number in range(what.queues)]
    commands = [[*line, *(f"-q{name}" for name in names)] for line in variant.commands]
    with Server() as server, Marks() as marks:
        what.fill(server.client(), names)
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
    """Return two tables: the median of the rounds; of drains the least, as neighbours only add to them."""
    held, drains = [], []
    usual = min(rows.of(variant="usual").values("cost_us"), default=float("nan"))
    for (variant,), group in rows.groups("variant").items():
        if variant in HELD:
            held.append([variant, number(group.median("redis_us"), 2), f"{group.median('ratio') - 1:+.1%}"])
        else:
            least = min(group, key=lambda row: row["cost_us"])
            cells = [
                number(least["worker_us"], 1),
                number(least["redis_us"], 1),
                f"{least['cost_us'] / usual - 1:+.0%}",
            ]
            drains.append([variant, *cells])
    return [
        *table(("Redis holds", "Redis CPU, µs/job", "beside 100,000 jobs and nothing else"), held),
        "",
        *table(("drained", "worker CPU, µs/job", "Redis CPU, µs/job", "cost beside the first"), drains),
    ]
