"""The door to the inspection API: one Redis, and all that stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker import config
from forkworker.clock import SystemClock
from forkworker.inspect import processes
from forkworker.inspect.places import JobSet, Place, Queue
from forkworker.store import overview
from forkworker.store.access import Access
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forkworker.inspect.entry import Entry
    from forkworker.inspect.processes import Process, Running
    from forkworker.store.overview import Day, Orphan, Overview, QueueSize

SETS = (keys.SCHEDULE, keys.RETRY, keys.DEAD)


class Inspector:
    """Looks at one Redis; safe to share between threads and across forks.

    ``url``: the address; None looks it up as ``forkworker run`` would.  Everything raises StoreUnavailable
    while Redis is away.
    """

    def __init__(self, url: str | None = None) -> None:
        self._access = Access(url or config.redis_url())
        self.schedule = JobSet(self._access, keys.SCHEDULE)
        self.retries = JobSet(self._access, keys.RETRY)
        self.dead = JobSet(self._access, keys.DEAD)

    def close(self) -> None:
        """Hang up; what is asked next connects again."""
        self._access.close()

    def overview(self) -> Overview:
        """Return the sizes of everything."""
        return overview.look(self._access)

    def days(self, count: int = 30) -> list[Day]:
        """Return what was processed and what failed on each of the last days (UTC), today first."""
        return overview.days(self._access, count, SystemClock().now())

    def queues(self) -> list[QueueSize]:
        """Return every queue's size, latency and whether it is paused, by name."""
        return overview.queues(self._access)

    def queue(self, name: str) -> Queue:
        """Return a queue, there or not."""
        return Queue(self._access, name)

    def place(self, key: str) -> Place:
        """Return ``schedule``, ``retry``, ``dead`` or ``queue:NAME``; raises ValueError for anything else."""
        prefix = keys.queue("")
        if key.startswith(prefix) and key != prefix:
            return self.queue(key[len(prefix) :])
        if key in SETS:
            return JobSet(self._access, key)
        raise ValueError(f"{key!r} is no place for jobs: use schedule, retry, dead or queue:NAME")

    def places(self) -> list[Place]:
        """Return the sets, then every queue."""
        return [self.retries, self.dead, self.schedule, *(self.queue(queue.name) for queue in self.queues())]

    def find(self, jid: str) -> Entry | None:
        """Return a job, wherever it is; looks through everything, so it takes its time."""
        return next((entry for place in self.places() if (entry := place.find(jid))), None) or self.taken(jid)

    def taken(self, jid: str) -> Entry | None:
        """Return a job that a process has taken and not settled: as a rule it runs."""
        return processes.taken(self._access, jid)

    def processes(self) -> list[Process]:
        """Return every process that shows a sign of life, by identity."""
        return processes.all_of(self._access)

    def running(self) -> Iterator[Running]:
        """Return the jobs that run, a process after the other, as of the last beats."""
        return processes.running(self._access, [process.identity for process in self.processes()])

    def orphans(self) -> list[Orphan]:
        """Return the working lists that hold jobs and whose owner shows no sign of life."""
        return overview.orphaned(self._access)
