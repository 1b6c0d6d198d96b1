"""What the scripts shall do, in plain Python on plain lists: the world that the model expects.

Lists hold the one that is next first, in queues, and the oldest first, in working lists.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from forkworker.store.orphans import CRASHES_THAT_BURY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forkworker.store.orphans import Entry
    from forkworker.store.sets import Promotion
    from forkworker.store.working import Settlement

TAKEN = "TAKEN"
COUNTED = ("done", "failed", "retry", "bury")
ENDS = ("done", "failed")


def listed(identity: str, queue: str) -> str:
    """Return the name of a working list."""
    return f"working:{identity}:{queue}"


class Reference:
    """Everything that stands in Redis."""

    def __init__(self) -> None:
        self.queues: defaultdict[str, list[bytes]] = defaultdict(list)
        self.lists: defaultdict[str, list[bytes]] = defaultdict(list)
        self.sets: dict[str, dict[bytes, float]] = {"retry": {}, "schedule": {}, "dead": {}}
        self.names: set[str] = set()
        self.registered: set[str] = set()
        self.origins: dict[str, str] = {}
        self.processes: set[str] = set()
        self.beats: dict[str, str] = {}
        self.taken: set[str] = set()
        self.settled: dict[str, tuple[int, str]] = {}
        self.crashes: Counter[bytes] = Counter()
        self.counters: Counter[str] = Counter()

    # Clients

    def push(self, queue: str, payloads: Sequence[bytes]) -> None:
        self.names.add(queue)
        self.queues[queue] += payloads

    def schedule(self, payload: bytes, when: float) -> None:
        self.sets["schedule"][payload] = when

    # Owners

    def register(self, identity: str, queues: Sequence[str], origin: str) -> list[Callable[[], Any]]:
        lists = [listed(identity, queue) for queue in queues]
        return [lambda: self._add_origin(identity, origin), lambda: self._add_lists(lists)]

    def _add_origin(self, identity: str, origin: str) -> int:
        is_new = identity not in self.origins
        self.origins[identity] = origin
        return int(is_new)

    def _add_lists(self, lists: Sequence[str]) -> int:
        before = len(self.registered)
        self.registered.update(lists)
        return len(self.registered) - before

    def fetch(self, identity: str, queues: Sequence[str], count: int, shares: Sequence[int] = ()) -> Any:
        if identity in self.taken:
            return TAKEN
        fetched: list[list[bytes]] = []
        for queue, share in zip(queues, shares or [count] * len(queues), strict=True):
            fetched.append(self._fetch(identity, queue, min(share, count)))
            count -= len(fetched[-1])
            if not count:
                break
        for queue, share, payloads in zip(queues, shares, fetched, strict=False):
            if len(payloads) == share:
                more = self._fetch(identity, queue, count)
                payloads.extend(more)
                count -= len(more)
        return fetched

    def _fetch(self, identity: str, queue: str, most: int) -> list[bytes]:
        payloads = self.queues[queue][:most]
        del self.queues[queue][:most]
        self.lists[listed(identity, queue)] += payloads
        return payloads

    def move(self, identity: str, queue: str) -> bytes | None:
        """LMOVE, as a wait does it: no script, so no fence."""
        if not self.queues[queue]:
            return None
        payload = self.queues[queue].pop(0)
        self.lists[listed(identity, queue)].append(payload)
        return payload

    def settle(self, identity: str, number: int, settlements: Sequence[Settlement], now: float) -> bytes:
        last, result = self.settled.get(identity, (0, ""))
        if last < number:
            result = "".join(self._settle(settlement, now) for settlement in settlements)
            self.settled[identity] = number, result
        return result.encode()

    def _settle(self, s: Settlement, now: float) -> str:
        if s.payload not in self.lists[s.working]:
            return "0"
        self.lists[s.working].remove(s.payload)  # the oldest of those alike
        if s.kind == "back":
            self.queues[s.queue].insert(0, s.payload)
        elif s.kind in ("retry", "bury", "reject"):
            self.sets["retry" if s.kind == "retry" else "dead"][s.new_payload] = s.score
        self._count(s.kind, datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d"))
        return "1"

    def _count(self, kind: str, day: str) -> None:
        if kind in COUNTED:
            self.counters.update(["stat:processed", f"stat:processed:{day}"])
            if kind != "done":
                self.counters.update(["stat:failed", f"stat:failed:{day}"])

    # Keepers

    def beat(self, identity: str, queues: Sequence[str], origin: str, beat: str) -> Any:
        if identity in self.taken:
            return TAKEN
        self.processes.add(identity)
        self.beats[identity] = beat
        self.origins[identity] = origin
        self.registered.update(listed(identity, queue) for queue in queues)
        return []

    def farewell(self, identity: str) -> list[Callable[[], Any]]:
        return [lambda: self._strike_off(identity), lambda: int(self.beats.pop(identity, None) is not None)]

    def _strike_off(self, identity: str) -> int:
        was_there = identity in self.processes
        self.processes.discard(identity)
        return int(was_there)

    def take(self, identity: str, seen: str) -> int:
        if self.beats.get(identity, "") != seen:
            return 0
        self.taken.add(identity)
        self.processes.discard(identity)
        self.beats.pop(identity, None)
        return 1

    def restore(self, identity: str, queue: str, entries: Sequence[Entry], now: float) -> list[int]:
        """Entries come the newest first."""
        moved, recovered, buried = 0, 0, 0
        for entry in entries:
            if not self._take_newest(listed(identity, queue), entry.payload):
                continue
            moved += 1
            if entry.crashed:
                recovered += 1
                self.crashes[entry.payload] += 1
            if entry.crashed and entry.buried_form and self.crashes[entry.payload] >= CRASHES_THAT_BURY:
                buried += 1
                del self.crashes[entry.payload]
                self.sets["dead"][entry.buried_form] = now
            elif entry.later and entry.payload not in self.sets["schedule"]:
                self.sets["schedule"][entry.payload] = entry.later
            else:
                self.names.add(queue)
                self.queues[queue].insert(0, entry.payload)
        return [moved, recovered, buried]

    def _take_newest(self, name: str, payload: bytes) -> bool:
        content = self.lists[name]
        if payload not in content:
            return False
        del content[len(content) - 1 - content[::-1].index(payload)]
        return True

    def unregister(self, identity: str, queues: Sequence[str]) -> int:
        lists = {listed(identity, queue) for queue in queues}
        full = {name for name in lists if self.lists[name]}
        self.registered -= lists - full
        if not full:
            self.origins.pop(identity, None)
            self.settled.pop(identity, None)
        return len(full)

    def due(self, now: float) -> dict[str, list[bytes]]:
        """In the order of the times; of the same time, in that of the bytes."""
        return {
            name: sorted((p for p, at in self.sets[name].items() if at <= now), key=lambda p: (self.sets[name][p], p))
            for name in ("retry", "schedule")
        }

    def next_at(self, now: float) -> float | None:
        later = [at for name in ("retry", "schedule") for at in self.sets[name].values() if at > now]
        return min(later, default=None)

    def promote(self, source: str, promotions: Sequence[Promotion], now: float) -> int:
        moved = 0
        for p in promotions:
            if self.sets[source].pop(p.payload, None) is None:
                continue
            moved += 1
            if p.queue and p.new_payload == p.payload:
                self.names.add(p.queue)
                self.queues[p.queue].insert(0, p.payload)
            elif p.queue:
                self.push(p.queue, [p.new_payload])
            else:
                self.sets["dead"][p.new_payload] = now
        return moved

    # All of it

    def world(self) -> dict[str, Any]:
        """Return what a snapshot must show."""
        queues = {f"queue:{name}": content[::-1] for name, content in self.queues.items()}
        lists = {name: content[::-1] for name, content in self.lists.items()}
        return {key: value for key, value in (self._small_things() | queues | lists | self.sets).items() if value}

    def _small_things(self) -> dict[str, Any]:
        sets = {"queues": self.names, "working": self.registered, "processes": self.processes}
        return {
            **{name: {member.encode() for member in members} for name, members in sets.items()},
            "origins": {identity.encode(): origin.encode() for identity, origin in self.origins.items()},
            **{identity: {b"beat": beat.encode()} for identity, beat in self.beats.items()},
            **{f"taken:{identity}": b"1" for identity in self.taken},
            **{f"settled:{identity}": f"{n}:{flags}".encode() for identity, (n, flags) in self.settled.items()},
            **{f"recovered:{hashlib.sha1(p).hexdigest()}": str(n).encode() for p, n in self.crashes.items()},
            **{name: str(count).encode() for name, count in self.counters.items()},
        }
