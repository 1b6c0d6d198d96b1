"""Jobs that fail, wait, or cannot be read end where an operator finds them."""

from __future__ import annotations

import base64
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import encode, payload, push, push_at, push_many
from support.snapshot import places, snapshot
from support.waiting import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration


def only(redis: redispy.Redis, key: str) -> tuple[dict[str, Any], float]:
    """Return the one job of a sorted set, and its score."""
    ((member, score),) = redis.zrange(key, 0, -1, withscores=True)
    return json.loads(member), score


def backtrace(job: dict[str, Any]) -> list[str]:
    """Decode what Sidekiq's Web UI shows."""
    lines: list[str] = json.loads(zlib.decompress(base64.b64decode(job["error_backtrace"], validate=True)))
    return lines


def test_first_failure_is_retried_in_about_20_seconds(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(children=1)
    before = time.time()
    jid = push(redis, "fail", ["it <failed>"], extra={"kept": [1, None]})
    tree.wait_until(lambda: redis.zcard("retry") == 1, 5)
    job, score = only(redis, "retry")
    assert before + 15 <= score <= time.time() + 15 + 10
    assert job["jid"] == jid
    assert job["retry_count"] == 0
    assert job["error_class"] == "ValueError"
    assert job["error_message"] == "it <failed>"
    assert job["extra"] == {"kept": [1, None]}
    assert isinstance(job["failed_at"], float)
    assert before - 1 <= job["failed_at"] <= time.time() + 1
    assert "retried_at" not in job
    lines = backtrace(job)
    assert 0 < len(lines) <= 20
    assert any("jobs.py" in line for line in lines)
    assert not any("<" in line or ">" in line for line in lines), "escaped for the Web UI"
    assert places(redis) == {jid: 1}
    tree.stop()
    assert redis.get("stat:failed") == redis.get("stat:processed") == b"1"


def test_due_retry_runs_again_and_waits_longer(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1)
    failed = time.time() - 100
    jid = push_at(redis, time.time() - 1, "fail", key="retry", retry_count=2, failed_at=failed, error_class="E")
    tree.wait_until(lambda: redis.zcard("retry") == 1 and records.started()[jid] == 1, 5)
    tree.wait_until(lambda: only(redis, "retry")[0]["retry_count"] == 3, 5)
    job, score = only(redis, "retry")
    now = time.time()
    assert now - 5 + 3**4 + 15 <= score <= now + 3**4 + 15 + 10 * 4
    assert job["failed_at"] == failed
    assert abs(job["retried_at"] - now) < 5
    assert job["error_class"] == "ValueError"
    tree.stop()


@pytest.mark.parametrize(
    ("fields", "home"),
    [
        ({"retry": 3, "retry_count": 2, "failed_at": 1.5}, "dead"),
        ({"retry": 0}, "dead"),
        ({"retry": False}, None),
        ({"retry": 1, "retry_count": 0, "failed_at": 1.5, "dead": False}, None),
        ({"retry": 3, "retry_count": 1, "failed_at": 1.5}, "retry"),
    ],
    ids=["exhausted", "retry 0", "retry false", "dead false", "one left"],
)
def test_failed_job_goes_where_its_retries_say(
    daemon: MakeDaemon, redis: redispy.Redis, fields: dict[str, Any], home: str | None
) -> None:
    tree = daemon(children=1)
    jid = push(redis, "fail", **fields)
    tree.wait_until(lambda: redis.get("stat:failed") == b"1" or places(redis) == {}, 8)
    tree.wait_until(lambda: not redis.keys("working:*") and not redis.exists("queue:default"), 5)
    tree.stop()
    assert redis.get("stat:failed") == b"1"
    assert places(redis) == ({jid: 1} if home else {})
    if home:
        job, score = only(redis, home)
        assert job["error_class"] == "ValueError"
        assert home == "retry" or abs(score - time.time()) < 30


@pytest.mark.parametrize(("kind", "home"), [("drop", None), ("bury", "dead"), ("retry_in", "retry")])
def test_verdicts_of_a_job_are_followed(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, kind: str, home: str | None
) -> None:
    tree = daemon(children=1)
    jid = push(redis, "verdict", [kind])
    tree.wait_until(lambda: records.started()[jid] == 1 and not redis.keys("working:*"), 5)
    tree.stop()
    assert places(redis) == ({jid: 1} if home else {})
    if kind == "bury":
        assert "museum" in only(redis, "dead")[0]["error_message"]
    if kind == "retry_in":
        assert abs(only(redis, "retry")[1] - time.time() - 3600) < 60


def test_scheduled_job_is_at_most_a_second_late(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1)
    now, instant, pace = time.time(), time.monotonic(), Pace()
    jids = [push_at(redis, now + 1.5, "record", [1]), push_at(redis, now + 2.2, "record", [2])]
    tree.wait_until(lambda: set(records.ended()) == set(jids), 6)
    waits = {event.key: event.at - instant for event in records.starts()}
    assert 1.5 <= waits[1] <= pace.stretch(2.5 + 0.2)
    assert 2.2 <= waits[2] <= pace.stretch(3.2 + 0.2)
    tree.wait_until(lambda: places(redis) == {}, 5, "they are settled")
    tree.stop()


def test_many_due_jobs_go_to_their_own_queues_once(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    now = time.time()
    jids = [push_at(redis, now - 9, "record", [n], queue=("a", "b")[n % 2]) for n in range(600)]
    first = daemon(children=1, queues=["a", "b"])
    second = daemon(children=1, queues=["a", "b"])
    first.wait_until(lambda: set(records.ended()) == set(jids), 15)
    assert set(records.started().values()) == {1}
    assert redis.smembers("queues") == {b"a", b"b"}
    second.stop(shared=True)
    first.stop()
    assert places(redis) == {}


def test_promoted_job_bears_the_time_of_its_promotion(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(children=1, queues=["elsewhere"])
    push_at(redis, time.time() - 100, "record", [1])
    tree.wait_until(lambda: redis.llen("queue:default") == 1, 5)
    job = json.loads(redis.lindex("queue:default", 0))
    assert abs(job["enqueued_at"] - time.time()) < 10
    assert "at" not in job
    tree.stop()


BROKEN = {
    "no JSON": b'{"class": "record", "args": [1',
    "no UTF-8": b'{"class": "record", "args": ["\xff\xfe"]}',
    "a list": b"[1, 2, 3]",
    "no class": b'{"jid": "abc", "args": []}',
    "empty": b"",
    "deep": b"[" * 100_000,
}


def test_broken_payloads_are_buried_raw_and_harm_nobody(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=2)
    child = tree.children()
    redis.lpush("queue:default", *BROKEN.values())
    good = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[good] == 1 and redis.zcard("dead") == len(BROKEN), 10)
    assert set(redis.zrange("dead", 0, -1)) == set(BROKEN.values())
    assert tree.children() == child
    tree.stop()
    assert set(snapshot(redis)["dead"]) == set(BROKEN.values())


def test_unknown_job_is_retried_with_an_error_that_names_it(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(children=1)
    jid = push(redis, "os.system", ["true"])
    tree.wait_until(lambda: redis.zcard("retry") == 1, 5)
    job, _ = only(redis, "retry")
    assert job["jid"] == jid
    assert "os.system" in job["error_message"]
    tree.stop()


@pytest.mark.parametrize(
    "fields",
    [
        {"args": None},
        {"args": {"a": 1}},
        {"args": [1, 2, 3, 4, 5]},
        {"retry": "often"},
        {"jid": None},
        {"kwargs": [1]},
    ],
    ids=["no args", "object args", "too many args", "odd retry", "no jid", "list kwargs"],
)
def test_odd_fields_end_in_a_record_and_not_in_a_loop(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, fields: dict[str, Any]
) -> None:
    """Whatever becomes of it (run, retry or dead), it is in one place at most and the child goes on."""
    tree = daemon(children=1)
    child = tree.children()
    job = payload("record", [1]) | fields
    redis.lpush("queue:default", encode({key: value for key, value in job.items() if value is not None}))
    good = push(redis, "record", [2])
    tree.wait_until(lambda: records.ended()[good] == 1, 5)
    tree.wait_until(lambda: not redis.keys("working:*") and not redis.exists("queue:default"), 5)
    assert sum(places(redis).values()) <= 1
    assert tree.children() == child
    tree.stop()


def test_dead_set_is_cut_to_ten_thousand_and_180_days(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    now = time.time()
    redis.zadd("dead", {f"old {n}": now - 181 * 86400 + n for n in range(5)})
    redis.zadd("dead", {f"new {n}": now - 1000 + n / 100 for n in range(10_001)})
    tree = daemon(children=1)
    push(redis, "fail", retry=0)
    tree.wait_until(lambda: redis.get("stat:failed") == b"1" or redis.zcard("dead") < 10_006, 8)
    tree.stop()
    assert 9_999 <= redis.zcard("dead") <= 10_000
    assert redis.zscore("dead", "old 4") is None
    assert json.loads(redis.zrange("dead", -1, -1)[0])["class"] == "fail"


def test_failures_among_many_jobs_are_counted_exactly(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(children=2, concurrency=5)
    push_many(redis, "noop", [[]] * 500)
    push_many(redis, "fail", [[]] * 40)
    tree.wait_until(lambda: redis.zcard("retry") == 40 and not redis.exists("queue:default"), 15)
    tree.stop()
    assert (redis.get("stat:processed"), redis.get("stat:failed")) == (b"540", b"40")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert int(redis.get(f"stat:processed:{day}") or 0) == 540
    assert redis.ttl(f"stat:failed:{day}") > 4 * 365 * 86400
    scores = [score for _, score in redis.zrange("retry", 0, -1, withscores=True)]
    assert len(set(scores)) == 40, "distinct, as the Web UI needs them"
