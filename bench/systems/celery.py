"""Celery, Redis broker, tasks ignore results.

Its guide to optimizing recommends a larger prefetch multiplier for many short tasks (here 128); gossip, mingle
and heartbeat can be left out where nobody watches them.  Its solo pool, two of them, is the fastest that we found.
"""

from __future__ import annotations

import sys

import celery
import kombu
import redis
from systems import jobs

app = celery.Celery("bench", broker=jobs.URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
TASKS = {name: app.task(function, name=name) for name, function in jobs.SYNC.items()}

_RUN = [sys.executable, "-m", "celery", "-A", "systems.celery", "worker", "-l", "WARNING"]
_LEAN = [*_RUN, "--without-gossip", "--without-mingle", "--without-heartbeat", "--prefetch-multiplier", "128"]
VARIANTS = {
    "prefork": {"commands": [_RUN], "noop": 8000},
    "prefork, tuned": {"commands": [[*_LEAN, "-P", "prefork"]], "noop": 8000},
    "solo x2, tuned": {"commands": [[*_LEAN, "-P", "solo", "-n", f"w{i}@h"] for i in (1, 2)], "noop": 16_000},
    "threads 2x25": {
        "commands": [[*_LEAN, "-P", "threads", "-c", "25", "-n", f"w{i}@h"] for i in (1, 2)],
        "sleep10": 6000,
        "threads": 50,
    },
}
DEFAULT = "prefork"
ENQUEUE = {"one": 5000}
LATENCY = ["prefork"]
MEMORY = ["prefork"]
VERSIONS = {"celery": celery.__version__, "kombu": kombu.__version__, "redis-py": redis.__version__}


def enqueue(job: str, n: int) -> None:
    """Push one."""
    TASKS[job].apply_async((n,))
