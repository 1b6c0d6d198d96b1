"""How fast one program enqueues: one job after the other, and by the bulk interface where there is one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bench import contestants
from bench.cases import Case
from bench.servers import Server
from bench.tables import number, table

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

_TOLD = (("rate", 0), ("client_us", 1), ("redis_us", 1))


def cases(choice: Choice) -> list[Case]:
    """Return each system's ways to enqueue."""
    return [
        Case(
            "enqueue",
            system.name,
            mode,
            functools.partial(measure, next(iter(system.variants.values())), mode, int(count * choice.scale)),
        )
        for system in choice.systems()
        for mode, count in system.enqueue.items()
    ]


def measure(variant: Variant, mode: str, count: int) -> Row:
    """Enqueue so many; the producer's own clock counts, its start does not."""
    with Server() as server:
        before = server.cpu_seconds()
        told = contestants.produce(variant, server.port, mode, "noop", count)
        redis = server.cpu_seconds() - before
    seconds = told["seconds"]
    return {
        "jobs": count,
        "seconds": round(seconds, 3),
        "rate": round(count / seconds, 1),
        "client_us": round(1e6 * told["cpu"] / count, 2),
        "redis_us": round(1e6 * redis / count, 2),
    }


def report(rows: Rows) -> list[str]:
    """Return the table."""
    lines = []
    for (system,), group in rows.groups("system").items():
        one, bulk = group.of(variant="one"), group.of(variant="bulk")
        cells = [number(each.median(key), digits) for each in (one, bulk) for key, digits in _TOLD]
        lines.append([system, *cells])
    heads = (
        "system",
        "one by one, jobs/s",
        "client CPU, µs/job",
        "Redis CPU, µs/job",
        "in bulk, jobs/s",
        "client CPU, µs/job",
        "Redis CPU, µs/job",
    )
    return table(heads, lines)
