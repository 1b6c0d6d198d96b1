"""Huey, RedisHuey with its blocking pop, one thread by default; its guide offers more workers, threads or processes."""

from __future__ import annotations

import os
import sys

import huey as package
import redis
from systems import jobs

huey = package.RedisHuey("bench", port=jobs.PORT)
TASKS = {name: huey.task(name=name)(function) for name, function in jobs.SYNC.items()}

_RUN = [os.path.join(os.path.dirname(sys.executable), "huey_consumer"), "systems.huey.huey", "-q"]
VARIANTS = {
    "thread": {"commands": [_RUN], "noop": 15_000},
    "2 processes": {"commands": [[*_RUN, "-n", "-k", "process", "-w", "2"]], "noop": 30_000},
    "2x25 threads": {
        "commands": [[*_RUN, "-n", "-k", "thread", "-w", "25"]] * 2,
        "noop": 40_000,
        "sleep10": 15_000,
        "threads": 50,
    },
}
DEFAULT = "thread"
ENQUEUE = {"one": 8000}
LATENCY = ["thread"]
MEMORY = ["2 processes"]
VERSIONS = {"huey": package.__version__, "redis-py": redis.__version__}


def enqueue(job: str, n: int) -> None:
    """Push one."""
    TASKS[job](n)
