"""The registry of children: beats and farewells.  Written by keepers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.store import scripts
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forkworker.store.connection import Link

#: Sidekiq keeps a beat so long; readers take a process without one for dead
BEAT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What one child shows of itself."""

    identity: str
    origin: str
    #: of the hash IDENTITY: info, busy, beat, quiet, rss, rtt_us, concurrency
    fields: Mapping[str, str | int | float]
    queues: Sequence[str]
    #: thread -> JSON of {queue, payload, run_at}
    work: Mapping[str, str]


def beat(link: Link, sign: Beat, lease: float) -> list[str]:
    """Publish a beat; return the signals left for the child.  Raises IdentityTaken."""
    identity = sign.identity
    named = [keys.taken(identity), keys.PROCESSES, identity, keys.work(identity), keys.workers(identity)]
    fields = [part for pair in sign.fields.items() for part in pair]
    lists = [keys.working(identity, queue) for queue in sign.queues]
    work = [part for pair in sign.work.items() for part in pair]
    seconds = max(BEAT_SECONDS, int(2 * lease))
    args = [identity, seconds, sign.origin, len(fields), *fields, len(lists), *lists, *work]
    command = scripts.call("beat", [*named, keys.signals(identity), keys.WORKING, keys.ORIGINS], args)
    return [signal.decode("ascii", "replace") for signal in link.execute(*command)]


def farewell(link: Link, identity: str) -> None:
    """Take a child that has gone out of the registry."""
    shown = (identity, keys.work(identity), keys.workers(identity), keys.signals(identity))
    link.pipeline([("SREM", keys.PROCESSES, identity), ("UNLINK", *shown)])
