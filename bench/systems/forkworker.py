"""forkworker, from this checkout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from systems import jobs

import forkworker

if TYPE_CHECKING:
    from collections.abc import Iterable

forkworker.configure(redis_url=jobs.URL)
TASKS = {name: forkworker.job(name=name)(function) for name, function in jobs.SYNC.items()}
QUEUES = jobs.SETTINGS.get("BENCH_QUEUES", "default").split(",")
TASKS_BY_QUEUE = [{name: task.options(queue=queue) for name, task in TASKS.items()} for queue in QUEUES]

_RUN = [sys.executable, "-m", "forkworker", "run", "--redis", "{url}", "systems.forkworker"]
_QUIET = [*_RUN, "--log-level", "warning"]
_THREE = "high,default,low"


def _child(processes: int, threads: int) -> list[str]:
    return ["-P", str(processes), "-c", str(threads)]


VARIANTS = {
    "1x25": {"commands": [_QUIET + _child(1, 25)], "noop": 300_000},
    "2x25": {"commands": [_QUIET + _child(2, 25)], "noop": 400_000, "sleep10": 25_000, "compute": 2400, "threads": 50},
    "1x25, job log": {"commands": [_RUN + _child(1, 25)], "noop": 300_000},
    "2x25, job log": {"commands": [_RUN + _child(2, 25)], "noop": 400_000},
    "1x5": {"commands": [_QUIET + _child(1, 5)], "noop": 200_000},
    "2x5": {"commands": [_QUIET + _child(2, 5)], "noop": 300_000, "compute": 2400},
    "1x30": {"commands": [_QUIET + _child(1, 30)], "delayed": 500_000},
    "2x25, three queues": {
        "commands": [_RUN + _child(2, 25) + [f"-q{name}" for name in _THREE.split(",")]],
        "environment": {"BENCH_QUEUES": _THREE},
        "queues": 3,
    },
    "2x1": {"commands": [_QUIET + _child(2, 1)], "compute": 2400},
}
DEFAULT = "2x25"
ENQUEUE = {"one": 20_000, "bulk": 200_000}
LATENCY = ["2x25, three queues"]
MEMORY = ["2x25"]
VERSIONS = {"forkworker": forkworker.__version__, "python": ".".join(map(str, sys.version_info[:3]))}


def enqueue(job: str, n: int) -> None:
    """Push one, to each queue in turn."""
    TASKS_BY_QUEUE[n % len(QUEUES)][job].enqueue(n)


def enqueue_many(job: str, ns: Iterable[int]) -> None:
    """Push many."""
    TASKS[job].enqueue_many([(n,) for n in ns])
