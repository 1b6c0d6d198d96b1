"""Wait: blocked on one queue until a push, an unblock or the time ends it; one reply each time it is armed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.waiting import wait_until

from forkworker.clock import SystemClock
from forkworker.errors import StoreUnavailable
from forkworker.store import waits
from forkworker.store.connection import TIMEOUT_SECONDS, Link
from forkworker.store.waits import BLOCK_SECONDS, Wait
from store.scene import ALICE, BOB, job, jobs, listed, put, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.proxy import Proxy
    from support.servers import RedisServer

pytestmark = pytest.mark.store

SOON = 5.0


class Clock(SystemClock):
    """The machine's clocks, and a way to be ahead of them."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(redis: redispy.Redis, clock: Clock) -> Iterator[Callable[[str, str], Wait]]:  # noqa: ARG001 - it empties
    """Make connected waits: ``make(url, queue)``."""
    made: list[Wait] = []

    def connected(url: str, queue: str = "default") -> Wait:
        made.append(Wait(url, queue, clock))
        made[-1].connect()
        return made[-1]

    yield connected
    for wait in made:
        wait.close()


@pytest.fixture
def wait(make: Callable[..., Wait], redis_server: RedisServer) -> Wait:
    """One that waits at the queue ``default``."""
    return make(redis_server.url)


def blocked(redis: redispy.Redis) -> int:
    return int(redis.info("clients")["blocked_clients"])


def until_blocked(redis: redispy.Redis, count: int = 1) -> None:
    wait_until(lambda: blocked(redis) == count, SOON, f"{count} clients are blocked", poll=0.002)


def until_readable(wait: Wait) -> None:
    wait_until(lambda: wait._link.readable(0), SOON, "the wait is answered", poll=0.002)


def test_a_push_ends_the_wait_and_the_job_is_in_the_working_list(wait: Wait, redis: redispy.Redis) -> None:
    wait.arm(ALICE)
    until_blocked(redis)
    put(redis, "queue:default", jobs(1, 2))
    until_readable(wait)

    assert wait.armed
    assert wait.read() == job(1)
    assert not wait.armed
    assert world(redis) == {listed(): jobs(1), "queue:default": jobs(2)}


def test_a_job_that_is_there_already_ends_the_wait_at_once(wait: Wait, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1, 2))
    put(redis, listed(), jobs(9))

    wait.arm(ALICE)

    assert wait.read() == job(1)
    assert world(redis) == {listed(): [job(1), job(9)], "queue:default": jobs(2)}


def test_a_push_wakes_the_one_that_has_waited_longest(
    make: Callable[..., Wait], redis_server: RedisServer, redis: redispy.Redis
) -> None:
    first, second = make(redis_server.url), make(redis_server.url)
    for count, (wait, owner) in enumerate([(first, ALICE), (second, BOB)], 1):
        wait.arm(owner)
        until_blocked(redis, count)

    put(redis, "queue:default", jobs(1))

    assert first.read() == job(1)
    until_blocked(redis)
    assert world(redis) == {listed(): jobs(1)}


def test_a_push_to_another_queue_does_not_end_the_wait(wait: Wait, redis: redispy.Redis, link: Link) -> None:
    wait.arm(ALICE)
    until_blocked(redis)
    put(redis, "queue:low", jobs(1))

    assert blocked(redis) == 1
    assert wait.disarm(link) is None
    assert world(redis) == {"queue:low": jobs(1)}


def test_a_wait_ends_by_itself(wait: Wait, redis: redispy.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "BLOCK_SECONDS", 0.05)
    wait.arm(ALICE)
    until_readable(wait)

    assert wait.read() is None
    assert not wait.armed
    assert blocked(redis) == 0


def test_a_disarmed_wait_moves_nothing_any_more(wait: Wait, redis: redispy.Redis, link: Link) -> None:
    wait.arm(ALICE)
    until_blocked(redis)

    assert wait.disarm(link) is None
    assert not wait.armed
    put(redis, "queue:default", jobs(1))
    assert world(redis) == {"queue:default": jobs(1)}


def test_a_wait_can_be_armed_again_on_the_same_connection(wait: Wait, redis: redispy.Redis, link: Link) -> None:
    number = wait.client_id
    for _ in range(20):
        wait.arm(ALICE)
        assert wait.disarm(link) is None
    wait.connect()
    wait.arm(ALICE)
    put(redis, "queue:default", jobs(1))

    assert wait.read() == job(1)
    assert wait.client_id == number


def test_what_came_before_the_unblock_is_returned_by_it(wait: Wait, redis: redispy.Redis, link: Link) -> None:
    wait.arm(ALICE)
    until_blocked(redis)
    put(redis, "queue:default", jobs(1))

    assert wait.disarm(link) == job(1)
    assert world(redis) == {listed(): jobs(1)}


def test_an_unblock_that_arrives_before_the_blmove_is_repeated(
    make: Callable[..., Wait], proxy: Proxy, redis: redispy.Redis, link: Link
) -> None:
    """The server answers it with 0: nobody is blocked yet."""
    wait = make(proxy.url)
    redis.config_resetstat()
    proxy.black_hole()
    wait.arm(ALICE)
    let_through = threading.Timer(0.15, proxy.restore_flow)
    let_through.start()

    started = time.monotonic()
    assert wait.disarm(link) is None

    let_through.join()
    assert time.monotonic() - started < SOON / 2
    unblocks = redis.info("commandstats")
    assert sum(each["calls"] for name, each in unblocks.items() if "client" in name) >= 2
    put(redis, "queue:default", jobs(1))
    assert world(redis) == {"queue:default": jobs(1)}


def test_an_unblock_that_arrives_before_the_blmove_loses_no_job(
    make: Callable[..., Wait], proxy: Proxy, redis: redispy.Redis, link: Link
) -> None:
    """The job is pushed between the two: the BLMOVE takes it at once and must not be forgotten."""
    wait = make(proxy.url)
    proxy.black_hole()
    wait.arm(ALICE)
    put(redis, "queue:default", jobs(1))
    let_through = threading.Timer(0.1, proxy.restore_flow)
    let_through.start()

    assert wait.disarm(link) == job(1)

    let_through.join()
    assert world(redis) == {listed(): jobs(1)}


def test_a_wait_that_is_never_answered_is_given_up(
    make: Callable[..., Wait], proxy: Proxy, clock: Clock, link: Link
) -> None:
    wait = make(proxy.url)
    proxy.black_hole()
    wait.arm(ALICE)
    late = threading.Timer(0.1, lambda: setattr(clock, "ahead", TIMEOUT_SECONDS + 1))
    late.start()

    with pytest.raises(StoreUnavailable, match="never answered"):
        wait.disarm(link)

    late.join()
    assert not wait.armed


def test_disarming_over_a_lost_link_leaves_the_wait_armed(wait: Wait, redis_server: RedisServer) -> None:
    """Whoever disarms gives up all its connections then, and has what was armed unblocked later."""
    wait.arm(ALICE)
    lost = Link(redis_server.url + "-elsewhere")

    with pytest.raises(StoreUnavailable):
        wait.disarm(lost)

    assert wait.armed


def test_a_wait_is_overdue_when_even_its_time_out_is_not_answered(wait: Wait, clock: Clock, link: Link) -> None:
    assert not wait.overdue
    wait.arm(ALICE)
    clock.ahead = BLOCK_SECONDS + TIMEOUT_SECONDS - 1
    assert not wait.overdue
    clock.ahead += 2
    assert wait.overdue
    clock.ahead = 0.0
    wait.disarm(link)
    clock.ahead = BLOCK_SECONDS + TIMEOUT_SECONDS + 1
    assert not wait.overdue


def test_a_connection_given_up_half_open_moves_nothing_once_unblocked(
    make: Callable[..., Wait], proxy: Proxy, redis: redispy.Redis, link: Link
) -> None:
    """The server has not noticed its end: but for the unblock it would move the job to nobody."""
    wait = make(proxy.url)
    wait.arm(ALICE)
    until_blocked(redis)
    proxy.black_hole()
    wait.close()
    assert not wait.armed
    assert blocked(redis) == 1

    wait.unblock(link)

    assert blocked(redis) == 0
    put(redis, "queue:default", jobs(1))
    assert world(redis) == {"queue:default": jobs(1)}
    proxy.restore_flow()


def test_unblocking_one_that_blocks_no_more_does_nothing(wait: Wait, link: Link) -> None:
    wait.unblock(link)
    wait.close()
    wait.unblock(link)


def test_a_cut_connection_is_told_by_the_read(make: Callable[..., Wait], proxy: Proxy, redis: redispy.Redis) -> None:
    wait = make(proxy.url)
    wait.arm(ALICE)
    until_blocked(redis)
    proxy.cut_all()

    with pytest.raises(StoreUnavailable):
        wait.read()

    assert not wait.armed
    wait_until(lambda: blocked(redis) == 0, SOON, "the server has noticed")


def test_a_reply_lost_after_the_move_leaves_the_job_in_the_working_list(
    make: Callable[..., Wait], proxy: Proxy, redis: redispy.Redis
) -> None:
    """Where the owner finds it, comparing its lists with what it has in hand."""
    wait = make(proxy.url)
    cut = proxy.cut_after(lambda command, reply: command[0] == b"BLMOVE" and reply is not None)
    wait.arm(ALICE)
    until_blocked(redis)
    put(redis, "queue:default", jobs(1, 2))
    assert cut.done.wait(SOON)

    with pytest.raises(StoreUnavailable):
        wait.read()

    assert world(redis) == {listed(): jobs(1), "queue:default": jobs(2)}


def test_a_new_connection_has_a_new_number(wait: Wait, redis: redispy.Redis, link: Link) -> None:
    number = wait.client_id
    wait.close()
    wait.connect()

    assert wait.client_id > number > 0
    wait.arm(ALICE)
    until_blocked(redis)
    assert wait.fileno() > 2
    assert wait.disarm(link) is None
