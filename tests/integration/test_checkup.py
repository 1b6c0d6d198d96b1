"""Children that are worn, or hang: replaced, told of, ended."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.payloads import push, push_many
from support.snapshot import places

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration


def finish(tree: Daemon, size: int) -> None:
    """Wait until no child leaves any more, and end in order."""
    tree.wait_until(lambda: len(tree.child_pids()) == size, 10)
    tree.wait_ready()
    tree.stop()


def test_children_that_have_done_their_jobs_are_replaced_and_no_job_notices(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=4, environment={"FORKWORKER_MAX_JOBS": "100"})
    before = set(tree.children().values())
    jids = push_many(redis, "record", [[number, 0.01] for number in range(1200)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 30)
    assert set(records.started().values()) == {1}
    ran = {event.pid for event in records.ends()}
    assert len(ran) > len(before), "some did not do all: when a successor is ready is a matter of the machine"
    assert "max_jobs 100" in tree.log()
    tree.wait_until(lambda: not before & tree.child_pids(), 10)
    finish(tree, 2)


def test_a_child_that_grows_is_replaced_before_it_is_too_large(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=2, environment={"FORKWORKER_MAX_MEMORY": "60M"})
    jids = push_many(redis, "leak", [[2, 0.05] for _ in range(80)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 30)
    assert set(records.started().values()) == {1}, "no job was interrupted"
    sizes = [int(event.note) for event in records.events("size")]
    assert max(sizes) < 80 * 1024**2
    assert len({event.pid for event in records.ends()}) >= 3
    finish(tree, 1)


def test_children_of_age_are_replaced_and_no_job_notices(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=2, environment={"FORKWORKER_MAX_AGE": "3"})
    before = set(tree.children().values())
    jids = push_many(redis, "record", [[number, 2.5] for number in range(8)])
    tree.wait_until(lambda: not before & set(tree.children().values()), 15, "both are replaced")
    assert tree.log_lines("s old (max_age 3)")
    tree.wait_until(lambda: set(records.ended()) == set(jids), 30)
    assert set(records.started().values()) == {1}, "no job was interrupted"
    tree.stop()


def test_a_child_that_is_large_from_birth_is_told_of_once_and_kept(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, environment={"FORKWORKER_MAX_MEMORY": "1M"})
    before = tree.children()
    tree.wait_until(lambda: tree.log_lines("right after its boot"), 10)
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    assert tree.children() == before
    assert len(tree.log_lines("right after its boot")) == 1
    tree.stop()


def test_a_child_that_hangs_in_its_boot_is_ended_with_its_stacks(daemon: MakeDaemon) -> None:
    tree = daemon(app="hangs", children=1, start=False, environment={"FORKWORKER_BOOT_TIMEOUT": "4"})
    (tree.directory / "hangs.py").write_text(
        "import forkworker, os, pathlib, time\n"
        "@forkworker.on('startup')\n"
        "def wait_for_ever():\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    )
    tree.start()
    tree.wait_until(lambda: tree.log_lines("was not ready after 4 s"), 15)
    assert "wait_for_ever" in tree.log()
    (tree.directory / "go").touch()
    tree.wait_ready().stop()


def test_a_job_that_keeps_the_interpreter_is_told_of_and_killed_if_that_is_wanted(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=2, environment={"FORKWORKER_HANG_TIMEOUT": "11"})
    (child,) = tree.children().values()
    jid = push(redis, "hold_gil", [20])
    tree.wait_until(lambda: tree.log_lines("hangs: its interpreter was not free for 1"), 20)
    tree.wait_until(lambda: "in hold_gil" in tree.log() and tree.log_lines(f"jid={jid}"), 5, "its stacks and its job")
    tree.wait_until(lambda: tree.children().get(0) not in (None, child), 10, "it was killed, and another one is there")
    assert tree.log_lines("is killed: its interpreter was not free for 1")
    tree.wait_until(lambda: records.started()[jid] == 2, 10, "its job was put back")
    assert places(redis) == {jid: 1}
    tree.kill_child(0)
    tree.wait_until(lambda: records.started()[jid] == 3, 10)
    tree.kill_child(0)
    tree.wait_until(lambda: redis.zcard("dead") == 1, 10, "three times is too often")
    tree.wait_ready()
    tree.stop()


def test_child_whose_end_hangs_is_killed_and_its_slot_is_filled_again(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Incident: told to stop alone, its callback never returned, and one slot stood empty for good."""
    tree = daemon(app="leaving", children=1, timeout=1, start=False)
    (tree.directory / "leaving.py").write_text(
        "import forkworker, os, pathlib, time\n"
        "from support.jobs import *\n"
        "@forkworker.on('exit')\n"
        "def never_return():\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    )
    tree.start().wait_ready()
    (child,) = tree.children().values()
    os.kill(child, signal.SIGTERM)
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    assert tree.log_lines("is killed: it did not stop in time")
    (tree.directory / "go").touch()
    tree.wait_ready()
    tree.stop()


def test_child_that_leaves_with_its_interpreter_taken_has_as_long_as_drain_timeout_says(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """It cannot end by itself then."""
    tree = daemon(children=1, concurrency=2, environment={"FORKWORKER_DRAIN_TIMEOUT": "2"})
    (old,) = tree.children().values()
    jid = push(redis, "hold_gil", [30])
    tree.wait_until(lambda: jid in records.running(), 5)
    assert tree.control("rolling-restart", "--wait", seconds=40).returncode == 0
    tree.wait_until(lambda: old not in tree.child_pids(), 2 + 5)
    assert tree.log_lines("is killed: it did not stop in time")
    tree.wait_until(lambda: records.started()[jid] == 2, 10, "it was interrupted, and runs again")
    tree.stop()
    assert redis.keys("recovered:*") == [], "no crash"
