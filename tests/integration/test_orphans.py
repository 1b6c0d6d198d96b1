"""Whole trees, or their heads, die; the jobs come back, and never while their old run goes on."""

from __future__ import annotations

import os
import time
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING

import pytest
from support.payloads import push, push_many
from support.snapshot import places, queue, snapshot
from support.tools import container
from support.waiting import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.proxy import Proxy
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

LEASE = 5


def other_host() -> tuple[str, ...]:
    """Return what starts a command on another host, as far as its processes can tell."""
    return (*container("--uts"), "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")


def test_tree_killed_and_started_again_runs_its_jobs_within_two_seconds(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 3: on the same host no lease has to pass."""
    tree = daemon(children=2, concurrency=5, timeout=0.5)
    jids = push_many(redis, "record", [[number, 30] for number in range(10)])
    tree.wait_until(lambda: records.started() == dict.fromkeys(jids, 1), 10)
    tree.kill_all()
    tree.assert_gone()
    tree.clear()
    assert places(redis) == dict.fromkeys(jids, 1)

    pace = Pace()
    tree.start()
    tree.wait_until(lambda: records.started() == dict.fromkeys(jids, 2), 10, "all ten run again")
    assert max(event.at for event in records.starts()) - tree.started_at <= pace.stretch(2)
    tree.wait_ready()
    tree.stop()
    assert sorted(queue(redis)) == sorted(jids)


def test_other_host_takes_jobs_over_after_the_lease_and_not_before(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 4: another PID namespace and host name cannot prove that the owners are dead."""
    tree = daemon(children=2, concurrency=5, lease=LEASE)
    jids = push_many(redis, "record", [[number, 30] for number in range(10)])
    tree.wait_until(lambda: records.started() == dict.fromkeys(jids, 1), 10)
    tree.kill_all()
    killed, pace = time.monotonic(), Pace()
    last_beat = killed - LEASE / 5
    other = daemon(children=2, concurrency=5, lease=LEASE, timeout=0.5, prefix=other_host())
    assert all(who.startswith("elsewhere:") for who in other.registered().values())
    other.wait_until(lambda: records.started() == dict.fromkeys(jids, 2), 15, "all ten run again")
    again = [event.at for event in records.starts()][10:]
    assert min(again) >= last_beat + LEASE
    assert max(again) <= other.started_at + pace.stretch(15)
    other.stop()


def test_other_host_leaves_a_live_tree_alone(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Also a job that keeps the GIL, and one whose process sits in a debugger, longer than a lease."""
    tree = daemon(children=3, concurrency=1, lease=LEASE)
    jids = [push(redis, "hold_gil", [LEASE + 3]), *push_many(redis, "record", [[n, LEASE + 3] for n in (1, 2)])]
    tree.wait_until(lambda: len(records.started()) == 3, 10)
    other = daemon(children=1, lease=LEASE, prefix=other_host())
    frozen = next(event.pid for event in records.starts() if event.jid == jids[2])
    os.kill(frozen, SIGSTOP)
    frozen_at = time.monotonic()
    tree.wait_until(lambda: set(records.ended()) == set(jids[:2]), LEASE + 8)
    later = push_many(redis, "record", [[number] for number in range(10)])
    tree.wait_until(lambda: set(records.ended()) == {*jids[:2], *later}, 5, "the others work on")
    tree.wait_until(lambda: time.monotonic() > frozen_at + LEASE + 2.5, 10)
    os.kill(frozen, SIGCONT)
    tree.wait_until(lambda: set(records.ended()) == {*jids, *later}, LEASE + 8)
    assert set(records.started().values()) == {1}
    other.stop(shared=True)
    tree.stop()


def test_host_that_was_cut_off_loses_its_lease_and_goes_on_under_a_new_nonce(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records
) -> None:
    """Its job runs again elsewhere, as it must; its own late settle then counts for nothing."""
    tree = daemon(url=proxy.url, children=1, concurrency=2, lease=LEASE)
    ((pid, identity),) = tree.registered().items()
    jids = [push(redis, "record", [1, LEASE + 4]), push(redis, "fail_late", [LEASE + 4])]
    tree.wait_until(lambda: len(records.running()) == 2, 5)
    other = daemon(children=1, lease=LEASE, prefix=other_host())
    proxy.refuse()
    other.wait_until(lambda: records.started() == dict.fromkeys(jids, 2), LEASE + 5, "the other host runs them")
    proxy.allow()
    tree.wait_until(lambda: tree.registered().get(pid) not in (None, identity), 10, "a new identity")
    other.wait_until(lambda: records.ended()[jids[0]] == 2 and redis.zcard("retry") == 1, LEASE + 10)
    other.wait_until(lambda: not redis.keys("working:*"), 5)
    other.stop(shared=True)
    later = push(redis, "record", [2])
    tree.wait_until(lambda: records.ended()[later] == 1, 5, "the first goes on, too")
    tree.stop()
    assert places(redis) == {jids[1]: 1}
    assert (redis.get("stat:processed"), redis.get("stat:failed")) == (b"3", b"1")


def test_watch_begins_anew_after_an_outage(
    daemon: MakeDaemon, redis: redispy.Redis, redis_server: RedisServer, proxy: Proxy, records: Records
) -> None:
    """Row 9: who finds Redis first must not take those for dead who find it a moment later."""
    tree = daemon(url=proxy.url, children=1, concurrency=2, lease=LEASE)
    jids = push_many(redis, "record", [[number, LEASE + 8] for number in range(2)])
    tree.wait_until(lambda: len(records.running()) == 2, 5)
    other = daemon(children=1, lease=LEASE, prefix=other_host())
    time.sleep(2)  # so that the other has seen its beats
    proxy.refuse()
    redis_server.stop()
    time.sleep(LEASE + 1)  # the trial itself
    redis_server.start()
    other.wait_until(lambda: other.log_lines("Redis is back"), 5)
    time.sleep(2)  # the first finds it later, well within a lease
    proxy.allow()
    tree.wait_until(lambda: set(records.ended()) == set(jids), LEASE + 10)
    tree.wait_until(lambda: places(redis) == {}, 8)
    assert records.started() == dict.fromkeys(jids, 1)
    assert redis.get("stat:processed") == b"2"
    other.stop(shared=True)
    tree.stop()


def test_second_master_on_this_host_does_not_touch_a_live_ones_jobs(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    first = daemon(children=2, concurrency=5)
    end = first.directory / "end"
    jids = push_many(redis, "await_file", [[str(end)]] * 10)
    first.wait_until(lambda: len(records.started()) == 10, 10)
    second = daemon(children=1, concurrency=5)
    assert set(places(redis)) == set(jids)
    end.touch()
    first.wait_until(lambda: set(records.ended()) == set(jids), 10)
    assert set(records.started().values()) == {1}
    second.stop(shared=True)
    first.stop()


@pytest.mark.parametrize("gil_held", [False, True], ids=["sleeping", "gil held"])
def test_children_of_a_killed_master_put_their_jobs_back(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, gil_held: bool
) -> None:
    """Row 5: the keeper sees to it, by SIGKILL where a child does not react."""
    timeout = 1
    tree = daemon(children=2, concurrency=5, timeout=timeout)
    jids = [push(redis, "hold_gil", [60])] if gil_held else []
    tree.wait_until(lambda: len(records.running()) == len(jids), 10)
    jids += push_many(redis, "interruptible", [[number] for number in range(5)])
    tree.wait_until(lambda: len(records.running()) == len(jids), 10)
    killed = tree.kill("master")
    tree.assert_gone(timeout + 2 - (time.monotonic() - killed) + 0.5)
    tree.clear()
    tree.assert_nothing_held()
    assert places(redis) == dict.fromkeys(jids, 1)
    assert sorted(queue(redis)) == sorted(jids)
    assert len(records.events("saw")) == 5, "they were interrupted in order"
    if not gil_held:
        assert not [key for key in snapshot(redis) if key.startswith("recovered:")]


def test_short_jobs_end_when_their_master_is_killed(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=2, concurrency=2, timeout=4)
    jids = push_many(redis, "record", [[number, 1] for number in range(4)])
    tree.wait_until(lambda: len(records.running()) == 4, 10)
    tree.kill("master")
    tree.assert_gone(6.5)
    assert set(records.ended()) == set(jids)
    assert places(redis) == {}
    assert redis.get("stat:processed") == b"4"
