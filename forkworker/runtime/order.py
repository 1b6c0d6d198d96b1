"""How the payloads of one fetch are shared out among the queues.  Pure but for chance.

Without weights each queue is emptied before the next.  With weights each queue has a clock, which a payload
moves on by 1 / weight, and the next payload comes from the queue whose clock shows least.  So the shares hold
over any stretch of jobs, not only in the long run, and no queue waits for longer than its weight says.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forkworker.settings import Queue


class Plan(NamedTuple):
    """What one fetch asks for."""

    queues: list[str]
    most: int
    #: how many of each queue at first; empty: as many as there are, from the first queue first
    shares: list[int]


class Order:
    """Plans the fetches of one child; learns from what they bring."""

    def __init__(self, queues: Sequence[Queue], uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform
        self.choose(queues)

    def choose(self, queues: Sequence[Queue]) -> None:
        """Plan for these queues from now on; without any there must be no plan."""
        self._names = [queue.name for queue in queues]
        self._weights = {queue.name: max(queue.weight, 1) for queue in queues}
        self._is_strict = len(queues) <= 1 or not any(queue.weight for queue in queues)
        self._clocks: dict[str, float] = {}
        #: queues that had nothing when they were last asked
        self._idle: set[str] = set()
        if queues:
            self._start()

    def plan(self, count: int) -> Plan:
        """Return what to ask for."""
        if self._is_strict:
            return Plan(self._names, count, [])
        shares = self._share_out(count)
        # The idle are asked first, beyond the count.  If one has something again the last of the others get
        # less; as their clocks stay back, they have it from the next plan.
        turns = sorted(self._names, key=lambda name: (name not in self._idle, self._clocks[name]))
        return Plan(turns, count, [shares[name] for name in turns])

    def note(self, plan: Plan, taken: Sequence[int]) -> None:
        """Move the clocks on by what each queue has given; ``taken`` may end before the queues do."""
        if self._is_strict:
            return
        if sum(taken) < plan.most:
            self._start()  # all are empty now: what comes next begins anew
            return
        left = plan.most
        for name, share, got in zip(plan.queues, plan.shares, taken, strict=False):
            asked = min(share, left)
            left -= min(asked, got)
            self._clocks[name] += got / self._weights[name]
            if got < asked:
                self._idle.add(name)
            elif asked:
                self._idle.discard(name)
        self._set_back()

    def _start(self) -> None:
        """Begin at a random point, lest all children look at the same queue first."""
        self._idle.clear()
        self._clocks = {name: self._uniform() / weight for name, weight in self._weights.items()}
        self._clocks[self._draw()] = 0.0

    def _draw(self) -> str:
        """Return a queue, by its weight."""
        left = self._uniform() * sum(self._weights.values())
        for name, weight in self._weights.items():
            left -= weight
            if left < 0:
                return name
        return self._names[-1]

    def _share_out(self, count: int) -> dict[str, int]:
        """Share ``count`` out among those that had something; the idle get what their weight says on top."""
        total = sum(self._weights.values())
        shares = {name: -(-count * weight // total) for name, weight in self._weights.items() if name in self._idle}
        clocks = [(clock, name) for name, clock in self._clocks.items() if name not in self._idle]
        shares |= dict.fromkeys((name for _, name in clocks), 0)
        heapq.heapify(clocks)
        for _ in range(count):
            clock, name = clocks[0]
            shares[name] += 1
            heapq.heapreplace(clocks, (clock + 1 / self._weights[name], name))
        return shares

    def _set_back(self) -> None:
        """Count from now again.  The clocks of the idle are at now: what they did not use is not saved up."""
        now = min(clock for name, clock in self._clocks.items() if name not in self._idle)
        self._clocks = {name: 0.0 if name in self._idle else clock - now for name, clock in self._clocks.items()}
