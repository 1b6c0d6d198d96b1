"""Enqueues jobs with a system's own client, in that system's interpreter; prints one line of JSON.

producer.py SYSTEM spec
producer.py SYSTEM fill JOB COUNT          the fastest way there is
producer.py SYSTEM one JOB COUNT           one by one, timed
producer.py SYSTEM bulk JOB COUNT          by the bulk interface, timed
producer.py SYSTEM paced JOB COUNT GAP     one each GAP seconds; prints the instants
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from typing import Any

BATCH = 1000
_TOLD = ("VARIANTS", "VERSIONS", "ENQUEUE", "LATENCY", "MEMORY")


async def _call(function: Any, *args: Any) -> Any:
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


async def _produce(system: Any, mode: str, job: str, count: int, gap: float) -> dict[str, Any]:
    many = getattr(system, "enqueue_many", None)
    if mode == "bulk" and many is None:
        return {}
    if mode in ("one", "bulk"):  # connections and caches are warm
        await _call(system.enqueue, "noop", 0)
    began, used = time.perf_counter(), time.process_time()
    if mode == "paced":
        return {"instants": [await _paced(system, job, number, gap) for number in range(count)]}
    if mode in ("bulk", "fill") and many:
        for first in range(0, count, BATCH):
            await _call(many, job, range(first, min(count, first + BATCH)))
    else:
        await _one_by_one(system, job, count)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


async def _one_by_one(system: Any, job: str, count: int) -> None:
    if inspect.iscoroutinefunction(system.enqueue):
        for number in range(count):
            await system.enqueue(job, number)
    else:
        for number in range(count):
            system.enqueue(job, number)


async def _paced(system: Any, job: str, number: int, gap: float) -> int:
    await asyncio.sleep(gap)
    instant = time.monotonic_ns()
    await _call(system.enqueue, job, number)
    return instant


async def _run(system: Any, mode: str, job: str, count: int, gap: float) -> None:
    if hasattr(system, "connect"):
        await _call(system.connect)
    print(json.dumps(await _produce(system, mode, job, count, gap)))
    if hasattr(system, "disconnect"):
        await _call(system.disconnect)


def main() -> None:
    """Do as the command line says."""
    name, mode, *rest = sys.argv[1:]
    system = importlib.import_module(f"systems.{name}")
    if mode == "spec":
        print(json.dumps({word: getattr(system, word, None) for word in _TOLD}))
        return
    job, count, *gap = rest
    asyncio.run(_run(system, mode, job, int(count), float(gap[0]) if gap else 0.0))


if __name__ == "__main__":
    main()
