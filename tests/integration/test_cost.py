"""What a job costs, in counts: commands, round trips, wake-ups.  Times are measured by `make bench`.

A number here may go down; one that goes up is a loss of speed everywhere.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import payloads
from support.servers import RedisServer
from support.traffic import Traffic

import forkworker
from forkworker.store import working
from forkworker.store.connection import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

ALICE = "host:101:aaaaaaaaaaaa"
BATCH = 25
LONE = 20
#: the child's own; the keeper's are the same however many jobs there are
CHILDS = ("fetch", "settle", "BLMOVE", "CLIENT UNBLOCK", "LRANGE", "SADD", "HSET", "SCRIPT")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis that need not remember: with every write on disk first, batches would be larger than they are."""
    with RedisServer() as server:
        yield server


def processed(redis: redispy.Redis) -> int:
    return int(redis.get("stat:processed") or 0)  # type: ignore[arg-type]


def childs(traffic: Traffic) -> dict[str, int]:
    return {name: traffic.sent[name] for name in CHILDS if traffic.sent[name]}


# Scripts


def test_a_batch_is_fetched_and_settled_by_so_many_commands(redis: redispy.Redis, redis_server: RedisServer) -> None:
    payloads.push_many(redis, "noop", [[]] * BATCH)
    link = Link(redis_server.url, preload=working.SCRIPTS)
    link.open()
    with Traffic(redis) as fetched:
        (taken,) = link.execute(*working.fetch(ALICE, ["default"], BATCH))
    name = f"working:{ALICE}:default"
    done = [working.Settlement("done", "default", name, payload) for payload in taken]
    with Traffic(redis) as settled:
        assert link.execute(*working.settle(ALICE, 1, done, time.time())) == b"1" * BATCH

    assert fetched.sent["fetch"] == settled.sent["settle"] == 1
    assert fetched.inner == {"EXISTS": 1, "LRANGE": 1, "LPUSH": 1, "LTRIM": 1}
    assert settled.inner == {"GET": 1, "LREM": BATCH, "INCRBY": 2, "EXPIRE": 1, "SET": 1}
    link.close()


# A child


def test_a_job_for_an_idle_child_costs_three_commands(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    """The wait brings it; one settle, one look for more, one new wait."""
    tree = daemon(children=1, concurrency=25)
    with Traffic(redis) as traffic:
        for number in range(LONE):
            payloads.push(redis, "noop")
            tree.wait_until(lambda done=number + 1: processed(redis) == done, 5)

    assert traffic.sent["settle"] == LONE
    assert traffic.sent["fetch"] <= LONE + 2, "one or two waits may end by their time"
    assert traffic.sent["BLMOVE"] <= LONE + 2
    assert not traffic.sent["CLIENT UNBLOCK"], "nobody is to be unblocked for one job among 25 threads"
    tree.stop()


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1.0), (5, 0.5), (25, 0.5)])
def test_a_full_queue_is_worked_off_in_batches(
    daemon: MakeDaemon, redis: redispy.Redis, concurrency: int, most: float
) -> None:
    count = 5000
    payloads.push_many(redis, "noop", [[]] * count)
    tree = daemon(children=1, concurrency=concurrency, start=False)
    with Traffic(redis) as traffic:
        tree.start().wait_ready()
        tree.wait_until(lambda: processed(redis) == count, 30)

    given_back = traffic.inner["RPUSH"]
    assert traffic.inner["LREM"] == count + given_back
    assert given_back <= count / 20, "what was read ahead is started in time"
    # some 6 % on a quiet machine; the busier it is the fewer jobs are ready to go together, with one thread least
    assert traffic.sent["settle"] + traffic.sent["fetch"] <= count * most, childs(traffic)
    tree.stop()


def test_an_idle_child_renews_its_waits_and_sleeps(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    """A command a second for each child at the most, with three queues."""
    children, seconds = 2, 4.5  # less than a wait lasts
    tree = daemon(children=children, concurrency=25, queues=("high", "default", "low"))
    tree.wait_until(lambda: redis.info("clients")["blocked_clients"] == 3 * children, 5)
    with Traffic(redis) as traffic:
        began = wakeups(tree)
        time.sleep(seconds)  # the span to be judged
        woken = wakeups(tree) - began

    assert traffic.sent["BLMOVE"] <= 3 * children
    assert sum(childs(traffic).values()) <= 6 * children, "with each wait that is over, one look"
    assert woken <= 10 * children * seconds
    tree.stop()


def wakeups(tree: Daemon) -> int:
    """Return how often the threads of all children have gone to sleep."""
    total = 0
    for pid in tree.children().values():
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt_switches"))
            total += int(line.split()[1])
    return total


# A program that enqueues


@forkworker.job(name="support.jobs.noop")
def noop(number: int) -> None:
    """Is never run here."""


def test_pushes_cost_two_commands_for_each_thousand(redis: redispy.Redis, redis_server: RedisServer) -> None:
    forkworker.configure(redis_url=redis_server.url)
    try:
        noop.enqueue(0)
        with Traffic(redis) as one:
            noop.enqueue(1)
        with Traffic(redis) as many:
            noop.enqueue_many([(number,) for number in range(2500)])
    finally:
        forkworker.configure()
    assert one.sent == {"SADD": 1, "LPUSH": 1}
    assert many.sent == {"SADD": 3, "LPUSH": 3}
