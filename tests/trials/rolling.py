"""Rolling restarts in a row, each onto other code, under a load of jobs of 1 ms to 20 s.

``python -m trials.rolling`` counts jobs that were lost, run twice or interrupted, jobs that old code began after the
new had taken over, and the longest time in which no job began.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from bisect import bisect
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from support.payloads import push_many
from support.snapshot import places
from support.waiting import Watch

from trials.tree import grown

if TYPE_CHECKING:
    import redis
    from support.daemon import Daemon
    from support.records import Records

CHILDREN, THREADS = 2, 12
SHORT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
LONG_SECONDS = (1.0, 3.0, 8.0, 20.0)
LONG_EVERY_SECONDS = 1.5
WAITING = 40
MOST_STILL_SECONDS = 1.0

CODE = """
import forkworker
from support.jobs import _sleep, note

@forkworker.job(name="work")
def work(seconds):
    note("start", {version})
    try:
        _sleep(seconds)
    except BaseException:
        note("interrupted", {version})
        raise
    note("end", {version})
"""


def write(tree: Daemon, version: int) -> None:
    """Put the app's code down, and take the compiled one away, whose time stamp has whole seconds."""
    for compiled in tree.directory.glob("__pycache__/*"):
        compiled.unlink()
    (tree.directory / "versioned.py").write_text(CODE.format(version=version), "utf-8")


class Load:
    """Keeps short jobs waiting all the time, and pushes long ones at a steady pace."""

    def __init__(self, client: redis.Redis, seed: int) -> None:
        self.jids: list[str] = []
        self._client = client
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def start(self) -> None:
        """Begin to push."""
        self._thread.start()

    def stop(self) -> None:
        """Push no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        long_at = time.monotonic()
        while not self._over.wait(0.01):
            missing = WAITING - int(self._client.llen("queue:default"))  # type: ignore[arg-type]
            if missing > 0:
                self._push(SHORT_SECONDS, missing)
            if time.monotonic() >= long_at:
                long_at += LONG_EVERY_SECONDS
                self._push(LONG_SECONDS, 1)

    def _push(self, seconds: tuple[float, ...], count: int) -> None:
        self.jids += push_many(self._client, "work", [[self._chance.choice(seconds)] for _ in range(count)])


@dataclass
class Figures:
    """What all of it showed."""

    #: why a rolling restart failed
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    jobs: int = 0
    lost: int = 0
    twice: int = 0
    interrupted: int = 0
    old_code: int = 0
    #: where in Redis jobs were left
    left: dict[str, int] = field(default_factory=dict)
    still_seconds: float = 0
    #: the longest time in which this process was not let run, while the queue stood still
    stall_seconds: float = 0

    @property
    def is_good(self) -> bool:
        """Whether all is within the bounds, as far as this machine let it run."""
        wrong = [*self.failures, *self.left, self.lost, self.twice, self.interrupted, self.old_code]
        return not any(wrong) and self.still_seconds <= MOST_STILL_SECONDS + self.stall_seconds


def run(restarts: int, seed: int) -> Figures:
    """Load a tree, restart it again and again, and judge."""
    figures = Figures()
    with grown(app="versioned", children=CHILDREN, concurrency=THREADS, timeout=25) as (tree, client, records):
        write(tree, 0)
        tree.start().wait_ready(seconds=60)
        load = Load(client, seed)
        with Watch(lambda: None, every=0.01) as watch:
            load.start()
            try:
                renewed = [_restart(tree, version, figures) for version in range(1, restarts + 1)]
            finally:
                load.stop()
            stopped = time.monotonic()
            tree.wait_until(lambda: len(records.ends()) >= len(load.jids), 60, "all have ended")
        tree.wait_until(lambda: len(tree.child_pids()) == CHILDREN, 20, "old children have gone")
        figures.left = places(client)
        tree.wait_ready(seconds=30).stop()
        _judge_jobs(figures, load.jids, records)
        _judge_pace(figures, records, renewed, watch, stopped)
    return figures


def _restart(tree: Daemon, version: int, figures: Figures) -> float:
    """Bring up new code; return when every slot had it."""
    write(tree, version)
    began = time.monotonic()
    answer = tree.control("rolling-restart", "--wait", seconds=120)
    over = time.monotonic()
    figures.seconds.append(over - began)
    if answer.returncode:
        figures.failures.append(answer.stderr)
    return over


def _judge_jobs(figures: Figures, jids: list[str], records: Records) -> None:
    started, ended = records.started(), records.ended()
    figures.jobs = len(jids)
    figures.lost = sum(not ended[jid] for jid in jids)
    figures.twice = sum(started[jid] > 1 or ended[jid] > 1 for jid in jids)
    figures.interrupted = len(records.events("interrupted"))


def _judge_pace(figures: Figures, records: Records, renewed: list[float], watch: Watch[None], stopped: float) -> None:
    """Look at which code began jobs, and when none began.  ``renewed``: when version 1, 2, … was in every slot."""
    starts = sorted(records.starts(), key=lambda event: event.at)
    figures.old_code = sum(int(event.key) < bisect(renewed, event.at) for event in starts)
    begun = [event.at for event in starts if event.at < stopped]
    figures.still_seconds, first, last = max((later - earlier, earlier, later) for earlier, later in pairwise(begun))
    figures.stall_seconds = watch.stall(first, last)


def main() -> int:
    """Restart, and tell."""
    parser = argparse.ArgumentParser(prog="trials.rolling", description=__doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    figures = run(given.restarts, given.seed)
    for failure in figures.failures:
        print(f"a rolling restart failed: {failure}")
    shortest, longest = min(figures.seconds), max(figures.seconds)
    print(f"{len(figures.seconds)} rolling restarts, of {shortest:.1f} to {longest:.1f} s; {figures.jobs} jobs")
    print(f"lost {figures.lost}, run twice {figures.twice}, interrupted {figures.interrupted}, left {figures.left}")
    print(f"begun by old code after the new was in every slot: {figures.old_code}")
    still, stall = figures.still_seconds, figures.stall_seconds
    print(f"no job began for {still:.2f} s at the most; this machine stood for {stall:.2f} s then")
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
