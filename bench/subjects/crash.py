"""A child is killed with 25 jobs in hand: from the kill to the moment at which all of them are back in their queue."""

from __future__ import annotations

import functools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from bench.cases import Case
from bench.contestants import OURS
from bench.marks import Marks
from bench.servers import Server
from bench.subjects.latency import quantiles
from bench.tables import number, table
from bench.trees import Tree, url

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from bench.cases import Choice
    from bench.contestants import Variant
    from bench.results import Row, Rows

KILLS, THREADS = 200, 25
VARIANT = "1x25"
#: a round that has not come so far by then has failed
MOST_SECONDS = 10.0


def cases(choice: Choice) -> list[Case]:
    """Return the one case: a child of 25 threads, all of them busy."""
    if not choice.has(OURS, VARIANT):
        return []
    kills = max(1, int(KILLS * choice.scale))
    return [Case("crash", OURS, VARIANT, functools.partial(measure, choice.ours(VARIANT), kills))]


def measure(variant: Variant, kills: int) -> Row:
    """Kill so often; each time all 25 threads run a job that waits to be let go."""
    with Server() as server, Marks() as marks, Tree(variant, server.port, marks) as tree:
        client = server.client()
        client.config_set("notify-keyspace-events", "Kg")  # of those only the end of a key counts here
        times = [_round(client, marks, tree, server.port) for _ in range(kills)]
    return {"kills": kills, **{f"{key}_ms": value for key, value in quantiles(times).items()}}


def _round(client: redis.Redis, marks: Marks, tree: Tree, port: int) -> float:
    """Return milliseconds from a kill to an empty working list."""
    marks.clear()
    _push(port)
    jobs = range(0, 2 * THREADS, 2)
    _until(lambda: marks.ran(2 * THREADS) == THREADS)
    (key,) = [key for key in client.scan_iter("working:*") if client.llen(key) == THREADS]
    pid = int(key.split(b":")[2])
    with client.pubsub() as emptied:  # told by Redis: who asks again and again needs a core
        emptied.subscribe(b"__keyspace@0__:" + key)
        assert emptied.get_message(timeout=MOST_SECONDS)
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        assert emptied.get_message(timeout=MOST_SECONDS), "the jobs have not come back"
        back = 1000 * (time.perf_counter() - began)
    for job in jobs:  # they run again, and are let go
        marks.set(job + 1)
    _until(lambda: not _left(client))
    assert pid not in tree.titled("forkworker: child")
    return back


def _left(client: redis.Redis) -> int:
    """Return how many jobs are in a queue or in hand: the queue first, as from there they go into a hand."""
    waiting: Any = client.llen("queue:default")
    in_hand: Any = [client.llen(key) for key in client.scan_iter("working:*")]
    return int(waiting + sum(in_hand))


def _push(port: int) -> None:
    from forkworker.client import Client, make_job

    jobs = [make_job("hold", [2 * job], queue="default", retry=False) for job in range(THREADS)]
    Client(url(port)).push_jobs(jobs)


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("a round of kill and recovery has not come to its end")
        time.sleep(0.005)


def report(rows: Rows) -> list[str]:
    """Return the table."""
    heads = ("kills", "p50, ms", "p99, ms", "slowest, ms")
    cells = [number(rows.median(key), 2) for key in ("p50_ms", "p99_ms", "max_ms")]
    return table(heads, [[number(sum(rows.values("kills"))), *cells]])
