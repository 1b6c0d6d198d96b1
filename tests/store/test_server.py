"""What a server says of itself, to users with all rights and with few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.servers import RedisServer

from forkworker.errors import StoreUnavailable
from forkworker.store import server
from forkworker.store.connection import Link

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy

pytestmark = pytest.mark.store


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of our own, to change and to stop."""
    with RedisServer() as own:
        yield own


@pytest.fixture
def guest(redis_server: RedisServer, redis: redispy.Redis) -> Iterator[Link]:
    """A user without INFO and CONFIG."""
    redis.acl_setuser("guest", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-info", "-config"])
    link = Link(redis_server.url.replace("unix://", "unix://guest:pw@"))
    yield link
    link.close()


def test_the_version_told_is_that_of_the_protocol(link: Link) -> None:
    version = server.look(link).version

    assert version
    assert (6, 2) <= version < (10,)


@pytest.mark.parametrize(
    ("append_only", "save", "is_persistent"),
    [("yes", "", True), ("yes", "60 1", True), ("no", "60 1", True), ("no", "", False)],
)
def test_a_server_is_persistent_with_an_append_only_file_or_save_points(
    link: Link, redis: redispy.Redis, append_only: str, save: str, is_persistent: bool
) -> None:
    redis.config_set("appendonly", append_only)
    redis.config_set("save", save)

    assert server.look(link).is_persistent is is_persistent


def test_the_eviction_policy_is_told(link: Link, redis: redispy.Redis) -> None:
    assert server.look(link).eviction == "noeviction"
    redis.config_set("maxmemory-policy", "allkeys-lru")
    assert server.look(link).eviction == "allkeys-lru"


def test_a_user_without_the_right_to_ask_learns_nothing_and_goes_on(guest: Link) -> None:
    guest.open()
    number = guest.fileno()

    assert server.look(guest) == server.Server(version=None, eviction=None, is_persistent=None)
    assert guest.execute("PING") == b"PONG"
    assert guest.fileno() == number, "on the same connection"


def test_a_hosters_server_without_config_tells_the_rest() -> None:
    with RedisServer(config=["--rename-command", "CONFIG", ""]) as hosted:
        link = Link(hosted.url)
        found = server.look(link)
        link.close()

    assert found.is_persistent is None
    assert found.eviction == "noeviction"


def test_a_server_that_does_not_answer_is_away(redis_server: RedisServer) -> None:
    link = Link(redis_server.url)
    link.open()
    redis_server.kill()

    with pytest.raises(StoreUnavailable):
        server.look(link)
    assert not link.is_open
