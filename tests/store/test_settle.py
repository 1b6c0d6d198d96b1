"""settle: out of the working list, only if it was there, to the next home; repeated, it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forkworker.store import working
from store.scene import ALICE, BOB, DAY, NOW, expires, job, jobs, left, listed, put, settle, settlement, world

if TYPE_CHECKING:
    import redis as redispy

    from forkworker.store.connection import Link
    from forkworker.store.working import Kind

pytestmark = pytest.mark.store

WEEK = 604_800
NEW, SCORE = b"a new payload", NOW + 15.5
KINDS = ("done", "failed", "retry", "bury", "reject", "back")
PROCESSED = {"stat:processed": b"1", f"stat:processed:{DAY}": b"1"}
FAILED = {"stat:failed": b"1", f"stat:failed:{DAY}": b"1"}


def settled(number: int, flags: str) -> dict[str, bytes]:
    return {f"settled:{ALICE}": f"{number}:{flags}".encode()}


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        pytest.param("done", PROCESSED, id="done"),
        pytest.param("failed", {**PROCESSED, **FAILED}, id="failed"),
        pytest.param("retry", {**PROCESSED, **FAILED, "retry": {NEW: SCORE}}, id="retry"),
        pytest.param("bury", {**PROCESSED, **FAILED, "dead": {NEW: SCORE}}, id="bury"),
        pytest.param("reject", {"dead": {NEW: SCORE}}, id="reject"),
        pytest.param("back", {"queue:default": [job(9), job(1)]}, id="back"),
    ],
)
def test_each_kind_has_its_home_and_its_counters(
    link: Link, redis: redispy.Redis, kind: Kind, after: dict[str, Any]
) -> None:
    put(redis, listed(), jobs(1, 2))
    put(redis, "queue:default", jobs(9))

    assert settle(link, 1, settlement(kind, job(1), new_payload=NEW, score=SCORE)) == b"1"
    assert world(redis) == {listed(): jobs(2), "queue:default": jobs(9), **settled(1, "1"), **after}


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_no_longer_there_changes_nothing(link: Link, redis: redispy.Redis, kind: Kind) -> None:
    put(redis, listed(), jobs(2))
    put(redis, listed(owner=BOB), jobs(1))

    assert settle(link, 1, settlement(kind, job(1), new_payload=NEW, score=SCORE)) == b"0"
    assert world(redis) == {listed(): jobs(2), listed(owner=BOB): jobs(1), **settled(1, "0")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_sent_again_changes_nothing_and_returns_the_first_result(
    link: Link, redis: redispy.Redis, kind: Kind
) -> None:
    """The list holds the payload twice: a second removal would find the other copy."""
    put(redis, listed(), [job(1), job(1)])
    batch = [settlement(kind, job(1), new_payload=NEW, score=SCORE), settlement(kind, job(5))]
    assert settle(link, 7, *batch) == b"10"
    after = world(redis)

    assert settle(link, 7, *batch) == b"10"
    assert settle(link, 7, *batch, now=NOW + 90_000) == b"10"
    assert world(redis) == after
    assert after[listed()] == jobs(1)


def test_a_batch_that_comes_after_its_successor_changes_nothing(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2))
    settle(link, 8, settlement("done", job(1)))
    after = world(redis)

    settle(link, 7, settlement("done", job(2)))

    assert world(redis) == after


def test_numbers_compare_as_numbers(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2))

    assert [settle(link, n, settlement("done", job(n - 8))) for n in (9, 10)] == [b"1", b"1"]
    assert world(redis) == {"stat:processed": b"2", f"stat:processed:{DAY}": b"2", **settled(10, "1")}


def test_another_owner_counts_its_batches_by_itself(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(owner=BOB), jobs(1))
    settle(link, 5, settlement("done", job(7)))

    theirs = working.settle(BOB, 1, [settlement("done", job(1), working=listed(owner=BOB))], NOW)

    assert link.execute(*theirs) == b"1"
    assert world(redis) == {**PROCESSED, **settled(5, "0"), f"settled:{BOB}": b"1:1"}


def test_a_batch_of_every_kind_settles_each_for_itself(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(*range(1, 8)))
    batch = [settlement(kind, job(n), new_payload=job(n, new=1), score=NOW + n) for n, kind in enumerate(KINDS, 1)]

    assert settle(link, 1, *batch, settlement("done", job(99))) == b"1111110"
    assert world(redis) == {
        listed(): jobs(7),
        "queue:default": jobs(6),
        "retry": {job(3, new=1): NOW + 3},
        "dead": {job(4, new=1): NOW + 4, job(5, new=1): NOW + 5},
        "stat:processed": b"4",
        f"stat:processed:{DAY}": b"4",
        "stat:failed": b"3",
        f"stat:failed:{DAY}": b"3",
        **settled(1, "1111110"),
    }


def test_lists_of_several_queues_and_of_an_earlier_nonce_go_in_one_batch(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed("high"), jobs(1))
    put(redis, listed("low"), jobs(1, 2))
    put(redis, listed("low", BOB), jobs(3))
    batch = [
        settlement("back", job(1), "low"),
        settlement("done", job(1), "high"),
        settlement("back", job(3), "low", working=listed("low", BOB)),
    ]

    assert settle(link, 1, *batch) == b"111"
    assert world(redis) == {
        listed("low"): jobs(2),
        "queue:low": [job(1), job(3)],
        **PROCESSED,
        **settled(1, "111"),
    }


def test_what_goes_back_the_newest_first_is_at_the_head_in_its_old_order(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2, 3))
    put(redis, "queue:default", jobs(4, 5))

    settle(link, 1, settlement("back", job(3)), settlement("back", job(2)))
    settle(link, 2, settlement("back", job(1)))

    assert world(redis) == {"queue:default": left(jobs(1, 2, 3, 4, 5)), **settled(2, "1")}


def test_of_two_alike_one_is_settled_and_one_stays(link: Link, redis: redispy.Redis) -> None:
    """The older one goes, as it was started first: the newer keeps its place in the order."""
    put(redis, listed(), [job(1), job(2), job(1)])

    assert settle(link, 1, settlement("done", job(1))) == b"1"
    assert world(redis)[listed()] == left([job(2), job(1)])
    assert settle(link, 2, settlement("done", job(1)), settlement("done", job(1))) == b"10"
    assert world(redis)[listed()] == jobs(2)


def test_a_batch_of_two_alike_settles_both(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), [job(1), job(1)])

    assert settle(link, 1, settlement("done", job(1)), settlement("back", job(1))) == b"11"
    assert world(redis) == {"queue:default": jobs(1), **PROCESSED, **settled(1, "11")}


@pytest.mark.parametrize("kind", ["bury", "reject"])
def test_a_burial_drops_what_is_too_old(link: Link, redis: redispy.Redis, kind: Kind) -> None:
    limit = NOW - working.DEAD_SECONDS
    redis.zadd("dead", {"older": limit - 1, "just": limit, "younger": limit + 1})
    put(redis, listed(), jobs(1))

    settle(link, 1, settlement(kind, job(1), new_payload=NEW, score=NOW))

    assert world(redis)["dead"] == {b"younger": limit + 1, NEW: NOW}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(9_998, 9_999, id="room for two"),
        pytest.param(9_999, 10_000, id="room for one"),
        pytest.param(10_000, 10_000, id="full"),
        pytest.param(10_007, 10_000, id="too full by others' doing"),
    ],
)
def test_a_burial_keeps_the_ten_thousand_newest(link: Link, redis: redispy.Redis, before: int, after: int) -> None:
    redis.zadd("dead", {f"d{n}": NOW - before + n for n in range(before)})
    put(redis, listed(), jobs(1))

    settle(link, 1, settlement("bury", job(1), new_payload=NEW, score=NOW))

    dead = world(redis)["dead"]
    assert len(dead) == after
    assert min(dead.values()) == NOW - after + 1
    assert dead[NEW] == NOW


@pytest.mark.parametrize("kind", ["done", "failed", "retry", "back"])
def test_without_a_burial_the_dead_set_is_not_looked_at(link: Link, redis: redispy.Redis, kind: Kind) -> None:
    redis.zadd("dead", {"ancient": 1})
    put(redis, listed(), jobs(1))

    settle(link, 1, settlement(kind, job(1), new_payload=NEW, score=NOW))

    assert world(redis)["dead"] == {b"ancient": 1}


def test_a_burial_that_did_not_count_drops_nothing(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("dead", {"ancient": 1})

    settle(link, 1, settlement("bury", job(1), new_payload=NEW, score=NOW))

    assert world(redis) == {"dead": {b"ancient": 1}, **settled(1, "0")}


def test_only_results_and_daily_counters_pass_away(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2, 3))

    batch = (settlement("retry", job(1), new_payload=NEW), settlement("bury", job(2), new_payload=NEW))
    settle(link, 1, *batch)

    five_years = 157_680_000
    bounded = {
        f"settled:{ALICE}": WEEK,
        f"stat:processed:{DAY}": five_years,
        f"stat:failed:{DAY}": five_years,
    }
    assert {key: key in bounded for key in world(redis)} == {key: redis.ttl(key) >= 0 for key in world(redis)}
    assert all(expires(redis, key, seconds) for key, seconds in bounded.items())


@pytest.mark.parametrize(
    ("now", "day"),
    [
        pytest.param(1_703_980_799.9, "2023-12-30", id="the last moment of a day in UTC"),
        pytest.param(1_703_980_800.0, "2023-12-31", id="the first"),
    ],
)
def test_days_are_those_of_utc(
    link: Link, redis: redispy.Redis, monkeypatch: pytest.MonkeyPatch, now: float, day: str
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    put(redis, listed(), jobs(1))

    settle(link, 1, settlement("failed", job(1)), now=now)

    assert {key for key in world(redis) if key.startswith("stat:")} == {
        "stat:processed",
        "stat:failed",
        f"stat:processed:{day}",
        f"stat:failed:{day}",
    }


def test_counters_go_on_from_where_others_have_brought_them(link: Link, redis: redispy.Redis) -> None:
    redis.mset({"stat:processed": 41, "stat:failed": 7})
    put(redis, listed(), jobs(1))

    settle(link, 1, settlement("failed", job(1)))

    assert redis.mget("stat:processed", "stat:failed") == [b"42", b"8"]


def test_scores_keep_every_digit(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1))
    score = 1_700_000_123.456789

    settle(link, 1, settlement("retry", job(1), new_payload=NEW, score=score))

    assert world(redis)["retry"] == {NEW: score}


def test_a_hundred_are_settled_at_once(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(*range(100)))

    assert settle(link, 1, *(settlement("done", job(n)) for n in range(100))) == b"1" * 100
    assert world(redis)["stat:processed"] == b"100"
    assert listed() not in world(redis)
