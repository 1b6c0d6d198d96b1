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
from faults.world import MASTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faults.world import World

#: between two faults of one front; an outage is long, and only half of the rounds have them
PAUSE_SECONDS = {"host": (0.3, 2.0), "network": (0.3, 2.0), "all": (0.1, 1.0)}
#: a run with the seed 7 has the rounds 7000, 7001, …
ROUNDS = 1000
#: a round begins so many cards after the one before it: about as many as a front gets through in a minute
ROUND_CARDS = 12


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


def schedule(seed: int, front: str, kinds: Sequence[Fault], masters: Sequence[int]) -> Iterator[Step]:
    """Yield the steps of a front, without end."""
    rng = random.Random(f"{seed} {front}")
    for kind in deal(seed, front, kinds):
        able = [number for number in masters if number in kind.masters]
        host = rng.choice(able) if able else None
        wait = rng.uniform(*PAUSE_SECONDS[kind.scope])
        yield Step(wait, kind.kind, host, rng.uniform(*kind.hold), rng.getrandbits(32))


def deal(seed: int, front: str, kinds: Sequence[Fault]) -> Iterator[Fault]:
    """Deal kinds from packs, each shuffled anew, which the rounds of a run use up one after the other.

    So the rare kinds come as often as they should, and yet a seed alone says what comes when.
    """
    run, number = divmod(seed, ROUNDS)
    cards = [kind for kind in kinds for _ in range(kind.cards)]
    packs = (random.Random(f"{run} {front} {pack}").sample(cards, len(cards)) for pack in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(packs), number * ROUND_CARDS, None)


def fronts(seed: int, only: Sequence[str] = ()) -> dict[str, Iterator[Step]]:
    """Return the schedules of all fronts: one for each master, one for the network, one for Redis and all masters."""
    chosen = [f for f in CATALOGUE.values() if (f.kind in only or not only) and (is_valkey(seed) or not f.needs_valkey)]
    by_scope = {scope: [f for f in chosen if f.scope == scope] for scope in ("host", "network", "all")}
    masters = {f"host {number}": [number] for number in range(MASTERS)} if by_scope["host"] else {}
    found = {front: schedule(seed, front, by_scope["host"], number) for front, number in masters.items()}
    if by_scope["network"]:
        found["network"] = schedule(seed, "network", by_scope["network"], range(MASTERS))
    # an outage begins every watch anew: without a round free of them hardly a lease would ever pass
    if by_scope["all"] and (only or has_outages(seed)):
        found["all"] = schedule(seed, "all", by_scope["all"], [])
    return found


def is_valkey(seed: int) -> bool:
    """Whether the server of a round is Valkey, whose clock can be set."""
    return seed % 2 == 1


def has_outages(seed: int) -> bool:
    """Whether faults are done to Redis; as often where it is Valkey."""
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
