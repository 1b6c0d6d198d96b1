"""Redis goes away and comes back; live jobs are not run twice, and nothing is stranded."""

from __future__ import annotations

import time
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from support.payloads import push, push_many
from support.snapshot import places, snapshot
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

#: commands by which a job may be moved
MOVES = set(b"EVALSHA EVAL FCALL EXEC BLMOVE LMOVE BLMPOP LMPOP RPOPLPUSH BRPOPLPUSH".split())


def assert_one_outage(tree: Daemon) -> None:
    """Check that the log tells of one outage, in one line at its start and one at its end."""
    away, back = tree.log_lines("Redis is away"), tree.log_lines("Redis is back")
    assert (len(away), len(back)) == (1, 1), tree.describe()
    assert "WARNING" in away[0]
    assert tree.log().index(away[0]) < tree.log().index(back[0])


def assert_all_done_once(tree: Daemon, redis: redispy.Redis, records: Records, jids: list[str], seconds: float) -> None:
    tree.wait_until(lambda: set(records.ended()) >= set(jids), seconds, "all jobs have ended")
    tree.wait_until(lambda: places(redis) == {}, 8, "all jobs are settled")
    assert records.started() == dict.fromkeys(jids, 1)
    tree.wait_ready()
    tree.stop()
    assert redis.get("stat:processed") == str(len(jids)).encode()


def test_restart_of_redis_under_load_repeats_and_loses_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, redis_server: RedisServer, records: Records
) -> None:
    """Row 9: with an append-only file."""
    tree = daemon(children=2, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[number, 0.05] for number in range(300)])
    tree.wait_until(lambda: len(records.ended()) > 30, 10)
    redis_server.stop()
    tree.wait_until(lambda: not records.running(), 5, "what was in hand goes on")
    redis_server.start()
    tree.wait_until(lambda: tree.log_lines("Redis is back"), 10)
    assert_one_outage(tree)
    assert_all_done_once(tree, redis, records, jids, 20)


def test_quick_restart_of_redis_while_idle_wakes_nobody_wrongly(
    daemon: MakeDaemon, redis: redispy.Redis, redis_server: RedisServer, records: Records
) -> None:
    tree = daemon(children=2, concurrency=5, lease=5, queues=["high", "default"])
    redis_server.kill()
    redis_server.start()
    jids = push_many(redis, "record", [[number] for number in range(20)])
    assert_all_done_once(tree, redis, records, jids, 10)


def test_outage_longer_than_the_lease_re_runs_no_live_job(
    daemon: MakeDaemon, redis: redispy.Redis, redis_server: RedisServer, records: Records
) -> None:
    """Row 9: 20 s without Redis, lease 5 s, a second master beside: jobs end during it and after it."""
    first = daemon(children=2, concurrency=4, lease=5)
    second = daemon(children=1, concurrency=2, lease=5)
    jids = push_many(redis, "record", [[n, 8] for n in range(5)] + [[n, 23] for n in range(3)])
    first.wait_until(lambda: len(records.running()) == 8, 10)
    redis_server.stop()
    time.sleep(20)  # the trial itself
    assert len(records.ended()) == 5, "jobs go on without Redis"
    redis_server.start()
    later = push_many(redis, "record", [[n, 0.02] for n in range(50)])
    first.wait_until(lambda: set(records.ended()) == {*jids, *later}, 20)
    for tree in (first, second):
        tree.wait_until(lambda tree=tree: tree.log_lines("Redis is back"), 5)
        assert_one_outage(tree)
    first.wait_until(lambda: places(redis) == {}, 5)
    first.wait_ready()
    second.wait_ready()
    assert set(records.started().values()) == {1}
    second.stop(shared=True)
    first.stop()
    assert redis.get("stat:processed") == b"58"


def test_stop_during_an_outage_is_bounded_and_the_next_start_finds_the_jobs(
    daemon: MakeDaemon, redis: redispy.Redis, redis_server: RedisServer, records: Records
) -> None:
    """What cannot be put back stays in the working lists, and is found at boot."""
    tree = daemon(children=1, concurrency=3, timeout=1, lease=5)
    jids = push_many(redis, "record", [[number, 30] for number in range(3)])
    tree.wait_until(lambda: len(records.running()) == 3, 10)
    redis_server.stop()
    began, pace = time.monotonic(), Pace()
    tree.signal(SIGTERM)
    tree.wait_exit(6)
    assert time.monotonic() - began <= pace.stretch(1 + 2 + 0.5)
    tree.assert_gone()
    assert tree.log_lines("1 children are still shown in Redis"), "what is left behind is told"
    redis_server.start()
    assert places(redis) == dict.fromkeys(jids, 1)
    tree.start().wait_until(lambda: records.started() == dict.fromkeys(jids, 2), 5)
    tree.wait_ready()
    tree.stop()


def test_child_that_boots_in_an_outage_is_there_when_redis_is(daemon: MakeDaemon, redis_server: RedisServer) -> None:
    """Incident: it was killed for its slow boot again and again, and the pause had grown to seconds by the end."""
    tree = daemon(children=1, environment={"FORKWORKER_BOOT_TIMEOUT": "4"})
    redis_server.stop()
    tree.wait_until(lambda: tree.log_lines("Redis is away"), 10)
    before = tree.children()[0]
    tree.kill_child(0)
    tree.wait_until(lambda: tree.children().get(0) not in (None, before), 10)
    born = tree.children()
    time.sleep(6)  # longer than a boot may take
    assert tree.children() == born
    redis_server.start()
    tree.wait_ready()
    assert tree.children() == born
    tree.stop(crashed=True)


def test_paused_redis_loses_and_repeats_nothing(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Row 9: CLIENT PAUSE under load."""
    tree = daemon(children=2, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[number, 0.05] for number in range(200)])
    tree.wait_until(lambda: len(records.ended()) > 20, 10)
    redis.client_pause(4000, all=True)
    assert_all_done_once(tree, redis, records, jids, 25)


def mentions(value: Any, text: bytes) -> bool:
    """Whether a command or a reply contains a text anywhere."""
    if isinstance(value, list):
        return any(mentions(part, text) for part in value)
    return isinstance(value, bytes) and text in value


def lost_fetch(command: list[bytes], reply: Any) -> bool:
    """A job comes back as the reply: the client never learns that it has it."""
    return command[0].upper() in MOVES and mentions(reply, b'"jid"') and not mentions(command, b'"jid"')


def lost_settle(command: list[bytes], reply: Any) -> bool:
    """A job is named in the command, to be removed."""
    refused = isinstance(reply, hiredis.ReplyError) or reply == b"QUEUED"
    return command[0].upper() in MOVES and mentions(command, b'"jid"') and not refused


LOST = {f"{lost.__name__} {times}": (lost, times) for lost in (lost_fetch, lost_settle) for times in (1, 4)}


@pytest.mark.parametrize("cuts", LOST.values(), ids=LOST)
def test_lost_reply_strands_and_repeats_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records, cuts: tuple[Any, int]
) -> None:
    """Row 9: the connection is cut after the server has run the fetch, or the settle."""
    tree = daemon(url=proxy.url, children=2, concurrency=3, lease=5)
    cut = proxy.cut_after(*cuts)
    jids = push_many(redis, "record", [[number, 0.05] for number in range(60)])
    tree.wait_until(cut.done.is_set, 15, "the connection was cut")
    assert_all_done_once(tree, redis, records, jids, 15)


def test_lost_reply_of_an_armed_wait_strands_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records
) -> None:
    """An idle tree: the job goes straight into the working list of a child that does not hear of it."""
    tree = daemon(url=proxy.url, children=1, concurrency=3, lease=5)
    cut = proxy.cut_after(lost_fetch)
    jids = [push(redis, "record", [1])]
    tree.wait_until(cut.done.is_set, 5, "the connection was cut")
    assert_all_done_once(tree, redis, records, jids, 10)


def test_lost_reply_of_a_restore_strands_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records
) -> None:
    """Row 9: the connection is cut after the server has run the restore."""
    tree = daemon(url=proxy.url, children=1, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[number, 2] for number in range(5)])
    tree.wait_until(lambda: len(records.running()) == 5, 10)
    (identity,) = tree.registered().values()
    armed = time.monotonic()
    tree.kill_child(0)
    cut = proxy.cut_after(
        lambda command, _: command[0].upper() in MOVES and mentions(command, identity.encode()), times=3
    )
    tree.wait_until(lambda: records.started() == dict.fromkeys(jids, 2), 15, "all five run again")
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    tree.wait_until(lambda: places(redis) == {}, 8)
    assert cut.seen, f"nothing was cut since {armed}"
    assert records.started() == dict.fromkeys(jids, 2)
    assert set(recoveries(redis).values()) == {b"1"}, "each recovery is counted once"
    tree.wait_ready()
    tree.stop()


def recoveries(redis: redispy.Redis) -> dict[str, Any]:
    """Return the counters of recoveries."""
    return {key: value for key, value in snapshot(redis).items() if key.startswith("recovered:")}


def test_connections_cut_all_the_time_lose_and_repeat_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records
) -> None:
    tree = daemon(url=proxy.url, children=2, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[number, 0.03] for number in range(600)])
    for _ in range(15):
        time.sleep(0.2)  # the rhythm of the trial
        proxy.cut_all()
    assert_all_done_once(tree, redis, records, jids, 30)


def test_half_open_connections_hang_nobody(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records
) -> None:
    """Nothing passes, not even the end of a connection; then the network is well again."""
    tree = daemon(url=proxy.url, children=2, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[number, 0.05] for number in range(150)])
    tree.wait_until(lambda: len(records.ended()) > 20, 10)
    proxy.black_hole()
    time.sleep(7)  # the trial itself: longer than a lease
    proxy.restore_flow()
    assert_all_done_once(tree, redis, records, jids, 30)


def test_slow_redis_is_no_outage(daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records) -> None:
    tree = daemon(url=proxy.url, children=1, concurrency=5, lease=5)
    proxy.delay(0.05)
    jids = push_many(redis, "record", [[number] for number in range(100)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 20)
    proxy.delay(0)
    assert tree.log_lines("Redis is away") == []
    assert_all_done_once(tree, redis, records, jids, 5)
