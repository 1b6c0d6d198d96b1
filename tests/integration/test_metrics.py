"""The numbers of a tree, read as Prometheus reads them, after real jobs, crashes and outages."""

from __future__ import annotations

import os
import re
from collections import Counter
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest
from support.knocking import ask
from support.payloads import push, push_many
from support.promtool import promtool
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


def numbers(address: str) -> dict[str, float]:
    status, page = ask(address, "/metrics")
    if status != 200:
        return {}
    found = re.findall(r"^forkworker_(\w+)(\{.*\})? (\S+)$", page, re.MULTILINE)
    return {f"{name}{labels.removesuffix('{}')}": float(value) for name, labels, value in found}


def jobs(address: str) -> dict[tuple[str, str], float]:
    """Return what is not nought, by name and outcome."""
    pattern = re.compile(r'jobs_total\{name="(.*)",outcome="(\w+)"\}')
    found = ((pattern.fullmatch(name), value) for name, value in numbers(address).items())
    return {(match[1], match[2]): value for match, value in found if match and value}


def test_every_outcome_is_counted_by_name(daemon: MakeDaemon, redis: redispy.Redis, address: str) -> None:
    tree = daemon(children=2, lease=5, arguments=["--health", address])
    push_many(redis, "record", [[n] for n in range(50)])
    push_many(redis, "fail", [["no"]] * 3)
    push(redis, "fail", ["no"], retry=False)
    push(redis, "verdict", ["bury"])
    push_many(redis, "no such job %s", [[]] * 2)
    redis.lpush("queue:default", "no job")
    wanted = {
        ("record", "done"): 50,
        ("fail", "retry"): 3,
        ("fail", "failed"): 1,
        ("verdict", "bury"): 1,
        ("(unknown)", "retry"): 2,
        ("(unreadable)", "reject"): 1,
    }
    tree.wait_until(lambda: jobs(address) == wanted, 10, "every job is counted")
    push_many(redis, "record", [[]], queue="nobody's")
    tree.wait_until(lambda: numbers(address).get('queue_jobs{queue="nobody\'s"}') == 1, 5)
    found = numbers(address)
    assert found['job_seconds_count{name="record"}'] == 50
    assert found['set_jobs{set="retry"}'] == 5
    assert found['set_jobs{set="dead"}'] == 2
    assert found['children{state="ready"}'] == found["children_wanted"] == 2
    assert found["threads"] == 10
    assert found["ready"] == found["redis_up"] == 1
    assert 0 < found["oldest_beat_age_seconds"] < 5
    assert 0 < found["redis_round_trip_seconds"] < 1
    status, page = ask(address, "/metrics")
    assert (status, promtool("check", "metrics", text=page)) == (200, "")
    tree.stop()


def test_no_crash_of_child_or_keeper_loses_a_count_or_counts_twice(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, address: str
) -> None:
    tree = daemon(children=1, lease=5, arguments=["--health", address])
    push_many(redis, "record", [[n] for n in range(30)])
    tree.wait_until(lambda: len(records.ends()) == 30, 10)
    jid = push(redis, "record", ["long", 60])
    tree.wait_until(lambda: records.running() == {jid}, 5)
    tree.kill_child(0)
    tree.wait_until(lambda: numbers(address).get("jobs_recovered_total") == 1, 10)
    found = numbers(address)
    assert found['children_ended_total{how="crashed"}'] == 1
    assert jobs(address) == {("record", "done"): 30}
    push_many(redis, "record", [[n] for n in range(5)])
    tree.wait_until(lambda: jobs(address) == {("record", "done"): 35}, 10)
    os.kill(tree.pids()["keeper"], SIGKILL)
    push_many(redis, "record", [[n] for n in range(7)])
    tree.wait_until(lambda: jobs(address) == {("record", "done"): 7}, 10, "a new keeper counts what is new")
    tree.stop(crashed=True)


def test_a_strange_key_among_the_queues_costs_its_numbers_and_nothing_else(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, address: str
) -> None:
    redis.sadd("queues", "strange")
    redis.set("queue:strange", "no list")
    tree = daemon(children=1, lease=5, arguments=["--health", address])
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid], 5)
    tree.wait_until(lambda: jobs(address) == {("record", "done"): 1}, 10)
    found = numbers(address)
    assert found["ready"] == found["redis_up"] == 1
    assert not [name for name in found if name.startswith("queue_")]
    assert not tree.log_lines("Redis is away")
    tree.stop()


def test_sidekiqs_metrics_are_written_up_to_the_last_job(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=2)
    push_many(redis, "record", [[n] for n in range(20)])
    push_many(redis, "fail", [["no"]] * 3)
    tree.wait_until(lambda: len(records.ends()) == 20 and redis.zcard("retry") == 3, 10)
    tree.stop()
    sums: Counter[bytes] = Counter()
    for key in redis.keys("j|*|*:[0-9]"):  # of ten minutes; the test may run over the end of some
        sums.update({field: int(value) for field, value in redis.hgetall(key).items()})
    assert sums.pop(b"record|ms", 0) >= 0
    assert sums == {b"record|p": 20, b"fail|p": 3, b"fail|f": 3}
    assert redis.keys("h|record-*")
    assert all(redis.ttl(key) > 0 for key in redis.keys("[jh]|*"))
