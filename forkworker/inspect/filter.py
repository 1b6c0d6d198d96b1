"""Which entries are meant: by name, queue, error, id and time.  Pure.

Most entries of a large set are passed over by their bytes alone, without being decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forkworker.inspect.entry import Entry

#: characters that every JSON encoder writes as they are
_PLAIN = re.compile(r"[A-Za-z0-9_ .:-]+")
_WILD = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What must be true of an entry, all of it; what is None does not matter."""

    #: the job's name; with ``*`` and ``?`` as in file names
    name: str | None = None
    #: the same of its queue
    queue: str | None = None
    #: a part of ``CLASS: message`` of its last error
    error: str | None = None
    jid: str | None = None
    #: from then on, before then: epoch seconds or an aware datetime, see ``Entry.time``
    since: float | datetime | None = None
    before: float | datetime | None = None

    def __post_init__(self) -> None:
        for when in (self.since, self.before):
            if isinstance(when, datetime) and when.tzinfo is None:
                raise ValueError(f"{when!r} has no time zone: use an aware datetime")

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == Filter()

    @cached_property
    def span(self) -> tuple[float, float]:
        """From when to before when, in epoch seconds."""
        return _seconds(self.since, float("-inf")), _seconds(self.before, float("inf"))

    def matches(self, entry: Entry) -> bool:
        """Whether an entry is meant."""
        return (
            (self.jid is None or entry.jid == self.jid)
            and (self.name is None or _fits(entry.name, self.name))
            and (self.queue is None or _fits(entry.queue, self.queue))
            and (self.error is None or self.error in f"{entry.error_class}: {entry.error_message}")
            and self._is_in_time(entry)
        )

    def _is_in_time(self, entry: Entry) -> bool:
        if self.since is None and self.before is None:
            return True
        time, (since, before) = entry.time, self.span
        return time is not None and since <= time < before

    @cached_property
    def needles(self) -> list[bytes]:
        """Bytes without which an entry cannot match."""
        wanted = [self.jid, *_literals(self.name), *_error_parts(self.error)]
        runs = [max(_PLAIN.findall(text), key=len, default="") for text in wanted if text]
        return [run.encode() for run in runs if run]


def bounds(key: str, which: Filter) -> tuple[float, float]:
    """Return the scores between which an entry that matches must be; retries are not sorted by what is asked."""
    return which.span if key in (keys.SCHEDULE, keys.DEAD) else (float("-inf"), float("inf"))


def _fits(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern) if _WILD.search(pattern) else text == pattern


def _literals(pattern: str | None) -> Iterator[str]:
    yield from re.split(r"[*?]|\[.*", pattern) if pattern else ()


def _error_parts(error: str | None) -> Iterator[str]:
    """Class and message stand in fields of their own: what is around a colon need not be together."""
    yield from (part.strip() for part in error.split(":")) if error else ()


def _seconds(when: float | datetime | None, otherwise: float) -> float:
    if when is None:
        return otherwise
    return when.timestamp() if isinstance(when, datetime) else float(when)
