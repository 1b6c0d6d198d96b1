"""What operators take out of queues and sets: withdraw, clear; and the signals they leave: signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forkworker.store import batches, paused, processes, withdrawals
from store.scene import ALICE, NOW, expires, job, jobs, left, put, world

if TYPE_CHECKING:
    import redis as redispy

    from forkworker.store.connection import Link

pytestmark = pytest.mark.store


@pytest.mark.parametrize("position", [0, 2, 5000], ids=["at its head", "near the place", "far from the place"])
def test_a_withdrawn_payload_leaves_all_others_in_order(link: Link, redis: redispy.Redis, position: int) -> None:
    put(redis, "queue:q", jobs(*range(6)))

    flags = withdrawals.from_queue(link, "q", [(job(3), b""), (job(9), b""), (job(1), b"")], position, NOW)

    assert flags == [True, False, True]
    assert world(redis) == {"queue:q": left(jobs(0, 2, 4, 5))}


def test_a_withdrawn_payload_may_go_to_the_dead_set(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(1, 2))

    assert withdrawals.from_queue(link, "q", [(job(1), job(1, failed_at=NOW))], 0, NOW) == [True]
    assert world(redis) == {"queue:q": jobs(2), "dead": {job(1, failed_at=NOW): NOW}}


@pytest.mark.parametrize("kind", ["another type", "there already"])
def test_what_the_dead_set_does_not_take_stays_in_its_queue(link: Link, redis: redispy.Redis, kind: str) -> None:
    put(redis, "queue:q", jobs(1, 2))
    if kind == "another type":
        redis.set("dead", "a text")
    else:
        redis.zadd("dead", {job(1): 5})
    before = world(redis)

    assert withdrawals.from_queue(link, "q", [(job(1), job(1))], 0, NOW) == [False]
    assert world(redis) == before


def test_of_equal_payloads_as_many_are_withdrawn_as_were_named(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:q", [job(1), job(2), job(1), job(1)])

    assert withdrawals.from_queue(link, "q", [(job(1), b""), (job(1), b"")], 0, NOW) == [True, True]
    assert world(redis) == {"queue:q": left([job(2), job(1)])}


def test_many_are_withdrawn_by_several_scripts(
    link: Link, redis: redispy.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 200)
    put(redis, "queue:q", jobs(*range(50)))

    assert withdrawals.from_queue(link, "q", [(text, b"") for text in jobs(*range(0, 50, 2))], 0, NOW) == [True] * 25
    assert world(redis) == {"queue:q": left(jobs(*range(1, 50, 2)))}


def test_a_far_payload_is_found_among_many(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(*range(6000)))

    assert withdrawals.from_queue(link, "q", [(job(5999), b""), (job(0), b"")], 0, NOW) == [True, True]
    assert world(redis) == {"queue:q": left(jobs(*range(1, 5999)))}


@pytest.mark.parametrize("number", [10, 3000, 5990])
def test_a_payload_is_withdrawn_from_either_end_and_from_the_middle(
    link: Link, redis: redispy.Redis, number: int
) -> None:
    put(redis, "queue:q", jobs(*range(6000)))

    assert withdrawals.from_queue(link, "q", [(job(number), b""), (job(number + 1), b"")], number, NOW) == [True, True]
    assert world(redis) == {"queue:q": left(jobs(*range(number), *range(number + 2, 6000)))}


def test_entries_of_a_set_are_removed_by_their_bytes(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("retry", {job(1): 1, job(2): 2, job(3): 3})

    assert withdrawals.from_set(link, "retry", [job(1), job(9), job(3)]) == 2
    assert world(redis) == {"retry": {job(2): 2}}


def test_clearing_a_queue_takes_its_name_too(link: Link, redis: redispy.Redis) -> None:
    redis.sadd("queues", "q", "other")
    put(redis, "queue:q", jobs(1, 2))

    assert [withdrawals.everything(link, "queue:q") for _ in range(2)] == [2, 0]
    assert world(redis) == {"queues": {b"other"}}


def test_clearing_a_set_counts_what_it_had(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("dead", {job(1): 1, job(2): 2})
    redis.zadd("retry", {job(3): 3})

    assert [withdrawals.everything(link, "dead") for _ in range(2)] == [2, 0]
    assert world(redis) == {"retry": {job(3): 3}}


def test_a_signal_is_left_for_a_process_and_expires(link: Link, redis: redispy.Redis) -> None:
    redis.hset(ALICE, "info", "{}")

    assert processes.signal(link, ALICE, "TSTP")
    assert processes.signal(link, ALICE, "TERM")
    assert world(redis) == {ALICE: {b"info": b"{}"}, f"{ALICE}-signals": [b"TERM", b"TSTP"]}
    assert expires(redis, f"{ALICE}-signals", 60)


def test_no_signal_is_left_for_one_that_has_gone(link: Link, redis: redispy.Redis) -> None:
    assert not processes.signal(link, ALICE, "TERM")
    assert world(redis) == {}


def test_pausing_twice_is_pausing_once(link: Link, redis: redispy.Redis) -> None:
    assert [paused.pause(link, "q"), paused.pause(link, "q")] == [True, False]
    assert paused.names(link) == {"q"}
    assert world(redis) == {"paused": {b"q"}}
    assert [paused.unpause(link, "q"), paused.unpause(link, "q")] == [True, False]
    assert world(redis) == {}
