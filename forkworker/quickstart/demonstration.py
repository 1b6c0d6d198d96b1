"""The demonstration: start, enqueue, kill a child midway, wait, stop, compare, in this order."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import replace
from typing import TextIO

import forkworker
from forkworker.clock import SystemClock, sleep
from forkworker.errors import ExitCode, ForkworkerError
from forkworker.quickstart import jobs, results, sources
from forkworker.quickstart.daemon import SLOTS, THREADS, Child, Daemon, DaemonTrouble
from forkworker.quickstart.progress import Progress
from forkworker.quickstart.report import Report

#: without a new result for so long, the rest will not come
PATIENCE_SECONDS = 30.0
REPLACED_SECONDS = 10.0
POLL_SECONDS = 0.05
QUICK_POLL_SECONDS = 0.002

_clock = SystemClock()


def run(stream: TextIO) -> int:
    """Show forkworker at work, leave nothing behind, and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be cleaned up after like Ctrl-C
    progress = Progress(stream)
    folder = tempfile.mkdtemp(prefix="forkworker-")
    daemon = Daemon(folder, jobs.__name__)
    try:
        report = Demonstration(folder, daemon, progress).run()
    except ForkworkerError as error:
        progress.end()
        for line in ["The daemon's log ends with:", *daemon.log_tail(), f"The quickstart failed: {error}"]:
            progress.say(line)
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        progress.end()
        progress.say("Interrupted; stopping the daemon.")
        return ExitCode.INTERRUPTED
    finally:
        _clean_up(folder, daemon)
    return _tell(report, progress, folder)


def _clean_up(folder: str, daemon: Daemon) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it takes a few seconds at most, and must be done
    daemon.stop()
    daemon.clear()
    shutil.rmtree(folder, ignore_errors=True)


def _tell(report: Report, progress: Progress, folder: str) -> int:
    if os.path.lexists(folder):
        report = replace(report, left_behind=(*report.left_behind, folder))
    for line in report.lines():
        progress.say(line)
    return ExitCode.OK if report.all_is_well else ExitCode.FAILURE


class Demonstration:
    """One run of the quickstart in a folder of its own."""

    def __init__(self, folder: str, daemon: Daemon, progress: Progress) -> None:
        self._daemon = daemon
        self._progress = progress
        self._results = os.path.join(folder, "results")
        self._pids: set[int] = set()

    def run(self) -> Report:
        """Do all of it; raises ForkworkerError where the daemon fails."""
        files = sources.standard_library()
        os.mkdir(self._results)
        self._start()
        began = _clock.monotonic()
        self._enqueue(files)
        self._watch(len(files) // 2, len(files))
        self._kill_one()
        self._watch(len(files), len(files))
        seconds = _clock.monotonic() - began
        self._progress.end()
        return self._judge(files, seconds)

    def _start(self) -> None:
        self._say(f"Starting {SLOTS} children of {THREADS} threads each, with a Redis of their own ...")
        self._daemon.start()
        self._daemon.wait_ready()
        self._look()

    def _enqueue(self, files: list[str]) -> None:
        forkworker.configure(redis_url=self._daemon.redis_url)
        self._say(f"Enqueueing {len(files)} jobs: measure each .py file of the standard library.")
        jobs.measure_file.enqueue_many((path, self._results) for path in files)

    def _watch(self, until: int, total: int) -> None:
        """Show progress until so many results are there, or no more come."""
        done, since = -1, _clock.monotonic()
        while done < until and _clock.monotonic() - since < PATIENCE_SECONDS:
            self._daemon.check_alive()
            before, done = done, results.count(self._results)
            if done > before:
                since = _clock.monotonic()
            self._progress.show(done, total)
            sleep(POLL_SECONDS if done < until else 0)

    def _kill_one(self) -> None:
        """Kill the busiest child, as a crash or the kernel would that lacks memory; see it replaced."""
        victim = max(self._look(), key=lambda child: child.busy)
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        killed_at = _clock.monotonic()
        self._say(f"kill -9 {victim.pid}: that was child {victim.slot}, with {victim.busy} jobs running.")
        new = self._wait_replaced(victim)
        after = 1000 * (_clock.monotonic() - killed_at)
        self._say(f"A new child {new.slot}, pid {new.pid}, was ready {after:.0f} ms later.")

    def _wait_replaced(self, victim: Child) -> Child:
        deadline = _clock.monotonic() + REPLACED_SECONDS
        while _clock.monotonic() < deadline:
            for child in self._look():
                if child.slot == victim.slot and child.pid != victim.pid and child.state == "ready":
                    return child
            sleep(QUICK_POLL_SECONDS)
        raise DaemonTrouble(f"child {victim.slot} was not replaced within {REPLACED_SECONDS:g} seconds")

    def _judge(self, files: list[str], seconds: float) -> Report:
        """Stop the daemon, do the same work again in the plainest way, and compare."""
        self._look()
        recovered = self._daemon.recovered()
        exit_status = self._daemon.stop()
        left_behind = self._daemon.clear()
        self._say("Stopped. Measuring the same files once more, one after the other, to compare ...")
        began = _clock.monotonic()
        expected = results.sequential(files)
        sequential_seconds = _clock.monotonic() - began
        comparison = results.compare(expected, results.read(self._results))
        return Report(
            jobs=len(files),
            seconds=seconds,
            sequential_seconds=sequential_seconds,
            children=len(self._pids),
            recovered=recovered,
            lost=len(comparison.missing),
            differences=len(comparison.different),
            left_behind=tuple(left_behind),
            exit_status=exit_status,
        )

    def _look(self) -> list[Child]:
        children = self._daemon.children()
        self._pids |= {child.pid for child in children if child.pid}
        return children

    def _say(self, line: str) -> None:
        self._progress.say(line)
