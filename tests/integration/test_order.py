"""Several masters share the queues: each job once, and in the order that was asked for."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import push, push_many
from support.snapshot import places
from support.waiting import Pace, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

STRICT = ("high", "default", "low")
JOBS = {"high": 3000, "default": 4000, "low": 3000}

#: what may be given back to a queue at its end, when a lower one has been begun: read ahead, not started
IN_HAND = 100


def lengths(redis: redispy.Redis) -> list[int]:
    """Return how long the queues are at one instant."""
    with redis.pipeline(transaction=True) as pipe:
        for name in STRICT:
            pipe.llen(f"queue:{name}")
        return pipe.execute()


def test_two_masters_run_ten_thousand_jobs_once_in_strict_order(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 10."""
    jids: list[str] = []
    for name in reversed(STRICT):
        jids += push_many(redis, "record", [[number] for number in range(JOBS[name])], queue=name)
    full = list(JOBS.values())
    with Watch(lambda: lengths(redis)) as watch:
        trees = [daemon(children=2, concurrency=5, queues=STRICT, ready=False) for _ in range(2)]
        trees[0].wait_until(lambda: len(records.ends()) >= len(jids), 60, "all have ended")
    assert records.started() == dict.fromkeys(jids, 1)
    for sample in watch.samples:
        high, default, low = sample.value
        assert high <= IN_HAND or default == full[1], sample
        assert (high <= IN_HAND and default <= IN_HAND) or low == full[2], sample
    assert len({event.pid for event in records.starts()}) == 4, "all four children took part"
    for tree in trees:
        tree.wait_ready()
    trees[0].wait_until(lambda: places(redis) == {}, 5)
    trees[0].stop(shared=True)
    trees[1].stop()
    assert redis.get("stat:processed") == b"10000"


def test_single_thread_runs_a_queue_in_the_order_of_its_pushes(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    jids = push_many(redis, "record", [[number] for number in range(300)])
    tree = daemon(children=1, concurrency=1)
    tree.wait_until(lambda: len(records.ends()) == 300, 15)
    assert [event.jid for event in records.starts()] == jids
    tree.stop()


def test_job_of_a_higher_queue_overtakes_those_that_wait(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=2, queues=["high", "low"])
    push_many(redis, "record", [[number, 0.1] for number in range(60)], queue="low")
    tree.wait_until(lambda: len(records.starts()) >= 4, 5)
    urgent = push(redis, "record", ["urgent"], queue="high")
    pushed, pace = time.monotonic(), Pace()
    tree.wait_until(lambda: records.ended()[urgent], 5)
    started = next(event.at for event in records.starts() if event.jid == urgent)
    assert started - pushed <= pace.stretch(0.5), "next after those that run"
    assert redis.llen("queue:low") > 30
    tree.stop()


def assert_shares(started: Sequence[str], weights: dict[str, int], *, stretch: int = 2000) -> None:
    """Check that over any so many jobs each queue is within 10 % of its weight."""
    counts = Counter(started[:stretch])
    for i in range(stretch, len(started) + 1):
        for name, weight in weights.items():
            exact = stretch * weight / sum(weights.values())
            assert abs(counts[name] - exact) <= exact / 10, (name, counts, f"the {stretch} jobs before number {i}")
        if i < len(started):
            counts[started[i]] += 1
            counts[started[i - stretch]] -= 1


def test_weighted_queues_share_in_proportion_over_any_2000_jobs(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 2 of the jobs' side: none of the queues gets empty meanwhile."""
    weights = {"high": 6, "default": 3, "low": 1}
    for name, weight in weights.items():
        push_many(redis, "record", [[name]] * (1000 * weight + 500), queue=name)
    tree = daemon(children=2, concurrency=5, queues=[f"{name},{weight}" for name, weight in weights.items()])
    tree.wait_until(lambda: sum(map(redis.llen, (f"queue:{name}" for name in weights))) == 0, 90)
    tree.wait_until(lambda: len(records.ends()) == 11_500, 10)
    started = [event.key for event in records.starts()]
    assert_shares(started[:10_000], weights)
    assert len({event.pid for event in records.starts()}) == 2
    tree.stop()


def test_idle_tree_starts_a_job_at_once_and_asks_nothing_meanwhile(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=5, queues=STRICT)
    pushed: dict[str, float] = {}
    for number in range(30):
        now = time.monotonic()
        jid = push(redis, "record", [number], queue=STRICT[number % 3])
        pushed[jid] = now
        tree.wait_until(lambda jid=jid: records.ended()[jid] == 1, 5)
    waits = sorted(event.at - pushed[event.jid] for event in records.starts())
    assert waits[len(waits) // 2] <= 0.1, "woken, not polling"
    assert waits[-1] <= 0.5

    def commands() -> int:
        info: Any = redis.info("stats")
        return int(info["total_commands_processed"])

    before = commands()
    time.sleep(3)  # the span to be judged
    # Two children, a keeper: beats each 5 s, one look at the schedule each second, and waits that expire.
    assert (commands() - before) / 3 <= 20
    tree.stop()


def test_what_was_read_ahead_of_a_long_job_goes_back_in_order(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """At its pace a child takes more than it has threads; when those are kept busy, others may have it."""
    tree = daemon(children=1, concurrency=1)
    jids = push_many(redis, "record", [[number] for number in range(1500)])
    slow = push(redis, "record", ["slow", 3])
    late = push_many(redis, "record", [[number] for number in range(300)])
    tree.wait_until(lambda: records.running() == {slow}, 30)
    tree.wait_until(lambda: redis.llen("queue:default") == len(late), 1.5, "what was read ahead is back")
    tree.wait_until(lambda: set(records.ended()) == {*jids, slow, *late}, 30)
    assert [event.jid for event in records.starts()] == [*jids, slow, *late]
    assert redis.keys("recovered:*") == []
    tree.stop()
