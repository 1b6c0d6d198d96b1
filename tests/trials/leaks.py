"""Children that leak 100 MB and more in a second: how large they become, and what replacing them costs.

``python -m trials.leaks`` runs the same jobs without a limit and with one, in turn.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from support.payloads import push_many

from trials.tree import grown

CHILDREN, THREADS = 4, 4
LEAK_MEGABYTES, JOB_SECONDS = 5, 0.05
LIMIT_MEGABYTES, MOST_MEGABYTES = 200, 250
LEAST_SHARE = 0.9


@dataclass(frozen=True)
class Run:
    """What so many jobs showed."""

    rate: float
    megabytes: float
    children: int
    again: int


def run(jobs: int, limit: str) -> Run:
    """Run so many jobs in a new tree."""
    environment = {"FORKWORKER_MAX_MEMORY": limit} if limit else {}
    with grown(app="trials.apps", children=CHILDREN, concurrency=THREADS, timeout=20, environment=environment) as world:
        tree, client, records = world
        tree.start().wait_ready()
        jids = push_many(client, "bloat", [[LEAK_MEGABYTES, JOB_SECONDS] for _ in range(jobs)])
        tree.wait_until(lambda: client.get("stat:processed") == str(jobs).encode(), 120, "all have run")
        assert records.ended() == dict.fromkeys(jids, 1), "each ran once, to its end"
        tree.wait_until(lambda: len(tree.child_pids()) == CHILDREN, 20, "those that were replaced have gone")
        tree.wait_ready().stop(seconds=30)
        starts, ends = records.starts(), records.ends()
        seconds = max(event.at for event in ends) - min(event.at for event in starts)
        largest = max(int(event.note) for event in records.events("size")) / 1024**2
        again = sum(count > 1 for count in records.started().values())
        return Run(jobs / seconds, largest, len({event.pid for event in ends}), again)


def main() -> int:
    """Compare, and tell."""
    parser = argparse.ArgumentParser(prog="trials.leaks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    free, limited = [], []
    for _ in range(given.rounds):
        free.append(run(given.jobs, ""))
        limited.append(run(given.jobs, f"{LIMIT_MEGABYTES}M"))
        for name, done in (("no limit", free[-1]), ("limited", limited[-1])):
            print(
                f"{name}: {done.rate:.0f} jobs/s, largest {done.megabytes:.0f} MB, {done.children} children", flush=True
            )
    share = sum(done.rate for done in limited) / sum(done.rate for done in free)
    largest = max(done.megabytes for done in limited)
    again = sum(done.again for done in limited)
    print(f"with max_memory={LIMIT_MEGABYTES}M: {share:.0%} of the jobs/s, largest {largest:.0f} MB, {again} run again")
    return 0 if share >= LEAST_SHARE and largest <= MOST_MEGABYTES and not again else 1


if __name__ == "__main__":
    sys.exit(main())
