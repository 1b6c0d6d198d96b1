"""Programs that push: across forks and threads, from within jobs, and what is large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support import pusher
from support.daemon import TESTS
from support.servers import RedisServer
from support.snapshot import places

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration


def test_pushes_before_during_and_after_forks_are_each_accepted_once(
    redis_server: RedisServer, redis: redispy.Redis
) -> None:
    """As under gunicorn with a preloaded app, and with threads that push while it forks."""
    path = f"{TESTS}:{TESTS.parent}"

    done = subprocess.run(
        [sys.executable, "-m", "support.pusher", redis_server.url],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    keys = Counter(json.loads(text)["args"][0] for text in redis.lrange("queue:default", 0, -1))
    assert len(keys) == pusher.TOTAL
    assert set(keys.values()) == {1}
    threads, *modules = done.stdout.split()
    assert threads == "1", "pushing starts no thread"
    of_the_daemon = ("runtime", "supervisor", "keeper", "unix", "cli", "child", "forkserver", "apploader")
    assert [name for name in modules if name.split(".")[1] in of_the_daemon] == []


def test_jobs_that_push_jobs_push_where_their_daemon_takes_from(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Also when the address was a flag of the daemon, and the job has gone to another directory."""
    tree = daemon(children=1)
    client = forkworker.Client(tree.url)
    jid = client.push("push_from_elsewhere", ["record", ["from a job"]])
    tree.wait_until(lambda: any(event.key == "from a job" for event in records.ends()), 15)
    assert records.ended()[jid or ""] == 1
    tree.wait_until(lambda: places(redis) == {}, 15)
    tree.stop()


@pytest.fixture
def quick_server() -> Iterator[RedisServer]:
    """A Redis that writes nothing to the disk."""
    with RedisServer() as server:
        yield server


@pytest.mark.timeout(240)
def test_a_payload_of_50_megabytes_works(
    daemon: MakeDaemon, quick_server: RedisServer, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits in the schedule, is run, fails, is kept with its error; others pass it by."""
    redis = quick_server.client()
    tree = daemon(children=1, url=quick_server.url, client=redis)
    client = forkworker.Client(tree.url)
    jid = client.push("measure", ["x" * 50_000_000], retry=0, at=time.time() + 1) or ""
    assert "its payload has 50,000," in caplog.text
    good = client.push("record", ["beside it"]) or ""
    tree.wait_until(lambda: records.ended()[good] == 1, 60)
    tree.wait_until(lambda: redis.zcard("dead") == 1, 60)
    (member,) = redis.zrange("dead", 0, -1)
    job = json.loads(member)
    assert (job["jid"], job["error_message"], job["retry_count"]) == (jid, "50000000 characters", 0)
    assert len(job["args"][0]) == 50_000_000
    assert records.started()[jid] == 1
    tree.wait_until(lambda: not redis.keys("working:*"), 15)
    assert redis.get("stat:failed") == b"1"
    redis.delete("dead")  # quicker to look through
    tree.stop()
