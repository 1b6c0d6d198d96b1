"""A hundred thousand jobs on the same two children, half of which end otherwise than well: whether anything grows.

``python -m trials.endurance`` looks at every process and at Redis whenever a tenth of them has ended.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.payloads import push_many
from support.snapshot import is_calm

from forkworker.unix.process import private_bytes
from trials.tree import grown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from support.daemon import Daemon

CHILDREN, THREADS = 2, 10
LOOKS = 10
#: what comes with the first jobs is no growth: caches, the heap's first size
WARM_UP = 2
MOST_MEGABYTES = 2.0
#: counters of a day or a minute, which expire
DATED = (b"stat:", b"h|", b"j|")
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Sizes:
    """What everything amounts to when all is calm."""

    #: of each process, by role
    megabytes: dict[str, float]
    descriptors: dict[str, int]
    threads: dict[str, int]
    keys: frozenset[str]
    connections: int

    def __str__(self) -> str:
        """Tell it in a line."""
        memory = ", ".join(f"{role} {size:.1f}" for role, size in sorted(self.megabytes.items()))
        counts = f"{sum(self.descriptors.values())} descriptors, {sum(self.threads.values())} threads"
        return f"MB: {memory}; {counts}, {len(self.keys)} keys, {self.connections} connections"


def look(tree: Daemon, client: redis.Redis) -> Sizes:
    """Measure; what has gone to the dead set is taken away before."""
    client.delete("dead")
    pids = tree.pids()
    told: Any = client.info("clients")
    keys: Any = client.keys("*")
    return Sizes(
        {role: private_bytes(pid) / MEGABYTE for role, pid in pids.items()},
        {role: len(os.listdir(f"/proc/{pid}/fd")) for role, pid in pids.items()},
        {role: len(os.listdir(f"/proc/{pid}/task")) for role, pid in pids.items()},
        frozenset(key.decode() for key in keys if not key.startswith(DATED)),
        told["connected_clients"],
    )


def push(client: redis.Redis, count: int) -> None:
    """Push so many jobs; of ten, five end well."""
    each = count // 10
    push_many(client, "endure", [[way] for way in WAYS for _ in range(each)], retry=1)
    push_many(client, "endure", [[] for _ in range(each)], retry=0)
    client.lpush("queue:default", *(b'{"no": "job", "number": %d' % number for number in range(each)))


#: of eight in ten jobs, see trials/apps.py; one is a wrong call, and one is no job
WAYS = ("well",) * 5 + ("once", "always", "drop")


def run(jobs: int, looks: int = LOOKS) -> Iterator[tuple[int, Sizes]]:
    """Run so many jobs; yield after each part how many have ended, and the sizes."""
    with grown(app="trials.apps", children=CHILDREN, concurrency=THREADS) as (tree, client, _):
        pids = tree.start().wait_ready().pids()
        part = jobs // looks
        for ended in range(part, jobs + 1, part):
            push(client, part)
            tree.wait_until(lambda: is_calm(client, "queue:default", "retry", "schedule"), 300, "all have ended")
            yield ended, look(tree, client)
        assert tree.pids() == pids, "nobody was replaced, whose growth would be forgotten"
        tree.stop()


def growth(before: Sizes, after: Sizes) -> list[str]:
    """Say what has grown."""
    told = [
        f"{role}: {after.megabytes[role] - size:.1f} MB more memory"
        for role, size in before.megabytes.items()
        if after.megabytes[role] - size > MOST_MEGABYTES
    ]
    for what in ("descriptors", "threads"):
        had, has = getattr(before, what), getattr(after, what)
        told += [f"{role}: {has[role] - had[role]} more {what}" for role in had if has[role] > had[role]]
    told += [f"the key {key}" for key in sorted(after.keys - before.keys)]
    if after.connections > before.connections:
        told.append(f"{after.connections - before.connections} more connections")
    return told


def main() -> int:
    """Run, and tell."""
    parser = argparse.ArgumentParser(prog="trials.endurance", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    given = parser.parse_args()
    seen = []
    for ended, sizes in run(given.jobs):
        seen.append(sizes)
        print(f"{ended} jobs: {sizes}", flush=True)
    grown_by = growth(seen[WARM_UP - 1], seen[-1])
    print("\n".join(f"has grown: {what}" for what in grown_by) or "nothing has grown")
    return 1 if grown_by else 0


if __name__ == "__main__":
    sys.exit(main())
