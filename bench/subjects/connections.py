"""How many connections an idle tree keeps at Redis, by the number of its queues and children."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.cases import Case
from bench.contestants import OURS
from bench.servers import Server
from bench.tables import number, table
from bench.trees import Tree

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

VARIANT = "2x25"
#: children, queues
SHAPES = ((2, 1), (2, 50), (20, 3), (20, 50))
SETTLE_SECONDS = 6.0


def cases(choice: Choice) -> list[Case]:
    """Return each shape."""
    if not choice.has(OURS, VARIANT):
        return []
    return [
        Case(
            "connections",
            OURS,
            f"{children} children, {queues} queues",
            functools.partial(measure, choice.ours(VARIANT), children, queues),
        )
        for children, queues in SHAPES
    ]


def measure(variant: Variant, children: int, queues: int) -> Row:
    """Start a tree, let it come to rest, and count."""
    words = ["-P", str(children), *(f"-qq{queue}" for queue in range(queues))]
    commands = [[*line, *words] for line in variant.commands]
    with Server() as server:
        before = int(server.client().info("clients")["connected_clients"])
        with Tree(replace(variant, commands=commands), server.port):
            time.sleep(SETTLE_SECONDS + children / 10)
            clients = server.client().info("clients")
    connections = int(clients["connected_clients"]) - before
    return {
        "connections": connections,
        "waiting": int(clients["blocked_clients"]),
        "for_each_child": round(connections / children, 2),
    }


def report(rows: Rows) -> list[str]:
    """Return the table."""
    heads = ("idle tree", "connections", "of them waiting", "for each child")
    keys = (("connections", 0), ("waiting", 0), ("for_each_child", 1))
    lines = [
        [variant, *(number(group.median(key), digits) for key, digits in keys)]
        for (variant,), group in rows.groups("variant").items()
    ]
    return table(heads, lines)
