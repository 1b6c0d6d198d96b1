"""A program that pushes before, during and after forks, as web servers with preloaded apps do.

Runs as a process of its own: ``python -m support.pusher URL``.  Ends with 0 if every child did, and prints
what it has loaded and started.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS, FORKS, PUSHES = 4, 6, 50
#: before the first fork; by threads while it forks; by threads of forked children; by multiprocessing
TOTAL = 1 + THREADS * PUSHES + FORKS * THREADS * PUSHES + 2 * PUSHES


@forkworker.job(name="pushed")
def record(key: str) -> None:
    """Stand for a job of the app."""


def push(key: str) -> None:
    """Push in both ways, which share one connection pool, or two."""
    for number in range(0, PUSHES, 2):
        record.enqueue(f"{key} {number}")
        record.enqueue_many([[f"{key} {number + 1}"]])


def start_threads(key: str) -> list[threading.Thread]:
    """Push from several threads at once."""
    threads = [threading.Thread(target=push, args=(f"{key} {number}",)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def push_by_threads(key: str) -> None:
    """Do so, and wait for the end."""
    for thread in start_threads(key):
        thread.join()


def fork(work: Callable[[], None]) -> int:
    """Do something in a child."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may return into the parent's code
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def main(url: str) -> int:
    """Push in every way."""
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
    forkworker.configure(redis_url=url)
    record.enqueue("parent")
    loaded = [name for name in sys.modules if name.startswith("forkworker.")]
    print(threading.active_count(), *sorted(loaded))
    threads = start_threads("thread")
    pids = [fork(lambda number=number: push_by_threads(f"fork {number}")) for number in range(FORKS)]  # type: ignore[misc]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=push, args=(f"process {number}",)) for number in range(2)]
    for process in processes:
        process.start()
    for joined in (*threads, *processes):
        joined.join()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return max(map(abs, [*codes, *(process.exitcode or 0 for process in processes)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
