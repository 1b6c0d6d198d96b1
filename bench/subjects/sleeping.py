"""Jobs that wait for 10 ms, as most do for some other server: what part of the ideal rate is reached."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bench.cases import Case
from bench.subjects.drain import drain
from bench.tables import number, table

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

JOB_SECONDS = 0.010


def cases(choice: Choice) -> list[Case]:
    """Return each configuration that has a number of jobs at a time for it."""
    return [
        Case("sleeping", variant.system, variant.name, functools.partial(measure, variant, count))
        for variant, _, count in choice.variants("sleep10")
    ]


def measure(variant: Variant, count: int) -> Row:
    """Drain, and compare with the ideal."""
    row = drain(variant, "sleep10", count)
    return {**row, "ideal": round(row["rate"] * JOB_SECONDS / variant.threads, 4)}


def report(rows: Rows) -> list[str]:
    """Return the table."""
    heads = ("system", "configuration", "jobs/s", "of the ideal 5,000", "worker CPU, µs/job", "Redis CPU, µs/job")
    return table(
        heads,
        [
            (
                system,
                variant,
                number(group.median("rate")),
                f"{group.median('ideal'):.1%}",
                number(group.median("worker_us")),
                number(group.median("redis_us")),
            )
            for (system, variant), group in rows.groups("system", "variant").items()
        ],
    )
