"""A cradle: a keeper is lifted out that is there and lives; none is made up, and one that comes late reads the end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forkworker.supervisor.cradle import Cradle

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


@pytest.fixture
def ended() -> int:
    """The pid of a process that has been reaped."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.fixture
def cradle() -> Iterator[Cradle]:
    made = Cradle()
    yield made
    made.far_end.close()


def test_keeper_that_has_said_hello_is_lifted(cradle: Cradle) -> None:
    cradle.far_end.send("hello", pid=os.getpid())

    keeper = cradle.lift(5.0)

    assert keeper
    assert (keeper.name, keeper.pid, keeper.born_at) == ("keeper", os.getpid(), 5.0)
    keeper.channel.send("settings")
    assert cradle.far_end.drain()[0][0].kind == "settings"
    keeper.close()


def test_keeper_that_comes_late_reads_the_end_and_nothing_else(cradle: Cradle) -> None:
    assert cradle.lift(5.0) is None

    assert cradle.far_end.send("hello", pid=os.getpid()) is False
    assert cradle.far_end.drain() == ([], False)


def test_keeper_that_has_hung_up_is_none_though_its_pid_may_be_anothers(cradle: Cradle) -> None:
    cradle.far_end.send("hello", pid=os.getpid())
    cradle.far_end.close()

    assert cradle.lift(5.0) is None


def test_keeper_that_was_reaped_while_the_forkserver_holds_its_end_is_none(cradle: Cradle, ended: int) -> None:
    cradle.far_end.send("hello", pid=ended)

    assert cradle.lift(5.0) is None
    assert cradle.far_end.drain() == ([], False)
