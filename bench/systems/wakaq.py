"""WakaQ: a blocking pop in each of two forked processes."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys

import redis
import wakaq as package
from systems import jobs

wakaq = package.WakaQ(queues=[(0, "default")], port=jobs.PORT, concurrency=2, worker_log_level=logging.WARNING)
TASKS = {}
for _name, _function in jobs.SYNC.items():
    TASKS[_name] = wakaq.task(_function)

VARIANTS = {
    "2 processes": {
        "commands": [[os.path.join(os.path.dirname(sys.executable), "wakaq-worker"), "--app", "systems.wakaq.wakaq"]],
        "noop": 60_000,
    }
}
DEFAULT = "2 processes"
ENQUEUE = {"one": 10_000}
LATENCY = ["2 processes"]
MEMORY = ["2 processes"]
VERSIONS = {"wakaq": importlib.metadata.version("wakaq"), "redis-py": redis.__version__}


def enqueue(job: str, n: int) -> None:
    """Push one."""
    TASKS[job].delay(n)
