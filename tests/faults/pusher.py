"""A program that pushes jobs through ``forkworker.Client`` and notes what became of each.  A process of its own.

``python -m faults.pusher URL FILE BASE`` reads from its standard input how many jobs a second it shall push; it ends
with that.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import forkworker
from faults.generator import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

THREADS = 6
#: the longest job, and the longest time until one is due
MOST_SECONDS, MOST_DELAY_SECONDS = 0.2, 3.0
#: of all jobs
FAILING, SCHEDULED = 0.1, 0.05
#: number of the job, what became of it, and when the push began and ended, monotonic
_LINE = struct.Struct("=IBdd")


class Push(NamedTuple):
    """One push."""

    number: int
    answer: Answer
    began: float
    ended: float


def read(path: Path) -> Iterator[Push]:
    """Return all pushes so far."""
    data = path.read_bytes()
    whole = len(data) - len(data) % _LINE.size
    for number, answer, began, ended in _LINE.iter_unpack(data[:whole]):
        yield Push(number, Answer(answer), began, ended)


class Job(NamedTuple):
    """What is pushed."""

    number: int
    #: how long it takes, how often it fails before it succeeds
    seconds: float = 0.0
    failures: int = 0
    #: from now to when it is due, None if that is now
    delay_seconds: float | None = None
    queue: str = "default"


def push_job(client: forkworker.Client, job: Job) -> Push:
    """Push it, once; return what became of that."""
    at = None if job.delay_seconds is None else time.time() + job.delay_seconds
    args = [job.number, job.seconds, job.failures, "sleep"]
    began, answer = time.monotonic(), Answer.ACCEPTED
    try:
        client.push("faults.work", args, jid=f"{job.number:024x}", queue=job.queue, at=at)
    except forkworker.PushInDoubt:
        answer = Answer.DOUBTFUL
    except forkworker.PushFailed:
        answer = Answer.REFUSED
    return Push(job.number, answer, began, time.monotonic())


def _any_job(number: int) -> Job:
    """Return a job that sometimes fails once, or is for later."""
    delay = random.uniform(0.5, MOST_DELAY_SECONDS) if random.random() < SCHEDULED else None
    return Job(number, round(random.uniform(0, MOST_SECONDS), 3), int(random.random() < FAILING), delay)


class Pusher:
    """The process, as seen by who has started it; a context manager.  Its jobs are numbered after ``first``."""

    def __init__(self, url: str, path: Path, first: int, paths: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.path = path
        path.touch()
        line = [*prefix, sys.executable, "-m", "faults.pusher", url, str(path), str(first)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, env=environment, start_new_session=True)

    def __enter__(self) -> Pusher:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def push(self, rate: float) -> None:
        """Push so many jobs a second from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rate}\n".encode())
        self._process.stdin.flush()

    def end(self) -> None:
        """End after the pushes under way."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0

    def pushes(self) -> list[Push]:
        """Return all pushes so far."""
        return list(read(self.path))


class _Threads:
    """Push at a common rate."""

    def __init__(self, url: str, path: str, base: int) -> None:
        self._client = forkworker.Client(url)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._next = base
        self._lock = threading.Lock()
        self.rate = 0.0
        self.is_over = False
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self.is_over:
            rate = self.rate
            if not rate:
                time.sleep(0.01)
                continue
            began = time.monotonic()
            self._push()
            time.sleep(max(0.0, began + THREADS / rate - time.monotonic()))

    def _push(self) -> None:
        with self._lock:
            self._next += 1
            number = self._next
        push = push_job(self._client, _any_job(number))
        os.write(self._file, _LINE.pack(*push))
        if push.answer is not Answer.ACCEPTED:
            time.sleep(0.02)


def main(url: str, path: str, base: int) -> None:
    """Push until the standard input ends."""
    threads = _Threads(url, path, base)
    threads.start()
    for line in sys.stdin:
        threads.rate = float(line)
    threads.is_over = True
    threads.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
