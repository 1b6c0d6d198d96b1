"""An app with 200 MB of Python objects, of which jobs read a tenth: what four children of it cost together.

``python -m trials.sharing`` compares the memory (PSS) of a whole tree, at the start and after many jobs, with that of
one worker that has imported the app for itself (the only child of a tree without preload).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from support.payloads import push_many

from trials.tree import grown

if TYPE_CHECKING:
    from support.daemon import Daemon

CHILDREN, THREADS = 4, 4
MOST_AT_START, MOST_AFTER = 1.3, 1.6
MEGABYTE = 1024 * 1024
ALONE = "import os, sys; sys.path.insert(0, sys.argv[1]); import trials.catalogue; print(); sys.stdin.read()"


def pss(pid: int) -> int:
    """Return a process's share of the machine's memory, in bytes: what several have counts for each in part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def of_interpreter() -> int:
    """Return the PSS of an interpreter that has imported the app, and does nothing else."""
    tests = str(Path(__file__).parents[1])
    line = [sys.executable, "-c", ALONE, tests]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as alone:
        assert alone.stdout
        assert alone.stdin
        alone.stdout.readline()
        found = pss(alone.pid)
        alone.stdin.close()
        return found


def of_worker() -> int:
    """Return the PSS of one child that shares the app with nobody."""
    with grown(app="trials.catalogue", children=1, concurrency=THREADS, arguments=["--no-preload"]) as (tree, _, _):
        tree.start().wait_ready(seconds=60)
        found = pss(tree.children()[0])
        tree.stop()
        return found


def of_tree(tree: Daemon) -> dict[str, int]:
    """Return role -> PSS of all its processes."""
    return {role: pss(pid) for role, pid in tree.pids().items()}


def told(shares: dict[str, int]) -> str:
    """Say it in megabytes, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{role} {share / MEGABYTE:.0f}" for role, share in ordered)


def main() -> int:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(prog="trials.sharing", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    given = parser.parse_args()
    bare, one = of_interpreter(), of_worker()
    with grown(app="trials.catalogue", children=CHILDREN, concurrency=THREADS) as (tree, client, _):
        tree.start().wait_ready(seconds=60)
        start = of_tree(tree)
        push_many(client, "price_basket", [[number] for number in range(given.jobs)])
        wanted = str(given.jobs).encode()
        tree.wait_until(lambda: client.get("stat:processed") == wanted, 240, "all have run")
        after = of_tree(tree)
        tree.stop()
    print(f"one worker with the app: {one / MEGABYTE:.0f} MB; an interpreter with it: {bare / MEGABYTE:.0f} MB")
    for when, some in (("at the start", start), (f"after {given.jobs} jobs", after)):
        total = sum(some.values())
        shares = f"{total / one:.2f} times a worker, {total / bare:.2f} times an interpreter"
        print(f"the tree {when}: {total / MEGABYTE:.0f} MB, {shares} ({told(some)})")
    return 0 if sum(start.values()) <= MOST_AT_START * one and sum(after.values()) <= MOST_AFTER * one else 1


if __name__ == "__main__":
    sys.exit(main())
