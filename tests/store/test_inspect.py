"""The inspection API: what it finds, and what its moves leave behind."""

from __future__ import annotations

import base64
import json
import threading
import time
import zlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import free_port
from support.snapshot import places

from forkworker.errors import MalformedPayload, StoreUnavailable
from forkworker.inspect import Entry, Filter, Inspector, Orphan, QueueSize, Tally
from store.scene import ALICE, BOB, job, jobs, left, listed, put, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy
    from support.servers import RedisServer

pytestmark = pytest.mark.store


@pytest.fixture
def here(redis_server: RedisServer, redis: redispy.Redis) -> Iterator[Inspector]:
    redis.script_flush()
    inspector = Inspector(redis_server.url)
    yield inspector
    inspector.close()


def failed(number: int, **fields: Any) -> bytes:
    """Return a job that has failed."""
    usual = {"class": "app.resize", "queue": "mail", "retry_count": 2, "failed_at": 100.0, "retried_at": 200.0}
    return job(number, **usual | {"error_class": "ValueError", "error_message": f"no {number}"} | fields)


def jids(entries: Any) -> list[int]:
    return [int(entry.jid.removeprefix("jid-")) for entry in entries]


def decoded(texts: Any) -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts]


# Looking


def test_pages_begin_where_an_operator_looks_first(here: Inspector, redis: redispy.Redis) -> None:
    put(redis, "queue:mail", jobs(*range(60)))
    for key in ("schedule", "retry", "dead"):
        redis.zadd(key, {job(number): number for number in range(60)})

    assert jids(here.queue("mail").page(0, 3)) == [0, 1, 2]
    assert jids(here.retries.page(50)) == list(range(50, 60))
    assert jids(here.schedule.page(25, 2)) == [25, 26]
    assert jids(here.dead.page(0, 3)) == [59, 58, 57]
    assert [entry.position for entry in here.queue("mail").page(30, 2)] == [30, 31]
    assert here.retries.page(60) == []
    assert len(here.retries) == len(here.queue("mail")) == 60


def test_an_entry_tells_what_the_payload_says(here: Inspector, redis: redispy.Redis) -> None:
    lines = base64.encodebytes(zlib.compress(json.dumps(["a.py:1:in &lt;module&gt;", "b.py:2:in f"]).encode() * 1))
    redis.zadd("retry", {failed(1, args=[1, "x"], kwargs='{"a":"\\u003cb"}', error_backtrace=lines.decode()): 300.5})

    (entry,) = here.retries.page()

    assert (entry.name, entry.jid, entry.queue, entry.args, entry.kwargs) == (
        "app.resize", "jid-1", "mail", [1, "x"], {"a": "<b"},
    )  # fmt: skip
    assert (entry.error_class, entry.error_message, entry.retry_count) == ("ValueError", "no 1", 2)
    assert (entry.failed_at, entry.time, entry.score) == (200.0, 200.0, 300.5)
    assert entry.backtrace == ["a.py:1:in <module>", "b.py:2:in f"]
    assert json.loads(json.dumps(entry.to_dict()))["due_at"] == 300.5


@pytest.mark.parametrize(
    "text", [b"no job", b"[]", b'{"args":[]}', b"\xff", b'{"class":5}', b'{"class":"A","jid":7,"error_backtrace":"!"}']
)
def test_what_is_no_job_is_shown_all_the_same(here: Inspector, redis: redispy.Redis, text: bytes) -> None:
    redis.zadd("dead", {text: 5})

    (entry,) = here.dead.page()

    assert entry.payload == text
    assert json.dumps(entry.to_dict())
    assert entry.backtrace == []
    assert bool(entry.problem) == (b"A" not in text)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        pytest.param(Filter(), [0, 1, 2, 3, 4], id="all"),
        pytest.param(Filter(name="app.resize"), [0, 3], id="a name is the whole name"),
        pytest.param(Filter(name="app.*"), [0, 1, 3], id="a name with a star"),
        pytest.param(Filter(name="*.resize?up"), [1], id="a name with more"),
        pytest.param(Filter(name="<größe>"), [2], id="a name that is escaped in JSON"),
        pytest.param(Filter(name="Inner"), [4], id="the job inside one of Rails"),
        pytest.param(Filter(queue="mail"), [0, 1, 2, 4], id="queue"),
        pytest.param(Filter(queue="[hx]*"), [3], id="queue with a pattern"),
        pytest.param(Filter(error="KeyError"), [1], id="class of the error"),
        pytest.param(Filter(error="ValueError: no 3"), [3], id="class and message"),
        pytest.param(Filter(error="Error: no"), [0, 1, 3], id="around the colon"),
        pytest.param(Filter(error="a: <b> 'c'"), [4], id="a message with a colon and markup"),
        pytest.param(Filter(jid="jid-2"), [2], id="jid"),
        pytest.param(Filter(since=30, before=50), [2, 3], id="since, and before"),
        pytest.param(Filter(before=datetime.fromtimestamp(20, timezone.utc)), [0], id="an aware time"),
        pytest.param(Filter(name="app.*", error="no", since=30), [3], id="all together"),
        pytest.param(Filter(name="nothing"), [], id="nothing"),
    ],
)
@pytest.mark.parametrize("key", ["dead", "retry", "queue:mail"])
def test_filters_find_what_they_say(
    here: Inspector, redis: redispy.Redis, key: str, which: Filter, found: list[int]
) -> None:
    texts = [
        failed(0, retried_at=10, enqueued_at=10.0),
        failed(1, retried_at=20, enqueued_at=20.0, error_class="KeyError", **{"class": "app.resize_up"}),
        failed(2, retried_at=30, enqueued_at=30.0, error_class=None, error_message=None, **{"class": "<größe>"}),
        failed(3, retried_at=40, enqueued_at=40.0, queue="high"),
        failed(4, retried_at=50, enqueued_at=50.0, error_class="E", error_message="a: <b> 'c'", wrapped="Inner"),
    ]
    if key == "queue:mail":
        put(redis, key, texts)
        if which.queue:
            found = list(range(5)) if which.queue == "mail" else []
    else:
        redis.zadd(key, {text: 10 * number for number, text in enumerate(texts, 1)})

    place = here.place(key)

    assert sorted(jids(place.entries(which))) == found
    assert place.count(which) == len(found)


def test_times_go_by_the_failure_the_death_the_due_time_or_the_push(here: Inspector, redis: redispy.Redis) -> None:
    text = failed(1, enqueued_at=50.0, created_at=40.0)
    for key in ("schedule", "retry", "dead"):
        redis.zadd(key, {text: 300})
    put(redis, "queue:mail", [text])

    times = {key: here.place(key).page()[0].time for key in ("schedule", "retry", "dead", "queue:mail")}

    assert times == {"schedule": 300.0, "retry": 200.0, "dead": 300.0, "queue:mail": 50.0}


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Filter(since=datetime(2026, 1, 1))  # noqa: DTZ001 - the case


def test_a_scan_tells_how_far_it_is_and_can_be_ended(here: Inspector, redis: redispy.Redis) -> None:
    redis.zadd("dead", {job(number): number for number in range(3000)})
    told: list[tuple[int, int, int]] = []

    def stop(looked: int, total: int, matched: int) -> None:
        told.append((looked, total, matched))
        if looked > 500:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        here.dead.count(Filter(name="no such"), watch=stop)
    assert told == [(1, 3000, 0), (9, 3000, 0), (73, 3000, 0), (585, 3000, 0)]


def test_a_job_is_found_wherever_it_waits(here: Inspector, redis: redispy.Redis) -> None:
    redis.sadd("queues", "mail")
    put(redis, "queue:mail", jobs(*range(100)))
    redis.zadd("schedule", {job(200): 5})

    found = [here.find(jid) for jid in ("jid-77", "jid-200", "jid-300")]

    assert [entry and entry.place for entry in found] == ["queue:mail", "schedule", None]


def test_only_places_are_places(here: Inspector) -> None:
    for word in ("retries", "queue:", "working", ""):
        with pytest.raises(ValueError, match="is no place for jobs"):
            here.place(word)


def test_queues_and_counters_are_told(here: Inspector, redis: redispy.Redis) -> None:
    redis.sadd("queues", "mail")
    put(redis, "queue:mail", [job(1, enqueued_at=time.time() - 60), job(2)])
    today = time.strftime("%Y-%m-%d", time.gmtime())
    redis.mset({f"stat:processed:{today}": 12, f"stat:failed:{today}": 3})
    here.queue("mail").pause()
    here.queue("later").pause()

    later, mail = here.queues()

    assert later == QueueSize("later", 0, 0.0, paused=True)
    assert (mail.size, mail.paused) == (2, True)
    assert mail.latency_seconds == pytest.approx(60, abs=5)
    assert here.queue("mail").latency_seconds == pytest.approx(60, abs=5)
    assert here.queue("mail").is_paused
    assert [(day.processed, day.failed) for day in here.days(2)] == [(12, 3), (0, 0)]


def test_processes_running_jobs_and_orphans_are_told(here: Inspector, redis: redispy.Redis) -> None:
    redis.sadd("processes", ALICE, BOB)
    info = {"hostname": "host", "pid": 101, "tag": "shop", "queues": ["mail"], "started_at": 5.5, "version": "v"}
    beat = {"info": json.dumps(info), "busy": 1, "beat": "7.5", "quiet": "false", "rss": 900, "rtt_us": 80}
    redis.hset(ALICE, mapping=beat | {"concurrency": 25})
    redis.hset(f"{ALICE}:work", "t1", json.dumps({"queue": "mail", "payload": job(9).decode(), "run_at": 6}))
    redis.sadd("working", listed("mail"), listed("mail", BOB))
    put(redis, listed("mail"), jobs(9))
    put(redis, listed("mail", BOB), jobs(7, 8))

    (process,) = here.processes()
    (running,) = here.running()

    told = process.to_dict()
    assert told | {"beat": 7.5, "hostname": "host", "queues": ["mail"], "rss_kilobytes": 900} == told
    assert (process.identity, process.pid, process.tag, process.concurrency) == (ALICE, 101, "shop", 25)
    assert (process.busy, process.is_quiet) == (1, False)
    assert (running.identity, running.thread, running.since, running.entry.jid) == (ALICE, "t1", 6, "jid-9")
    assert json.dumps([told, running.to_dict()])
    assert here.orphans() == here.overview().orphans == [Orphan(BOB, "mail", 2)]


def test_a_process_is_quieted_stopped_or_gone(here: Inspector, redis: redispy.Redis) -> None:
    redis.sadd("processes", ALICE)
    redis.hset(ALICE, "info", "nonsense")
    (process,) = here.processes()

    assert process.quiet()
    assert process.dump_stacks()
    assert process.stop()
    assert redis.lrange(f"{ALICE}-signals", 0, -1) == [b"TERM", b"TTIN", b"TSTP"]
    redis.delete(ALICE)
    assert not process.stop()


# Moving


@pytest.mark.parametrize("key", ["retry", "dead"])
def test_a_retried_job_is_at_the_tail_of_its_queue_as_if_it_had_not_failed_the_last_time(
    here: Inspector, redis: redispy.Redis, key: str
) -> None:
    redis.zadd(key, {failed(1, extra=[1]): 5, failed(2): 6})
    put(redis, "queue:mail", jobs(9))
    before = time.time()

    assert here.place(key).retry(here.place(key).find("jid-1"))  # type: ignore[attr-defined,arg-type]

    now = world(redis)
    moved, waiting = decoded(now.pop("queue:mail"))
    assert waiting["jid"] == "jid-9"
    assert before <= moved.pop("enqueued_at") <= time.time()
    assert moved == json.loads(failed(1, extra=[1])) | {"retry_count": 1}
    assert now == {key: {failed(2): 5 + 1}, "queues": {b"mail"}}


def test_a_scheduled_job_is_added_to_its_queue_unchanged(here: Inspector, redis: redispy.Redis) -> None:
    redis.zadd("schedule", {job(1, retry_count=3): 5})

    (entry,) = here.schedule.page()
    assert here.schedule.retry(entry)

    (moved,) = decoded(redis.lrange("queue:default", 0, -1))
    assert moved.pop("enqueued_at")
    assert moved == json.loads(job(1, retry_count=3)) | {"queue": "default"}


@pytest.mark.parametrize("key", ["retry", "schedule", "queue:mail"])
@pytest.mark.parametrize("has_failed", [True, False])
def test_a_buried_job_says_when_it_failed(here: Inspector, redis: redispy.Redis, key: str, has_failed: bool) -> None:
    text = failed(1) if has_failed else job(1, queue="mail")
    put(redis, key, [text]) if key == "queue:mail" else redis.zadd(key, {text: 5})
    before = time.time()

    (entry,) = here.place(key).page()
    assert here.place(key).bury(entry)
    assert not here.place(key).bury(entry)

    ((buried, score),) = redis.zrange("dead", 0, -1, withscores=True)
    assert before <= score <= time.time()
    assert json.loads(buried)["failed_at"] == (100.0 if has_failed else pytest.approx(score, abs=1))
    assert (buried == text) == has_failed
    assert sorted(world(redis)) == ["dead"]


@pytest.mark.parametrize("key", ["retry", "schedule", "dead", "queue:mail"])
def test_a_deleted_job_is_gone_and_no_other(here: Inspector, redis: redispy.Redis, key: str) -> None:
    texts = [failed(1), failed(2), failed(3)]
    put(redis, key, texts) if key == "queue:mail" else redis.zadd(key, dict.fromkeys(texts, 5))

    entry = here.place(key).find("jid-2")
    assert entry
    assert here.place(key).delete(entry)
    assert not here.place(key).delete(entry)

    assert sorted(jids(here.place(key).page())) == [1, 3]


def test_what_is_no_job_can_be_deleted_and_buried_but_not_retried(here: Inspector, redis: redispy.Redis) -> None:
    redis.zadd("retry", {b"no job": 5, b"nor this": 6})
    first, second = here.retries.page()

    with pytest.raises(MalformedPayload):
        here.retries.retry(first)
    assert here.retries.retry_all() == Tally(refused=2)
    assert here.retries.delete(first)
    assert here.retries.bury(second)
    assert list(world(redis)) == ["dead"]
    assert here.dead.bury_all() == Tally(refused=1)


def test_all_that_match_are_moved_and_no_other(here: Inspector, redis: redispy.Redis) -> None:
    kinds = ("app.resize", "app.mail", "app.report")
    redis.zadd("dead", {failed(n, **{"class": kinds[n % 3]}): n for n in range(3000)})

    assert here.dead.delete_all(Filter(name="app.mail")) == Tally(1000)
    assert here.dead.retry_all(Filter(name="app.resize", since=1500)) == Tally(500)
    assert here.dead.delete_all(Filter(name="app.report"), most=10) == Tally(10)

    assert redis.llen("queue:mail") == 500
    assert here.dead.count(Filter(name="app.resize")) == 500
    assert here.dead.count(Filter(name="app.report")) == 990
    assert len(here.dead) == 1490


@pytest.mark.parametrize("act", ["delete_all", "bury_all"])
def test_all_that_match_leave_a_queue_and_the_others_stay_in_order(
    here: Inspector, redis: redispy.Redis, act: str
) -> None:
    texts = [job(n, **{"class": "odd" if n % 2 else "even"}) for n in range(5000)]
    put(redis, "queue:q", texts)

    assert getattr(here.queue("q"), act)(Filter(name="odd")) == Tally(2500)

    assert redis.lrange("queue:q", 0, -1) == left(texts[::2])
    assert redis.zcard("dead") == (2500 if act == "bury_all" else 0)


def test_what_fails_again_meanwhile_is_not_retried_a_second_time(here: Inspector, redis: redispy.Redis) -> None:
    redis.zadd("retry", {failed(n): n for n in range(3)})

    def fail_again(looked: int, _: int, __: int) -> None:
        if looked == 3:
            again = failed(0, retried_at=time.time() + 0.1)
            redis.zadd("retry", {again: time.time() + 15})

    assert here.retries.retry_all(watch=fail_again) == Tally(3)
    assert redis.zcard("retry") == 1


def test_clearing_empties_a_queue_at_once(here: Inspector, redis: redispy.Redis) -> None:
    redis.sadd("queues", "q")
    put(redis, "queue:q", jobs(*range(100)))

    assert here.queue("q").clear() == 100
    assert world(redis) == {}


def test_two_operators_act_on_each_entry_once(here: Inspector, redis: redispy.Redis) -> None:
    """Row 6, without jobs that run."""
    redis.zadd("retry", {failed(n): n for n in range(2000)})
    tallies: dict[str, Tally] = {}

    def operate(act: str) -> None:
        tallies[act] = getattr(here.retries, act)()

    acts = ("retry_all", "delete_all", "bury_all")
    threads = [threading.Thread(target=operate, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(tally.done for tally in tallies.values()) == 2000
    assert redis.llen("queue:mail") == tallies["retry_all"].done
    assert redis.zcard("dead") == tallies["bury_all"].done
    assert not redis.exists("retry")
    assert set(places(redis).values()) <= {1}


def test_entries_compare_by_place_and_bytes() -> None:
    assert Entry("retry", b"a", 1.0) == Entry("retry", b"a", 1.0, 5)
    assert Entry("retry", b"a", 1.0) != Entry("dead", b"a", 1.0)
    assert len({Entry("retry", b"a", 1.0), Entry("retry", b"a", 1.0)}) == 1


def test_redis_away_is_told() -> None:
    with pytest.raises(StoreUnavailable):
        Inspector(f"redis://127.0.0.1:{free_port()}/0").overview()


def test_a_key_of_another_type_is_told_and_the_next_question_is_answered(here: Inspector, redis: redispy.Redis) -> None:
    redis.set("retry", "a text")

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        here.retries.page()
    assert here.dead.page() == []
