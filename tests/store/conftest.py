"""Fixtures of the store tests: one server for all of them, emptied before each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.servers import RedisServer

from forkworker.store import access as operators
from forkworker.store import orphans, working
from forkworker.store.connection import Link

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis of all store tests; no test may stop it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> redispy.Redis:
    """A client of the Redis, which is empty."""
    client = redis_server.client()
    client.flushall()
    return client


@pytest.fixture
def link(redis_server: RedisServer, redis: redispy.Redis) -> Iterator[Link]:  # noqa: ARG001 - it empties
    """A connection that has loaded every script."""
    link = Link(redis_server.url, preload={*orphans.SCRIPTS, *working.SCRIPTS, *operators.SCRIPTS})
    yield link
    link.close()
