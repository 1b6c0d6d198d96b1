"""RQ: one job for each process at a time; its default worker forks for every job.

Its guide to performance recommends importing before the fork, or SimpleWorker; here two of those.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import redis
import rq
from systems import jobs

if TYPE_CHECKING:
    from collections.abc import Iterable

queue = rq.Queue("default", connection=redis.Redis(port=jobs.PORT))

_RQ = os.path.join(os.path.dirname(sys.executable), "rq")
_WHERE = ["-u", "{url}", "-P", ".", "default"]
_SIMPLE = [_RQ, "worker-pool", "-q", "-w", "rq.worker.SimpleWorker"]
VARIANTS = {
    "fork": {"commands": [[_RQ, "worker", "-q", *_WHERE]], "noop": 300},
    "2 simple": {"commands": [[*_SIMPLE, "-n", "2", *_WHERE]], "noop": 3000},
    "50 simple": {"commands": [[*_SIMPLE, "-n", "50", *_WHERE]], "sleep10": 3000, "threads": 50},
}
DEFAULT = "fork"
ENQUEUE = {"one": 4000, "bulk": 10_000}
LATENCY = ["fork", "2 simple"]
MEMORY = ["2 simple"]
VERSIONS = {"rq": rq.VERSION, "redis-py": redis.__version__}


def enqueue(job: str, n: int) -> None:
    """Push one."""
    queue.enqueue(jobs.SYNC[job], n)


def enqueue_many(job: str, ns: Iterable[int]) -> None:
    """Push many."""
    queue.enqueue_many([rq.Queue.prepare_data(jobs.SYNC[job], args=(n,)) for n in ns])
