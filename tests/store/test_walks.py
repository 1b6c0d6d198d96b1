"""Walking through queues and sets that change meanwhile: what stands still is met once, in order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from forkworker.store import walks
from forkworker.store.access import Access
from forkworker.store.walks import QueueWalk, SetWalk, Walk
from store.scene import job, jobs, put

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy
    from support.servers import RedisServer

pytestmark = pytest.mark.store


@pytest.fixture
def access(redis_server: RedisServer) -> Iterator[Access]:
    access = Access(redis_server.url)
    yield access
    access.close()


def read_all(walk: Walk, most: int = 7) -> list[bytes]:
    found = []
    while piece := walk.read(most):
        found += [entry.payload for entry in piece]
    return found


def read_some(walk: Walk, count: int) -> list[bytes]:
    return [entry.payload for piece in walk.pieces(count) for entry in piece]


def test_a_queue_is_walked_from_its_head(access: Access, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(*range(100)))

    assert read_all(QueueWalk(access, "queue:q")) == jobs(*range(100))
    assert read_all(QueueWalk(access, "queue:q", 97)) == jobs(97, 98, 99)
    assert read_all(QueueWalk(access, "queue:q", 100)) == []


def test_a_set_is_walked_by_score_either_way(access: Access, redis: redispy.Redis) -> None:
    redis.zadd("retry", {job(number): number for number in range(100)})

    assert read_all(SetWalk(access, "retry")) == jobs(*range(100))
    assert read_all(SetWalk(access, "retry", falling=True)) == jobs(*range(99, -1, -1))
    assert read_all(SetWalk(access, "retry", 95)) == jobs(*range(95, 100))


def test_jobs_taken_and_pushed_meanwhile_hide_no_other(access: Access, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(*range(30)))
    walk = QueueWalk(access, "queue:q")

    found = read_some(walk, 10)
    for _ in range(4):
        redis.rpop("queue:q")
    put(redis, "queue:q", jobs(30))
    found += read_all(walk)

    assert found == jobs(*range(31))


def test_jobs_given_back_meanwhile_repeat_no_other(access: Access, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(*range(30)))
    walk = QueueWalk(access, "queue:q")

    found = read_some(walk, 10)
    redis.rpush("queue:q", *jobs(100, 101))
    found += read_all(walk)

    assert found == jobs(*range(30))


def test_when_all_that_was_seen_is_taken_the_walk_goes_on_at_the_head(access: Access, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(*range(30)))
    walk = QueueWalk(access, "queue:q")

    found = read_some(walk, 5)
    for _ in range(5):
        redis.rpop("queue:q")
    found += read_all(walk)

    assert found == jobs(*range(30))


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("score", [lambda n: n, lambda _: 5, lambda n: n // 10], ids=["distinct", "equal", "tens"])
def test_a_set_that_changes_all_the_time_is_walked_completely(
    access: Access, redis: redispy.Redis, score: object, falling: bool
) -> None:
    assert callable(score)
    chance = random.Random(7)
    redis.zadd("dead", {b"%03d" % number: score(number) for number in range(200)})
    walk, found, removed = SetWalk(access, "dead", falling=falling), [], set()
    while piece := walk.read(9):
        found += [entry.payload for entry in piece]
        victims = {piece[-1].payload, b"%03d" % chance.randrange(200)}
        removed |= victims
        redis.zrem("dead", *victims)

    kept = [b"%03d" % number for number in range(200) if b"%03d" % number not in removed]
    assert [payload for payload in found if payload not in removed] == (kept[::-1] if falling else kept)
    assert len(found) == len(set(found))


def test_an_entry_that_moved_on_is_not_taken_for_the_place_it_had(access: Access, redis: redispy.Redis) -> None:
    redis.zadd("retry", {job(number): number for number in range(20)})
    walk = SetWalk(access, "retry")

    found = read_some(walk, 10)
    redis.zadd("retry", {job(9): 1000})
    found += read_all(walk)

    assert found == [*jobs(*range(20)), job(9)]


def test_what_was_removed_by_the_walker_itself_is_accounted_for(access: Access, redis: redispy.Redis) -> None:
    put(redis, "queue:q", jobs(*range(40)))
    walk, found = QueueWalk(access, "queue:q"), []
    while piece := walk.read(10):
        found += [entry.payload for entry in piece]
        victims = [entry for entry in piece if int(entry.payload.split(b"jid-")[1][:-2]) % 3 != 1]
        for victim in victims:
            redis.lrem("queue:q", -1, victim.payload)
        walk.leave_out(victims)

    assert found == jobs(*range(40))


def test_large_entries_are_read_a_few_at_a_time(
    access: Access, redis: redispy.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "MOST_BYTES", 10_000)
    put(redis, "queue:q", [b"%04d" % number + b"x" * 4000 for number in range(60)])
    walk = QueueWalk(access, "queue:q")

    sizes = []
    while piece := walk.read():
        sizes.append(len(piece))

    assert sizes[0] == 1
    assert set(sizes[1:-1]) == {2}
    assert sum(sizes) == 60
