"""What it costs to count jobs by name: one child that does so and does not, in turn, with jobs of twenty names.

``python -m trials.counting`` compares the processor time of the child for each job that does nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from support.payloads import encode, payload

from trials.counted import BLOCK, NAMES
from trials.tree import grown

if TYPE_CHECKING:
    import redis

#: of what a job that does nothing costs
MOST = 0.1
#: while the child is new, it learns its pace
_LEFT_OUT = 8


def push(client: redis.Redis, count: int, names: int) -> None:
    """Push so many, of so many names in random order."""
    chance = random.Random(7)
    for _ in range(0, count, 1000):
        client.lpush("queue:default", *(encode(payload(chance.choice(NAMES[:names]))) for _ in range(1000)))


def compare(notes: str) -> tuple[list[float], list[float]]:
    """Return µs for each job, block by block: counted, not counted."""
    blocks = [json.loads(line) for line in notes.splitlines()][_LEFT_OUT:]
    return [micros for counting, micros in blocks if counting], [micros for counting, micros in blocks if not counting]


def main() -> int:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(prog="trials.counting", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--names", type=int, default=len(NAMES), help="of jobs, in random order")
    given = parser.parse_args()
    with grown(app="trials.counted", children=1, concurrency=25, arguments=["--log-level", "warning"]) as made:
        tree, client, records = made
        client.config_set("appendonly", "no")
        push(client, given.jobs, given.names)
        tree.start().wait_ready(seconds=60)
        wanted = str(given.jobs).encode()
        tree.wait_until(lambda: client.get("stat:processed") == wanted, 240, "all have run")
        tree.stop()
        counted, bare = compare(Path(records.path).read_text("ascii"))
    ratio = median(on / off for on, off in zip(counted, bare, strict=False))
    print(
        f"counted {median(counted):.2f} µs a job, not counted {median(bare):.2f} µs, in {len(bare)} pairs of {BLOCK:,}"
    )
    print(f"counting adds {ratio - 1:.1%} (the median of the pairs)")
    return 0 if ratio <= 1 + MOST else 1


if __name__ == "__main__":
    sys.exit(main())
