"""What the app's import has built is in memory once, for all children; they load nothing of ours after the fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.payloads import push, push_many

from forkworker.unix.process import private_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
CATALOGUE_MEGABYTES = 60
#: what a child has of its own though it does nothing: threads, connections, what a fork copies at once
OWN_MEGABYTES = 12
LATECOMERS = """
import sys
import forkworker
from support.jobs import noted, note

before = set()

@forkworker.on("before_fork")
def look():
    before.update(sys.modules)

@forkworker.job(name="latecomers")
def latecomers():
    note("late", sorted(name for name in set(sys.modules) - before if not name.startswith("encodings.")))
"""


def own_megabytes(tree: Daemon) -> list[float]:
    return [private_bytes(pid) / MEGABYTE for pid in tree.children().values()]


def test_children_share_what_the_import_has_built_but_for_what_jobs_touch(
    daemon: MakeDaemon, redis: redispy.Redis
) -> None:
    """``make sharing`` is the same with 200 MB and 10,000 jobs."""
    size = {"FORKWORKER_TEST_CATALOGUE": str(CATALOGUE_MEGABYTES)}
    tree = daemon(app="trials.catalogue", children=2, environment=size)
    assert max(own_megabytes(tree)) < OWN_MEGABYTES

    push_many(redis, "price_basket", [[number] for number in range(300)])
    tree.wait_until(lambda: redis.get("stat:processed") == b"300", 30, "all have run")
    touched = CATALOGUE_MEGABYTES / 10
    assert max(own_megabytes(tree)) < OWN_MEGABYTES + 1.5 * touched
    tree.stop()


def test_children_import_nothing_that_could_have_been_there_before_the_fork(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """As what each child loads for itself is in memory once for each."""
    tree = daemon(app="late", children=2, start=False)
    (tree.directory / "late.py").write_text(LATECOMERS, "utf-8")
    tree.start().wait_ready()
    push(redis, "latecomers")
    tree.wait_until(lambda: records.events("late"), 20, "it has looked")
    assert records.events("late")[0].key == []
    tree.stop()
