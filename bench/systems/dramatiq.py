"""Dramatiq, Redis broker, default middleware.

Its default is a process for each core and eight threads in each; its guide offers a larger prefetch.
"""

from __future__ import annotations

import os
import sys

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from systems import jobs

dramatiq.set_broker(RedisBroker(url=jobs.URL))
TASKS = {name: dramatiq.actor(function, actor_name=name) for name, function in jobs.SYNC.items()}

_RUN = [os.path.join(os.path.dirname(sys.executable), "dramatiq"), "systems.dramatiq"]
VARIANTS = {
    "2x8": {"commands": [_RUN], "noop": 15_000},
    "2x8, prefetch 200": {"commands": [_RUN], "environment": {"dramatiq_queue_prefetch": "200"}, "noop": 40_000},
    "2x25": {"commands": [[*_RUN, "-p", "2", "-t", "25"]], "sleep10": 15_000, "threads": 50},
}
DEFAULT = "2x8"
ENQUEUE = {"one": 8000}
LATENCY = ["2x8"]
MEMORY = ["2x8"]
VERSIONS = {"dramatiq": dramatiq.__version__, "redis-py": redis.__version__}


def enqueue(job: str, n: int) -> None:
    """Push one."""
    TASKS[job].send(n)
