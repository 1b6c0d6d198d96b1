"""Sidekiq's metrics, in the form of version 8: what its Metrics page shows.  Written by keepers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.store import scripts
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forkworker.store.connection import Commands

#: as long as Sidekiq keeps them
MINUTE_SECONDS, TEN_MINUTES_SECONDS = 8 * 3600, 3 * 86_400
#: the histogram's counters
SLOTS = 26
#: names in one script
_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What jobs of one name have done since the last time."""

    name: str
    runs: int
    failures: int
    #: of those that were done
    milliseconds: int
    slots: Sequence[int]


def add(link: Commands, deeds: Sequence[Deed], now: float) -> None:
    """Add to the counters of this minute."""
    deeds = [deed for deed in deeds if "|" not in deed.name]  # which parts name and field there
    for start in range(0, len(deeds), _BATCH):
        _add_batch(link, deeds[start : start + _BATCH], now)


def _add_batch(link: Commands, deeds: Sequence[Deed], now: float) -> None:
    minute = keys.metrics_of_minute(now)
    named = [minute, keys.metrics_of_ten_minutes(minute), *(keys.metrics_histogram(deed.name, now) for deed in deeds)]
    rows = ((deed.name, deed.runs, deed.failures, deed.milliseconds, *deed.slots) for deed in deeds)
    args = [MINUTE_SECONDS, TEN_MINUTES_SECONDS, *itertools.chain.from_iterable(rows)]
    link.execute(*scripts.call("metrics", named, args))
