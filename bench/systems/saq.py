"""SAQ: asyncio, ten jobs at a time; its guide offers more workers, and more jobs at a time."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import redis
import saq
from systems import jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _with_context(function: Callable[[int], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def run(_: Any, *, n: int) -> None:
        await function(n)

    return run


queue = saq.Queue.from_url(jobs.URL)
settings = {
    "queue": queue,
    "functions": [(name, _with_context(function)) for name, function in jobs.ASYNC.items()],
    "concurrency": int(jobs.SETTINGS.get("BENCH_CONCURRENCY", "10")),
}

_RUN = [os.path.join(os.path.dirname(sys.executable), "saq"), "systems.saq.settings"]
VARIANTS = {
    "1x10": {"commands": [_RUN], "noop": 6000},
    "2x25": {
        "commands": [[*_RUN, "--workers", "2"]],
        "environment": {"BENCH_CONCURRENCY": "25"},
        "noop": 12_000,
        "sleep10": 8000,
        "threads": 50,
    },
}
DEFAULT = "1x10"
ENQUEUE = {"one": 5000}
LATENCY = ["1x10"]
MEMORY = ["2x25"]
VERSIONS = {"saq": saq.__version__, "redis-py": redis.__version__}


async def connect() -> None:
    """Open the producer's connection."""
    await queue.connect()


async def disconnect() -> None:
    """Close it."""
    await queue.disconnect()


async def enqueue(job: str, n: int) -> None:
    """Push one."""
    await queue.enqueue(job, n=n)
