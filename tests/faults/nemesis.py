"""The nemesis: draws faults from a seed and does them, on several fronts at once.  Threads of the harness.

A front has a schedule of its own, so that how long one takes does not change what another draws.
"""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faults.faults import CATALOGUE, Fault, do

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faults.world import World

#: between two faults of one front
PAUSE_SECONDS = {"host": (0.3, 3.0), "network": (0.3, 3.0), "redis": (1.0, 8.0)}


@dataclass(frozen=True)
class Step:
    """One fault of a schedule."""

    pause: float
    kind: str
    #: number of the master; None for Redis
    host: int | None
    hold: float
    #: for what the fault itself draws
    seed: int


def schedule(seed: int, front: str, kinds: Sequence[Fault], hosts: Sequence[int]) -> Iterator[Step]:
    """Draw the steps of a front, without end."""
    rng = random.Random(f"{seed} {front}")
    weights = [kind.weight for kind in kinds]
    while True:
        kind = rng.choices(kinds, weights)[0]
        host = rng.choice(hosts) if hosts else None
        yield Step(
            rng.uniform(*PAUSE_SECONDS[kind.scope]), kind.kind, host, rng.uniform(*kind.hold), rng.getrandbits(32)
        )


def fronts(seed: int, only: Sequence[str] = ()) -> dict[str, Iterator[Step]]:
    """Return the schedules of all fronts: one for each master, one for the network, one for Redis."""
    chosen = [f for f in CATALOGUE.values() if not only or f.kind in only]
    by_scope = {scope: [f for f in chosen if f.scope == scope] for scope in ("host", "network", "redis")}
    found = {f"host {n}": schedule(seed, f"host {n}", by_scope["host"], [n]) for n in range(3) if by_scope["host"]}
    if by_scope["network"]:
        found["network"] = schedule(seed, "network", by_scope["network"], range(3))
    # an outage begins every watch anew: without a round free of them hardly a lease would ever pass
    if by_scope["redis"] and (only or has_outages(seed)):
        found["redis"] = schedule(seed, "redis", by_scope["redis"], [])
    return found


def has_outages(seed: int) -> bool:
    """Whether faults are done to Redis; as often where it is Valkey, which the parity of a seed decides."""
    return (seed // 2 + seed) % 2 == 1


def show(seed: int, steps: int) -> str:
    """Return the beginning of each front's schedule."""
    lines = []
    for front, drawn in fronts(seed).items():
        for step in itertools.islice(drawn, steps):
            where = "" if step.host is None else f" (master {step.host})"
            lines.append(f"{front}: +{step.pause:.2f} s, {step.kind}{where}, for {step.hold:.2f} s")
    return "\n".join(lines)


class Nemesis:
    """Does the steps of all fronts for so many seconds."""

    def __init__(self, world: World, seed: int, only: Sequence[str] = ()) -> None:
        self._world = world
        self._over = threading.Event()
        self.error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._fight, args=(steps,), name=front)
            for front, steps in fronts(seed, only).items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End: every fault is undone; hand on what went wrong."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self.error:
            raise self.error

    @property
    def has_failed(self) -> bool:
        """Whether a front could not go on."""
        return self.error is not None

    def _fight(self, steps: Iterator[Step]) -> None:
        try:
            while True:
                step = next(steps)
                if self._over.wait(step.pause):
                    return
                self._do(step)
        except BaseException as error:  # noqa: BLE001 - handed to the harness's main thread
            self.error = error

    def _do(self, step: Step) -> None:
        host = None if step.host is None else self._world.hosts[step.host]
        if not is_possible(self._world, step.kind, step.host):
            return
        do(self._world, step.kind, host, random.Random(step.seed), step.hold, self._over.wait)


def is_possible(world: World, kind: str, number: int | None) -> bool:
    """Whether the master has, and this machine lets us make, what a fault needs."""
    host = world.hosts[number] if number is not None else None
    needs = {
        "fork fails with EAGAIN": host and host.pids,
        "the kernel's OOM killer": host and host.memory,
        "a full disk under the log": host and host.disk,
        "the clock of a host steps by an hour": host and host.clock,
        "a partition": host and host.network,
        "the clock of Redis steps by an hour": world.clock,
    }
    return bool(needs.get(kind, True))
