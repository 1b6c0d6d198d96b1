"""fetch: from the queues, in the order given, into the taker's working lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forkworker.errors import IdentityTaken
from forkworker.store import working
from store.scene import ALICE, BOB, job, jobs, left, listed, put, world

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis as redispy

    from forkworker.store.connection import Link

pytestmark = pytest.mark.store


def fetch(
    link: Link, queues: Sequence[str], count: int, owner: str = ALICE, shares: Sequence[int] = ()
) -> list[list[bytes]]:
    fetched: list[list[bytes]] = link.execute(*working.fetch(owner, queues, count, shares))
    return fetched


@pytest.mark.parametrize(
    ("stored", "count", "taken"),
    [
        pytest.param([], 5, [], id="nothing there"),
        pytest.param([1, 2, 3], 1, [1], id="one of three"),
        pytest.param([1, 2, 3], 2, [1, 2], id="some"),
        pytest.param([1, 2, 3], 3, [1, 2, 3], id="just all"),
        pytest.param([1, 2, 3], 9, [1, 2, 3], id="more than there are"),
        pytest.param([1, 1, 1], 2, [1, 1], id="identical bytes"),
    ],
)
def test_the_oldest_are_taken_first_and_stand_in_the_working_list_in_that_order(
    link: Link, redis: redispy.Redis, stored: list[int], count: int, taken: list[int]
) -> None:
    if stored:
        put(redis, "queue:default", jobs(*stored))

    fetched = fetch(link, ["default"], count)

    rest = stored[len(taken) :]
    assert fetched == [jobs(*taken)]
    assert world(redis) == {
        **({"queue:default": left(jobs(*rest))} if rest else {}),
        **({listed(): left(jobs(*taken))} if taken else {}),
    }


@pytest.mark.parametrize(
    ("count", "high", "low"),
    [
        pytest.param(1, [1], None, id="the second queue is not looked at"),
        pytest.param(2, [1, 2], None, id="nor when the first has just enough"),
        pytest.param(3, [1, 2], [3], id="what the first lacks comes from the second"),
        pytest.param(9, [1, 2], [3, 4], id="all"),
    ],
)
def test_the_first_queue_is_emptied_first(
    link: Link, redis: redispy.Redis, count: int, high: list[int], low: list[int] | None
) -> None:
    put(redis, "queue:high", jobs(1, 2))
    put(redis, "queue:low", jobs(3, 4))

    fetched = fetch(link, ["high", "low"], count)

    lows = low or []
    rests = {
        "queue:high": [n for n in (1, 2) if n not in high],
        "queue:low": [n for n in (3, 4) if n not in lows],
    }
    lists = {listed("high"): high, listed("low"): lows}
    assert fetched == [jobs(*high)] + ([] if low is None else [jobs(*low)])
    assert world(redis) == {key: left(jobs(*numbers)) for key, numbers in (rests | lists).items() if numbers}


def test_an_empty_queue_is_passed_over(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:low", jobs(1))

    assert fetch(link, ["high", "default", "low"], 5) == [[], [], jobs(1)]
    assert world(redis) == {listed("low"): jobs(1)}


@pytest.mark.parametrize(
    ("stored", "count", "shares", "taken"),
    [
        pytest.param((3, 3, 3), 4, (2, 1, 1), ([1, 2], [1], [1]), id="each has its share"),
        pytest.param((3, 3, 3), 2, (2, 1, 1), ([1, 2],), id="never more than the count"),
        pytest.param((3, 3, 3), 3, (2, 0, 1), ([1, 2], [], [1]), id="no share"),
        pytest.param((1, 3, 3), 4, (2, 1, 1), ([1], [1, 2], [1]), id="what one lacks comes from the next"),
        pytest.param((3, 0, 3), 4, (1, 2, 1), ([1, 2, 3], [], [1]), id="or from the one before"),
        pytest.param((0, 2, 3), 4, (3, 0, 1), ([], [1, 2], [1, 2]), id="also from one without a share"),
        pytest.param((0, 1, 1), 9, (5, 1, 3), ([], [1], [1]), id="all there are"),
        pytest.param((0, 0, 0), 4, (2, 1, 1), ([], [], []), id="nothing there"),
    ],
)
def test_queues_with_shares_give_so_many_and_make_up_for_each_other(
    link: Link,
    redis: redispy.Redis,
    *,
    stored: tuple[int, ...],
    count: int,
    shares: tuple[int, ...],
    taken: tuple[list[int], ...],
) -> None:
    names = ("high", "default", "low")
    for name, length in zip(names, stored, strict=True):
        if length:
            put(redis, f"queue:{name}", jobs(*range(1, length + 1)))

    fetched = fetch(link, names, count, shares=shares)

    assert fetched == [jobs(*numbers) for numbers in taken]
    expected = {}
    for name, length, numbers in zip(names, stored, [*taken, [], []], strict=False):
        expected[f"queue:{name}"] = left(jobs(*range(len(numbers) + 1, length + 1)))
        expected[listed(name)] = left(jobs(*numbers))
    assert world(redis) == {key: payloads for key, payloads in expected.items() if payloads}


def test_what_was_fetched_before_stays_and_is_older(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1, 2, 3))

    fetch(link, ["default"], 2)
    fetch(link, ["default"], 2)

    assert world(redis) == {listed(): left(jobs(1, 2, 3))}


def test_two_owners_never_get_the_same_payload(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1, 2, 3))

    assert fetch(link, ["default"], 2) == [jobs(1, 2)]
    assert fetch(link, ["default"], 2, BOB) == [jobs(3)]
    assert world(redis) == {listed(): left(jobs(1, 2)), listed(owner=BOB): jobs(3)}


def test_bytes_that_are_no_text_come_through_as_they_are(link: Link, redis: redispy.Redis) -> None:
    payloads = [b"\x00\xff\r\n", b"", b"nil"]
    put(redis, "queue:default", payloads)

    assert fetch(link, ["default"], 3) == [payloads]
    assert world(redis) == {listed(): left(payloads)}


def test_a_thousand_payloads_come_at_once(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(*range(1500)))

    assert fetch(link, ["default"], 1000) == [jobs(*range(1000))]
    assert redis.llen("queue:default") == 500


def test_one_declared_dead_takes_nothing(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1))
    redis.set(f"taken:{ALICE}", 1)

    with pytest.raises(IdentityTaken):
        fetch(link, ["default"], 1)

    assert world(redis) == {"queue:default": jobs(1), f"taken:{ALICE}": b"1"}
    assert fetch(link, ["default"], 1, BOB) == [jobs(1)]


def test_working_lists_are_known_to_all_before_their_first_use(link: Link, redis: redispy.Redis) -> None:
    link.pipeline(working.register(ALICE, ["high", "low"], "here 25"))
    link.pipeline(working.register(ALICE, ["high", "low"], "here 25"))

    assert world(redis) == {
        "origins": {ALICE.encode(): b"here 25"},
        "working": {listed("high").encode(), listed("low").encode()},
    }


def test_contents_are_read_for_each_queue_the_newest_first(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed("high"), jobs(1, 2))
    before = world(redis)

    assert link.pipeline(working.contents(ALICE, ["high", "low"])) == [[job(2), job(1)], []]
    assert world(redis) == before
