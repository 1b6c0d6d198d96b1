"""The states of a master and of a child as the master sees it, and the moves that are legal.  Pure."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from forkworker.errors import ForkworkerError


class IllegalTransition(ForkworkerError):
    """A move that the table does not have: a fault of ours."""


class MasterState(str, Enum):
    """How the master stands."""

    BOOTING = "booting"
    RUNNING = "running"
    QUIET = "quiet"
    STOPPING = "stopping"


class ChildState(str, Enum):
    """How a child stands."""

    SPAWNED = "spawned"
    READY = "ready"
    KILLED = "killed"
    GONE = "gone"


_State = TypeVar("_State", MasterState, ChildState)

_MOVES: dict[Enum, set[Enum]] = {
    MasterState.BOOTING: {MasterState.RUNNING, MasterState.QUIET, MasterState.STOPPING},
    MasterState.RUNNING: {MasterState.QUIET, MasterState.STOPPING},
    MasterState.QUIET: {MasterState.RUNNING, MasterState.STOPPING},
    MasterState.STOPPING: set(),
    ChildState.SPAWNED: {ChildState.READY, ChildState.KILLED, ChildState.GONE},
    ChildState.READY: {ChildState.KILLED, ChildState.GONE},
    ChildState.KILLED: {ChildState.GONE},
    ChildState.GONE: set(),
}


def move(before: _State, after: _State) -> _State:
    """Return the new state; raises IllegalTransition, naming both."""
    if after not in _MOVES[before]:
        raise IllegalTransition(f"no way leads from {before.value} to {after.value}")
    return after
