"""Gathers what can be seen of a system in Redis: reads only, and looks at the type of a key before it reads it.

A process that seems silent is looked at for a while: its clock may be slow, or it may be dead.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from forkworker.clock import sleep
from forkworker.errors import MalformedPayload
from forkworker.store import orphans, overview, paused, server
from forkworker.store.processes import SILENT_SECONDS
from forkworker.wire import keys, payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from forkworker.clock import Clock
    from forkworker.store.connection import Link
    from forkworker.store.overview import Orphan, QueueSize
    from forkworker.store.server import Server

#: for so long we look again at those that seem silent
LOOK_SECONDS = 11.0
#: of processes, queues and names that are told of
MOST = 2000
UNKNOWN_JOB = "forkworker.errors.UnknownJob"
_PINGS = 7
_LOOK_PAUSE_SECONDS = 0.25
_SCAN_COUNT, _MOST_SCANS = 1000, 30
_TYPES = {
    keys.QUEUES: "set",
    keys.PROCESSES: "set",
    keys.WORKING: "set",
    keys.PAUSED: "set",
    keys.ORIGINS: "hash",
    keys.SCHEDULE: "zset",
    keys.RETRY: "zset",
    keys.DEAD: "zset",
    keys.PROCESSED: "string",
    keys.FAILED: "string",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A process in ``processes``, as it was last looked at."""

    identity: str
    queues: tuple[str, ...]
    is_quiet: bool
    #: epoch seconds by its own clock
    beat: float
    #: epoch seconds by Redis' clock, when its beat was read
    looked_at: float
    #: whether it was found to beat when its beat had looked old
    was_slow: bool = False

    @property
    def host(self) -> str:
        """Where it runs."""
        return self.identity.rsplit(":", 2)[0]

    @property
    def age(self) -> float:
        """How old its beat seems to be."""
        return self.looked_at - self.beat

    @property
    def is_alive(self) -> bool:
        """Whether it beats."""
        return self.was_slow or self.age <= SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is judged."""

    server: Server
    info: dict[str, str] = field(default_factory=dict)
    round_trip_seconds: float = 0.0
    #: seconds by which our clock is ahead of Redis'
    ahead_seconds: float = 0.0
    processes: tuple[Seen, ...] = ()
    #: names in ``processes`` behind which there is nothing
    ghosts: tuple[str, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    queues: tuple[QueueSize, ...] = ()
    #: key -> what it is, and what it should be
    strange: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: name -> how many such jobs wait for somebody who knows them
    unknown: dict[str, int] = field(default_factory=dict)


def gather(link: Link, clock: Clock) -> Facts:
    """Read everything, of a Cluster next to nothing; raises StoreUnavailable."""
    link.execute("PING")
    if (found := server.look(link)).is_cluster:
        return Facts(server=found)
    round_trip = min(_ping(link, clock) for _ in range(_PINGS))  # the rest may be our own processor's doing
    strange = _strange(link, _TYPES)
    names = _members(link, keys.QUEUES, strange)
    strange |= _strange(link, {keys.queue(name): "list" for name in names})
    processes, ghosts = _processes(link, _members(link, keys.PROCESSES, strange))
    closed = set() if keys.PAUSED in strange else paused.names(link)
    return Facts(
        server=found,
        info=server.info(link),
        round_trip_seconds=round_trip,
        ahead_seconds=_ahead(link, clock),
        processes=tuple(_look_again(link, processes, clock)),
        ghosts=tuple(ghosts),
        orphans=() if keys.WORKING in strange else _orphans(link),
        queues=tuple(overview.sizes_of(link, [name for name in names if keys.queue(name) not in strange], closed)),
        strange=strange,
        unknown={} if keys.RETRY in strange else _unknown(link),
    )


def _ping(link: Link, clock: Clock) -> float:
    began = clock.monotonic()
    link.execute("PING")
    return clock.monotonic() - began


def _now(link: Link) -> float:
    seconds, microseconds = link.execute("TIME")
    return int(seconds) + int(microseconds) / 1_000_000


def _ahead(link: Link, clock: Clock) -> float:
    before = clock.now()
    there = _now(link)
    return (before + clock.now()) / 2 - there


def _strange(link: Link, wanted: dict[str, str]) -> dict[str, tuple[str, str]]:
    found = link.pipeline([("TYPE", key) for key in wanted]) if wanted else []
    types = {key: kind.decode() for key, kind in zip(wanted, found, strict=True)}
    return {key: (kind, wanted[key]) for key, kind in types.items() if kind not in (wanted[key], "none")}


def _members(link: Link, key: str, strange: dict[str, tuple[str, str]]) -> list[str]:
    if key in strange:
        return []
    return sorted(name.decode("utf-8", "replace") for name in link.execute("SMEMBERS", key))[:MOST]


def _processes(link: Link, identities: Sequence[str]) -> tuple[list[Seen], list[str]]:
    """Return those that have shown themselves, and the names of those that have not, or not any more."""
    kinds = link.pipeline([("TYPE", identity) for identity in identities]) if identities else []
    there = [identity for identity, kind in zip(identities, kinds, strict=True) if kind == b"hash"]
    rows = link.pipeline([("HMGET", identity, "info", "quiet", "beat") for identity in there]) if there else []
    now = _now(link)
    found = {
        identity: _seen(identity, row, now) for identity, row in zip(there, rows, strict=True) if row[0] and row[2]
    }
    return list(found.values()), [identity for identity in identities if identity not in found]


def _seen(identity: str, row: Sequence[bytes], now: float) -> Seen:
    info, quiet, beat = row
    try:
        told = json.loads(info)
        queues = tuple(map(str, told.get("queues") or ()))
    except (ValueError, AttributeError, TypeError, RecursionError):
        queues = ()
    return Seen(identity=identity, queues=queues, is_quiet=quiet == b"true", beat=_number(beat), looked_at=now)


def _number(text: bytes | None) -> float:
    return payload.instant((text or b"").decode("ascii", "replace")) or 0.0


def _look_again(link: Link, processes: Iterable[Seen], clock: Clock) -> list[Seen]:
    """Wait for a new beat of those whose last one looks old; the rest is as it was."""
    found = {seen.identity: seen for seen in processes}
    silent = [seen for seen in found.values() if not seen.is_alive]
    until = clock.monotonic() + LOOK_SECONDS
    while silent and clock.monotonic() < until:
        sleep(_LOOK_PAUSE_SECONDS)
        beats = link.pipeline([("HGET", seen.identity, "beat") for seen in silent])
        now = _now(link)
        for seen, beat in zip(silent, map(_number, beats), strict=True):
            moved = beat not in (seen.beat, 0.0)
            found[seen.identity] = replace(seen, beat=beat if moved else seen.beat, looked_at=now, was_slow=moved)
        silent = [seen for seen in silent if not found[seen.identity].was_slow]
    return list(found.values())


def _orphans(link: Link) -> tuple[Orphan, ...]:
    owners = orphans.owners(link)
    lists = {keys.working(identity, queue): "list" for identity, queues in owners.items() for queue in queues}
    return () if _strange(link, lists) else tuple(overview.orphaned(link))


def _unknown(link: Link) -> dict[str, int]:
    """Count jobs in the retry set that failed because nobody knew their name; of a large set a part."""
    names: Counter[str] = Counter()
    cursor: Any = 0
    for _ in range(_MOST_SCANS):
        cursor, found = link.execute("ZSCAN", keys.RETRY, cursor, "MATCH", f"*{UNKNOWN_JOB}*", "COUNT", _SCAN_COUNT)
        names.update(name for text in found[::2] if (name := _unknown_name(text)))
        if int(cursor) == 0:
            break
    return dict(names)


def _unknown_name(text: bytes) -> str | None:
    try:
        job = payload.decode(text)
    except MalformedPayload:
        return None
    return str(job["class"]) if job.get("error_class") == UNKNOWN_JOB else None
