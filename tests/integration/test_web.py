"""What stands in Redis for Sidekiq's Web UI, what it may order, and what the commands say."""

from __future__ import annotations

import json
import re
import socket
import time
from signal import SIGKILL, SIGQUIT, SIGTERM, SIGTTIN, Signals
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import push, push_many
from support.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration


def test_each_child_is_shown_as_a_process(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(children=2, concurrency=7, queues=["high,2", "low,1"], arguments=["-g", "shop"], lease=5)
    identities = tree.registered()
    for pid, identity in identities.items():
        host, shown, nonce = identity.split(":")
        assert (host, int(shown), len(nonce)) == (socket.gethostname(), pid, 12)
        tree.wait_until(lambda who=identity: redis.hlen(who) >= 7, 3)
        fields: Any = {key.decode(): value for key, value in redis.hgetall(identity).items()}
        assert set(fields) >= {"info", "busy", "beat", "quiet", "rss", "rtt_us", "concurrency"}
        assert (fields["busy"], fields["quiet"], fields["concurrency"]) == (b"0", b"false", b"7")
        assert abs(float(fields["beat"]) - time.time()) < 5
        assert 5_000 < int(fields["rss"]) < 500_000
        assert int(fields["rtt_us"]) >= 0
        assert 0 < redis.ttl(identity) <= 60
        assert_info(json.loads(fields["info"]), identity)
    tree.stop()
    assert not [key for key in snapshot(redis) if key.endswith((":work", ":workers")) or key == "processes"]
    assert all(redis.ttl(identity) <= 60 for identity in identities.values())


def assert_info(info: dict[str, Any], identity: str) -> None:
    """Check what the Web UI reads once for each process."""
    host, pid, _ = identity.split(":")
    assert abs(info["started_at"] - time.time()) < 60
    assert (info["hostname"], info["pid"], info["identity"]) == (host, int(pid), identity)
    assert (info["tag"], info["concurrency"], info["labels"]) == ("shop", 7, [])
    assert info["queues"] == ["high", "low"]
    assert info["weights"] == [{"high": 2, "low": 1}]
    assert info["embedded"] is False
    assert {"capsules", "version"} <= set(info)


def test_running_jobs_are_shown_to_old_and_new_web_uis(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=3, lease=5)
    jids = push_many(redis, "record", [[n, 2.5] for n in range(2)])
    payloads = {json.loads(text)["jid"]: text.decode() for text in redis.lrange("queue:default", 0, -1)}
    tree.wait_until(lambda: len(records.running()) == 2, 5)
    (identity,) = tree.registered().values()
    for key in (f"{identity}:work", f"{identity}:workers"):
        tree.wait_until(lambda key=key: redis.hlen(key) == 2, 5)
        rows = [json.loads(value) for value in redis.hvals(key)]
        assert {json.loads(row["payload"])["jid"] for row in rows} == set(jids)
        assert {row["queue"] for row in rows} == {"default"}
        assert all(abs(row["run_at"] - time.time()) < 10 for row in rows)
        texts = {json.loads(row["payload"])["jid"]: row["payload"] for row in rows}
        assert {jid: texts[jid] for jid in payloads} == payloads, "those that were still there to be read"
        assert 0 < redis.ttl(key) <= 60
    assert redis.hget(identity, "busy") == b"2"
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    tree.wait_until(lambda: not redis.exists(f"{identity}:work"), 5)
    assert redis.hget(identity, "busy") == b"0"
    tree.stop()


def test_web_ui_can_quiet_and_stop_one_process(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=2, concurrency=1, lease=5, timeout=1)
    old = tree.children()
    identity = tree.identity(old[0])
    with redis.pipeline() as pipe:
        pipe.lpush(f"{identity}-signals", "TSTP").expire(f"{identity}-signals", 60).execute()
    tree.wait_until(lambda: redis.hget(identity, "quiet") == b"true", 7)
    jids = push_many(redis, "record", [[n] for n in range(10)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 5)
    assert {event.pid for event in records.starts()} == {old[1]}
    redis.lpush(f"{identity}-signals", "TERM")
    tree.wait_until(lambda: tree.children().get(0) not in (None, old[0]), 10, "child 0 is renewed")
    assert tree.wait_ready().children()[1] == old[1]
    assert not redis.sismember("processes", identity)
    tree.stop()


def test_web_ui_can_ask_for_stacks(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1, concurrency=1, lease=5)
    jid = push(redis, "record", [1, 8])
    tree.wait_until(lambda: jid in records.running(), 5)
    (identity,) = tree.registered().values()
    redis.lpush(f"{identity}-signals", "TTIN")
    tree.wait_until(lambda: "jobs.py" in tree.log() and jid in tree.log(), 7)
    tree.stop()


@pytest.mark.parametrize(("job", "frame"), [("record", "_sleep"), ("hold_gil", "hold_gil")])
def test_ttin_shows_the_stacks_with_the_jobs(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, job: str, frame: str
) -> None:
    """Also while C code holds the GIL."""
    tree = daemon(children=2, concurrency=2, timeout=0.5)
    jid = push(redis, job, [1, 30] if job == "record" else [30])
    tree.wait_until(lambda: jid in records.running(), 5)
    before = len(tree.log())
    tree.signal(SIGTTIN)
    stack = re.compile(rf'jobs\.py", line \d+ in {frame}\n')
    tree.wait_until(lambda: stack.search(tree.log(), before) and jid in tree.log()[before:], 3)
    # a free interpreter's stacks are written by one that holds it: faulthandler's own handler may crash beside others
    assert job == "hold_gil" or "in _tell_stacks" in tree.log()[before:]
    assert len(tree.children()) == 2
    tree.stop()


@pytest.mark.parametrize("end", [SIGKILL, SIGTERM])
def test_stacks_asked_of_a_child_that_ends_harm_nobody(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, end: Signals
) -> None:
    tree = daemon(children=3, concurrency=1, timeout=0.5)
    for _ in range(2):
        tree.signal(SIGTTIN)
        old = tree.children()[2]
        tree.kill("child 2", end)
        tree.wait_until(lambda old=old: tree.children().get(2) not in (None, old), 10, "another child 2")
        tree.wait_ready()
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid] == 1, 5)
    tree.signal(SIGTTIN)
    tree.stop()


def numbers_and_texts(value: Any) -> set[Any]:
    """Return every leaf and key of a JSON document."""
    if isinstance(value, dict):
        return set(value) | set().union(*map(numbers_and_texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers_and_texts, value))
    return {value}


def test_status_tells_what_runs_and_what_waits(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=2, concurrency=1, queues=["default", "mail"], lease=5)
    running = push_many(redis, "record", [[n, 60] for n in range(2)])
    tree.wait_until(lambda: len(records.running()) == 2, 5)
    push_many(redis, "record", [[n] for n in range(17)], queue="mail")
    tree.wait_until(
        lambda: all(redis.hget(who, "busy") == b"1" for who in tree.registered().values()),
        5,
        "both are shown busy",
    )
    done = tree.control("status", "--json")
    assert done.returncode == 0, done.stderr
    leaves = numbers_and_texts(json.loads(done.stdout))
    assert leaves >= {*tree.children().values(), 17, "mail"}
    assert leaves >= set(running)
    plain = tree.control("status")
    assert plain.returncode == 0, plain.stderr
    assert "mail" in plain.stdout
    assert "record" in plain.stdout
    tree.signal(SIGQUIT)
    tree.assert_clean_exit(0)


def test_stop_command_returns_when_all_have_gone(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1, concurrency=1, timeout=4)
    jid = push(redis, "record", [1, 1.5])
    tree.wait_until(lambda: jid in records.running(), 5)
    tree.pids()
    done = tree.control("stop")
    assert done.returncode == 0, done.stderr
    assert records.ended()[jid] == 1
    tree.assert_clean_exit(0, seconds=1)


def test_control_socket_is_private(daemon: MakeDaemon) -> None:
    tree = daemon(children=1)
    assert tree.socket.stat().st_mode & 0o777 == 0o600
    missing = tree.control("quiet", "--control", str(tree.directory / "no.sock"))
    assert missing.returncode != 0
    assert "Traceback" not in missing.stderr
    assert "no.sock" in missing.stderr
    tree.stop()


def test_commands_find_their_master(daemon: MakeDaemon) -> None:
    """By its pid, by its pidfile, or because it is the only one."""
    tree = daemon(children=1, named_socket=False)
    ways = [["--pid", str(tree.master())], ["--pidfile", str(tree.pidfile)], []]
    for way in ways:
        done = tree.control("quiet", "--wait", *way)
        assert done.returncode == 0, done.stderr
    assert tree.control("stop").returncode == 0
    tree.assert_clean_exit(0)
    nobody = tree.control("quiet")
    assert nobody.returncode != 0
    assert "Traceback" not in nobody.stderr


def test_each_finished_job_is_one_log_line(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1)
    jids = [push(redis, "record", [1]), push(redis, "fail")]
    tree.wait_until(lambda: redis.zcard("retry") == 1 and len(records.ended()) == 1, 5)
    tree.stop()
    for jid in jids:
        assert len(tree.log_lines(jid)) >= 1
    assert len(tree.log_lines(jids[0])) == 1
