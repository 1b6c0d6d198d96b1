"""The generator: pushes jobs as any client would, and remembers what Redis has accepted.  A thread of the harness.

It pushes in floods, in which queues are never empty, and in trickles, in which children wait for each job.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import redis
from support.payloads import encode, payload

from faults.world import MOST_JOBS, QUEUES

if TYPE_CHECKING:
    from faults.world import World

#: a flood keeps so many jobs in the queues
MOST_WAITING = 800
_DOOMED = 99


class Answer(IntEnum):
    """What became of a push."""

    NONE = 0
    ACCEPTED = 1
    #: the connection was lost: it may or may not have been accepted
    DOUBTFUL = 2
    REFUSED = 3


@dataclass
class Plan:
    """What a job is to do, where that is not: end well, at once, at its first run."""

    seconds: float = 0
    failures: int = 0
    how: str = "sleep"


class Generator:
    """Pushes until told to stop."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(f"{seed} jobs")
        self._client = world.server.client()
        self._over = threading.Event()
        #: while set, there are only trickles
        self.hushed = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="generator")
        #: number of a job -> what became of its push
        self.answers = bytearray(MOST_JOBS)
        self.count = 0
        self.doomed: set[int] = set()
        self.hogs: set[int] = set()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and hand on what went wrong."""
        self._over.set()
        self._thread.join()
        if self.error:
            raise self.error

    def push_hog(self, queue: str) -> None:
        """Push a job that takes too much memory."""
        number = self._number()
        self.hogs.add(number)
        self._push([self._job(number, Plan(how="hog"), queue)], [number], queue)

    def probe(self, queue: str, count: int, seconds: float = 0.05) -> None:
        """Push jobs that all take as long to one queue."""
        numbers = [self._number() for _ in range(count)]
        self._push([self._job(n, Plan(seconds), queue) for n in numbers], numbers, queue)

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._flood() if self._random.random() < 0.6 and not self.hushed.is_set() else self._trickle()
        except BaseException as error:  # noqa: BLE001 - handed to the harness's main thread
            self.error = error

    def _flood(self) -> None:
        until = time.monotonic() + self._random.uniform(1, 4)
        while time.monotonic() < until and not self._over.is_set() and not self.hushed.is_set():
            if self._waiting() > MOST_WAITING:
                self._over.wait(0.02)
            else:
                self._push_some(self._random.randint(50, 150))

    def _trickle(self) -> None:
        until = time.monotonic() + self._random.uniform(1, 3)
        while time.monotonic() < until and not self._over.is_set():
            self._push_some(1)
            self._over.wait(self._random.uniform(0, 0.02))

    def _waiting(self) -> int:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for queue in QUEUES:
                    pipe.llen(f"queue:{queue}")
                return sum(pipe.execute())
        except redis.RedisError:
            return MOST_WAITING + 1

    def _push_some(self, count: int) -> None:
        queue = self._random.choice(QUEUES)
        numbers = [self._number() for _ in range(count)]
        jobs = [self._job(number, self._plan(number), queue) for number in numbers]
        if self._random.random() < 0.05:
            self._schedule(jobs, numbers)
        else:
            self._push(jobs, numbers, queue)

    def _number(self) -> int:
        with self._lock:
            self.count += 1
            return self.count

    def _plan(self, number: int) -> Plan:
        seconds = self._seconds()
        draw = self._random.random()
        if draw < 0.0003:
            return Plan(self._random.uniform(1.2, 2.5), how="gil")
        if draw < 0.001:
            self.doomed.add(number)
            return Plan(seconds, failures=_DOOMED)
        # a long one may fail where its owner was declared dead meanwhile
        fails = draw < (0.4 if seconds > 0.2 else 0.03)
        return Plan(seconds, failures=self._random.randint(1, 2) if fails else 0)

    def _seconds(self) -> float:
        """How long a job takes: most do nothing, so that there are many."""
        draw = self._random.random()
        if draw < 0.0025:
            return self._random.uniform(1, 5)
        if draw < 0.008:
            return self._random.uniform(0.2, 1)
        return self._random.uniform(0, 0.2) if draw < 0.02 else 0.0

    def _job(self, number: int, plan: Plan, queue: str) -> dict[str, Any]:
        retry = 1 if plan.failures == _DOOMED else 25
        args = [number, round(plan.seconds, 3), plan.failures, plan.how]
        return payload("faults.work", args, queue, retry=retry, jid=f"{number:024x}")

    def _push(self, jobs: list[dict[str, Any]], numbers: list[int], queue: str) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.sadd("queues", queue)
            pipe.lpush(f"queue:{queue}", *map(encode, jobs))
            self._execute(pipe, numbers)

    def _schedule(self, jobs: list[dict[str, Any]], numbers: list[int]) -> None:
        due = {}
        for job in jobs:
            del job["enqueued_at"]
            due[encode(job)] = time.time() + self._random.uniform(0, 4)
        with self._client.pipeline(transaction=True) as pipe:
            pipe.zadd("schedule", due)
            self._execute(pipe, numbers)

    def _execute(self, pipe: redis.client.Pipeline, numbers: list[int]) -> None:
        try:
            pipe.execute()
            answer = Answer.ACCEPTED
        except (redis.ConnectionError, redis.TimeoutError):
            answer = Answer.DOUBTFUL
        except redis.RedisError:
            answer = Answer.REFUSED
        for number in numbers:
            self.answers[number] = answer
        if answer is not Answer.ACCEPTED:
            self._over.wait(0.05)
