"""Fixtures of all tests: Redis servers, a proxy, daemons; whatever a test starts ends with it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.daemon import Daemon, Options
from support.proxy import Proxy
from support.records import Records
from support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy

FAILED = pytest.StashKey[bool]()
STATUS = pytest.StashKey[int]()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background like that, and those that we start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends the tests finds all cleared up, too


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run more tests at a time than there are processors: those of processes mostly wait."""
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Let our scheduler say which worker runs what."""
    from support.scheduling import Scheduling

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the long ones, if they run in parallel."""
    if hasattr(config, "workerinput"):
        from support.scheduling import put_in_order

        put_in_order(items)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep what the run has come to."""
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End, even if a failed test has left a thread that waits for ever."""
    left = [thread.name for thread in threading.enumerate() if not thread.daemon][1:]
    if left:
        print(f"tests have left threads, which would keep this run from ending: {left}", flush=True)
        os._exit(config.stash.get(STATUS, 1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Let fixtures know at teardown whether their test has failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A fresh Redis that forgets nothing when it is restarted."""
    with RedisServer(durable=True) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> redispy.Redis:
    """A client of the fresh Redis."""
    return redis_server.client()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """A proxy in front of the fresh Redis."""
    with Proxy(redis_server) as between:
        yield between


@pytest.fixture
def records() -> Iterator[Records]:
    """What the sample jobs of every daemon of this test write down."""
    folder = Path(tempfile.mkdtemp(prefix="fw-records-"))
    yield Records(folder / "records")
    shutil.rmtree(folder)


@pytest.fixture
def daemon(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis: redispy.Redis, records: Records
) -> Iterator[Callable[..., Daemon]]:
    """Make daemons: ``daemon(children=2, …)`` starts one and waits until it is ready.

    ``start=False`` only makes it; ``ready=False`` starts it and does not wait.
    """
    made: list[Daemon] = []

    def make(*, start: bool = True, ready: bool = True, **options: Any) -> Daemon:
        environment = {"FORKWORKER_TEST_RECORD": str(records.path)} | options.pop("environment", {})
        url, client = options.pop("url", redis_server.url), options.pop("client", redis)
        new = Daemon(url, client, Options(environment=environment, **options))
        made.append(new)
        if start:
            new.start()
        if start and ready:
            new.wait_ready()
        return new

    yield make
    for one in made:
        _put_away(one, failed=request.node.stash.get(FAILED, False))


def _put_away(one: Daemon, *, failed: bool) -> None:
    if failed:
        print(f"\n{one.describe()}\n{' '.join(one.command())}")  # pytest shows it with the failure
    one.clear()
    if not failed:
        one.remove()
