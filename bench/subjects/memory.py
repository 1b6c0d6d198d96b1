"""Memory of the whole tree (PSS) after 5,000 jobs, with an app of next to nothing and with one of 200 MB."""

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

JOBS = 5000
#: after the last job, before the look
SETTLE_SECONDS = 2.0


def cases(choice: Choice) -> list[Case]:
    """Return the configurations that each system names for it, each with both apps."""
    return [
        Case("memory", system.name, f"{name}, {app}", functools.partial(measure, system.variants[name], heavy))
        for system in choice.systems()
        for name in system.memory
        for app, heavy in (("small app", {}), ("app of 200 MB", {"BENCH_HEAVY": "1"}))
        if choice.has(system.name, name)
    ]


def measure(variant: Variant, heavy: dict[str, str]) -> Row:
    """Run so many jobs, and weigh."""
    snapshot = contestants.filled(variant, "noop", JOBS)
    with Server(snapshot) as server, Marks() as marks, Tree(variant, server.port, marks, heavy) as tree:
        wait(lambda: marks.all_ran(JOBS), tree, 60, "not all jobs ran")
        time.sleep(SETTLE_SECONDS)
        return {"megabytes": round(tree.pss_megabytes(), 1), "processes": len(tree.pids())}


def report(rows: Rows) -> list[str]:
    """Return the table."""
    lines = []
    for (system, variant), group in rows.groups("system", "variant").items():
        name, _, app = variant.rpartition(", ")
        if app == "small app":
            heavy = rows.of(system=system, variant=f"{name}, app of 200 MB")
            cells = [number(group.median("megabytes")), number(heavy.median("megabytes"))]
            lines.append([system, name, number(group.median("processes")), *cells])
    return table(("system", "configuration", "processes", "small app, MB", "app of 200 MB, MB"), lines)
