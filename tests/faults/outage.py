"""The long outage: Redis away for many leases, with jobs running on two hosts and a child killed meanwhile.

``python -m faults.outage`` prints which jobs were run twice: those of the killed child, and no other.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.waiting import wait_until

from faults import diary, harness
from faults import world as worlds
from faults.census import Census
from faults.checker import Checker, Verdict
from faults.diary import Kind
from faults.faults import CATALOGUE, do
from faults.generator import Generator
from faults.world import CHILDREN, CONCURRENCY, LEASE_SECONDS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from faults.world import World

#: how Redis can be away: name -> fault
WAYS = {"killed": "Redis killed", "frozen": "Redis frozen", "unreachable": "half-open connections"}
#: jobs that outlast the outage go on for so long
BEYOND_SECONDS = 6.0
_RUNNING = CHILDREN * CONCURRENCY


@dataclass
class Figures:
    """What came of an outage."""

    jobs: int = 0
    #: before Redis was back
    ended_meanwhile: int = 0
    #: runs beyond the first of a job
    again: int = 0
    verdict: Verdict = field(default_factory=Verdict)


def run(way: str, leases: float, seed: int) -> Figures:
    """Make a world, fill every thread of it, take Redis away and give it back."""
    seconds = leases * LEASE_SECONDS
    with worlds.make() as world:
        harness.boot(world)
        world.census, generator = Census(world), Generator(world, seed)
        world.generator = generator
        world.census.start()
        try:
            _fill(world, generator, seconds)
            with _away(world, way):
                time.sleep(seconds / 2)
                do(world, "SIGKILL of a child", world.hosts[0], random.Random(seed), seconds / 2, time.sleep)
                ended = _count(world, Kind.END)
            jobs = generator.count
            wait_until(lambda: _count(world, Kind.END) == jobs, 2 * seconds + 60, "all jobs have ended")
            stuck = harness.calm(world)
        finally:
            world.census.stop()
        verdict = Checker(world).judge()
        verdict.violations[:0] = stuck
        return Figures(jobs, ended, verdict.runs - generator.count, verdict)


def _fill(world: World, generator: Generator, seconds: float) -> None:
    """Have each thread run a job: half of them end while Redis is away, half when it is back."""
    for host in world.hosts:
        generator.probe(host.queue, _RUNNING // 2, seconds * 0.4)
        generator.probe(host.queue, _RUNNING - _RUNNING // 2, seconds + BEYOND_SECONDS)
    wait_until(lambda: _count(world, Kind.START) == generator.count, 10, "all jobs run")


def _away(world: World, way: str) -> AbstractContextManager[object]:
    kind = CATALOGUE[WAYS[way]]
    with ExitStack() as begun:
        for place in world.hosts if kind.scope == "network" else [None]:
            begun.enter_context(kind.act(world, place, random.Random(0), 0))
        return begun.pop_all()


def _count(world: World, kind: Kind) -> int:
    """How many jobs have a line of this kind."""
    return len({line.number for line in diary.read(world.folder) if line.kind is kind})


def main() -> int:
    """Try each way, and tell."""
    parser = argparse.ArgumentParser(prog="faults.outage", description=__doc__)
    parser.add_argument("--leases", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("ways", nargs="*", help=f"of {', '.join(WAYS)}; default: all")
    given = parser.parse_args()
    harness.end_in_order()
    print(
        "| Redis is | leases | jobs | ended meanwhile | run again: of the killed child, of living ones | violations |"
    )
    print("|---|---|---|---|---|---|")
    violations = 0
    for way in given.ways or WAYS:
        done = run(way, given.leases, given.seed)
        killed = done.verdict.again["SIGKILL of a child"]
        print(
            f"| {way} | {given.leases:g} | {done.jobs} | {done.ended_meanwhile} | {killed} | {done.again - killed} "
            f"| {len(done.verdict.violations)} |",
            flush=True,
        )
        for violation in done.verdict.violations:
            print(violation[:600])
        violations += len(done.verdict.violations)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
