"""Push to start, with idle workers: from before the client's call to the job's first line, a job each 20 ms.

forkworker waits on three queues and is pushed to each in turn; the peers have one.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from bench import contestants
from bench.cases import Case
from bench.marks import Marks
from bench.servers import Server
from bench.subjects.drain import wait
from bench.tables import number, table
from bench.trees import Tree

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

JOBS, GAP_SECONDS = 600, 0.02
#: before these, connections and caches are cold
WARMUP = 30
START_SECONDS = 3.0


def cases(choice: Choice) -> list[Case]:
    """Return the configurations that each system names for it."""
    return [
        Case("latency", system.name, name, functools.partial(measure, system.variants[name], int(JOBS * choice.scale)))
        for system in choice.systems()
        for name in system.latency
        if choice.has(system.name, name)
    ]


def measure(variant: Variant, count: int) -> Row:
    """Push at a pace, and read from the marks when each job began."""
    with Server() as server, Marks() as marks:
        contestants.produce(variant, server.port, "fill", "noop", 0)  # a stream has its readers' group before them
        with Tree(variant, server.port, marks) as tree:
            time.sleep(START_SECONDS)
            pushed = contestants.produce(variant, server.port, "paced", "stamp", count, GAP_SECONDS)["instants"]
            wait(lambda: marks.all_ran(count), tree, 10, "not all jobs ran")
        delays = [(marks.instants(job)[0] - at) / 1e6 for job, at in enumerate(pushed)]
    row: Row = {"jobs": count, **quantiles(delays[WARMUP:])}
    for queue in range(variant.queues if variant.queues > 1 else 0):
        row |= {f"queue {queue} {key}": value for key, value in quantiles(delays[WARMUP + queue :: 3]).items()}
    return row


def quantiles(milliseconds: list[float]) -> dict[str, float]:
    """Return the middle, the slowest hundredth, and the slowest."""
    ordered = sorted(milliseconds)
    parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3) for name, part in parts.items()}


def report(rows: Rows) -> list[str]:
    """Return the table; forkworker's queues one by one."""
    lines = []
    for (system, variant), group in rows.groups("system", "variant").items():
        for prefix in [f"queue {n} " for n in range(3) if group.values(f"queue {n} p50")] or [""]:
            cells = [number(group.median(prefix + key), 2) for key in ("p50", "p99", "max")]
            lines.append([system, f"{variant}{prefix and ': '}{prefix}".strip(), *cells])
    return table(("system", "configuration", "p50, ms", "p99, ms", "slowest, ms"), lines)
