"""Failovers under load: a Sentinel group whose master is killed, frozen, shut down, replaced by hand, cut off.

``python -m faults.failovers`` prints what was lost, how long children took to go on, and how long pushes did.
"""

from __future__ import annotations

import argparse
import itertools
import os
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

import forkworker
from faults import diary, harness
from faults.diary import Kind
from faults.generator import Answer
from faults.island import Island
from faults.pusher import Job, Push, Pusher, push_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from faults.diary import Line

MASTERS, CHILDREN, THREADS = 2, 2, 10
LEASE_SECONDS = 5.0
MOST_JOBS = 4_000_000
#: where the numbers of jobs begin: of the client that is cut off, and of scouts
FIRST_ISLANDER, FIRST_SCOUT = MOST_JOBS // 2, MOST_JOBS * 3 // 4
#: their queue; so many that a child which is not idle finds one, too
SCOUTS, SCOUTS_AT_ONCE = "scouts", 20
#: jobs a second: more than the threads can do, and so few that children wait for each
FULL, IDLE = 450.0, 15.0
#: by the client that is cut off with the master, and for how long it is
ISLANDERS, CUT_SECONDS = 100.0, 10.0
PAUSE_SECONDS = 10
#: from the new master to a scout in every child; what takes longer hangs
MOST_SECONDS = 20.0
DRAIN_SECONDS = 90.0
#: from the new master to the first job done, as docs/operations.md promises
GO_ON_SECONDS = 2.0
#: beside the master, while all is well
REPLICAS = 2
_DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")


@dataclass
class Failover:
    """One failover, its instants monotonic."""

    kind: str
    load: str
    old: Replica = field(repr=False)
    began: float
    #: when another server took writes; that, and what pushes to it
    writable: float = 0.0
    new: Replica | None = field(default=None, repr=False)
    client: forkworker.Client = field(init=False, repr=False)
    #: when the first scout ended
    done: float = 0.0
    #: pid of a child -> when it began its first scout
    children: dict[int, float] = field(default_factory=dict)
    hangs: list[str] = field(default_factory=list)
    #: when the next push by the clients was accepted
    pushed: float = 0.0
    #: the sentinels have replaced the new master, too, though it was well: it was silent for too long for them
    is_double: bool = False
    #: jobs that were accepted before it, never came to an end and are nowhere
    lost: int = 0

    def __str__(self) -> str:
        done, children = max(self.first, default=-1), max(self.seconds, default=-1)
        writable = self.writable - self.began
        told = f"writable after {writable:.2f} s, job {done:.2f} s, all {children:.2f} s"
        return f"{self.name}, {self.load}: {told}"

    @property
    def name(self) -> str:
        """What it was in the end."""
        return f"{self.kind}, then again" if self.is_double else self.kind

    @property
    def first(self) -> list[float]:
        """From the new master to the first job done; nothing if there was none."""
        return [self.done - self.writable] if self.done else []

    @property
    def seconds(self) -> list[float]:
        """From the new master to the first of its jobs in each child."""
        return [at - self.writable for at in self.children.values()]


class Trial:
    """The group, the daemons, those who push, and what happened."""

    def __init__(self, config: Sequence[str], query: str, seed: int, *, has_island: bool) -> None:
        self.stack = ExitStack()
        self.rng = random.Random(seed)
        self.failovers: list[Failover] = []
        self.folder = Path(tempfile.mkdtemp(prefix="fw-failovers-"))
        self.stack.callback(shutil.rmtree, self.folder, True)
        diary.create(self.folder, MOST_JOBS)
        self.island = self.stack.enter_context(Island()) if has_island else None
        self.group = self.stack.enter_context(SentinelGroup(config=[*_DURABLE, *config], island=self.island))
        self.url = f"{self.group.url}{query}"
        self.daemons = [self._daemon(number) for number in range(MASTERS)]
        self.pusher = self._pusher("pushes", 0)
        #: lives beside the master that is cut off
        self.islander = self._pusher("islander", FIRST_ISLANDER, self.island.prefix) if self.island else None
        self.scouts: list[Push] = []
        self._read = 0

    def _pusher(self, name: str, first: int, prefix: Sequence[str] = ()) -> Pusher:
        paths = [str(TESTS), str(TESTS.parent)]
        return self.stack.enter_context(Pusher(self.url, self.folder / name, first, paths, prefix))

    def _daemon(self, number: int) -> Daemon:
        environment = {"FAULTS_FOLDER": str(self.folder), "FAULTS_HOST": str(number)}
        options = Options(
            app="faults.app", children=CHILDREN, concurrency=THREADS, lease=LEASE_SECONDS, timeout=1,
            queues=[SCOUTS, "default"], arguments=["--log-level", "warning"], environment=environment,
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

    def fail_over(self, kind: str, load: str) -> None:
        """Do it, and wait until all children go on, and the group is whole again."""
        self.group.wait_whole()
        if kind == CUT_OFF and self.islander:
            self.islander.push(ISLANDERS)
        self.pusher.push(FULL if load == "full" else IDLE)
        self._wait_for_jobs()
        time.sleep(self.rng.uniform(0.5, 1.5))  # at any moment of the sentinels' rhythm
        old = self.group.master
        failover = Failover(kind, load, old, time.monotonic())
        self.failovers.append(failover)
        watcher = threading.Thread(target=self._watch, args=(failover,))
        undo = _KINDS[kind](self, old)
        watcher.start()
        watcher.join()
        if failover.writable:
            self._await_children(failover)
        undo()
        self.group.wait_whole(90)
        failover.is_double = self.group.master is not failover.new
        print(failover, *failover.hangs, flush=True)

    def move_to_island(self, load: str) -> None:
        """Make the server there the master, which is a failover, too."""
        chosen = self.group.servers[0]
        while self.group.master is not chosen:
            self.group.prefer(chosen)
            self.fail_over(IN_A_PAUSE, load)
        self.group.prefer(None)

    def _wait_for_jobs(self) -> None:
        self.news()
        seen: set[int] = set()

        def all_run() -> bool:
            seen.update(line.pid for line in self.news() if line.kind is Kind.START)
            return seen >= self.pids()

        wait_until(all_run, 30, "all children run jobs", self._describe)

    def _watch(self, failover: Failover) -> None:
        try:
            new = wait_until(lambda: self.group.writable(failover.old), 30, "another server takes writes", poll=0.005)
            failover.writable, failover.new = time.monotonic(), new
            failover.client = forkworker.Client(new.url if new else None)
        except AssertionError as error:
            failover.hangs.append(f"no new master: {error}")

    def _await_children(self, failover: Failover) -> None:
        """Wait for scouts: jobs that only the new master was given, before all others."""

        def all_go_on() -> bool:
            for _ in range(SCOUTS_AT_ONCE if failover.done else 1):
                self._send_scout(failover)
            for line in self.news():
                if line.number > FIRST_SCOUT and line.kind is Kind.START:
                    failover.children.setdefault(line.pid, line.at)
                elif line.number > FIRST_SCOUT:
                    failover.done = failover.done or line.at
            return bool(failover.done) and failover.children.keys() >= self.pids()

        self.news()
        try:
            wait_until(all_go_on, MOST_SECONDS, "all children go on", self._describe, poll=0.01)
        except AssertionError as error:
            failover.hangs.append(f"hangs after {failover.kind}: {error}")

    def _send_scout(self, failover: Failover) -> None:
        scout = push_job(failover.client, Job(FIRST_SCOUT + len(self.scouts) + 1, queue=SCOUTS))
        self.scouts.append(scout)
        if scout.answer is not Answer.ACCEPTED and (other := self.group.writable(failover.old)):
            failover.client = forkworker.Client(other.url)

    def _describe(self) -> str:
        answers = Counter(push.answer for push in self.scouts)
        told = [f"{self.failovers[-1:]}, scouts: {answers}", self.group.describe()]
        return "\n".join([*told, *(daemon.describe() for daemon in self.daemons)])

    def finish(self) -> Report:
        """Let all end, stop the daemons in order, and judge."""
        pushers = [self.pusher, *([self.islander] if self.islander else [])]
        for pusher in pushers:
            pusher.end()
        hangs = [hang for failover in self.failovers for hang in failover.hangs]
        client = self.group.master.client()
        try:
            wait_until(lambda: not snapshot.homes(client), DRAIN_SECONDS, "all is done", poll=0.2)
            for daemon in self.daemons:
                daemon.redis = client
                daemon.stop(shared=True)
        except AssertionError as error:
            hangs.append(str(error))
        homes = {int(jid, 16): places for jid, places in snapshot.homes(client).items()}
        pushes = [*self.scouts, *(push for pusher in pushers for push in pusher.pushes())]
        return judge(self.failovers, pushes, list(diary.read(self.folder)), homes, hangs)


# The failovers: each does it, and returns what undoes it.


def _kill(trial: Trial, old: Replica) -> Callable[[], None]:
    old.kill()
    return lambda: trial.group.rejoin(old)


def _shut_down(trial: Trial, old: Replica) -> Callable[[], None]:
    """In order, as for a new version: Redis 7 first sends its replicas what they lack."""
    old.stop()
    return lambda: trial.group.rejoin(old)


def _kill_and_restart(_trial: Trial, old: Replica) -> Callable[[], None]:
    """It comes back as the master that it was, until the sentinels find it."""
    old.kill()
    old.master = None
    return old.start


def _freeze(_trial: Trial, old: Replica) -> Callable[[], None]:
    old.pause()
    return old.resume


def _replace(trial: Trial, _old: Replica) -> Callable[[], None]:
    trial.group.fail_over_by_hand()
    return lambda: None


def _replace_in_a_pause(trial: Trial, old: Replica) -> Callable[[], None]:
    client = old.client()
    client.client_pause(PAUSE_SECONDS * 1000, all=False)
    trial.group.fail_over_by_hand()
    return client.client_unpause


def _cut_off(trial: Trial, _old: Replica) -> Callable[[], None]:
    """The master, and a client beside it; the sentinels, the replicas, the daemons and other clients are elsewhere."""
    assert trial.island
    assert trial.islander
    mend_at = time.monotonic() + CUT_SECONDS
    trial.island.pull()

    def mend() -> None:
        time.sleep(max(0.0, mend_at - time.monotonic()))
        trial.island.plug()
        trial.islander.push(0)

    return mend


CUT_OFF = "cut off, with a client"
BY_HAND = "SENTINEL FAILOVER"
IN_A_PAUSE = "SENTINEL FAILOVER while writes are paused"
_KINDS = {
    "SIGKILL": _kill,
    "SIGKILL, then restarted as a master": _kill_and_restart,
    "frozen, then awake": _freeze,
    "shut down in order": _shut_down,
    BY_HAND: _replace,
    IN_A_PAUSE: _replace_in_a_pause,
    CUT_OFF: _cut_off,
}


# The judgement


@dataclass
class Report:
    """What came out."""

    failovers: list[Failover]
    hangs: list[str]
    answers: Counter[Answer]
    #: pushes in doubt that did run
    doubtful_run: int = 0
    again: int = 0
    overlaps: int = 0
    wrong: list[str] = field(default_factory=list)
    #: of each lost job what is known
    told: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """How many jobs were lost in all."""
        return sum(failover.lost for failover in self.failovers)

    def complaints(self, min_replicas: int, wait: int) -> list[str]:
        """Return what is not as docs/operations.md promises, for servers and an address with these options."""
        safe = {kind for kind in _KINDS if kind != BY_HAND or wait >= REPLICAS} if min_replicas and wait else set()
        told = [*self.hangs, *self.wrong]
        for failover in self.failovers:
            if failover.lost and failover.name in safe:
                told.append(f"{failover.kind} lost {failover.lost} jobs")
            if max(failover.first, default=0.0) > GO_ON_SECONDS:
                told.append(f"{failover}: late")
        return told


def judge(
    failovers: list[Failover],
    pushes: list[Push],
    lines: list[Line],
    homes: dict[int, list[str]],
    hangs: list[str],
) -> Report:
    """Compare what was accepted with what has run."""
    starts = [line for line in lines if line.kind is Kind.START]
    runs = Counter((line.number, line.failures) for line in starts)
    taken = {number for number, _ in runs} | homes.keys()
    ended = {line.number for line in lines if line.kind is Kind.END}
    report = Report(failovers, hangs, Counter(push.answer for push in pushes))
    for push in pushes:
        if push.answer is Answer.ACCEPTED and push.number not in ended and push.number not in homes:
            cause = _cause(failovers, push)
            cause.lost += 1
            report.told.append(_tell(push, cause, [line for line in lines if line.number == push.number]))
        elif push.answer is Answer.REFUSED and push.number in taken:
            report.wrong.append(f"job {push.number} was refused, and yet it was taken")
        elif push.answer is Answer.DOUBTFUL:
            report.doubtful_run += push.number in ended
    report.wrong += [f"job {number} stands in {places}" for number, places in homes.items()]
    report.again = sum(count - 1 for count in runs.values())
    report.overlaps = sum(line.overlaps for line in starts)
    accepted = sorted(push.ended for push in pushes if push.answer is Answer.ACCEPTED and push.number < FIRST_ISLANDER)
    for failover in failovers:
        failover.pushed = next((at for at in accepted if at > failover.writable), failover.writable + MOST_SECONDS)
    return report


def _cause(failovers: list[Failover], push: Push) -> Failover:
    """Return the failover that lost it: the last that had begun a while after the push had."""
    before = [failover for failover in failovers if failover.began <= push.ended + 1]
    return before[-1] if before else failovers[0]


def _tell(push: Push, cause: Failover, lines: list[Line]) -> str:
    runs = [f"{line.kind.name} {line.at - cause.writable:+.3f} s" for line in lines]
    pushed = f"pushed {push.ended - cause.writable:+.3f} s after that was writable"
    return f"job {push.number} was lost by {cause}; {pushed}; {runs}"


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value that so many do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def table(report: Report) -> str:
    """Return the figures as docs/reliability.md has them."""
    lines = ["| master | load | times | writable after | first job: p50, most | all children | pushes | lost |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, str], list[Failover]] = defaultdict(list)
    for failover in report.failovers:
        groups[failover.name, failover.load].append(failover)
    lines += [_row(*group, failovers) for group, failovers in sorted(groups.items())]
    return "\n".join([*lines, "", _totals(report)])


def _row(kind: str, load: str, failovers: Sequence[Failover]) -> str:
    first = [each for failover in failovers for each in failover.first]
    children = [each for failover in failovers for each in failover.seconds]
    writable = quantile([failover.writable - failover.began for failover in failovers], 0.5)
    pushed = max(failover.pushed - failover.writable for failover in failovers)
    lost = sum(failover.lost for failover in failovers)
    told = f"{quantile(first, 0.5):.2f} s, {max(first, default=0):.2f} s | {max(children, default=0):.2f} s"
    return f"| {kind} | {load} | {len(failovers)} | {writable:.2f} s | {told} | {pushed:.2f} s | {lost} |"


def _totals(report: Report) -> str:
    answers = report.answers
    first = [each for failover in report.failovers for each in failover.first]
    seconds = [each for failover in report.failovers for each in failover.seconds]
    return (
        f"{len(report.failovers)} failovers: {answers[Answer.ACCEPTED]} jobs accepted, "
        f"{answers[Answer.DOUBTFUL]} pushes in doubt, of which {report.doubtful_run} ran, "
        f"{answers[Answer.REFUSED]} refused; lost {report.lost}; run again {report.again}, "
        f"{report.overlaps} of these beside the first run; hangs {len(report.hangs)}; wrong {len(report.wrong)}\n"
        f"from the new master's first write to the first job done: p50 {quantile(first, 0.5):.2f} s, "
        f"most {max(first, default=0):.2f} s; to a job in every child: p50 {quantile(seconds, 0.5):.2f} s, "
        f"p95 {quantile(seconds, 0.95):.2f} s, most {max(seconds, default=0):.2f} s"
    )


def run(count: int, *, config: Sequence[str], query: str, seed: int, kinds: Sequence[str]) -> Report:
    """Fail over so many times, by each kind in turn, at full load and when nearly idle."""
    trial = Trial(config, query, seed, has_island=CUT_OFF in kinds)
    with trial.stack:
        trial.start()
        for kind, load in itertools.islice(_turns(kinds), count):
            if kind == CUT_OFF:
                trial.move_to_island(load)
            trial.fail_over(kind, load)
        return trial.finish()


def _turns(kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    while True:
        for load, kind in itertools.product(("full", "idle"), kinds):
            yield kind, load


def main() -> int:
    """Fail over, and tell."""
    parser = argparse.ArgumentParser(prog="faults.failovers", description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=list(_KINDS), help="only this one; repeatable")
    parser.add_argument("--min-replicas", type=int, default=1, help="that the servers must have to take writes")
    parser.add_argument("--wait", type=int, default=1, help="replicas that must confirm each push")
    given = parser.parse_args()
    harness.end_in_order()
    query = f"?wait_replicas={given.wait}" if given.wait else ""
    config = ("--min-replicas-to-write", str(given.min_replicas), "--min-replicas-max-lag", "2")
    kinds = given.kind or [kind for kind in _KINDS if kind != CUT_OFF or os.geteuid() == 0]
    report = run(given.count, config=config, query=query, seed=given.seed, kinds=kinds)
    print(table(report))
    complaints = report.complaints(given.min_replicas, given.wait)
    for line in (*complaints[:20], *report.told[:20]):
        print(line[:3000])
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
