"""The processes that Redis knows of, of every host, and what their threads run.  They obey with their next beat."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from forkworker.inspect.entry import Entry
from forkworker.store import orphans, processes
from forkworker.store.walks import QueueWalk
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forkworker.store.access import Access


#: processes whose jobs are read in one round trip
_AT_ONCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One child, or one of Sidekiq's processes, as its last beat shows it."""

    identity: str
    hostname: str
    pid: int
    tag: str
    version: str
    queues: tuple[str, ...]
    concurrency: int
    busy: int
    is_quiet: bool
    #: epoch seconds
    started_at: float
    beat: float
    rss_kilobytes: int
    round_trip_microseconds: int
    _access: Access = field(repr=False, compare=False)

    def stop(self) -> bool:
        """Have it stop in order; its master fills the slot again.  False if there is no such process any more."""
        return processes.signal(self._access, self.identity, "TERM")

    def quiet(self) -> bool:
        """Have it become quiet: it finishes what it runs and takes nothing more."""
        return processes.signal(self._access, self.identity, "TSTP")

    def dump_stacks(self) -> bool:
        """Have it write the stacks of its threads to its log."""
        return processes.signal(self._access, self.identity, "TTIN")

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` shows."""
        return {
            "identity": self.identity,
            "hostname": self.hostname,
            "pid": self.pid,
            "tag": self.tag,
            "version": self.version,
            "queues": list(self.queues),
            "concurrency": self.concurrency,
            "busy": self.busy,
            "quiet": self.is_quiet,
            "started_at": self.started_at,
            "beat": self.beat,
            "rss_kilobytes": self.rss_kilobytes,
            "round_trip_microseconds": self.round_trip_microseconds,
        }


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs, or ran at its process's last beat."""

    identity: str
    thread: str
    #: epoch seconds
    since: float
    entry: Entry

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` shows."""
        job = self.entry
        return {
            "identity": self.identity,
            "thread": self.thread,
            "since": self.since,
            "jid": job.jid,
            "name": job.name,
            "queue": job.queue,
            "args": job.args,
        }


def all_of(access: Access) -> list[Process]:
    """Return every process that shows a sign of life."""
    return [_process(access, row.identity, row.fields) for row in processes.registered(access)]


def running(access: Access, identities: Sequence[str]) -> Iterator[Running]:
    """Return what these run, a process after the other."""
    for start in range(0, len(identities), _AT_ONCE):
        some = identities[start : start + _AT_ONCE]
        for identity, threads in zip(some, processes.work(access, some), strict=True):
            for thread, text in sorted(threads.items()):
                yield _running(identity, thread, text)


def taken(access: Access, jid: str) -> Entry | None:
    """Return a job that a process has taken and not settled, be it alive or not; None if nobody has."""
    lists = [keys.working(identity, queue) for identity, names in orphans.owners(access).items() for queue in names]
    found = (
        Entry(key, payload, position=position)
        for key in lists
        for piece in QueueWalk(access, key).pieces(sys.maxsize)
        for position, (payload, _) in enumerate(piece)
        if jid.encode("utf-8", "replace") in payload
    )
    return next((entry for entry in found if entry.jid == jid), None)


def _process(access: Access, identity: str, fields: dict[str, str]) -> Process:
    info = _object(fields["info"].encode())
    queues = info.get("queues")
    return Process(
        identity=identity,
        hostname=str(info.get("hostname") or identity.partition(":")[0]),
        pid=int(_number(info.get("pid"))),
        tag=str(info.get("tag") or ""),
        version=str(info.get("version") or ""),
        queues=tuple(map(str, queues)) if isinstance(queues, list) else (),
        concurrency=int(_number(fields["concurrency"] or info.get("concurrency"))),
        busy=int(_number(fields["busy"])),
        is_quiet=fields["quiet"] == "true",
        started_at=_number(info.get("started_at")),
        beat=_number(fields["beat"]),
        rss_kilobytes=int(_number(fields["rss"])),
        round_trip_microseconds=int(_number(fields["rtt_us"])),
        _access=access,
    )


def _running(identity: str, thread: str, text: bytes) -> Running:
    work = _object(text)
    job = work.get("payload")
    payload = job if isinstance(job, str) else json.dumps(job)
    place = keys.working(identity, str(work.get("queue") or ""))
    return Running(identity, thread, _number(work.get("run_at")), Entry(place, payload.encode("utf-8", "replace")))


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return 0.0
