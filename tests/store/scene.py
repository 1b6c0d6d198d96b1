"""Owners, payloads and moments that the store tests play with, and short ways to look at the result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.snapshot import Snapshot, snapshot

from forkworker.store import working

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from forkworker.store.connection import Link
    from forkworker.store.working import Kind, Settlement

ALICE = "host:101:aaaaaaaaaaaa"
BOB = "host:102:bbbbbbbbbbbb"
NOW = 1_700_000_000.25  # 2023-11-14 in UTC
DAY = "2023-11-14"


def job(number: int, **fields: Any) -> bytes:
    """Return the payload of a job with this number for its id."""
    return json.dumps({"class": "Job", "args": [], "jid": f"jid-{number}", **fields}).encode()


def jobs(*numbers: int) -> list[bytes]:
    """Return the payloads of several."""
    return [job(number) for number in numbers]


def listed(queue: str = "default", owner: str = ALICE) -> str:
    """Return the name of an owner's working list."""
    return f"working:{owner}:{queue}"


def put(client: redis.Redis, key: str, payloads: Sequence[bytes]) -> None:
    """Fill a queue or a working list, the oldest first."""
    client.lpush(key, *payloads)


def left(payloads: Sequence[bytes]) -> list[bytes]:
    """Return what LRANGE tells of a list with these payloads, the oldest of which comes first here."""
    return list(reversed(payloads))


def world(client: redis.Redis) -> Snapshot:
    """Return every key with its contents."""
    return snapshot(client)


def settlement(kind: Kind, payload: bytes, queue: str = "default", **more: Any) -> Settlement:
    """Return what becomes of a payload in ALICE's list."""
    return working.Settlement(kind, queue, more.pop("working", listed(queue)), payload, **more)


def settle(link: Link, number: int, *settlements: Settlement, now: float = NOW) -> bytes:
    """Settle as ALICE."""
    flags: bytes = link.execute(*working.settle(ALICE, number, settlements, now))
    return flags


def expires(client: redis.Redis, key: str, seconds: float) -> bool:
    """Say whether a key has so many seconds to live, but for the time that the test has taken."""
    return seconds - 30 < float(client.pttl(key)) / 1000 <= seconds
