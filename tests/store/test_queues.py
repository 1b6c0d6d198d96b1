"""push and schedule: all or none, once; and what a client is told when that is not known."""

from __future__ import annotations

import secrets
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import RedisServer, free_port
from support.waiting import wait_until

from forkworker.errors import PushFailed, PushInDoubt, StoreUnavailable
from forkworker.store import queues
from forkworker.store.connection import make_client
from store.scene import NOW, job, jobs, left, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.proxy import Proxy

    Push = Callable[[redispy.Redis], None]

pytestmark = pytest.mark.store


def connect(client: redispy.Redis) -> None:
    """Have the next push find a connection."""
    pool: Any = client.connection_pool
    pool.take_back(pool.lend())


def push_two(client: redispy.Redis) -> None:
    queues.push(client, "default", jobs(1, 2))


def schedule_two(client: redispy.Redis) -> None:
    queues.schedule(client, [(job(1), NOW), (job(2), NOW + 0.5)])


PUSHED = {"queues": {b"default"}, "queue:default": left(jobs(1, 2))}
SCHEDULED = {"schedule": {job(1): NOW, job(2): NOW + 0.5}}
both_ways = pytest.mark.parametrize(
    ("push", "accepted"),
    [pytest.param(push_two, PUSHED, id="push"), pytest.param(schedule_two, SCHEDULED, id="schedule")],
)


@pytest.fixture
def client(redis_server: RedisServer, redis: redispy.Redis) -> Iterator[redispy.Redis]:  # noqa: ARG001 - it empties
    """A client as programs have it that enqueue."""
    client = make_client(redis_server.url)
    yield client
    client.close()


@pytest.fixture
def client_behind(proxy: Proxy, redis: redispy.Redis) -> Iterator[redispy.Redis]:  # noqa: ARG001 - it empties
    """The same, behind a proxy."""
    client = make_client(proxy.url)
    yield client
    client.close()


@both_ways
def test_all_are_accepted(client: redispy.Redis, redis: redispy.Redis, push: Push, accepted: dict[str, object]) -> None:
    push(client)

    assert world(redis) == accepted


def test_later_pushes_are_behind_earlier_ones(client: redispy.Redis, redis: redispy.Redis) -> None:
    queues.push(client, "default", jobs(1, 2))
    queues.push(client, "default", jobs(3))
    queues.push(client, "low", jobs(4))

    assert world(redis) == {
        "queues": {b"default", b"low"},
        "queue:default": left(jobs(1, 2, 3)),
        "queue:low": jobs(4),
    }


def test_identical_payloads_are_two_jobs(client: redispy.Redis, redis: redispy.Redis) -> None:
    queues.push(client, "default", [job(1), job(1)])

    assert world(redis) == {"queues": {b"default"}, "queue:default": [job(1), job(1)]}


@both_ways
def test_a_lost_reply_leaves_the_push_in_doubt_and_it_is_not_repeated(
    proxy: Proxy, client_behind: redispy.Redis, redis: redispy.Redis, push: Push, accepted: dict[str, object]
) -> None:
    cut = proxy.cut_after(lambda command, _: command[0] in (b"LPUSH", b"ZADD"), times=1)

    with pytest.raises(PushInDoubt, match="may or may not have been accepted"):
        push(client_behind)

    assert len(cut.seen) == 1
    assert world(redis) == accepted


@both_ways
def test_a_connection_lost_before_it_was_sent_whole_accepts_none(
    proxy: Proxy, client_behind: redispy.Redis, redis: redispy.Redis, push: Push, accepted: dict[str, object]
) -> None:
    """The client cannot know: it is in doubt all the same."""
    assert accepted
    client_behind.connection_pool.connection_kwargs["socket_timeout"] = 0.2
    connect(client_behind)
    proxy.black_hole()

    with pytest.raises(PushInDoubt):
        push(client_behind)

    proxy.cut_all()
    proxy.restore_flow()
    assert world(redis) == {}


@both_ways
def test_the_client_is_usable_again_after_a_lost_connection(
    proxy: Proxy, client_behind: redispy.Redis, redis: redispy.Redis, push: Push, accepted: dict[str, object]
) -> None:
    connect(client_behind)
    proxy.refuse()
    with pytest.raises(PushFailed, match="nothing was accepted"):
        push(client_behind)
    assert world(redis) == {}

    proxy.allow()
    push(client_behind)

    assert world(redis) == accepted


@both_ways
def test_what_redis_refuses_is_not_accepted_and_not_in_doubt(
    client: redispy.Redis, redis: redispy.Redis, push: Push, accepted: dict[str, object]
) -> None:
    assert accepted
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(PushFailed, match="nothing was accepted"):
            push(client)
    finally:
        redis.config_set("maxmemory", 0)

    assert world(redis) == {}


def test_a_queue_that_is_no_list_accepts_nothing(client: redispy.Redis, redis: redispy.Redis) -> None:
    redis.set("queue:default", "a string")

    with pytest.raises(PushFailed, match="nothing was accepted"):
        push_two(client)

    assert world(redis)["queue:default"] == b"a string"


def test_a_name_that_redis_refuses_does_not_hide_that_the_job_was_accepted(
    client: redispy.Redis, redis: redispy.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.set("queues", "a string")

    push_two(client)

    assert world(redis)["queue:default"] == left(jobs(1, 2))
    assert "WRONGTYPE" in caplog.text


def test_where_nobody_listens_a_push_fails_at_once_and_is_not_in_doubt() -> None:
    client = make_client(f"redis://127.0.0.1:{free_port()}/0")

    with pytest.raises(PushFailed, match="nothing was accepted"):
        push_two(client)


def test_while_redis_loads_its_data_a_push_fails_and_is_not_in_doubt() -> None:
    with RedisServer(config=["--key-load-delay", "20000"]) as server:  # it answers after each 2 MB
        server.client().mset({f"key {n}": secrets.token_hex(100_000) for n in range(100)})
        server.client().save()
        server.stop()
        starting = threading.Thread(target=server.start)
        starting.start()
        client = make_client(server.url)

        def refusal() -> str:
            try:
                push_two(client)
            except PushFailed as error:
                return str(error)
            return "accepted"

        told = wait_until(lambda: (why := refusal()) and "cannot be reached" not in why and why, 30)

        starting.join()
        client.close()
        assert "nothing was accepted" in told
        assert "loading" in told
        assert server.client().dbsize() == 100


def test_a_failed_push_and_one_in_doubt_can_be_caught_together_and_told_apart() -> None:
    assert issubclass(PushFailed, StoreUnavailable)
    assert issubclass(PushInDoubt, StoreUnavailable)
    assert not issubclass(PushFailed, PushInDoubt)
    assert not issubclass(PushInDoubt, PushFailed)


def test_a_connection_that_redis_has_closed_meanwhile_is_not_used(client: redispy.Redis, redis: redispy.Redis) -> None:
    """An idle program's next push after a restart, or after Redis' own timeout, is not in doubt."""
    push_two(client)
    for other in redis.client_list():
        if other["id"] != str(redis.client_id()):
            redis.client_kill_filter(_id=other["id"])

    push_two(client)

    assert len(world(redis)["queue:default"]) == 4


def test_what_a_signal_raises_in_a_push_leaves_no_reply_for_the_next(
    proxy: Proxy, client_behind: redispy.Redis, redis: redispy.Redis
) -> None:
    """Else the next push would read this one's replies, and take itself for accepted."""
    push_two(client_behind)
    proxy.black_hole()
    before = signal.signal(signal.SIGALRM, _raise_too_late)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TooLate):
            push_two(client_behind)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    proxy.cut_all()
    proxy.restore_flow()
    redis.set("queue:other", "a string")

    with pytest.raises(PushFailed, match="WRONGTYPE"):
        queues.push(client_behind, "other", jobs(3))


class TooLate(BaseException):
    """Raised by a signal's handler, as time limits do."""


def _raise_too_late(*_: object) -> None:
    raise TooLate
