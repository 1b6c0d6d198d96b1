"""A job may be slow, or keep the GIL, for as long as it likes: it runs once, and nobody waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.payloads import push, push_many
from support.snapshot import places
from support.waiting import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

QUEUES = ("high", "default", "low")


def test_job_that_holds_the_gil_runs_once_and_delays_nobody(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 8: 15 s in C with a lease of 5 s, a second master beside, 20 jobs for each of three queues."""
    first = daemon(children=2, concurrency=2, queues=QUEUES, lease=5)
    second = daemon(children=1, concurrency=2, queues=QUEUES, lease=5)
    holder = push(redis, "hold_gil", [15], queue="high")
    first.wait_until(lambda: holder in records.running(), 10)
    pace = Pace()
    pushed: dict[str, float] = {}
    for number in range(10):  # one by one: each may meet an armed wait of the stuck child
        for name in QUEUES:
            pushed[push(redis, "record", [number, 0.01], queue=name)] = time.monotonic()
        time.sleep(0.1)  # the rhythm of the trial
    for name in QUEUES:
        jids = push_many(redis, "record", [[number, 0.01] for number in range(10)], queue=name)
        pushed |= dict.fromkeys(jids, time.monotonic())
    first.wait_until(lambda: len(records.ended()) == 60, 10, "all others have ended")
    assert not records.ended()[holder]
    waits = {event.jid: event.at - pushed[event.jid] for event in records.starts() if event.jid in pushed}
    assert max(waits.values()) <= pace.stretch(2)
    first.wait_until(lambda: records.ended()[holder] == 1, 25, "the holder ends by itself")
    assert set(records.started().values()) == {1}
    second.wait_until(lambda: places(redis) == {}, 5)
    second.stop(shared=True)
    first.stop()
    assert redis.get("stat:processed") == b"61"


def test_short_bursts_of_held_gil_lose_and_repeat_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Jobs that keep the GIL a little longer than the keeper waits, over and over, among others."""
    tree = daemon(children=2, concurrency=4, queues=QUEUES, lease=5)
    jids = []
    for name in QUEUES:
        jids += push_many(redis, "hold_gil", [[1.3]] * 2, queue=name)
        jids += push_many(redis, "record", [[n, 0.01] for n in range(40)], queue=name)
    tree.wait_until(lambda: set(records.ended()) == set(jids), 25)
    tree.wait_until(lambda: places(redis) == {}, 5)
    assert set(records.started().values()) == {1}
    assert set(tree.children()) == {0, 1}
    tree.stop()
    assert redis.get("stat:processed") == str(len(jids)).encode()


def test_25_spinning_threads_do_not_cost_a_child_its_lease(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    first = daemon(children=1, concurrency=25, lease=5)
    jids = push_many(redis, "spin", [[6.5, n] for n in range(25)])
    first.wait_until(lambda: len(records.running()) == 25, 10)
    second = daemon(children=1, lease=5)
    first.wait_until(lambda: set(records.ended()) == set(jids), 20)
    assert set(records.started().values()) == {1}
    assert len(first.registered()) == 1
    second.stop(shared=True)
    first.stop()
