"""What a Redis server says of itself that matters to the jobs in it.  Asked by keepers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forkworker.store.connection import Link

#: the oldest that has all commands we need
OLDEST_REDIS = (6, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is known of a server; None where it does not tell, as to a user with few rights."""

    #: of the protocol, (6, 2, 14) or so; Valkey tells the Redis it equals
    version: tuple[int, ...] | None
    #: the maxmemory-policy
    eviction: str | None
    #: whether it writes to disk by itself
    is_persistent: bool | None
    is_cluster: bool = False


def look(link: Link) -> Server:
    """Ask the server."""
    told = info(link)
    return Server(
        version=_version(told.get("redis_version", "")),
        eviction=told.get("maxmemory_policy"),
        is_persistent=True if told.get("aof_enabled") == "1" else _has_save_points(link, told),
        is_cluster=told.get("cluster_enabled") == "1",
    )


def info(link: Link) -> dict[str, str]:
    """Return what INFO tells; nothing to a user who may not ask."""
    text = (link.ask("INFO") or b"").decode("utf-8", "replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def dotted(version: Iterable[int]) -> str:
    """Return a version as it is written."""
    return ".".join(map(str, version))


def _version(text: str) -> tuple[int, ...] | None:
    return tuple(int(part) for part in text.split(".") if part.isdigit()) or None


def _has_save_points(link: Link, told: dict[str, str]) -> bool | None:
    """Tell whether snapshots are taken; INFO does not say, and CONFIG is closed at many hosters."""
    answer = link.ask("CONFIG", "GET", "save") if "aof_enabled" in told else None
    return bool(answer[1]) if answer else None
