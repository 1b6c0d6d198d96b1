"""What an idle tree costs: processor time and wake-ups of a child, and what child and keeper send to Redis."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from support.traffic import Traffic

from bench import readings
from bench.cases import Case
from bench.contestants import OURS
from bench.servers import Server
from bench.subjects.drain import wait
from bench.tables import number, table
from bench.trees import Tree

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

START_SECONDS, LOOK_SECONDS = 5.0, 60.0
VARIANT, CHILDREN = "2x25, three queues", 2
CHILDS = ("BLMOVE", "fetch", "settle", "CLIENT UNBLOCK", "LRANGE", "SADD", "HSET")


def cases(choice: Choice) -> list[Case]:
    """Return the one case: two children of 25 threads, three queues."""
    if not choice.has(OURS, VARIANT):
        return []
    return [Case("idle", OURS, VARIANT, functools.partial(measure, choice.ours(VARIANT), LOOK_SECONDS * choice.scale))]


def measure(variant: Variant, seconds: float) -> Row:
    """Look on for a minute; MONITOR costs Redis something, but not those who are measured."""
    with Server() as server, Tree(variant, server.port) as tree:
        wait(lambda: len(tree.titled("forkworker: child")) == CHILDREN, tree, 30, "not all children are there")
        time.sleep(START_SECONDS)
        children, keeper = tree.titled("forkworker: child"), tree.titled("forkworker: keeper")
        with Traffic(server.client()) as traffic:
            cpu, woken, keeping = _cpu(children), sum(map(readings.wakeups, children)), _cpu(keeper)
            time.sleep(seconds)
            cpu, woken = _cpu(children) - cpu, sum(map(readings.wakeups, children)) - woken
            keeping = _cpu(keeper) - keeping
        sent = sum(traffic.sent[name] for name in CHILDS)
    shares = CHILDREN * seconds
    return {
        "child_cpu_percent": round(100 * cpu / shares, 4),
        "keeper_cpu_percent": round(100 * keeping / seconds, 4),
        "child_wakeups": round(woken / shares, 2),
        "child_commands": round(sent / shares, 3),
        "keeper_commands": round((sum(traffic.sent.values()) - sent) / seconds, 3),
        "sent": dict(traffic.sent),
    }


def _cpu(pids: list[int]) -> float:
    return sum(map(readings.exact_cpu_seconds, pids))


def report(rows: Rows) -> list[str]:
    """Return the table."""
    heads = ("process", "CPU, % of a core", "commands to Redis/s", "wake-ups/s")
    cells = {key: rows.median(key) for key in rows_keys(rows)}
    child = ["a child", *(number(cells[f"child_{key}"], 2) for key in ("cpu_percent", "commands", "wakeups"))]
    keeper = ["the keeper", *(number(cells[f"keeper_{key}"], 2) for key in ("cpu_percent", "commands")), ""]
    return table(heads, [child, keeper])


def rows_keys(rows: Rows) -> list[str]:
    """Return what was measured as a number."""
    return [key for key in next(iter(rows)) if key.startswith(("child_", "keeper_"))]
