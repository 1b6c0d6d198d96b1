"""TaskIQ with taskiq-redis: the list broker, which acknowledges nothing, and the stream broker, which does."""

from __future__ import annotations

import importlib.metadata
import os
import sys

import redis
from systems import jobs
from taskiq_redis import ListQueueBroker, RedisStreamBroker

_STREAM = {"BENCH_STREAM": "1"}
broker = (
    RedisStreamBroker(url=jobs.URL, consumer_id="0") if "BENCH_STREAM" in jobs.SETTINGS else ListQueueBroker(jobs.URL)
)
TASKS = {name: broker.register_task(function, task_name=name) for name, function in jobs.ASYNC.items()}

_RUN = [os.path.join(os.path.dirname(sys.executable), "taskiq"), "worker", "systems.taskiq:broker"]
_RUN += ["--log-level", "WARNING"]
VARIANTS = {
    "list, 2": {"commands": [_RUN], "noop": 30_000},
    "list, 2x25": {"commands": [[*_RUN, "--max-async-tasks", "25"]], "sleep10": 12_000, "threads": 50},
    "stream, 2": {"commands": [_RUN], "environment": _STREAM, "noop": 30_000},
}
DEFAULT = "list, 2"
ENQUEUE = {"one": 8000}
LATENCY = ["list, 2", "stream, 2"]
MEMORY = ["list, 2"]
VERSIONS = {name: importlib.metadata.version(name) for name in ("taskiq", "taskiq-redis")}
VERSIONS["redis-py"] = redis.__version__


async def connect() -> None:
    """Open the producer's connection."""
    await broker.startup()


async def disconnect() -> None:
    """Close it."""
    await broker.shutdown()


async def enqueue(job: str, n: int) -> None:
    """Push one."""
    await TASKS[job].kiq(n)
