"""A file of results as Markdown tables, and as pictures."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

from bench import bars
from bench.contestants import NAMES, OURS
from bench.results import Rows
from bench.tables import number, table

if TYPE_CHECKING:
    from pathlib import Path

#: with the heading of each
SUBJECTS = {
    "drain": "No-op jobs that wait are worked off",
    "anatomy": "Where the time of a no-op goes",
    "sleeping": "Jobs that wait for 10 ms, 50 at a time",
    "latency": "Push to start, workers idle",
    "distant": "Redis 1 ms away",
    "enqueue": "Enqueueing, one program",
    "memory": "Memory of the whole tree (PSS), two processes or more, after 5,000 jobs",
    "idle": "An idle tree of two children, three queues",
    "scale": "The cost of a job when Redis holds more",
    "connections": "Connections of an idle tree",
    "full": "Many children at one Redis",
    "cores": "CPU-bound jobs, 10 ms of pure Python, as many children as cores",
    "crash": "A child is killed with 25 jobs in hand, until all are back in their queue",
}


def document(rows: Rows) -> list[str]:
    """Return every subject that was measured, with its table."""
    lines: list[str] = []
    for machine in rows.of(subject="machine"):
        lines = [f"{key}: {value}" for key, value in machine.items() if key not in ("subject", "run")]
    for name, heading in SUBJECTS.items():
        measured = rows.of(subject=name)
        if measured:
            lines += ["", f"## {heading}", "", *_report(name, measured)]
    return lines


def _report(name: str, rows: Rows) -> list[str]:
    lines: list[str] = importlib.import_module(f"bench.subjects.{name}").report(rows.good())
    failed = [f"- {row['system']}, {row['variant']} failed: {row['error']}" for row in rows if "error" in row]
    return [*lines, *([""] if failed else []), *failed]


def fill(text: str, rows: Rows) -> str:
    """Return a document with the tables of these results, each below its mark ``<!-- subject -->``."""

    def table_of(found: re.Match[str]) -> str:
        lines = _marked(found[2], rows)
        return f"{found[1]}\n\n" + "\n".join(lines) + "\n" if lines else found[0]

    return re.sub(r"(<!-- (\w+) -->)\n(?:\n(?:[|-] ?.*\n)+)*", table_of, text)


def _marked(name: str, rows: Rows) -> list[str]:
    if name == "summary":
        return summary(rows)
    if name == "machine":
        (told, *_) = rows.of(subject="machine")
        return ["- " + ", ".join(f"{key} {told[key]}" for key in told if key not in ("subject", "run"))]
    measured = rows.of(subject=name)
    return _report(name, measured) if measured.good() else []


def summary(rows: Rows) -> list[str]:
    """Return the short table: each system's fastest configuration in each respect."""
    drained, latencies = rows.of(subject="drain").good(), rows.of(subject="latency").good()
    weighed = rows.of(subject="memory").good()
    lines = []
    for name in NAMES:
        fastest = _best(drained.of(system=name), "rate", most=True)
        if fastest:
            quickest, smallest = _best(latencies.of(system=name), "p99"), _best(_heavy(weighed, name), "megabytes")
            cost = fastest.median("worker_us") + fastest.median("redis_us")
            cells = [number(fastest.median("rate")), number(cost), number(quickest.median("p50"), 2)]
            lines.append([name, *cells, number(quickest.median("p99"), 2), number(smallest.median("megabytes"))])
    lines.sort(key=lambda line: -float(line[1].replace(",", "")))
    heads = (
        "",
        "no-op jobs/s",
        "CPU, µs/job",
        "push to start, ms: p50",
        "p99",
        "memory, app of 200 MB, two processes: MB",
    )
    return table(heads, lines)


def _best(rows: Rows, key: str, *, most: bool = False) -> Rows:
    """Return the measurements of the configuration with the best median."""
    groups = sorted(rows.groups("variant").values(), key=lambda group: group.median(key), reverse=most)
    return groups[0] if groups else Rows([])


def _heavy(rows: Rows, system: str) -> Rows:
    return Rows(row for row in rows.of(system=system) if row["variant"].endswith("app of 200 MB"))


def draw(rows: Rows, folder: Path) -> None:
    """Write the pictures: jobs a second, and the latency that one in a hundred exceeds."""
    for subject, key, heading in (
        ("drain", "rate", "No-op jobs a second (more is better)"),
        ("latency", "p99", "Push to start, ms: 99 of 100 are quicker (less is better)"),
    ):
        groups = rows.of(subject=subject).good().groups("system", "variant")
        values = {f"{system} {variant}": group.median(key) for (system, variant), group in groups.items()}
        if values:
            folder.mkdir(parents=True, exist_ok=True)
            ours = {name for name in values if name.startswith(OURS)}
            (folder / f"{subject}.svg").write_text(bars.picture(heading, values, ours), "utf-8")
