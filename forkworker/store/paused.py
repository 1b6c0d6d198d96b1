"""Paused queues: their names stand in a set, which every keeper looks at.  Written by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.wire import keys

if TYPE_CHECKING:
    from forkworker.store.connection import Commands


def pause(access: Commands, queue: str) -> bool:
    """Let nobody take from a queue; False if it was paused already."""
    return bool(access.execute("SADD", keys.PAUSED, queue))


def unpause(access: Commands, queue: str) -> bool:
    """Let a queue be taken from again; False if it was not paused."""
    return bool(access.execute("SREM", keys.PAUSED, queue))


def names(access: Commands) -> set[str]:
    """Return the paused queues."""
    return {name.decode("utf-8", "replace") for name in access.execute("SMEMBERS", keys.PAUSED)}
