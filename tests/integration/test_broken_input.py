"""Bad input is contained: broken payloads, names, arguments, results, exceptions and exits among good jobs.

The table of this test is the promise: each ends in the one place named here, and nothing else is harmed.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support import broken
from support.payloads import encode, payload
from support.processes import zombies
from support.snapshot import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]
    Killers = dict[str, dict[str, Any]]

pytestmark = pytest.mark.integration

GOOD = 5000


def raw(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


#: what is no job: to the dead set byte for byte, not counted as processed
NO_JOBS: dict[str, bytes] = {
    "broken JSON": raw('{"class": "anything", "args": [1'),
    "truncated": encode(payload("anything", ["x" * 100]))[:-20],
    "two objects": raw('{"class":"anything"}{"class":"anything"}'),
    "a list": raw('["anything"]'),
    "null": raw("null"),
    "a text": raw('"anything"'),
    "empty": b"",
    "binary": bytes(range(256)),
    "no UTF-8": raw(b'{"class":"anything","args":["\xff"]}'),
    "NaN": raw('{"class":"anything","args":[NaN]}'),
    "infinity": raw('{"class":"anything","retry":-Infinity}'),
    "nested 100,000 deep": raw('{"class":"anything","args":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "a number of 5,000 digits": raw('{"class":"anything","args":[' + "9" * 5000 + "]}"),
    "no class": raw('{"jid":"aaaaaaaaaaaaaaaaaaaaaaaa","args":[]}'),
    "class is a number": raw('{"class":7,"args":[]}'),
    "class is empty": raw('{"class":"","args":[]}'),
    "args is an object": raw('{"class":"anything","args":{"a":1}}'),
    "args is null": raw('{"class":"anything","args":null}'),
}


@dataclass(frozen=True)
class Case:
    """A job, and what becomes of it."""

    job: dict[str, Any]
    #: done, retry, dead or dropped
    home: str
    #: fields that it has there
    told: dict[str, Any] = field(default_factory=dict)
    #: instead of the job's own bytes
    text: bytes = b""


#: no retry comes due while the test looks
LATE = {"retry_in": 3600}


def done(name: str = "anything", args: Iterable[Any] = (), **fields: Any) -> Case:
    return Case(payload(name, list(args)) | fields, "done")


def failing(home: str, told: dict[str, Any] | None = None, **fields: Any) -> Case:
    return Case(payload("boom") | LATE | fields, home, told or {})


def named(name: str, error_class: str, *args: Any, **fields: Any) -> Case:
    return Case(payload(name, list(args)) | LATE | fields, "retry", {"error_class": error_class})


UNKNOWN = "forkworker.errors.UnknownJob"

JOBS: dict[str, Case] = {
    # odd, and yet jobs
    "nested 400 deep": done(args=[json.loads("[" * 400 + "]" * 400)]),
    "5 MB": done(args=["x" * 5_000_000]),
    "half a surrogate pair": done(args=["\ud800"]),
    "jid is a number": done(jid=4711),
    "jid is null": done(jid=None),
    "times are garbage": done(at="x", enqueued_at=[], created_at={}),
    "kwargs is null": done(kwargs=None),
    "tags are garbage": done(tags=7),
    "unknown fields": done(cattr={"a": [1]}, wrapped=7, bid=None),
    "queue is a number": done(queue=7),
    "class twice": Case(
        payload("anything", jid="c" * 24),
        "done",
        text=b'{"class":"nobody","jid":"' + b"c" * 24 + b'","class":"anything","args":[]}',
    ),
    # wrong types of known fields, in a job that fails
    "retry is a text": failing("retry", retry="x"),
    "retry is negative": failing("dead", retry=-5),
    "retry is 1e9": failing("retry", {"retry": 1e9}, retry=1e9),
    "retry is null": failing("dropped", retry=None),
    "retry_count is a text": failing("retry", {"retry_count": 0}, retry_count="x"),
    "retry_count is -1": failing("retry", {"retry_count": 0}, retry_count=-1),
    "retry_count is huge": failing("dead", retry_count=10**400),
    "retry_for is garbage": failing("retry", retry_for="x"),
    "retry_in is garbage": failing("retry", {"retry_count": 4}, retry_in="x", retry_count=3),
    "retry_queue is a list": failing("retry", {"queue": "default"}, retry_queue=["a"]),
    "failed_at is garbage": failing("retry", failed_at={}),
    "backtrace is garbage": failing("retry", backtrace={"a": 1}),
    "dead is garbage": failing("dead", dead="no", retry=0),
    "queue is a list": failing("retry", {"queue": "default"}, queue=[]),
    # names
    "an unknown name": named("nobody", UNKNOWN, retry=False),
    "a function of Python": named("os.system", UNKNOWN, "touch /tmp/x"),
    "a name of 1 MB": named("n" * 1_000_000, UNKNOWN),
    "a name that forges": named("n\n2026-01-01 ERROR forged\x1b[2J", UNKNOWN),
    # arguments
    "too many arguments": named("strict", "TypeError", 1, 2),
    "too few arguments": named("strict", "TypeError"),
    "an unknown keyword": named("strict", "TypeError", 1, kwargs={"three": 3}),
    "kwargs is a list": named("strict", "TypeError", 1, kwargs=[1]),
    "kwargs is a text": named("strict", "TypeError", 1, kwargs="two"),
}
JOBS |= {name: Case(payload(name, **LATE), "retry") for name in broken.RAISES}
JOBS |= {name: Case(payload(name), "done") for name in broken.ENDS}


def shares(texts: list[bytes], count: int) -> list[list[bytes]]:
    """Deal out all in random order."""
    random.shuffle(texts)
    return [texts[number::count] for number in range(count)]


def push(redis: redispy.Redis, texts: list[bytes]) -> None:
    redis.sadd("queues", "default")
    redis.lpush("queue:default", *texts)


def members(redis: redispy.Redis, key: str) -> list[bytes]:
    found: Any = redis.zrange(key, 0, -1)
    return list(found)


def is_buried(redis: redispy.Redis, jid: str) -> bool:
    return any(jid.encode() in member for member in members(redis, "dead"))


def is_calm(redis: redispy.Redis) -> bool:
    """Nothing waits but for its retry, and nothing runs."""
    return not redis.exists("queue:default", "schedule") and not redis.keys("working:*")


def homes(redis: redispy.Redis) -> dict[str, dict[str, Any]]:
    """Return for each name of a case where its job is, and with which fields."""
    jids = {case.job["jid"]: name for name, case in JOBS.items() if isinstance(case.job["jid"], str)}
    found = {}
    for key in ("retry", "dead"):
        for member in members(redis, key):
            if member not in NO_JOBS.values():
                job = json.loads(member)
                found[jids.get(job["jid"], job["class"])] = {"home": key, **job}
    return found


KILLERS = {name: payload(name) for name in broken.KILLS}


@pytest.mark.timeout(300)
def test_broken_input_of_every_kind_among_good_jobs_is_contained(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 1.  Those that kill their process come one at a time, so that no job can be beside two of them."""
    assert len(NO_JOBS) + len(JOBS) + len(KILLERS) >= 40
    tree = daemon(app="support.broken", children=2, concurrency=2)
    master, good = tree.master(), [payload("record", [number]) for number in range(GOOD)]
    texts = [*NO_JOBS.values(), *(case.text or encode(case.job) for case in JOBS.values()), *map(encode, good)]
    for killer, share in zip(KILLERS.values(), shares(texts, len(KILLERS)), strict=True):
        share.insert(len(share) // 2, encode(killer))
        push(redis, share)
        tree.wait_until(lambda jid=killer["jid"]: is_buried(redis, jid), 60, "the killer is buried")
        tree.wait_until(lambda: is_calm(redis), 60, "all else has ended")

    assert_all_is_where_it_belongs(redis, KILLERS)
    assert_all_ran_as_promised(redis, records, [job["jid"] for job in good], KILLERS)
    assert_log_is_intact(tree.log())
    assert tree.master() == master
    tree.wait_until(lambda: not zombies(master), 5, "the copies that jobs made of their process are gone")
    tree.wait_ready()
    tree.stop()
    assert set(places(redis).values()) == {1}


def test_broken_input_that_comes_due_is_contained_too(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """The keeper reads the schedule and the retry set, and writes what it has read."""
    texts = [*NO_JOBS.values(), *(case.text or encode(case.job) for case in JOBS.values())]
    for key, share in zip(("schedule", "retry"), shares(texts, 2), strict=True):
        redis.zadd(key, {text: number + 0.5 for number, text in enumerate(share)})
    tree = daemon(app="support.broken", children=1, concurrency=5)
    keeper = tree.pids()["keeper"]
    tree.wait_until(lambda: is_calm(redis) and not redis.zcount("retry", 0, 1e9), 60)

    assert_all_is_where_it_belongs(redis, {})
    assert_all_ran_as_promised(redis, records, [], {})
    log = tree.log()
    assert_log_is_intact(log)
    assert [name for name, case in JOBS.items() if case.home == "retry" and case.job["jid"] not in log] == []
    assert tree.pids()["keeper"] == keeper
    tree.stop()
    assert set(places(redis).values()) == {1}


def assert_all_is_where_it_belongs(redis: redispy.Redis, killers: Killers) -> None:
    assert set(NO_JOBS.values()) <= set(members(redis, "dead")), "kept byte for byte"
    found = homes(redis)
    wanted = {name: case for name, case in JOBS.items() if case.home in ("retry", "dead")}
    assert set(found) == set(wanted) | set(killers)
    for name, case in wanted.items():
        told = {"home": case.home, **case.told}
        assert {key: found[name].get(key) for key in told} == told, name
        assert found[name]["error_class"], name
        assert isinstance(found[name]["failed_at"], float), name
    for name in killers:
        assert found[name]["home"] == "dead"
        assert "3 crashes" in found[name]["error_message"], name


def assert_all_ran_as_promised(redis: redispy.Redis, records: Records, good: list[str], killers: Killers) -> None:
    started, ended = records.started(), records.ended()
    assert [jid for jid in good if not ended[jid]] == [], "every good job was done"
    assert max((started[jid] for jid in good), default=0) <= 4, "again only beside a killer"
    assert {name: started[job["jid"]] for name, job in killers.items()} == dict.fromkeys(killers, 3)
    assert [name for name, case in JOBS.items() if case.home == "done" and not ended[str(case.job["jid"] or "")]] == []
    last = {case.job["jid"] for case in JOBS.values() if case.home == "dead"}
    assert {event.key for event in records.events("exhausted")} == last
    failed = sum(case.home != "done" for case in JOBS.values())
    assert redis.get("stat:failed") == str(failed).encode()
    assert redis.get("stat:processed") == str(len(good) + len(JOBS)).encode()


def assert_log_is_intact(log: str) -> None:
    """Nothing that a payload or an error says begins a line, steers a terminal or fills the disk."""
    lines = log.splitlines()
    assert [line for line in lines if line.startswith(("2026-01-01", "ERROR"))] == []
    assert [line for line in lines if not line.isprintable()] == []
    assert max(map(len, lines)) < 3000
