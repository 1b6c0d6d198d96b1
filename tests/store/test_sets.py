"""due and promote: the schedule and the retry set, read by every keeper, emptied by whoever comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forkworker.store import batches, sets
from forkworker.store.sets import Due, Promotion
from forkworker.wire import keys
from store.scene import NOW, job, jobs, left, put, world

if TYPE_CHECKING:
    import redis as redispy

    from forkworker.store.connection import Link

pytestmark = pytest.mark.store


@pytest.mark.parametrize(
    ("retry", "schedule", "due", "next_at"),
    [
        pytest.param({}, {}, ([], []), None, id="both empty"),
        pytest.param({1: -1}, {2: -2}, ([1], [2]), None, id="all due: nothing next"),
        pytest.param({1: 0}, {2: 0}, ([1], [2]), None, id="due at this very moment"),
        pytest.param({1: 5}, {}, ([], []), 5, id="only in retry"),
        pytest.param({}, {2: 5}, ([], []), 5, id="only in the schedule"),
        pytest.param({1: 7}, {2: 5}, ([], []), 5, id="the schedule's is earlier"),
        pytest.param({1: 5}, {2: 7}, ([], []), 5, id="retry's is earlier"),
        pytest.param({1: 0.001}, {}, ([], []), 0.001, id="a millisecond later"),
        pytest.param({1: -3, 2: -9, 3: 8}, {4: -1, 5: 6, 6: 9}, ([2, 1], [4]), 6, id="the longest due first"),
        pytest.param({1: -1}, {2: 100_000_000}, ([1], []), 100_000_000, id="in years"),
    ],
)
def test_due_tells_what_is_due_and_when_there_is_more(
    link: Link,
    redis: redispy.Redis,
    retry: dict[int, float],
    schedule: dict[int, float],
    due: tuple[list[int], list[int]],
    next_at: float | None,
) -> None:
    for key, content in (("retry", retry), ("schedule", schedule)):
        if content:
            redis.zadd(key, {job(number): NOW + seconds for number, seconds in content.items()})
    before = world(redis)

    found = sets.due(link, NOW)

    retries, scheduled = due
    expected = None if next_at is None else pytest.approx(NOW + next_at, abs=1e-6)
    assert found == Due({"retry": jobs(*retries), "schedule": jobs(*scheduled)}, expected)
    assert world(redis) == before


def test_a_batch_of_each_set_is_read_at_the_most(link: Link, redis: redispy.Redis) -> None:
    for key in ("retry", "schedule"):
        redis.zadd(key, {job(number): NOW - 500 + number for number in range(150)})

    found = sets.due(link, NOW)

    assert found == Due({key: jobs(*range(sets.BATCH)) for key in ("retry", "schedule")}, None)


@pytest.mark.parametrize("source", ["retry", "schedule"])
def test_a_due_job_moves_to_the_tail_of_its_queue(link: Link, redis: redispy.Redis, source: str) -> None:
    redis.zadd(source, {job(1): NOW - 1, job(2): NOW - 1, job(3): NOW + 1})
    put(redis, "queue:low", jobs(9))
    promotions = [Promotion(job(1), "low", job(1, new=1)), Promotion(job(2), "high", job(2, new=1))]

    assert sets.promote(link, source, promotions, NOW) == 2
    assert world(redis) == {
        source: {job(3): NOW + 1},
        "queues": {b"low", b"high"},
        "queue:low": left([job(9), job(1, new=1)]),
        "queue:high": [job(2, new=1)],
    }


def test_promoted_jobs_keep_the_order_in_which_they_were_due(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("schedule", {job(number): NOW - 10 + number for number in (1, 2, 3)})
    promotions = [Promotion(text, "default", text + b" ") for text in sets.due(link, NOW).payloads["schedule"]]

    assert sets.promote(link, "schedule", promotions, NOW) == 3
    assert world(redis) == {"queues": {b"default"}, "queue:default": left([text + b" " for text in jobs(1, 2, 3)])}


def test_one_that_stays_as_it_was_goes_back_to_the_head(link: Link, redis: redispy.Redis) -> None:
    """It was taken from there once: the keeper has set it apart."""
    redis.zadd("schedule", {job(1): NOW - 1})
    put(redis, "queue:default", jobs(2, 3))

    assert sets.promote(link, "schedule", [Promotion(job(1), "default", job(1))], NOW) == 1
    assert world(redis) == {"queues": {b"default"}, "queue:default": left(jobs(1, 2, 3))}


def test_what_is_no_job_goes_to_the_dead_set_as_it_is(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("retry", {"not json": NOW - 1, job(1): NOW - 1})
    promotions = [Promotion(b"not json", "", b"not json"), Promotion(job(1), "default", job(1))]

    assert sets.promote(link, "retry", promotions, NOW) == 2
    assert world(redis) == {"queues": {b"default"}, "queue:default": jobs(1), "dead": {b"not json": NOW}}


@pytest.mark.parametrize("queue", ["default", ""], ids=["to a queue", "to the dead set"])
def test_what_is_no_longer_in_the_set_is_not_moved(link: Link, redis: redispy.Redis, queue: str) -> None:
    redis.zadd("retry", {job(2): NOW - 1})
    redis.zadd("schedule", {job(1): NOW - 1})
    before = world(redis)

    assert sets.promote(link, "retry", [Promotion(job(1), queue, job(1, new=1))], NOW) == 0
    assert world(redis) == before


def test_two_keepers_that_have_read_the_same_move_each_job_once(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("schedule", {job(number): NOW - 10 + number for number in (1, 2, 3)})
    one, other = (
        [Promotion(text, "default", job(0, by=keeper)) for text in sets.due(link, NOW).payloads["schedule"]]
        for keeper in ("one", "other")
    )

    assert [sets.promote(link, "schedule", moves, NOW) for moves in (one[:2], other, one)] == [2, 1, 0]
    assert world(redis) == {
        "queues": {b"default"},
        "queue:default": left([job(0, by="one"), job(0, by="one"), job(0, by="other")]),
    }


def test_a_whole_batch_is_moved_at_once(link: Link, redis: redispy.Redis) -> None:
    redis.zadd("retry", {job(number): number for number in range(sets.BATCH + 1)})
    promotions = [Promotion(text, "default", text + b" ") for text in sets.due(link, NOW).payloads["retry"]]

    assert sets.promote(link, "retry", promotions, NOW) == sets.BATCH
    assert world(redis) == {
        "retry": {job(sets.BATCH): sets.BATCH},
        "queues": {b"default"},
        "queue:default": left([text + b" " for text in jobs(*range(sets.BATCH))]),
    }


def test_large_payloads_are_moved_by_several_scripts_in_order(
    link: Link, redis: redispy.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 100)
    redis.zadd("retry", {job(number): number for number in range(5)})
    promotions = [Promotion(job(number), "default", job(number, new=1)) for number in range(5)]

    assert sets.promote(link, "retry", promotions, NOW) == 5
    assert world(redis) == {"queues": {b"default"}, "queue:default": left([job(n, new=1) for n in range(5)])}


def test_the_dead_set_is_trimmed_by_number_and_by_age(redis: redispy.Redis, link: Link) -> None:
    now = 2_000_000_000.0
    redis.zadd(keys.DEAD, {f"old{n}": now - sets.DEAD_SECONDS - 1 - n for n in range(3)})
    redis.zadd(keys.DEAD, {f"new{n}": now - 20_000 + n for n in range(sets.MOST_DEAD + 2)})

    sets.trim_dead(link, now)

    assert redis.zcard(keys.DEAD) == sets.MOST_DEAD
    assert redis.zrange(keys.DEAD, 0, 0) == [b"new2"]
