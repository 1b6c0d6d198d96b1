"""The checker: compares what Redis accepted, what the jobs noted, what Redis holds, and what was done to whom.

Runs in the harness's process, when all faults are over and all is calm.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support import snapshot

from faults import diary
from faults.diary import Kind, Line
from faults.faults import SILENCE_SECONDS
from faults.generator import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.world import Deed, World

#: from the end of a cause to the start of a run that it explains: the job may have waited in a queue meanwhile
LATE_SECONDS = 40.0
_FREEZES = ("a child frozen beyond its lease", "a whole tree frozen beyond its lease")
#: from the end of a freeze to the next line of a job, on a busy machine
WAKE_SECONDS = 1.0
#: silences that follow each other so closely are one: a keeper has to connect again
_GAP_SECONDS = 2.5
#: loading, trying, and what a busy machine takes for it
_TRIAL_SECONDS = 30.0
_ALARMING = re.compile(r"Traceback|CRITICAL|a duty of the keeper failed|exchange thread failed|cannot happen")
_DATED = re.compile(r"20\d\d-\d\d-\d\dT|Traceback")
#: faults of the kind: no descriptors, no processes, a full disk
_EXPECTED = re.compile(r"can't start new thread|\[Errno (24|11|28)\]")
#: no child, or no keeper, became ready
_SHORTAGE_CODES = (70, 75)
#: a run that ended and did not count, as its payload had been moved away meanwhile
_UNCOUNTED = re.compile(r"pid=(\d+) jid=([0-9a-f]{24}) .*was taken over by another process")


@dataclass
class Run:
    """One run of a job."""

    start: Line
    end: Line | None = None

    @property
    def kind(self) -> Kind | None:
        """How it ended; None if its process did before."""
        return self.end.kind if self.end else None


@dataclass
class Verdict:
    """What the checker found."""

    violations: list[str] = field(default_factory=list)
    accepted: int = 0
    doubtful: int = 0
    refused: int = 0
    runs: int = 0
    ended: int = 0
    failed: int = 0
    poisoned: int = 0
    overlaps: int = 0
    #: kind of fault -> jobs that ran again because of it
    again: Counter[str] = field(default_factory=Counter)

    def add(self, what: str) -> None:
        """Note a violation; of many alike the first ones are enough."""
        if len(self.violations) < 200:
            self.violations.append(what)


class Checker:
    """Judges one round."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._generator = world.generator
        self._verdict = Verdict()
        self._silences = {host.number: self._merge(host.number) for host in world.hosts}
        #: processes that were declared dead: only these may have lost what they ran
        self._fenced: set[int] = set()
        self._hits: dict[int, list[Deed]] = defaultdict(list)
        for deed in world.deeds:
            for pid in deed.hit:
                self._hits[pid].append(deed)

    def judge(self) -> Verdict:
        """Check everything."""
        runs = self._runs()
        held = snapshot.snapshot(self._world.client)
        self._fenced = {int(key.split(":")[2]) for key, by in held.items() if key.startswith("taken:") and by == b"1"}
        homes = self._homes(held)
        self._check_pushes(runs, homes)
        for number, of_job in runs.items():
            self._check_runs(number, of_job)
        self._check_places(runs, homes)
        self._check_counters(runs, homes, held)
        self._check_logs(runs)
        for complaint in self._world.census.complaints(runs, self._world.deeds):
            self._verdict.add(complaint)
        return self._verdict

    # Reading

    def _runs(self) -> dict[int, list[Run]]:
        runs: dict[int, list[Run]] = defaultdict(list)
        open_runs: dict[tuple[int, int], Run] = {}
        for line in diary.read(self._world.folder):
            if line.kind is Kind.START:
                run = open_runs[line.pid, line.run] = Run(line)
                runs[line.number].append(run)
                self._verdict.runs += 1
            else:
                open_runs[line.pid, line.run].end = line
        return runs

    def _homes(self, held: dict[str, Any]) -> dict[int, list[tuple[str, dict[str, Any]]]]:
        homes: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        for key, value in held.items():
            if key.startswith(("queue:", "working:")) or key in ("schedule", "retry", "dead"):
                for text in value:
                    job = json.loads(text)
                    homes[int(job["jid"], 16)].append((key, job))
        return homes

    def _merge(self, host: int) -> list[Deed]:
        """Silences that follow each other are one; what is shorter than a lease could be is none."""
        merged: list[Deed] = []
        for deed in sorted((d for d in self._world.deeds if d.cuts_off and d.host in (None, host)), key=_began):
            if merged and deed.began <= merged[-1].over + _GAP_SECONDS:
                last = merged[-1]
                longer = last if last.over - last.began >= deed.over - deed.began else deed
                merged[-1] = dataclasses.replace(last, kind=longer.kind, over=max(last.over, deed.over))
            else:
                merged.append(deed)
        return [deed for deed in merged if deed.over - deed.began >= SILENCE_SECONDS]

    # Judging

    def _check_pushes(self, runs: dict[int, list[Run]], homes: dict[int, Any]) -> None:
        for number in range(1, self._generator.count + 1):
            answer = self._generator.answers[number]
            self._verdict.accepted += answer == Answer.ACCEPTED
            self._verdict.doubtful += answer == Answer.DOUBTFUL
            self._verdict.refused += answer == Answer.REFUSED
            if answer == Answer.ACCEPTED and number not in runs and number not in homes:
                self._verdict.add(f"lost: job {number} was accepted, never ran, and is nowhere")
            if answer == Answer.REFUSED and (number in runs or number in homes):
                self._verdict.add(f"refused: job {number} was refused, and yet it was taken")

    def _check_runs(self, number: int, runs: list[Run]) -> None:
        self._verdict.ended += any(run.kind is Kind.END for run in runs)
        for at in range(1, len(runs)):
            self._check_again(number, runs[: at + 1])

    def _check_again(self, number: int, runs: list[Run]) -> None:
        """Whether the last of these runs was right to be."""
        before, this = runs[-2:]
        silence = next((deed for run in runs[:-1] if (deed := self._silence(run, this))), None) or self._wake(this)
        self._verdict.overlaps += this.start.overlaps
        if this.start.overlaps and not silence:
            self._verdict.add(f"overlap: job {number}: {self._tell(runs)}")
        if before.kind is Kind.FAILED and this.start.failures == before.start.failures + 1:
            return
        ended = None if this.start.previous_lives else self._end_of(before, this)
        if cause := ended or silence:
            self._verdict.again[cause.kind] += 1
        else:
            self._verdict.add(f"again without a cause: job {number}: {self._tell(runs)}")

    def _silence(self, before: Run, this: Run) -> Deed | None:
        """When the keeper of the first run's host could not beat for so long that others took its jobs."""
        if before.start.pid not in self._fenced:
            return None
        for deed in self._silences[before.start.host]:
            over = before.end.at if before.end else this.start.at
            while_it_ran = deed.began <= min(this.start.at, over + 5) and before.start.at <= deed.over + 5
            if while_it_ran and this.start.at <= deed.over + LATE_SECONDS:
                return deed
        return None

    def _wake(self, this: Run) -> Deed | None:
        """What froze a process that was declared dead, after it had begun this run and before it could note that."""
        if this.start.pid not in self._fenced:
            return None
        return next((deed for deed in self._world.deeds if is_wake(deed, this.start)), None)

    def _end_of(self, before: Run, this: Run) -> Deed | None:
        """What ended the process of the first run, or told it to end."""
        hits = [deed for deed in self._hits[before.start.pid] if deed.began <= this.start.at]
        whole = [
            deed
            for deed in self._world.deeds
            if deed.host == before.start.host
            and deed.kind in _ENDS_HOST
            and deed.began <= this.start.at
            and deed.over + _ENDS_HOST[deed.kind] >= before.start.at
        ]
        if before.kind is Kind.INTERRUPTED:
            whole += self._superseded(before)
        found = hits + whole
        return max(found, key=lambda deed: deed.began) if found else None

    def _superseded(self, before: Run) -> list[Deed]:
        """A child on trial gets the stop timeout and no more, when another one is asked for or it fails."""
        return [
            deed
            for deed in self._world.deeds
            if deed.kind == "rolling restart"
            and deed.host == before.start.host
            and deed.began - _TRIAL_SECONDS <= before.start.at <= deed.over + _TRIAL_SECONDS
        ]

    def _tell(self, runs: list[Run]) -> str:
        began = self._world.deeds[0].began if self._world.deeds else 0
        told = []
        for run in runs:
            s = run.start
            flags = " FENCED" if s.pid in self._fenced else ""
            flags += (" OVERLAPS" if s.overlaps else "") + (" PREVIOUS-LIVES" if s.previous_lives else "")
            end = f"{run.end.kind.name}@{run.end.at - began:.2f}" if run.end else "none"
            told.append(f"[host {s.host} pid {s.pid} failures {s.failures} @{s.at - began:.2f}{flags} -> {end}]")
        if not runs:
            return "it never ran"
        return " ".join([*told, "after", *self._tell_deeds(runs[0].start, runs[-1].start)])

    def _tell_deeds(self, first: Line, last: Line) -> list[str]:
        began = self._world.deeds[0].began if self._world.deeds else 0
        return [
            f"({deed.kind} of {deed.host} @{deed.began - began:.2f} to {deed.over - began:.2f}, {sorted(deed.hit)})"
            for deed in self._world.deeds
            if deed.host in (None, first.host, last.host) and deed.began <= last.at and deed.over >= first.at - 5
        ]

    def _check_places(self, runs: dict[int, list[Run]], homes: dict[int, list[tuple[str, dict[str, Any]]]]) -> None:
        now = time.time()
        for number, places in homes.items():
            keys = [key for key, _ in places]
            if len(keys) > 1:
                self._verdict.add(f"twice: job {number} stands in {keys}")
            for key, job in places:
                self._check_place(number, key, job, runs.get(number, []), now)
        for number, of_job in runs.items():
            if number not in homes and not any(run.kind is Kind.END for run in of_job):
                self._verdict.add(f"lost: job {number} did not come to its end, and is nowhere: {self._tell(of_job)}")

    def _check_place(self, number: int, key: str, job: dict[str, Any], runs: list[Run], now: float) -> None:
        error = str(job.get("error_class", ""))
        if key == "dead":
            poisoned = error.endswith("Poisonous")
            self._verdict.poisoned += poisoned and number not in self._generator.hogs
            if not poisoned and number not in self._generator.doomed:
                self._verdict.add(f"dead: job {number} was buried without a reason: {error}")
        elif key in ("schedule", "retry"):
            score = self._world.client.zscore(key, next(self._texts(key, number)))
            if score is not None and float(score) <= now:
                self._verdict.add(f"stranded: job {number} is due in {key} and stays there")
        else:
            self._verdict.add(f"stranded: job {number} is in {key}: {self._tell(runs)}")

    def _texts(self, key: str, number: int) -> Any:
        members: Any = self._world.client.zrange(key, 0, -1)
        return (text for text in members if int(json.loads(text)["jid"], 16) == number)

    def _check_counters(self, runs: dict[int, list[Run]], homes: dict[int, Any], held: dict[str, Any]) -> None:
        processed = failed = 0
        for number, of_job in runs.items():
            ended = [run.start.failures for run in of_job if run.kind is Kind.END]
            if number in homes:
                failures = self._counted_failures(homes[number][0][1], of_job)
            else:
                failures = ended[-1] if ended else 0
                processed += 1
            processed += failures
            failed += failures
        told = [int(held.get(f"stat:{name}", 0)) for name in ("processed", "failed")]
        self._verdict.failed = failed
        if told != [processed, failed]:
            self._verdict.add(f"counters: Redis tells {told} processed and failed, the diary {[processed, failed]}")
        days = [sum(int(v) for k, v in held.items() if k.startswith(f"stat:{n}:")) for n in ("processed", "failed")]
        if days != told:
            self._verdict.add(f"counters: the days' {days} are not the whole's {told}")

    @staticmethod
    def _counted_failures(job: dict[str, Any], runs: list[Run]) -> int:
        if str(job.get("error_class", "")).endswith("Poisonous"):
            return max(run.start.failures for run in runs)
        return int(job.get("retry_count", -1)) + 1

    def _check_logs(self, runs: dict[int, list[Run]]) -> None:
        for host in self._world.hosts:
            lines = [line for line in host.daemon.log().splitlines() if "faults.work queue=" not in line]
            for alarm in _alarms(lines):
                self._verdict.add(f"log of master {host.number}: {alarm}")
            for found in filter(None, map(_UNCOUNTED.search, lines)):
                self._check_uncounted(int(found[1]), int(found[2], 16), runs)
            for at, code in host.exits:
                if code not in (0, -9) and not (code in _SHORTAGE_CODES and self._was_short(host.number, at)):
                    self._verdict.add(f"master {host.number} ended with {code} at {at:.1f}")

    def _check_uncounted(self, pid: int, number: int, runs: dict[int, list[Run]]) -> None:
        """A run counts, unless the job was taken from its process: then it has run elsewhere, too."""
        of_job = runs.get(number, [])
        was_once = len({run.start.failures for run in of_job}) == len(of_job)
        if pid not in self._fenced and was_once and any(run.end and run.start.pid == pid for run in of_job):
            self._verdict.add(f"uncounted: job {number} by pid {pid}, which kept its lease: {self._tell(of_job)}")

    def _was_short(self, host: int, at: float) -> bool:
        """Whether a master that booted just then could not have the processes it needs."""
        return any(
            deed.host == host and deed.kind == "fork fails with EAGAIN" and deed.began <= at <= deed.over + 15
            for deed in self._world.deeds
        )


def is_wake(deed: Deed, start: Line) -> bool:
    """Whether a process may have noted a start late, as it was frozen in between."""
    return deed.kind in _FREEZES and deed.host == start.host and deed.began <= start.at <= deed.over + WAKE_SECONDS


def _began(deed: Deed) -> float:
    return deed.began


def _alarms(lines: list[str]) -> Iterator[str]:
    """Yield what a log should not contain; a traceback together with the lines that belong to it."""
    for at, line in enumerate(lines):
        if not _ALARMING.search(line):
            continue
        block = list(itertools.takewhile(lambda other: not _DATED.match(other), lines[at + 1 : at + 40]))
        text = " / ".join([line, *block])
        if "exchange thread" in line or not _EXPECTED.search(text):
            yield text


#: faults that may end any process of a host -> so long after the fault itself
_ENDS_HOST = {
    "SIGKILL of the master": 5.0,
    "SIGTERM of the master": 5.0,
    "SIGKILL of a whole tree": 1.0,
    "SIGTERM of a whole tree": 5.0,
    "half-open connections, and a whole tree killed": 1.0,
    "the kernel's OOM killer": 60.0,
}


def merge(verdicts: list[Verdict]) -> Verdict:
    """Add up verdicts."""
    total = Verdict()
    for verdict in verdicts:
        for name in ("accepted", "doubtful", "refused", "runs", "ended", "failed", "poisoned", "overlaps"):
            setattr(total, name, getattr(total, name) + getattr(verdict, name))
        total.violations += verdict.violations
        total.again += verdict.again
    return total
