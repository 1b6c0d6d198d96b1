"""The kill storm: children of one master are killed under full load, one every fifth of a second.

``python -m faults.storm`` prints what was lost, how long jobs took back to their queues, and what the storm cost.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGKILL
from typing import TYPE_CHECKING

from support.waiting import wait_until

from faults import diary, harness
from faults import world as worlds
from faults.census import Census
from faults.checker import Checker, Verdict
from faults.diary import Kind
from faults.generator import Generator, Plan
from faults.world import Deed

if TYPE_CHECKING:
    import redis

    from faults.world import Host, World

INTERVAL_SECONDS = 0.2
QUIET_SECONDS = 20.0
JOB_SECONDS = 0.05
CHILDREN, THREADS = 4, 10
#: a kill whose jobs are not back after this is told as it is
MOST_SECONDS = 2.0
_FULL = 4 * CHILDREN * THREADS


class Load(Generator):
    """Keeps one queue full of jobs that all take as long."""

    def _flood(self) -> None:
        queue = "default"
        waiting: int = self._client.llen(f"queue:{queue}")  # type: ignore[assignment]
        if waiting > _FULL:
            self._over.wait(0.01)
            return
        numbers = [self._number() for _ in range(_FULL)]
        self._push([self._job(number, Plan(JOB_SECONDS), queue) for number in numbers], numbers, queue)

    _trickle = _flood


@dataclass
class Figures:
    """What a storm showed."""

    kills: int = 0
    #: kill to an empty working list, for each kill
    seconds: list[float] = field(default_factory=list)
    quiet_rate: float = 0
    storm_rate: float = 0
    verdict: Verdict = field(default_factory=Verdict)

    def quantile(self, part: float) -> float:
        """Return the time within which so many were back."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def run(kills: int, seed: int) -> Figures:
    """Make a world, load it, kill, calm, judge."""
    figures = Figures()
    with worlds.make(fsync="everysec") as world:
        host = world.hosts[0]
        world.hosts = [host]
        host.daemon.url = world.server.url
        host.daemon.size = CHILDREN
        host.daemon.options = worlds.changed(
            host.daemon.options, children=CHILDREN, concurrency=THREADS, prefix=(), lease=60.0
        )
        host.daemon.start().wait_ready(seconds=30)
        load = world.generator = Load(world, seed)
        world.census = Census(world)  # takes no part: it would be a load, too
        load.start()
        began = time.monotonic()
        time.sleep(QUIET_SECONDS)  # the measure of comparison
        stormed = time.monotonic()
        _storm(world, host, random.Random(seed), kills, figures)
        over = time.monotonic()
        load.stop()
        stuck = [*harness.recover(world), *harness.calm(world)]
        figures.verdict = Checker(world).judge()
        figures.verdict.violations[:0] = stuck
        ends = [line.at for line in diary.read(world.folder) if line.kind is Kind.END]
        figures.quiet_rate = sum(began + 1 <= at < stormed for at in ends) / (stormed - began - 1)
        figures.storm_rate = sum(stormed <= at < over for at in ends) / (over - stormed)
    return figures


def _storm(world: World, host: Host, rng: random.Random, kills: int, figures: Figures) -> None:
    watchers = []
    begun = time.monotonic()
    while figures.kills < kills:
        ready = _children(world)
        if ready:
            pid = rng.choice(sorted(ready))
            world.deeds.append(Deed("SIGKILL of a child", host.number, time.monotonic(), hit=frozenset({pid})))
            with suppress(ProcessLookupError):
                watcher = threading.Thread(target=_time, args=(world, ready[pid], pid, figures.seconds))
                watcher.start()
                watchers.append(watcher)
                figures.kills += 1
        until = begun + figures.kills * INTERVAL_SECONDS
        time.sleep(max(0.005, until - time.monotonic()))
    for watcher in watchers:
        watcher.join()


def _children(world: World) -> dict[int, str]:
    """Return pid -> identity of those that have jobs in hand: one killed at boot has to wait."""
    members: set[bytes] = world.client.smembers("processes")  # type: ignore[assignment]
    busy = [member.decode() for member in members if world.client.llen(f"working:{member.decode()}:default")]
    return {int(identity.split(":")[1]): identity for identity in busy}


def _time(world: World, identity: str, pid: int, seconds: list[float]) -> None:
    """Kill a process, and note how long its working list took to be empty."""
    client: redis.Redis = world.server.client()
    key = f"working:{identity}:default"
    client.ping()
    began = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(pid, SIGKILL)
    with suppress(AssertionError):
        wait_until(lambda: not client.llen(key), MOST_SECONDS, poll=0.002)
    seconds.append(time.monotonic() - began)
    client.close()


def main() -> int:
    """Storm, and tell."""
    parser = argparse.ArgumentParser(prog="faults.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    harness.end_in_order()
    figures = run(given.kills, given.seed)
    verdict = figures.verdict
    by_kind: dict[str, int] = defaultdict(int)
    for violation in verdict.violations:
        by_kind[violation.split(":")[0]] += 1
        print(violation[:600])
    lost, again = by_kind["lost"], sum(verdict.again.values())
    told = ", ".join(f"{1000 * figures.quantile(part):.1f} ms" for part in (0.5, 0.99, 1.0))
    share = figures.storm_rate / max(1, figures.quiet_rate)
    print(f"{figures.kills} kills; {verdict.accepted} jobs, lost {lost}, run again {again}")
    print(f"back in the queue: p50, p99, most: {told}")
    print(f"jobs/s: {figures.quiet_rate:.0f} quiet, {figures.storm_rate:.0f} in the storm: {share:.0%}")
    print(f"taken for poisonous: {verdict.poisoned}; violations: {len(verdict.violations)}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
