"""How fast waiting jobs are worked off, from the first that runs to the last; and what that costs each side.

``noop`` is the drain of rows 1 to 3; ``sleep10`` (row 5) and ``compute`` (row 11) are worked off in the same way.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from bench import contestants
from bench.cases import Case
from bench.contestants import OURS
from bench.marks import Marks
from bench.servers import Server
from bench.tables import number, table, times
from bench.trees import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

START_SECONDS, DRAIN_SECONDS = 30.0, 90.0
_POLL_SECONDS = 0.004
#: calls for each job that are worth a line
_TOLD = 0.0005


def cases(choice: Choice) -> list[Case]:
    """Return each configuration that works off no-ops."""
    return [
        Case("drain", variant.system, variant.name, functools.partial(drain, variant, kind, count))
        for variant, kind, count in choice.variants("noop")
    ]


def drain(variant: Variant, job: str, count: int, environment: Mapping[str, str] | None = None) -> Row:
    """Let workers loose on a Redis in which jobs wait."""
    snapshot = contestants.filled(variant, job, count)
    with Server(snapshot) as server, Marks() as marks, Tree(variant, server.port, marks, environment) as tree:
        return watch(server, marks, tree, count)


def watch(server: Server, marks: Marks, tree: Tree, count: int) -> Row:
    """Follow a drain from its first job to its last."""
    wait(lambda: marks.any_ran(count), tree, START_SECONDS, "no job ran")
    began = time.perf_counter()
    before = marks.ran(count)
    commands, redis, workers = server.commands(), server.cpu_seconds(), tree.cpu_seconds()
    wait(lambda: marks.all_ran(count), tree, DRAIN_SECONDS, "not all jobs ran")
    seconds = time.perf_counter() - began
    jobs = count - before
    redis, workers = server.cpu_seconds() - redis, tree.cpu_seconds() - workers
    after = server.commands()
    calls = {name: after[name] - commands.get(name, 0) for name in after if name != "info"}
    return {
        "jobs": jobs,
        "seconds": round(seconds, 3),
        "rate": round(jobs / seconds, 1),
        "worker_us": round(1e6 * workers / jobs, 2),
        "redis_us": round(1e6 * redis / jobs, 2),
        "commands": round(sum(calls.values()) / jobs, 3),
        "calls": {name: round(each / jobs, 4) for name, each in calls.items() if each / jobs >= _TOLD},
    }


def wait(is_over: Callable[[], bool], tree: Tree, seconds: float, failure: str) -> None:
    """Look until it is over; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not is_over():
        if time.monotonic() > deadline or not tree.is_alive:
            raise TimeoutError(f"{failure} in {seconds:g} s" if tree.is_alive else f"{failure}: the workers ended")
        time.sleep(_POLL_SECONDS)


def report(rows: Rows) -> list[str]:
    """Return the table: rates, costs, and how often forkworker's best is faster."""
    ours = rows.of(system=OURS).groups("variant")
    best = ours.get(("2x25",))
    logged = ours.get(("2x25, job log",))
    lines = []
    for (system, variant), group in rows.groups("system", "variant").items():
        reference = logged if "job log" in variant else best
        ratio = times(reference.ratio(group, "rate")) if reference and system != OURS else ""
        cells = [number(group.median("rate")), ratio, number(group.median("worker_us"), 1)]
        cells += [number(group.median("redis_us"), 1), number(group.median("commands"), 1)]
        lines.append([system, variant, *cells])
    heads = ("system", "configuration", "jobs/s", "forkworker is", "worker CPU, µs/job", "Redis CPU, µs/job")
    return table((*heads, "Redis commands/job"), lines)
