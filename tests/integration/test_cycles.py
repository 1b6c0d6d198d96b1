"""Started and stopped over and over, at any moment: nothing hangs and nothing is left."""

from __future__ import annotations

import os
import random
import time
from signal import SIGINT, SIGQUIT, SIGTERM
from typing import TYPE_CHECKING

import pytest
from support.payloads import push
from support.snapshot import places, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

CYCLES = int(os.environ.get("FORKWORKER_TEST_CYCLES", "50"))

#: what lasts: the names of the queues and the counters
LASTING = ("queues", "stat:", "recovered:")


def wait_for_some_moment(tree: Daemon, cycle: int) -> None:
    """Wait for readiness, or only until the master handles signals and a random while."""
    if cycle % 2:
        tree.wait_ready()
    else:
        tree.wait_until(tree.pidfile.exists, 10)
        time.sleep(random.uniform(0, 0.4))  # the moment is to be random


@pytest.mark.timeout(60 + 10 * CYCLES)
def test_start_and_stop_leave_nothing(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Row 11."""
    tree = daemon(children=1, concurrency=2, timeout=2, start=False)
    jids = []
    for cycle in range(CYCLES):
        jids.append(push(redis, "record", [cycle]))
        tree.start()
        wait_for_some_moment(tree, cycle)
        tree.signal(random.choice([SIGTERM, SIGINT, SIGQUIT]))
        tree.assert_clean_exit(0, seconds=6)
        assert max(places(redis).values(), default=0) <= 1
    tree.start().wait_ready()
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    tree.stop()
    assert set(records.started()) == set(jids)
    assert sorted(os.listdir(tree.directory)) == ["daemon.log"]
    lasting = {key for key in snapshot(redis) if key.startswith(LASTING)}
    expiring = set(snapshot(redis)) - lasting
    assert all(redis.ttl(key) > 0 for key in expiring), expiring
    assert "Traceback" not in tree.log()
