"""Looks at the Redis server behind each new connection: one unfit is refused, a risky one warned of.

Used by the keeper.  What the server does not tell, to a user with few rights or at a hoster, is not asked for
again and not complained of.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from forkworker.errors import StoreUnfit
from forkworker.store import server
from forkworker.store.connection import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forkworker.store.connection import Link
    from forkworker.store.server import Server

_log = logging.getLogger(__name__)


class Inspection:
    """Says each thing once, however often Redis is away and back."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def look(self, link: Link) -> None:
        """Look at the server that a connection has led to; raises StoreUnfit."""
        found = server.look(link)
        refuse_unfit(found)
        for line in advice(found):
            if line not in self._said:
                self._said.add(line)
                _log.warning("%s", line)
        if None in (found.version, found.eviction, found.is_persistent):
            _log.debug("Redis does not tell all of its version, its maxmemory-policy and its persistence")


def refuse_unfit(found: Server) -> None:
    """Raise StoreUnfit for a server without the commands that are needed, or where they cannot reach all."""
    if found.is_cluster:
        raise StoreUnfit(CLUSTER)
    if found.version is not None and found.version < server.OLDEST_REDIS:
        version, oldest = server.dotted(found.version), server.dotted(server.OLDEST_REDIS)
        raise StoreUnfit(f"this Redis is version {version}; forkworker needs {oldest} or newer")


def advice(found: Server) -> Iterator[str]:
    """Say what may cost jobs, a line each, with what to do."""
    if found.eviction not in (None, "noeviction"):
        yield (
            f"jobs may be lost: this Redis drops keys when its memory is full (maxmemory-policy {found.eviction}): "
            "set maxmemory-policy to noeviction"
        )
    if found.is_persistent is False:
        yield (
            "jobs may be lost: this Redis writes nothing to disk (no append-only file, no save points), "
            "so its restart forgets all: set appendonly to yes"
        )
