"""A child's side of its working lists: register them, fetch into them, settle out of them.

Returns commands, not results, so that the exchange can send several in one round trip.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from forkworker.store import scripts
from forkworker.store.sets import DEAD_SECONDS, MOST_DEAD
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forkworker.store.connection import Command

#: the scripts that a child's connection must have loaded
SCRIPTS = ("fetch", "settle")

#: Sidekiq's
DAILY_COUNTER_SECONDS = 5 * 365 * 86_400

#: done, failed for good, retry, bury, reject (buried uncounted), back to the head of its queue
Kind = Literal["done", "failed", "retry", "bury", "reject", "back"]


class Settlement(NamedTuple):
    """What becomes of a payload in a working list."""

    kind: Kind
    queue: str
    working: str
    payload: bytes
    #: for the retry or dead set
    new_payload: bytes = b""
    score: float = 0.0


def register(identity: str, queues: Sequence[str], origin: str) -> list[Command]:
    """Return what makes working lists known to all; to be done before their first use."""
    lists = [keys.working(identity, queue) for queue in queues]
    return [("HSET", keys.ORIGINS, identity, origin), ("SADD", keys.WORKING, *lists)]


def fetch(identity: str, queues: Sequence[str], count: int, shares: Sequence[int] = ()) -> Command:
    """Return what takes up to ``count`` payloads: so many from each queue, or all from the first that has them."""
    pairs = [key for queue in queues for key in (keys.queue(queue), keys.working(identity, queue))]
    return scripts.call("fetch", [keys.taken(identity), *pairs], [count, *shares])


def settle(identity: str, number: int, settlements: Sequence[Settlement], now: float) -> Command:
    """Return what settles a batch; ``number`` grows by the batch, and makes sending it again harmless."""
    day = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d")
    counters = [keys.PROCESSED, keys.FAILED, keys.processed_on(day), keys.failed_on(day)]
    places = list({(s.working, s.queue): None for s in settlements})
    pairs = [key for working, queue in places for key in (working, keys.queue(queue))]
    index = {place: i for i, place in enumerate(places, 1)}
    args: list[Any] = [number, now, MOST_DEAD, DEAD_SECONDS, DAILY_COUNTER_SECONDS]
    run, length_at = None, 0
    for s in settlements:
        place = index[s.working, s.queue]
        if s.kind != "done":
            args += (s.kind, place, s.payload, s.new_payload, repr(float(s.score)))
            run = None
        elif run == place:
            args.append(s.payload)
            args[length_at] += 1
        else:
            run, length_at = place, len(args) + 2
            args += ("done", place, 1, s.payload)
    return scripts.call("settle", [keys.settled(identity), keys.RETRY, keys.DEAD, *counters, *pairs], args)


#: what ``settle`` answers for each
SETTLED, NOT_OURS, NO_HOME = b"102"


def contents(identity: str, queues: Sequence[str]) -> list[Command]:
    """Return what reads the working lists, one command for each queue; newest first."""
    return [("LRANGE", keys.working(identity, queue), 0, -1) for queue in queues]
