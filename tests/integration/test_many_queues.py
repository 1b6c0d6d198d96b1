"""A tree with many queues keeps few connections waiting, and serves each of them all the same."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest
from support.payloads import push

from forkworker.runtime.waiting import ASK_SECONDS, MOST_WAITS

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

QUEUES = [f"q{number}" for number in range(50)]


def waiting(redis: redispy.Redis) -> list[str]:
    """Return the connections that block; the server's own word for them is b."""
    return [client["addr"] for client in redis.client_list() if "b" in client["flags"]]


def test_fifty_queues_are_served_by_a_few_waiting_connections(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=2, queues=QUEUES)
    tree.wait_until(lambda: len(waiting(redis)) == 2 * MOST_WAITS, 10, "all waits are armed")
    awaited, others = QUEUES[: 2 * MOST_WAITS], QUEUES[2 * MOST_WAITS :]
    quick = [seconds_to_run(tree, redis, records, queue) for queue in awaited]
    slow = [seconds_to_run(tree, redis, records, queue) for queue in others[::6]]

    assert statistics.median(quick) < ASK_SECONDS / 4
    assert max(slow) < ASK_SECONDS + 2.0
    assert len(waiting(redis)) <= 2 * MOST_WAITS
    tree.stop()


def seconds_to_run(tree: Daemon, redis: redispy.Redis, records: Records, queue: str) -> float:
    began = time.monotonic()
    jid = push(redis, "record", [queue], queue=queue)
    tree.wait_until(lambda: records.ended()[jid] == 1, 10, f"{queue} is served")
    return time.monotonic() - began
