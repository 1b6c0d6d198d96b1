"""Failovers under load: a Sentinel group whose master is killed, frozen, shut down, replaced by hand, cut off.

``python -m faults.failovers`` prints what was lost, how long children took to go on, and how long pushes did.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from support import snapshot
from support.daemon import TESTS, Daemon, Options
from support.sentinels import Replica, SentinelGroup
from support.waiting import wait_until

from faults import diary, harness
from faults.diary import Kind
from faults.generator import Answer
from faults.pusher import Push, Pusher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from faults.diary import Line

MASTERS, CHILDREN, THREADS = 2, 2, 10
LEASE_SECONDS = 5.0
MOST_JOBS = 4_000_000
#: jobs a second: more than the threads can do, and so few that children wait for each
FULL, IDLE = 450.0, 15.0
#: from the new master to a job of every child; what takes longer hangs
MOST_SECONDS = 20.0
DRAIN_SECONDS = 90.0
#: how the servers are told to be safe
SAFE = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
_DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")


@dataclass
class Failover:
    """One failover, its instants monotonic."""

    kind: str
    load: str
    began: float
    #: when another server took writes
    writable: float = 0.0
    #: pid of a child -> when it began a job after that
    children: dict[int, float] = field(default_factory=dict)
    hangs: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """From the new master to the next job of each child."""
        return [at - self.writable for at in self.children.values()]


class Trial:
    """The group, the daemons, those who push, and what happened."""

    def __init__(self, config: Sequence[str], query: str, seed: int) -> None:
        self.stack = ExitStack()
        self.rng = random.Random(seed)
        self.failovers: list[Failover] = []
        self.folder = Path(tempfile.mkdtemp(prefix="fw-failovers-"))
        self.stack.callback(shutil.rmtree, self.folder, True)
        diary.create(self.folder, MOST_JOBS)
        self.group = self.stack.enter_context(SentinelGroup(config=[*_DURABLE, *config]))
        self.url = f"{self.group.url}{query}"
        self.daemons = [self._daemon(number) for number in range(MASTERS)]
        paths = [str(TESTS), str(TESTS.parent)]
        self.pusher = self.stack.enter_context(Pusher(self.url, self.folder / "pushes", range(1, MOST_JOBS), paths))
        self._read = 0

    def _daemon(self, number: int) -> Daemon:
        environment = {"FAULTS_FOLDER": str(self.folder), "FAULTS_HOST": str(number)}
        options = Options(
            app="faults.app", children=CHILDREN, concurrency=THREADS, lease=LEASE_SECONDS, timeout=1,
            arguments=["--log-level", "warning"], environment=environment,
        )  # fmt: skip
        daemon = Daemon(self.url, self.group.master.client(), options)
        self.stack.callback(daemon.remove)
        self.stack.callback(daemon.clear)
        return daemon

    def start(self) -> None:
        """Start the daemons, and the load."""
        for daemon in self.daemons:
            daemon.start()
        for daemon in self.daemons:
            daemon.wait_ready(seconds=30)
        self.pusher.push(FULL)

    def news(self) -> list[Line]:
        """Return what jobs have noted since the last call."""
        lines = list(diary.read(self.folder, self._read))
        self._read += len(lines)
        return lines

    def pids(self) -> set[int]:
        """Return the children of all daemons."""
        return {pid for daemon in self.daemons for pid in daemon.child_pids()}

    def fail_over(self, kind: str, load: str) -> Failover:
        """Do it, and wait until all children go on, and the group is whole again."""
        self.group.wait_whole()
        self.pusher.push(FULL if load == "full" else IDLE)
        self._wait_for_jobs()
        time.sleep(self.rng.uniform(0.5, 1.5))  # at any moment of the sentinels' rhythm
        old = self.group.master
        failover = Failover(kind, load, time.monotonic())
        self.failovers.append(failover)
        watcher = threading.Thread(target=self._watch, args=(failover, old))
        undo = _KINDS[kind](self.group, old)
        watcher.start()
        watcher.join()
        if failover.writable:
            self._await_children(failover)
        undo()
        self.group.wait_whole(90)
        return failover

    def _wait_for_jobs(self) -> None:
        self.news()
        seen: set[int] = set()

        def all_run() -> bool:
            seen.update(line.pid for line in self.news() if line.kind is Kind.START)
            return seen >= self.pids()

        wait_until(all_run, 30, "all children run jobs", self._describe)

    def _watch(self, failover: Failover, old: Replica) -> None:
        try:
            wait_until(lambda: self.group.writable(old), 30, "another server takes writes", poll=0.005)
            failover.writable = time.monotonic()
        except AssertionError as error:
            failover.hangs.append(f"no new master: {error}")

    def _await_children(self, failover: Failover) -> None:
        def all_go_on() -> bool:
            for line in self.news():
                if line.kind is Kind.START and line.at > failover.writable:
                    failover.children.setdefault(line.pid, line.at)
            return failover.children.keys() >= self.pids()

        # a child may be unlucky for long where jobs are few
        self.pusher.push(FULL if failover.load == "full" else 4 * IDLE)
        try:
            wait_until(all_go_on, MOST_SECONDS, "all children go on", self._describe, poll=0.01)
        except AssertionError as error:
            failover.hangs.append(f"hangs after {failover.kind}: {error}")

    def _describe(self) -> str:
        return "\n".join(daemon.describe() for daemon in self.daemons)

    def finish(self) -> Report:
        """Let all end, stop the daemons in order, and judge."""
        self.pusher.end()
        hangs = [hang for failover in self.failovers for hang in failover.hangs]
        client = self.group.master.client()
        try:
            wait_until(lambda: not _left(snapshot.homes(client)), DRAIN_SECONDS, "all is done", poll=0.2)
            for daemon in self.daemons:
                daemon.redis = client
                daemon.stop(shared=True)
        except AssertionError as error:
            hangs.append(str(error))
        homes = {int(jid, 16): places for jid, places in snapshot.homes(client).items()}
        return judge(self.failovers, self.pusher.pushes(), list(diary.read(self.folder)), homes, hangs)


def _left(homes: dict[str, list[str]]) -> list[str]:
    return [jid for jid, places in homes.items() if any(place.startswith(("queue:", "working:")) for place in places)]


# The failovers: each does it, and returns what undoes it.


def _kill(group: SentinelGroup, old: Replica) -> Callable[[], None]:
    old.kill()
    return lambda: group.rejoin(old)


def _shut_down(group: SentinelGroup, old: Replica) -> Callable[[], None]:
    """In order, as for a new version: Redis 7 first sends its replicas what they lack."""
    old.stop()
    return lambda: group.rejoin(old)


def _kill_and_restart(_group: SentinelGroup, old: Replica) -> Callable[[], None]:
    """It comes back as the master that it was, until the sentinels find it."""
    old.kill()
    old.master = None
    return old.start


def _freeze(_group: SentinelGroup, old: Replica) -> Callable[[], None]:
    old.pause()
    return old.resume


def _replace(group: SentinelGroup, _old: Replica) -> Callable[[], None]:
    group.fail_over_by_hand()
    return lambda: None


_KINDS = {
    "SIGKILL": _kill,
    "SIGKILL, then restarted as a master": _kill_and_restart,
    "frozen, then awake": _freeze,
    "shut down in order": _shut_down,
    "SENTINEL FAILOVER": _replace,
}


# The judgement


@dataclass
class Report:
    """What came out."""

    failovers: list[Failover]
    hangs: list[str]
    answers: Counter[Answer]
    #: jobs whose push was accepted, that never came to an end and are nowhere, by the failover before which they were
    lost: dict[int, list[Push]]
    #: pushes in doubt that did run
    doubtful_run: int = 0
    again: int = 0
    overlaps: int = 0
    wrong: list[str] = field(default_factory=list)
    #: for each failover: from the new master to the next push that was accepted
    pushed: list[float] = field(default_factory=list)


def judge(
    failovers: list[Failover],
    pushes: list[Push],
    lines: list[Line],
    homes: dict[int, list[str]],
    hangs: list[str],
) -> Report:
    """Compare what was accepted with what has run."""
    starts = [line for line in lines if line.kind is Kind.START]
    runs = Counter(line.number for line in starts)
    ended = {line.number for line in lines if line.kind is Kind.END}
    report = Report(failovers, hangs, Counter(push.answer for push in pushes), defaultdict(list))
    for push in pushes:
        if push.answer is Answer.ACCEPTED and push.number not in ended and push.number not in homes:
            report.lost[_cause(failovers, push)].append(push)
        elif push.answer is Answer.REFUSED and (push.number in runs or push.number in homes):
            report.wrong.append(f"job {push.number} was refused, and yet it was taken")
        elif push.answer is Answer.DOUBTFUL:
            report.doubtful_run += push.number in ended
    report.wrong += [f"job {number} stands in {places}" for number, places in homes.items()]
    report.again = sum(count - 1 for count in runs.values())
    report.overlaps = sum(line.overlaps for line in starts)
    accepted = sorted(push.ended for push in pushes if push.answer is Answer.ACCEPTED)
    report.pushed = [
        next((at - failover.writable for at in accepted if at > failover.writable), MOST_SECONDS)
        for failover in failovers
        if failover.writable
    ]
    return report


def _cause(failovers: list[Failover], push: Push) -> int:
    """The failover that lost it: the last that had begun a while after the push had."""
    before = [number for number, failover in enumerate(failovers) if failover.began <= push.ended + 1]
    return before[-1] if before else 0


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value that so many do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def table(report: Report) -> str:
    """Return the figures as docs/reliability.md has them."""
    lines = ["| master | load | times | writable after | children go on: p50, most | pushes go on: most | lost |"]
    lines.append("|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, failover in enumerate(report.failovers):
        groups[failover.kind, failover.load].append(number)
    for (kind, load), numbers in sorted(groups.items()):
        of_kind = [report.failovers[number] for number in numbers]
        seconds = [each for failover in of_kind for each in failover.seconds]
        writable = quantile([failover.writable - failover.began for failover in of_kind], 0.5)
        pushed = max((report.pushed[number] for number in numbers if number < len(report.pushed)), default=0)
        lost = sum(len(report.lost.get(number, ())) for number in numbers)
        told = f"{quantile(seconds, 0.5):.2f} s, {max(seconds, default=0):.2f} s"
        lines.append(f"| {kind} | {load} | {len(numbers)} | {writable:.2f} s | {told} | {pushed:.2f} s | {lost} |")
    seconds = [each for failover in report.failovers for each in failover.seconds]
    lost = sum(map(len, report.lost.values()))
    return "\n".join([*lines, "", _totals(report, lost, seconds)])


def _totals(report: Report, lost: int, seconds: Sequence[float]) -> str:
    answers = report.answers
    return (
        f"{len(report.failovers)} failovers: {answers[Answer.ACCEPTED]} jobs accepted, "
        f"{answers[Answer.DOUBTFUL]} pushes in doubt, of which {report.doubtful_run} ran, "
        f"{answers[Answer.REFUSED]} refused; lost {lost}; run again {report.again}, "
        f"{report.overlaps} of these beside the first run; hangs {len(report.hangs)}; wrong {len(report.wrong)}\n"
        f"children go on after the new master is writable: p50 {quantile(seconds, 0.5):.2f} s, "
        f"p95 {quantile(seconds, 0.95):.2f} s, most {max(seconds, default=0):.2f} s"
    )


def run(count: int, *, config: Sequence[str], query: str, seed: int, kinds: Sequence[str]) -> Report:
    """Fail over so many times, by each kind in turn, at full load and when nearly idle."""
    trial = Trial(config, query, seed)
    with trial.stack:
        trial.start()
        for kind, load in itertools.islice(_turns(kinds), count):
            failover = trial.fail_over(kind, load)
            told = f"{failover.writable - failover.began:.2f} s, children {max(failover.seconds, default=-1):.2f} s"
            print(f"{kind}, {load}: writable after {told}", *failover.hangs, flush=True)
        return trial.finish()


def _turns(kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    while True:
        for load, kind in itertools.product(("full", "idle"), kinds):
            yield kind, load


def main() -> int:
    """Fail over, and tell."""
    parser = argparse.ArgumentParser(prog="faults.failovers", description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=list(_KINDS), help="only this one; repeatable")
    parser.add_argument("--unsafe", action="store_true", help="without min-replicas-to-write")
    parser.add_argument("--wait", type=int, default=0, help="replicas that must confirm each push")
    given = parser.parse_args()
    harness.end_in_order()
    query = f"?wait_replicas={given.wait}" if given.wait else ""
    config = () if given.unsafe else SAFE
    report = run(given.count, config=config, query=query, seed=given.seed, kinds=given.kind or list(_KINDS))
    print(table(report))
    for line in (*report.hangs, *report.wrong[:20]):
        print(line[:3000])
    return 1 if report.hangs or report.wrong or (report.lost and not given.unsafe) else 0


if __name__ == "__main__":
    sys.exit(main())
