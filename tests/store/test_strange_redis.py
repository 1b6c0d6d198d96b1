"""A Redis that is full, or where a key of ours is of another type: scripts fail, and no job is lost by it.

Redis does not undo what a script did before an error.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from forkworker.clock import SystemClock
from forkworker.errors import StoreUnavailable
from forkworker.keeper.poller import Poller
from forkworker.store import orphans, sets, working
from forkworker.store.orphans import Entry, Restored
from forkworker.store.sets import Promotion
from store.scene import ALICE, DAY, NOW, job, jobs, left, listed, put, settle, settlement, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy

    from forkworker.store.connection import Link
    from forkworker.store.working import Kind

pytestmark = pytest.mark.store

NEW = b"a new payload"
HOMES = [
    pytest.param("retry", "retry", id="retry"),
    pytest.param("bury", "dead", id="bury"),
    pytest.param("reject", "dead", id="reject"),
    pytest.param("back", "queue:default", id="back"),
]


@contextmanager
def full(link: Link, redis: redispy.Redis) -> Iterator[None]:
    """Redis has no more memory to give; the scripts were loaded before."""
    link.open()
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


# settle


@pytest.mark.parametrize(("kind", "home"), HOMES)
def test_a_payload_whose_home_cannot_take_it_stays_where_it_is(
    link: Link, redis: redispy.Redis, kind: Kind, home: str
) -> None:
    put(redis, listed(), jobs(1, 2))
    redis.set(home, "a text")

    batch = [settlement(kind, job(1), new_payload=NEW, score=NOW), settlement("done", job(2))]

    assert settle(link, 1, *batch) == b"21"
    assert world(redis) == {
        home: b"a text",
        listed(): jobs(1),
        "stat:processed": b"1",
        f"stat:processed:{DAY}": b"1",
        f"settled:{ALICE}": b"1:21",
    }


@pytest.mark.parametrize(("kind", "home"), HOMES)
def test_it_is_settled_under_another_number_when_that_is_mended(
    link: Link, redis: redispy.Redis, kind: Kind, home: str
) -> None:
    put(redis, listed(), jobs(1))
    redis.set(home, "a text")
    batch = settlement(kind, job(1), new_payload=NEW, score=NOW)
    settle(link, 1, batch)
    redis.delete(home)

    assert settle(link, 1, batch) == b"2"
    assert listed() in world(redis)
    assert settle(link, 2, batch) == b"1"
    assert world(redis)[home] == (jobs(1) if kind == "back" else {NEW: NOW})
    assert listed() not in world(redis)


def test_the_answers_have_names() -> None:
    assert bytes([working.NOT_OURS, working.SETTLED, working.NO_HOME]) == b"012"


@pytest.mark.parametrize("counter", ["stat:processed", "stat:failed", f"stat:processed:{DAY}", f"stat:failed:{DAY}"])
def test_a_counter_that_is_none_stops_no_settling(link: Link, redis: redispy.Redis, counter: str) -> None:
    put(redis, listed(), jobs(1))
    redis.lpush(counter, "a list")

    assert settle(link, 1, settlement("retry", job(1), new_payload=NEW, score=NOW)) == b"1"

    counters = {"stat:processed", "stat:failed", f"stat:processed:{DAY}", f"stat:failed:{DAY}"}
    after = world(redis)
    assert after[counter] == [b"a list"]
    assert {name for name in counters if after[name] == b"1"} == counters - {counter}
    assert after["retry"] == {NEW: NOW}


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        pytest.param("done", {}, id="done"),
        pytest.param("retry", {"retry": {NEW: NOW}}, id="retry"),
        pytest.param("back", {"queue:default": jobs(1)}, id="back"),
    ],
)
def test_a_full_redis_settles_all_the_same(
    link: Link, redis: redispy.Redis, kind: Kind, after: dict[str, object]
) -> None:
    """To settle makes room; and a job that is done must not run again because Redis was full."""
    put(redis, listed(), jobs(1))

    with full(link, redis):
        assert settle(link, 1, settlement(kind, job(1), new_payload=NEW, score=NOW)) == b"1"

    assert {key: value for key, value in world(redis).items() if key in after} == after
    assert listed() not in world(redis)


# fetch


def test_a_full_redis_hands_out_nothing_and_loses_nothing(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1, 2))

    with full(link, redis), pytest.raises(StoreUnavailable, match=r"OutOfMemory|OOM"):
        link.execute(*working.fetch(ALICE, ["default"], 1))

    assert world(redis) == {"queue:default": left(jobs(1, 2))}


def test_a_working_list_that_is_none_takes_nothing(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1))
    redis.set(listed(), "a text")

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        link.execute(*working.fetch(ALICE, ["default"], 1))

    assert world(redis) == {"queue:default": jobs(1), listed(): b"a text"}


# restore


@pytest.mark.parametrize("form", [b"", NEW], ids=["to its queue", "to the dead set"])
def test_a_full_redis_loses_nothing_of_the_dead(link: Link, redis: redispy.Redis, form: bytes) -> None:
    put(redis, listed(), jobs(1, 2))
    redis.set(counter(2), 2)
    before = world(redis)

    with full(link, redis), pytest.raises(StoreUnavailable, match=r"OutOfMemory|OOM"):
        orphans.restore(link, ALICE, "default", [Entry(job(2), crashed=True, buried_form=form)], NOW)

    assert world(redis) == before


def counter(number: int) -> str:
    return f"recovered:{hashlib.sha1(job(number)).hexdigest()}"


def test_what_its_queue_cannot_take_stays_in_the_working_list(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2))
    redis.set("queue:default", "a text")

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        orphans.restore(link, ALICE, "default", [Entry(job(2), crashed=True), Entry(job(1))], NOW)

    assert world(redis) == {listed(): left(jobs(1, 2)), "queue:default": b"a text"}


def test_what_the_dead_set_cannot_take_stays_and_is_still_known_to_have_crashed(
    link: Link, redis: redispy.Redis
) -> None:
    """The newer one has been moved before: one of the two places is each job's, never both or none."""
    put(redis, listed(), jobs(1, 2))
    redis.set("dead", "a text")
    redis.set(counter(1), 2)

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        orphans.restore(link, ALICE, "default", [Entry(job(2)), Entry(job(1), crashed=True, buried_form=NEW)], NOW)

    assert world(redis) == {
        "dead": b"a text",
        "queues": {b"default"},
        "queue:default": jobs(2),
        listed(): jobs(1),
        counter(1): b"2",
    }


def test_a_memory_of_crashes_that_is_no_number_stops_no_restoration(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1))
    redis.lpush(counter(1), "a list")

    restored = orphans.restore(link, ALICE, "default", [Entry(job(1), crashed=True, buried_form=NEW)], NOW)

    assert restored == Restored(1, 1, 0)
    assert world(redis) == {"queues": {b"default"}, "queue:default": jobs(1), counter(1): [b"a list"]}


# promote


@pytest.mark.parametrize(("queue", "home"), [("default", "queue:default"), ("", "dead")], ids=["queue", "dead"])
def test_what_cannot_be_promoted_stays_and_the_rest_goes_on(
    link: Link, redis: redispy.Redis, queue: str, home: str
) -> None:
    redis.set(home, "a text")
    redis.zadd("retry", {job(1): NOW - 2, job(2): NOW - 1})
    promotions = [Promotion(job(1), queue, job(1)), Promotion(job(2), "low", job(2))]

    assert sets.promote(link, "retry", promotions, NOW) == 1
    assert world(redis) == {
        home: b"a text",
        "retry": {job(1): NOW - 2},
        "queues": {b"low"},
        "queue:low": jobs(2),
    }


def test_a_full_redis_promotes_nothing_and_loses_nothing(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("retry", {job(1): NOW - 2, job(2): NOW - 1})

    with full(link, redis):
        moved = sets.promote(link, "retry", [Promotion(job(n), "default", job(n)) for n in (1, 2)], NOW)

    assert moved == 0
    assert world(redis) == {"retry": {job(1): NOW - 2, job(2): NOW - 1}}


@pytest.mark.parametrize("source", ["retry", "schedule"])
def test_a_batch_that_cannot_move_does_not_keep_what_is_due_behind_it(
    link: Link, redis: redispy.Redis, caplog: pytest.LogCaptureFixture, source: str
) -> None:
    """Incident: the same hundred were read at each poll."""
    redis.set("queue:bad", "a text")
    bad = {job(number, queue="bad"): NOW - 1000 + number for number in range(2 * sets.BATCH)}
    redis.zadd(source, {**bad, job(1000, queue="default"): NOW - 1})
    poller = Poller(link, SystemClock())

    pauses = [poller.poll() for _ in range(3)]

    assert pauses == [0.0, 0.0, 1.0]
    assert redis.zrange(source, 0, -1) == list(bad)
    assert redis.llen("queue:default") == 1
    assert [record.message for record in caplog.records] == [
        "queue 'bad' takes no due jobs, and they stay: its key is of another type, or Redis is full"
    ]

    redis.delete("queue:bad")
    while poller.poll() == 0.0:
        pass
    assert (redis.zcard(source), redis.llen("queue:bad")) == (0, len(bad))


@pytest.mark.parametrize("name", ["retry", "schedule"])
def test_a_set_that_is_none_fails_the_look_and_changes_nothing(link: Link, redis: redispy.Redis, name: str) -> None:
    redis.set(name, "a text")

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        sets.due(link, NOW)

    assert world(redis) == {name: b"a text"}


# What keepers read


def test_names_and_beats_that_are_no_text_are_read_all_the_same(link: Link, redis: redispy.Redis) -> None:
    redis.hset("origins", b"\xff", b"\xfe 25")
    redis.hset(ALICE, "beat", b"\xfd")

    assert orphans.origins(link) == {"\ufffd": "\ufffd 25"}
    assert orphans.signs_of_life(link, [ALICE]) == {ALICE: "\ufffd"}
