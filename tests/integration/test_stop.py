"""A stop is bounded, and what it interrupts is next in its queue, as it was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from signal import SIGINT, SIGQUIT, SIGTERM
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import push, push_many
from support.processes import is_alive
from support.snapshot import jid_of, places, queue, snapshot
from support.waiting import Pace, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration


def term(tree: Daemon) -> float:
    return tree.signal(SIGTERM)


def term_five_times(tree: Daemon) -> float:
    first = tree.signal(SIGTERM)
    for _ in range(4):
        time.sleep(0.1)  # so that they are not merged into one
        tree.signal(SIGTERM)
    return first


def quit_now(tree: Daemon) -> float:
    return tree.signal(SIGQUIT)


def int_twice(tree: Daemon) -> float:
    tree.signal(SIGINT)
    time.sleep(0.5)  # as a person presses Ctrl-C a second time
    return tree.signal(SIGINT)


def term_everyone(tree: Daemon) -> float:
    return tree.kill_all(SIGTERM)


@dataclass(frozen=True)
class Way:
    """A way to stop: what is done, the timeout in force, and when jobs may be interrupted and all be gone."""

    do: Callable[[Daemon], float]
    timeout: float
    earliest: float
    bound: float


WAYS = {
    "TERM": Way(term, timeout=3, earliest=3, bound=5),
    "TERM five times": Way(term_five_times, timeout=3, earliest=3, bound=5),
    "QUIT": Way(quit_now, timeout=30, earliest=0, bound=2),
    "INT twice": Way(int_twice, timeout=30, earliest=0, bound=2),
    "TERM to every process": Way(term_everyone, timeout=3, earliest=3, bound=5),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_stop_puts_ten_running_jobs_back(daemon: MakeDaemon, redis: redispy.Redis, records: Records, way: Way) -> None:
    """Row 6."""
    tree = daemon(children=2, concurrency=5, timeout=way.timeout)
    jids = push_many(redis, "interruptible", [[number] for number in range(10)])
    tree.wait_until(lambda: len(records.running()) == 10, 10)
    jids += push_many(redis, "interruptible", [[number] for number in range(10, 12)])
    tree.wait_until(lambda: queue(redis) == jids[10:], 5, "two wait behind")
    owner = {event.jid: event.pid for event in records.starts()}

    def look() -> list[str]:
        back = queue(redis)  # first the queue, then the processes: who lives now lived then
        return [jid for jid in back if jid in owner and is_alive(owner[jid])]

    with Watch(look) as watch:
        began = way.do(tree)
        assert tree.wait_exit(way.bound + 3) == 0, tree.describe()
    took = time.monotonic() - began
    tree.assert_clean_exit(0)

    assert took <= way.bound + watch.stall(began, began + took)
    assert not [sample for sample in watch.samples if sample.value], "back before its process had gone"
    waiting = queue(redis)
    assert waiting[10:] == jids[10:], "those that ran are at the head"
    for child in set(owner.values()):
        assert [jid for jid in waiting[:10] if owner[jid] == child] == [j for j in jids[:10] if owner[j] == child]
    saw = records.events("saw")
    assert sorted(event.jid for event in saw) == sorted(jids[:10])
    assert {event.note for event in saw} == {"JobInterrupted"}
    assert min(event.at for event in saw) >= began + way.earliest - 0.05
    assert records.events("saw exception") == []
    assert records.ends() == []


def test_stop_leaves_payloads_and_counts_as_they_were(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    push_many(
        redis,
        "interruptible",
        [[number] for number in range(4)],
        retry_count=3,
        failed_at=1.5,
        spaced=" \u00e9",
    )
    before: Any = redis.lrange("queue:default", 0, -1)
    tree = daemon(children=2, concurrency=2, timeout=0.3)
    tree.wait_until(lambda: len(records.running()) == 4, 10)
    tree.stop()
    world = snapshot(redis)
    assert sorted(world["queue:default"]) == sorted(before), "byte for byte"
    assert not [key for key in world if key.startswith(("recovered:", "retry", "dead", "stat:failed"))]


def test_job_that_ends_within_the_timeout_is_done(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1, concurrency=2, timeout=5)
    jids = [push(redis, "record", [0, 1.5]), push(redis, "await_stop")]
    tree.wait_until(lambda: len(records.running()) == 2, 10)
    waiting = push_many(redis, "record", [[1], [2]])
    tree.wait_until(lambda: queue(redis) == waiting, 5)
    tree.stop()
    assert records.ended() == dict.fromkeys(jids, 1)
    assert queue(redis) == waiting, "nothing new was taken"
    assert redis.get("stat:processed") == b"2"


def test_stop_of_idle_tree_is_prompt(daemon: MakeDaemon) -> None:
    tree = daemon(timeout=8)
    pace = Pace()
    began = tree.signal(SIGTERM)
    tree.assert_clean_exit(0, seconds=5)
    assert time.monotonic() - began < pace.stretch(2.5)


@pytest.mark.parametrize("job", ["hold_gil", "stubborn"])
def test_job_that_will_not_stop_is_stopped(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, job: str
) -> None:
    tree = daemon(children=1, concurrency=3, timeout=1)
    others = push_many(redis, "record", [[1, 60], [2, 60]])
    tree.wait_until(lambda: len(records.running()) == 2, 10)
    bad = push(redis, job, [60])
    tree.wait_until(lambda: bad in records.running(), 10)
    pace = Pace()
    began = tree.signal(SIGTERM)
    tree.assert_clean_exit(0, seconds=6)
    assert time.monotonic() - began <= pace.stretch(3.5)
    assert queue(redis) == [*others, bad]
    assert places(redis) == dict.fromkeys([*others, bad], 1)


def test_threads_that_jobs_have_left_behind_hold_no_stop(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Neither that of a child alone nor that of the tree; an interpreter waits for such threads when it ends."""
    tree = daemon(children=1, concurrency=2, timeout=8)
    old = tree.children()[0]
    leave_threads(tree, redis, records, old)
    pace = Pace()
    began = tree.kill("child 0", SIGTERM)
    tree.wait_until(lambda: not is_alive(old), 6, "the child has ended")
    assert time.monotonic() - began < pace.stretch(2.5)
    leave_threads(tree, redis, records, tree.wait_ready().children()[0])
    pace = Pace()
    began = tree.signal(SIGTERM)
    tree.assert_clean_exit(0, seconds=6)
    assert time.monotonic() - began < pace.stretch(2.5)


def leave_threads(tree: Daemon, redis: redispy.Redis, records: Records, pid: int) -> None:
    push(redis, "leave_threads")
    tree.wait_until(lambda: [event for event in records.ends() if event.pid == pid], 10)


def test_child_obeys_a_term_of_its_own_and_is_replaced(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=1, timeout=1)
    jids = push_many(redis, "record", [[1, 3], [2, 3]])
    tree.wait_until(lambda: len(records.running()) == 2, 10)
    old = tree.children()
    tree.kill("child 0", SIGTERM)
    tree.wait_until(lambda: tree.children().get(0) not in (None, old[0]), 6, "a new child 0")
    assert tree.wait_ready().children()[1] == old[1]
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    again = {e.jid for e in records.starts() if e.pid == old[0]}
    assert records.started() == {jid: 2 if jid in again else 1 for jid in jids}
    assert not redis.keys("recovered:*")
    tree.stop()


def test_broken_bytes_in_hand_go_back_unharmed(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Order and bytes hold for payloads that other languages have written with other spacing."""
    tree = daemon(children=1, concurrency=2, timeout=0.2)
    odd = [f'{{ "jid" : "{n}","class":"record",  "args":[{n}, 30] , "x": "\\u00e9" }}'.encode() for n in "12"]
    redis.lpush("queue:default", *odd)
    tree.wait_until(lambda: len(records.running()) == 2, 10)
    tree.stop()
    assert redis.lrange("queue:default", 0, -1) == odd[::-1]
    assert queue(redis) == [jid_of(payload) for payload in odd]
