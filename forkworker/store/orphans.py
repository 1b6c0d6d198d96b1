"""Working lists whose owner is gone, or cannot run what it has taken: find, take over, restore, forget.

Used by keepers.  Every move names payloads by their bytes and counts only if they were still there,
so that two keepers at one list, or a repeated command, do no harm.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.store import batches, scripts
from forkworker.store.connection import number
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from forkworker.store.connection import Commands, Link

#: the scripts that a keeper's connection must have loaded
SCRIPTS = ("beat", "due", "metrics", "promote", "restore", "take", "unregister")

#: a job that was running in so many crashes within this time is not run again by itself
CRASHES_THAT_BURY = 3
CRASH_MEMORY_SECONDS = 72 * 3600
#: in the fence of a process whose own keeper saw it crash; others who declare one dead leave 1 (`take.lua`)
CRASHED = 2
#: payloads put back by one script
MOST_RESTORED = 1000
#: a tree that was frozen may wake up so much later and must then learn that its jobs were taken
FENCE_SECONDS = 7 * 86_400
#: what stands between a process and Redis may hold back what it had sent for so much longer than it lived
LATE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """A payload to be moved out of a working list."""

    payload: bytes
    #: whether it was running when its process crashed
    crashed: bool = False
    #: what goes to the dead set if this was one crash too many
    buried_form: bytes = b""
    #: epoch seconds: it waits in the schedule until then; 0: it goes to the head of its queue at once
    later: float = 0.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration moved."""

    moved: int = 0
    recovered: int = 0
    buried: int = 0

    def __add__(self, other: Restored) -> Restored:
        """Return the sum of two restorations."""
        return Restored(self.moved + other.moved, self.recovered + other.recovered, self.buried + other.buried)


def owners(link: Commands) -> dict[str, set[str]]:
    """Return who may hold something: identity -> its queues."""
    found: dict[str, set[str]] = {}
    for member in link.execute("SMEMBERS", keys.WORKING):
        try:
            parsed = keys.parse_working(member.decode())
        except UnicodeDecodeError:
            continue  # not ours
        if parsed:
            found.setdefault(parsed[0], set()).add(parsed[1])
    return found


def signs_of_life(link: Commands, identities: Sequence[str]) -> dict[str, str]:
    """Return the last beat of each identity, '' where there is none."""
    replies = link.pipeline([("HGET", identity, "beat") for identity in identities])
    return {
        identity: (beat or b"").decode("utf-8", "replace") for identity, beat in zip(identities, replies, strict=True)
    }


def origins(link: Link) -> dict[str, str]:
    """Return what owners told of the place they run in."""
    pairs = link.execute("HGETALL", keys.ORIGINS)
    texts = [part.decode("utf-8", "replace") for part in pairs]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def take(link: Link, identity: str, last_beat: str) -> bool:
    """Declare an owner dead, unless it has beaten since ``last_beat``; its own commands fail from then on."""
    shown = [keys.work(identity), keys.workers(identity), keys.signals(identity)]
    named = [identity, keys.taken(identity), keys.PROCESSES, *shown]
    return bool(link.execute(*scripts.call("take", named, [identity, last_beat, FENCE_SECONDS])))


def contents(link: Link, identity: str, queue: str) -> list[bytes]:
    """Return what a working list holds, the newest first."""
    payloads: list[bytes] = link.execute("LRANGE", keys.working(identity, queue), 0, -1)
    return payloads


def crashes(link: Link, payloads: Sequence[bytes]) -> dict[bytes, int]:
    """Return in how many crashes each payload was running so far."""
    if not payloads:
        return {}
    counts = link.execute("MGET", *(keys.recovered(_sha1(payload)) for payload in payloads))
    return {payload: number(count) for payload, count in zip(payloads, counts, strict=True)}


def restore(link: Link, identity: str, queue: str, entries: Sequence[Entry], now: float) -> Restored:
    """Move entries, the newest first, to the head of their queue, to the schedule, or to the dead set."""
    total = Restored()
    while entries:
        count = batches.how_many((len(e.payload) + len(e.buried_form) for e in entries), MOST_RESTORED)
        total += _restore_batch(link, identity, queue, entries[:count], now)
        entries = entries[count:]
    return total


def _restore_batch(link: Link, identity: str, queue: str, entries: Sequence[Entry], now: float) -> Restored:
    counters = [keys.recovered(_sha1(entry.payload)) for entry in entries]
    named = [keys.working(identity, queue), keys.queue(queue), keys.QUEUES, keys.DEAD, keys.SCHEDULE, *counters]
    args = [
        part
        for e in entries
        for part in (e.payload, "1" if e.crashed else "0", e.buried_form, repr(e.later) if e.later else "")
    ]
    head = [queue, repr(now), CRASH_MEMORY_SECONDS, CRASHES_THAT_BURY]
    return Restored(*link.execute(*scripts.call("restore", named, [*head, *args])))


def unregister(link: Link, identity: str, queues: Iterable[str]) -> int:
    """Forget the empty working lists of one that has gone; return how many are not empty."""
    lists = [keys.working(identity, queue) for queue in queues]
    named = [keys.WORKING, keys.ORIGINS, keys.settled(identity), *lists]
    return int(link.execute(*scripts.call("unregister", named, [identity])))


def cut_off(link: Link, identity: str, client_ids: Sequence[int]) -> None:
    """Let nothing that a crashed process had sent take a job any more: its fetches fail, its waits end."""
    link.pipeline([("SET", keys.taken(identity), CRASHED, "EX", LATE_SECONDS, "NX"), *_unblocks(client_ids)])


def unblock(link: Link, client_ids: Sequence[int]) -> None:
    """End the blocking commands of these connections; one that blocks no more does not mind."""
    if client_ids:
        link.pipeline(_unblocks(client_ids))


def _unblocks(client_ids: Sequence[int]) -> list[tuple[str, str, int]]:
    return [("CLIENT", "UNBLOCK", client_id) for client_id in client_ids]


def _sha1(payload: bytes) -> str:
    return hashlib.sha1(payload).hexdigest()  # noqa: S324 - names a counter, guards nothing
