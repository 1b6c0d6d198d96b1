"""Fixtures of the tests against Debian's Sidekiq: one Redis with its Web UI for all of them, emptied for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import ruby
from support.servers import RedisServer

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.records import Records
    from support.ruby import RubyProcess, WebUi


@pytest.fixture(scope="session")
def sidekiq_redis() -> Iterator[RedisServer]:
    """The Redis that the Web UI shows."""
    ruby.require()
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def sidekiq_web(sidekiq_redis: RedisServer) -> Iterator[WebUi]:
    """The Web UI, started once: that takes Ruby a second or two."""
    with ruby.WebUi(sidekiq_redis.url) as started:
        yield started


@pytest.fixture
def redis_server(sidekiq_redis: RedisServer) -> RedisServer:
    """The same Redis, empty; daemons use it, too."""
    sidekiq_redis.client().flushall()
    return sidekiq_redis


@pytest.fixture
def web(redis_server: RedisServer, sidekiq_web: WebUi) -> WebUi:
    """The Web UI of an empty Redis."""
    assert redis_server.process is not None
    return sidekiq_web


@pytest.fixture
def client(redis_server: RedisServer) -> forkworker.Client:
    """Our own client."""
    return forkworker.Client(redis_server.url)


@pytest.fixture
def ruby_worker(redis_server: RedisServer, records: Records) -> Iterator[Callable[..., RubyProcess]]:
    """Make Sidekiq workers: ``ruby_worker("mail")`` starts one and waits until it is shown in Redis."""
    made: list[Any] = []
    redis: redispy.Redis = redis_server.client()

    def make(*queues: str) -> RubyProcess:
        new = ruby.worker(redis_server.url, records.path, *queues)
        made.append(new.__enter__())
        new.wait_shown(redis)
        return new

    yield make
    for one in made:
        one.__exit__()
