"""The registry of children: beats and farewells, written by keepers; read, and steered, by operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from forkworker.store import scripts
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forkworker.store.connection import Commands, Link

#: those that a process obeys; whoever can write to Redis may have left it anything
SIGNALS = ("TSTP", "USR1", "TERM", "INT", "TTIN")
#: a signal that nobody has taken after so long is lost
SIGNAL_SECONDS = 60
#: of the hash IDENTITY, what ``registered`` reads
FIELDS = ("info", "busy", "beat", "quiet", "rss", "rtt_us", "concurrency")
#: Sidekiq keeps a beat so long; readers take a process without one for dead
BEAT_SECONDS = 60
#: a process whose last beat is older may have gone: ours beat every 5 s, those of Sidekiq every 10
SILENT_SECONDS = 12.0


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
    """Publish a beat; return the signals left for the child, each once.  Raises IdentityTaken."""
    identity = sign.identity
    named = [keys.taken(identity), keys.PROCESSES, identity, keys.work(identity), keys.workers(identity)]
    fields = [part for pair in sign.fields.items() for part in pair]
    lists = [keys.working(identity, queue) for queue in sign.queues]
    work = [part for pair in sign.work.items() for part in pair]
    seconds = max(BEAT_SECONDS, int(2 * lease))
    args = [identity, seconds, sign.origin, len(fields), *fields, len(lists), *lists, *work]
    command = scripts.call("beat", [*named, keys.signals(identity), keys.WORKING, keys.ORIGINS], args)
    left = dict.fromkeys(signal.decode("ascii", "replace") for signal in link.execute(*command))
    return [signal for signal in left if signal in SIGNALS]


def farewell(link: Link, identity: str) -> None:
    """Take a child that has gone out of the registry."""
    shown = (identity, keys.work(identity), keys.workers(identity), keys.signals(identity))
    link.pipeline([("SREM", keys.PROCESSES, identity), ("UNLINK", *shown)])


class Registered(NamedTuple):
    """A process as it stands in the registry: the hash IDENTITY, as far as it is there."""

    identity: str
    fields: dict[str, str]


def registered(commands: Commands) -> list[Registered]:
    """Return the processes that show a sign of life, by identity."""
    names = sorted(name.decode("utf-8", "replace") for name in commands.execute("SMEMBERS", keys.PROCESSES))
    rows = commands.pipeline([("HMGET", name, *FIELDS) for name in names]) if names else []
    texts = [[(value or b"").decode("utf-8", "replace") for value in row] for row in rows]
    found = [Registered(name, dict(zip(FIELDS, row, strict=True))) for name, row in zip(names, texts, strict=True)]
    return [process for process in found if process.fields["info"]]


def work(commands: Commands, identities: Sequence[str]) -> list[dict[str, bytes]]:
    """Return what each of these runs: thread -> JSON; Sidekiq up to 6.4 writes it elsewhere."""
    places = [(keys.work(identity), keys.workers(identity)) for identity in identities]
    flat = commands.pipeline([("HGETALL", key) for pair in places for key in pair]) if places else []
    return [_threads(flat[2 * i] or flat[2 * i + 1]) for i in range(len(places))]


def _threads(pairs: Sequence[bytes]) -> dict[str, bytes]:
    names = [name.decode("utf-8", "replace") for name in pairs[::2]]
    return dict(zip(names, pairs[1::2], strict=True))


def signal(commands: Commands, identity: str, name: str) -> bool:
    """Leave a signal for a process, to be obeyed with its next beat; False if there is no such process."""
    named = [identity, keys.signals(identity)]
    return bool(commands.execute(*scripts.call("signal", named, [name, SIGNAL_SECONDS])))
