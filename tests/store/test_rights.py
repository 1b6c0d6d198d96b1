"""What a user lacks is told by name before any job is moved, and to ask changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from forkworker.errors import StoreUnavailable
from forkworker.store import orphans, scripts, working
from forkworker.store.connection import Link
from store.scene import job, jobs, listed, put, world
from store.test_strange_redis import full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.servers import RedisServer

pytestmark = pytest.mark.store

CALL = re.compile(r"(?:redis\.p?call|try)\('([A-Z]+)'")
LOOP = re.compile(r"ipairs\(\{(.*?)\}\)")


def commands(name: str) -> set[str]:
    source = scripts.get(name).source
    return set(CALL.findall(source)) | {word for part in LOOP.findall(source) for word in re.findall("[A-Z]+", part)}


@pytest.fixture
def guest(redis: redispy.Redis, redis_server: RedisServer) -> Iterator[Callable[..., Link]]:
    """Make a link of a user with all rights but these."""
    made = []

    def make(*without: str) -> Link:
        redis.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">pw", "~*", "+@all", *without)
        made.append(Link(redis_server.url.replace("unix://", "unix://guest:pw@"), preload=working.SCRIPTS))
        return made[-1]

    yield make
    for link in made:
        link.close()
    redis.execute_command("ACL", "DELUSER", "guest")


def test_all_that_the_scripts_of_a_tree_do_is_tried() -> None:
    """But for Sidekiq's metrics, without which a job is as safe."""
    used = set().union(*(commands(name) for name in {*working.SCRIPTS, *orphans.SCRIPTS} - {"metrics"}))

    assert commands("rights") - {"LLEN", "DEL", "UNLINK"} == used - {"LLEN", "DEL", "UNLINK"}
    assert {"LLEN", "DEL", "UNLINK"} <= commands("rights") & used


@pytest.mark.parametrize("name", sorted(commands("rights")))
def test_a_command_that_may_not_be_run_is_named(guest: Callable[..., Link], redis: redispy.Redis, name: str) -> None:
    put(redis, "queue:default", jobs(1))
    link = guest(f"-{name.lower()}")

    with pytest.raises(StoreUnavailable, match=rf"^NOPERM this user may not run {name}: see docs/access\.md$"):
        link.open()

    assert not link.is_open
    assert world(redis) == {"queue:default": jobs(1)}


def test_all_that_is_missing_is_named_at_once(guest: Callable[..., Link], redis: redispy.Redis) -> None:
    with pytest.raises(StoreUnavailable, match="may not run LREM, ZADD, GET"):
        guest("-zadd", "-get", "-lrem").open()

    assert world(redis) == {}


def test_a_key_that_may_not_be_used_is_refused(guest: Callable[..., Link]) -> None:
    with pytest.raises(StoreUnavailable, match="access"):
        guest("resetkeys", "~queue:*", "~retry").open()


def test_who_may_do_all_is_let_in_and_nothing_is_left_of_the_trial(
    guest: Callable[..., Link], redis: redispy.Redis
) -> None:
    link = guest()
    link.open()

    assert link.is_open
    assert world(redis) == {}


def test_a_redis_that_is_full_is_no_lack_of_rights(guest: Callable[..., Link], redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1))
    with full(guest(), redis):
        guest().open()

    assert world(redis) == {listed(): [job(1)]}
