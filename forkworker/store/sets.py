"""The schedule and the retry set: what is due, and its move to a queue.  Used by keepers, and by operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.store import batches, scripts
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forkworker.store.connection import Commands

#: Sidekiq's limits of the dead set
MOST_DEAD = 10_000
DEAD_SECONDS = 180 * 86_400
#: payloads moved by one script: bounds the time for which Redis serves nobody else
BATCH = 100


@dataclass(frozen=True, slots=True)
class Due:
    """What the two sets hold for now, and when there is more."""

    #: name of the set -> payloads
    payloads: dict[str, list[bytes]]
    next_at: float | None


@dataclass(frozen=True, slots=True)
class Promotion:
    """Where a due payload goes; without a queue it goes to the dead set as it is."""

    payload: bytes
    queue: str
    new_payload: bytes


def due(link: Commands, now: float, passed: tuple[int, int] = (0, 0)) -> Due:
    """Read what is due, a batch from each set at the most, after so many that are passed over in retry and schedule."""
    command = scripts.call("due", [keys.RETRY, keys.SCHEDULE], [repr(now), BATCH, *passed])
    retries, scheduled, next_at = link.execute(*command)
    found = {keys.RETRY: retries, keys.SCHEDULE: scheduled}
    return Due(found, None if next_at is None else float(next_at))


def promote(link: Commands, source: str, promotions: Sequence[Promotion], now: float) -> int:
    """Move payloads out of a set, those that are still there; return how many were."""
    moved = 0
    while promotions:
        count = batches.how_many((len(p.payload) + len(p.new_payload) for p in promotions), BATCH)
        moved += _promote_batch(link, source, promotions[:count], now)
        promotions = promotions[count:]
    return moved


def left(link: Commands, source: str, promotions: Sequence[Promotion]) -> list[Promotion]:
    """Return those that still stand in a set."""
    scores = link.pipeline([("ZSCORE", source, promotion.payload) for promotion in promotions])
    return [promotion for promotion, score in zip(promotions, scores, strict=True) if score is not None]


def _promote_batch(link: Commands, source: str, promotions: Sequence[Promotion], now: float) -> int:
    homes = [keys.queue(p.queue) if p.queue else keys.DEAD for p in promotions]
    args = [part for p in promotions for part in (p.payload, p.queue, p.new_payload)]
    command = scripts.call("promote", [source, keys.QUEUES, keys.DEAD, *homes], [repr(now), *args])
    return int(link.execute(*command))


def trim_dead(link: Commands, now: float) -> None:
    """Drop what has been dead for too long, or is too much; settling does so by itself."""
    too_old = ("ZREMRANGEBYSCORE", keys.DEAD, "-inf", now - DEAD_SECONDS)
    link.pipeline([too_old, ("ZREMRANGEBYRANK", keys.DEAD, 0, -MOST_DEAD - 1)])
