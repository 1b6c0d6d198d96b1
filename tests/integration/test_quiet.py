"""Quiet: nothing is taken any more, what runs ends, and resume goes on as if nothing had been."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGCONT, SIGTERM, SIGTSTP, SIGUSR1, Signals
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import push, push_many
from support.snapshot import queue, snapshot
from support.waiting import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

PROMISED_SECONDS = 0.1


def all_quiet(tree: Daemon, redis: redispy.Redis) -> bool:
    """Whether each child is shown as quiet."""
    identities = tree.registered().values()
    return len(identities) == tree.size and all(redis.hget(who, "quiet") == b"true" for who in identities)


def is_over(tree: Daemon, redis: redispy.Redis) -> bool:
    """Whether all are quiet and nothing is in hand any more."""
    return all_quiet(tree, redis) and not redis.keys("working:*")


def taken_after(watch: Watch[Any], instant: float) -> list[tuple[int, int]]:
    """Return each fall of a queue's length after an instant; what is given back may make it rise."""
    lengths = [sample.value for sample in watch.since(instant)]
    return [(one, two) for one, two in zip(lengths, lengths[1:]) if two < one]  # noqa: B905, RUF007


@pytest.mark.parametrize("number", [SIGUSR1, SIGTSTP])
def test_quiet_takes_nothing_later_than_100_ms_and_resume_goes_on(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, number: Signals
) -> None:
    """Row 7, under load."""
    tree = daemon(children=2, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[n, 0.05] for n in range(600)])
    tree.wait_until(lambda: len(records.ended()) > 50, 10)
    with Watch(lambda: redis.llen("queue:default"), every=0.001) as watch:
        sent = tree.signal(number)
        tree.wait_until(lambda: is_over(tree, redis), 5, "quiet, and nothing runs")
    assert taken_after(watch, sent + PROMISED_SECONDS + watch.stall(sent, sent + 0.5)) == []
    left = queue(redis)
    assert left
    assert set(left) | set(records.ended()) == set(jids)
    tree.signal(SIGCONT)
    tree.wait_until(lambda: set(records.ended()) == set(jids), 15)
    assert set(records.started().values()) == {1}
    tree.stop()


def test_quiet_is_immediate_beside_25_busy_threads(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Row 7, CPU-bound: the gate does not wait for the child's GIL."""
    tree = daemon(children=1, concurrency=25, lease=5)
    jids = push_many(redis, "spin", [[0.4, n] for n in range(300)])
    tree.wait_until(lambda: len(records.ended()) > 25, 15)
    with Watch(lambda: redis.llen("queue:default"), every=0.001) as watch:
        sent = tree.signal(SIGUSR1)
        done = tree.control("quiet", "--wait")
        returned = time.monotonic()
        tree.wait_until(lambda: is_over(tree, redis), 15, "quiet, and nothing runs")
    assert done.returncode == 0, done.stderr
    assert taken_after(watch, sent + PROMISED_SECONDS + watch.stall(sent, sent + 0.5)) == []
    assert taken_after(watch, returned) == []
    left = queue(redis)
    assert left
    assert set(left) | set(records.ended()) == set(jids)
    tree.stop()
    assert queue(redis) == left


def test_quiet_wait_returns_when_it_is_so(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=2, concurrency=3, lease=5)
    jids = push_many(redis, "record", [[n, 0.1] for n in range(200)])
    tree.wait_until(lambda: len(records.ended()) > 10, 10)
    with Watch(lambda: redis.llen("queue:default")) as watch:
        assert tree.control("quiet", "--wait").returncode == 0
        returned = time.monotonic()
        assert tree.control("quiet", "--wait-idle").returncode == 0
        assert not records.running()
        tree.wait_until(lambda: all_quiet(tree, redis), 3)
    assert taken_after(watch, returned) == []
    push(redis, "record", [1], queue="other")
    assert tree.control("resume").returncode == 0
    tree.wait_until(lambda: set(records.ended()) == set(jids), 15)
    tree.wait_until(lambda: not all_quiet(tree, redis), 3)
    tree.stop()


def test_idle_children_take_nothing_when_quiet(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Armed waits are called off, too: a push into an empty queue stays there."""
    tree = daemon(children=2, concurrency=2, queues=["one", "two"], lease=5)
    assert tree.control("quiet", "--wait").returncode == 0
    jids = [push(redis, "record", [1], queue="one"), push(redis, "record", [2], queue="two")]
    tree.wait_until(lambda: all_quiet(tree, redis), 5)
    assert queue(redis, "one") + queue(redis, "two") == jids
    assert records.all() == []
    tree.kill_child(0)
    tree.wait_ready()
    tree.wait_until(lambda: all_quiet(tree, redis), 5, "the new child is quiet, too")
    assert records.all() == []
    resumed = tree.signal(SIGCONT)
    tree.wait_until(lambda: set(records.ended()) == set(jids), 5)
    assert records.starts()[0].at >= resumed
    tree.stop()


def test_child_that_is_killed_while_its_end_of_work_is_awaited_ends_the_wait_alone(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Incident: the master looked at the board of a child that it had buried, and ended."""
    tree = daemon(children=1, concurrency=1)
    jid = push(redis, "record", [1, 60])
    tree.wait_until(lambda: jid in records.running(), 5)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(tree.control, "quiet", "--child", "0", "--wait-idle")
        tree.wait_until(lambda: " quiet " in tree.control("status").stdout, 5, "it was asked")
        tree.kill_child(0)
        done = asked.result()
    assert done.returncode == 1
    assert "has ended; the one that takes its slot takes jobs, too" in done.stderr
    tree.wait_until(lambda: records.started()[jid] == 2, 10, "it runs again")
    tree.stop(crashed=True)


def test_requests_that_come_together_are_answered_one_after_the_other(daemon: MakeDaemon) -> None:
    """Each once the one before is answered, also if that had to be waited for."""
    tree = daemon(children=1)
    requests = [{"command": "quiet", "wait": "idle"}, {"command": "resume"}, {"command": "status"}]
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(10)
        end.connect(str(tree.socket))
        end.sendall("".join(json.dumps(request) + "\n" for request in requests).encode())
        answers = [json.loads(line) for _, line in zip(requests, end.makefile("rb"), strict=False)]
    assert [answer["ok"] for answer in answers] == [True, True, True]
    assert answers[2]["status"]["state"] == "running"
    tree.stop()


def test_cont_without_quiet_and_after_term_changes_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=1, timeout=2)
    tree.signal(SIGCONT)
    running = push(redis, "record", [1, 1])
    tree.wait_until(lambda: running in records.running(), 5)
    waiting = push(redis, "record", [2])
    tree.signal(SIGTERM)
    tree.signal(SIGCONT)  # as systemd does
    tree.assert_clean_exit(0, seconds=6)
    assert records.ended() == {running: 1}
    assert queue(redis) == [waiting]


def test_child_obeys_a_usr1_of_its_own(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=2, concurrency=1, lease=5)
    pids = tree.children()
    identity = tree.identity(pids[0])
    tree.kill("child 0", SIGUSR1)
    tree.wait_until(lambda: redis.hget(identity, "quiet") == b"true", 5)
    jids = push_many(redis, "record", [[n, 0.02] for n in range(20)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    assert {event.pid for event in records.starts()} == {pids[1]}
    assert "queue:default" not in snapshot(redis)
    tree.stop()
