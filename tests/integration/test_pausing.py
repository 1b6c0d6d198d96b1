"""A paused queue is taken from by nobody, within a second, until it is opened again; the others go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support import snapshot
from support.payloads import push, push_many
from support.snapshot import places
from support.waiting import Watch

from forkworker.inspect import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

#: the promise
SECONDS = 1.0


@pytest.fixture
def here(redis_server: RedisServer) -> Iterator[Inspector]:
    inspector = Inspector(redis_server.url)
    yield inspector
    inspector.close()


def settle_in(tree: Daemon, redis: redispy.Redis, records: Records, queue: str) -> None:
    """Return once a pause is in force: every child has run a job of an open queue after a second."""
    time.sleep(SECONDS)  # the promise itself
    jid = push(redis, "record", ["open"], queue=queue)
    tree.wait_until(lambda: records.ended()[jid] == 1, 10, "the open queue is served")


def test_no_master_takes_from_a_paused_queue_for_longer_than_a_second(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, here: Inspector
) -> None:
    trees = [daemon(children=1, concurrency=2, queues=("mail,3", "other,1"), ready=False) for _ in range(2)]
    for tree in trees:
        tree.wait_ready()
    with Watch(lambda: redis.llen("queue:mail")) as watch:
        jids = push_many(redis, "record", [[number, 0.02] for number in range(2000)], queue="mail")
        trees[0].wait_until(lambda: len(records.starts()) > 20, 10, "jobs run")
        here.queue("mail").pause()
        paused = time.monotonic()
        settle_in(trees[0], redis, records, "other")
        trees[0].wait_until(lambda: not records.running(), 10, "what ran has ended")
    taken = [s.before for s, after in zip(watch.samples, watch.samples[1:], strict=False) if after.value < s.value]

    assert max(taken) <= paused + SECONDS + 2 * watch.stall(paused, paused + 2 * SECONDS)
    assert redis.llen("queue:mail") > 100
    here.queue("mail").clear()
    trees[0].stop(shared=True)
    trees[1].stop()
    assert len(records.starts()) < len(jids)


def test_idle_children_stop_waiting_for_a_paused_queue_and_wait_again_when_it_is_opened(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, here: Inspector
) -> None:
    tree = daemon(children=2, concurrency=5, queues=("mail", "other"))
    here.queue("mail").pause()
    settle_in(tree, redis, records, "other")
    jid = push(redis, "record", ["paused"], queue="mail")
    settle_in(tree, redis, records, "other")

    assert records.started()[jid] == 0
    assert snapshot.queue(redis, "mail") == [jid]

    here.queue("mail").unpause()
    tree.wait_until(lambda: records.ended()[jid] == 1, 5, "it runs when the queue is open")
    next_one = push(redis, "record", ["awaited"], queue="mail")
    tree.wait_until(lambda: records.ended()[next_one] == 1, 5, "the queue is waited on again")
    tree.wait_until(lambda: places(redis) == {}, 5, "both are settled")
    tree.stop()


def test_a_pause_survives_a_restart_and_holds_from_the_first_moment(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, redis_server: RedisServer, here: Inspector
) -> None:
    tree = daemon(children=2, queues=("mail", "other"))
    here.queue("mail").pause()
    tree.stop()
    redis_server.restart()
    jids = push_many(redis, "record", [[number] for number in range(20)], queue="mail")
    tree.start()
    tree.wait_ready()
    settle_in(tree, redis, records, "other")
    tree.kill("keeper")
    tree.kill_child(0)
    tree.wait_ready()
    settle_in(tree, redis, records, "other")

    assert snapshot.queue(redis, "mail") == jids

    here.queue("mail").unpause()
    tree.wait_until(lambda: len(records.ends()) == 22, 10, "all have run")
    tree.wait_until(lambda: places(redis) == {}, 5)
    tree.stop(crashed=True)
    assert set(records.started().values()) == {1}


def test_a_master_all_of_whose_queues_are_paused_is_idle(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, here: Inspector
) -> None:
    here.queue("default").pause()
    tree = daemon(children=1)
    jid = push(redis, "record", ["later"])
    before = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    time.sleep(1)  # the span to be judged
    after = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]

    assert after - before <= 20
    assert records.started()[jid] == 0
    tree.stop()
    assert places(redis) == {jid: 1}
