"""A measurement that can be repeated, and the run that does them all in turn, round after round."""

from __future__ import annotations

import os
import platform
import subprocess
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import contestants
from bench.contestants import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.contestants import System, Variant
    from bench.results import Log, Row


@dataclass(frozen=True)
class Case:
    """One thing to measure once in each round."""

    subject: str
    system: str
    variant: str
    measure: Callable[[], Row]


@dataclass(frozen=True)
class Choice:
    """What the command line has asked for."""

    only: frozenset[str] = frozenset()
    #: of the usual number of jobs
    scale: float = 1.0

    def has(self, system: str, variant: str) -> bool:
        """Whether a configuration is to be measured: forkworker's are, unless some of it was named."""
        names = {name for name in self.only if name.partition("/")[0] == system}
        return not self.only or f"{system}/{variant}" in names or system in names

    def systems(self) -> list[System]:
        """Return those of which anything is to be measured."""
        named = {name.partition("/")[0] for name in self.only}
        wanted = [name for name in contestants.NAMES if not named or name in named]
        return [contestants.get(name) for name in wanted if contestants.is_there(name)]

    def variants(self, *kinds: str) -> list[tuple[Variant, str, int]]:
        """Return the configurations that say how many jobs of one of these kinds they take, and that."""
        return [
            (variant, kind, max(1, int(variant.jobs[kind] * self.scale)))
            for system in self.systems()
            for variant in system.variants.values()
            for kind in kinds
            if kind in variant.jobs and self.has(system.name, variant.name)
        ]

    def ours(self, name: str) -> Variant:
        """Return a configuration of forkworker."""
        return contestants.get(OURS).variants[name]


def run(cases: Iterable[Case], rounds: int, log: Log) -> None:
    """Measure all in turn, so often; what fails is noted, and ends nothing."""
    everything = list(cases)
    began = int(time.time())
    log.write({"subject": "machine", "run": began, **machine()})
    for number in range(rounds):
        for case in everything:
            row = {"subject": case.subject, "system": case.system, "variant": case.variant}
            log.write({**row, "run": began, "round": number, **_attempt(case)})


def _attempt(case: Case) -> Row:
    try:
        return case.measure()
    except Exception as error:  # noqa: BLE001 - one system's failure is a result, too
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def machine() -> Row:
    """Return what the figures depend on."""
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    model = [line for line in open("/proc/cpuinfo") if line.startswith("model name")]  # noqa: SIM115 - read at once
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis": redis.split("v=")[1].split()[0],
    }
