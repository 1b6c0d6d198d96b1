"""The sizes of everything, for ``forkworker status``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import free_port

from forkworker.errors import StoreUnavailable
from forkworker.store import overview
from forkworker.store.overview import Overview, QueueSize
from store.scene import ALICE, job, jobs, put, world

if TYPE_CHECKING:
    import redis as redispy
    from support.servers import RedisServer

pytestmark = pytest.mark.store

NOTHING = Overview(queues=[], scheduled=0, retries=0, dead=0, processes=0, processed=0, failed=0)


def test_an_empty_redis_has_nothing(redis_server: RedisServer, redis: redispy.Redis) -> None:
    assert overview.read(redis_server.url) == NOTHING
    assert world(redis) == {}


def test_everything_is_counted_and_left_as_it_is(redis_server: RedisServer, redis: redispy.Redis) -> None:
    redis.sadd("queues", "low", "high", "empty")
    put(redis, "queue:high", jobs(1, 2))
    put(redis, "queue:low", jobs(3))
    for number, key in enumerate(["schedule", "retry", "dead"], 1):
        redis.zadd(key, {f"{key}-{n}": n for n in range(number)})
    redis.sadd("processes", ALICE)
    redis.mset({"stat:processed": 12, "stat:failed": 5})
    before = world(redis)

    assert overview.read(redis_server.url) == Overview(
        queues=[QueueSize("empty", 0, 0.0), QueueSize("high", 2, 0.0), QueueSize("low", 1, 0.0)],
        scheduled=1,
        retries=2,
        dead=3,
        processes=1,
        processed=12,
        failed=5,
    )
    assert world(redis) == before


@pytest.mark.parametrize(
    ("oldest", "latency"),
    [
        pytest.param({"enqueued_at": -60.5}, 60.5, id="float: seconds"),
        pytest.param({"enqueued_at": -90, "unit": 1000}, 90, id="integer: milliseconds of Sidekiq 8"),
        pytest.param({"enqueued_at": 3600.0}, 0, id="a clock ahead of ours"),
        pytest.param({}, 0, id="no time"),
        pytest.param({"text": "yesterday"}, 0, id="no number"),
    ],
)
def test_latency_is_the_age_of_the_oldest_job(
    redis_server: RedisServer, redis: redispy.Redis, oldest: dict[str, Any], latency: float
) -> None:
    fields: dict[str, Any] = {}
    if "enqueued_at" in oldest:
        instant = time.time() + oldest["enqueued_at"]
        fields["enqueued_at"] = int(instant * oldest["unit"]) if "unit" in oldest else instant
    elif "text" in oldest:
        fields["enqueued_at"] = oldest["text"]
    redis.sadd("queues", "default")
    put(redis, "queue:default", [job(1, **fields), job(2, enqueued_at=time.time())])

    (queue,) = overview.read(redis_server.url).queues

    assert (queue.name, queue.size) == ("default", 2)
    assert queue.latency_seconds == pytest.approx(latency, abs=5)


@pytest.mark.parametrize("oldest", [b"not json", b"[]", b"\xff", json.dumps({"args": []}).encode()])
def test_an_oldest_entry_that_is_no_job_has_no_latency(
    redis_server: RedisServer, redis: redispy.Redis, oldest: bytes
) -> None:
    redis.sadd("queues", "default")
    put(redis, "queue:default", [oldest])

    assert overview.read(redis_server.url).queues == [QueueSize("default", 1, 0.0)]


def test_a_name_that_is_no_text_is_shown_all_the_same(redis_server: RedisServer, redis: redispy.Redis) -> None:
    redis.sadd("queues", b"\xff")

    assert [queue.name for queue in overview.read(redis_server.url).queues] == ["\ufffd"]


def test_redis_away_is_told() -> None:
    with pytest.raises(StoreUnavailable):
        overview.read(f"redis://127.0.0.1:{free_port()}/0")
