"""Where jobs wait: queues, the schedule, the retry and the dead set.  Looked through in pieces, and tidied by hand.

What an operator's move means is what it means in Sidekiq's Web UI (docs/inspection.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.clock import SystemClock
from forkworker.errors import MalformedPayload
from forkworker.inspect.entry import Entry
from forkworker.inspect.filter import Filter, bounds
from forkworker.inspect.kinds import Kind, Kinds
from forkworker.store import overview, paused, sets, withdrawals
from forkworker.store.sets import Promotion
from forkworker.store.walks import Found, QueueWalk, SetWalk, Walk, size_command
from forkworker.wire import keys, pages, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forkworker.store.access import Access

    #: told after each piece: how many entries were looked at, out of how many, how many of them matched
    Watch = Callable[[int, int, int], None]

PAGE = 25
EVERYTHING = Filter()
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the entries that matched."""

    #: acted upon
    done: int = 0
    #: somebody else was faster
    gone: int = 0
    #: left where they are, as they are no jobs
    refused: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.done + other.done, self.gone + other.gone, self.refused + other.refused)


class Place:
    """What queues and sets have in common."""

    def __init__(self, access: Access, key: str) -> None:
        self._access = access
        #: the name of its key in Redis
        self.key = key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}>"

    def __len__(self) -> int:
        return int(self._access.execute(*size_command(self.key)))

    def __bool__(self) -> bool:
        return True

    def page(self, start: int = 0, count: int = PAGE) -> list[Entry]:
        """Return entries by position: of a queue the next to be taken first, of ``dead`` the newest."""
        return list(self.some(start, count))

    def some(self, start: int = 0, count: int = PAGE) -> Iterator[Entry]:
        """Return the same one after the other, as each may have megabytes."""
        for piece in self._walk(start).pieces(count):
            for position, pair in enumerate(piece, start):
                yield self._entry(*pair, position)
            start += len(piece)

    def entries(self, which: Filter = EVERYTHING, watch: Watch | None = None) -> Iterator[Entry]:
        """Return all entries that match, one after the other, in the order of ``page``."""
        matched = 0
        for looked, total, piece in self._pieces(self._walk(*self._edge(which)), which):
            for entry in piece:
                matched += 1
                yield entry
            if watch:
                watch(looked, total, matched)

    def find(self, jid: str, watch: Watch | None = None) -> Entry | None:
        """Return the job with this id, None if it is not here."""
        return next(self.entries(Filter(jid=jid), watch), None)

    def count(self, which: Filter = EVERYTHING, watch: Watch | None = None) -> int:
        """Return how many entries match."""
        return len(self) if which.is_empty else sum(1 for _ in self.entries(which, watch))

    def kinds(self, which: Filter = EVERYTHING, watch: Watch | None = None) -> list[Kind]:
        """Return what matches, counted by name and class of error, the most frequent first."""
        kinds = Kinds()
        for entry in self.entries(which, watch):
            kinds.add(entry)
        return kinds.sorted()

    def delete(self, entry: Entry) -> bool:
        """Delete one entry; False if it is not here any more."""
        return self._delete([entry]).done == 1

    def bury(self, entry: Entry) -> bool:
        """Move one entry to the dead set; False if it is not here any more."""
        return self._bury([entry]).done == 1

    def delete_all(self, which: Filter = EVERYTHING, *, most: int | None = None, watch: Watch | None = None) -> Tally:
        """Delete all entries that match, or as many."""
        return self._act(self._delete, which, most, watch)

    def bury_all(self, which: Filter = EVERYTHING, *, most: int | None = None, watch: Watch | None = None) -> Tally:
        """Move all entries that match to the dead set, or as many; it keeps the newest ten thousand."""
        return self._act(self._bury, which, most, watch)

    def clear(self) -> int:
        """Delete everything at once; return how much it was."""
        return withdrawals.everything(self._access, self.key)

    def _walk(self, start: int = 0) -> Walk:
        raise NotImplementedError

    def _delete(self, entries: Sequence[Entry]) -> Tally:
        raise NotImplementedError

    def _bury(self, entries: Sequence[Entry]) -> Tally:
        raise NotImplementedError

    def _edge(self, which: Filter) -> tuple[int, ...]:
        """Return the position from which on entries can match."""
        del which
        return ()

    def _entry(self, text: bytes, score: float | None, position: int) -> Entry:
        return Entry(self.key, text, score, position)

    def _pieces(self, walk: Walk, which: Filter) -> Iterator[tuple[int, int, list[Entry]]]:
        """Return pieces of what matches, each with how many entries were looked at so far, out of how many."""
        total, looked = len(self), 0
        low, high = bounds(self.key, which)
        while True:
            first = walk.position
            found = walk.read()
            looked += len(found)
            is_last = not found or not _is_between(low, found[-1].score, high)
            numbered = [*enumerate(found, first)]
            if is_last:
                numbered = [(i, pair) for i, pair in numbered if _is_between(low, pair.score, high)]
            for needle in which.needles:  # most fall out here, before anything is made of them
                numbered = [(i, pair) for i, pair in numbered if needle in pair.payload]
            entries = [self._entry(*pair, i) for i, pair in numbered]
            yield looked, max(total, looked), [entry for entry in entries if which.matches(entry)]
            if is_last:
                return

    def _act(
        self, act: Callable[[Sequence[Entry]], Tally], which: Filter, most: int | None, watch: Watch | None
    ) -> Tally:
        """Act on what matches, a piece at a time; not on what comes back while this lasts."""
        tally, began = Tally(), _clock.now()
        left = len(self) if most is None else most
        walk = self._walk(*self._edge(which))
        for looked, total, piece in self._pieces(walk, which):
            chosen = [entry for entry in piece if not self._has_come_back(entry, began)][:left]
            if chosen:
                done = act(chosen)
                tally, left = tally + done, left - len(chosen)
                if not done.refused:
                    walk.leave_out(Found(entry.payload, entry.score) for entry in chosen)
            if watch:
                watch(looked, total, tally.done)
            if left <= 0:
                break
        return tally

    def _has_come_back(self, entry: Entry, began: float) -> bool:
        return self.key == keys.RETRY and (entry.failed_at or 0.0) >= began


class Queue(Place):
    """A queue."""

    def __init__(self, access: Access, name: str) -> None:
        super().__init__(access, keys.queue(name))
        self.name = name

    @property
    def is_known(self) -> bool:
        """Whether anything was pushed into it since it was last cleared."""
        return bool(self._access.execute("SISMEMBER", keys.QUEUES, self.name))

    @property
    def latency_seconds(self) -> float:
        """For how long its oldest job has waited."""
        return overview.sizes_of(self._access, [self.name], set())[0].latency_seconds

    @property
    def is_paused(self) -> bool:
        """Whether nothing is taken from it."""
        return self.name in paused.names(self._access)

    def pause(self) -> bool:
        """Let no master take from it any more, within a second; False if it was paused already."""
        return paused.pause(self._access, self.name)

    def unpause(self) -> bool:
        """Let it be taken from again; False if it was not paused."""
        return paused.unpause(self._access, self.name)

    def _walk(self, start: int = 0) -> Walk:
        return QueueWalk(self._access, self.key, start)

    def _delete(self, entries: Sequence[Entry]) -> Tally:
        return self._withdraw(entries, [b""] * len(entries))

    def _bury(self, entries: Sequence[Entry]) -> Tally:
        now = _clock.now()
        tally = self._withdraw(entries, [buried_form(entry, now) for entry in entries])
        sets.trim_dead(self._access, now)
        return tally

    def _withdraw(self, entries: Sequence[Entry], forms: Sequence[bytes]) -> Tally:
        pairs = [(entry.payload, form) for entry, form in zip(entries, forms, strict=True)]
        first = min(entry.position for entry in entries)
        flags = withdrawals.from_queue(self._access, self.name, pairs, first, _clock.now())
        return Tally(sum(flags), len(flags) - sum(flags))


class JobSet(Place):
    """The schedule, the retry set or the dead set."""

    def retry(self, entry: Entry) -> bool:
        """Put one entry into its queue now; False if it is not here any more.  Raises MalformedPayload."""
        if entry.problem or not entry.job:
            raise MalformedPayload(entry.problem)
        return self._retry([entry]).done == 1

    def retry_all(self, which: Filter = EVERYTHING, *, most: int | None = None, watch: Watch | None = None) -> Tally:
        """Put all entries that match into their queues, or as many; each counts as not having failed the last time."""
        return self._act(self._retry, which, most, watch)

    @property
    def _is_falling(self) -> bool:
        return self.key == keys.DEAD

    def _walk(self, start: int = 0) -> Walk:
        return SetWalk(self._access, self.key, start, falling=self._is_falling)

    def _edge(self, which: Filter) -> tuple[int, ...]:
        low, high = bounds(self.key, which)
        outside = ("-inf", f"({low!r}") if not self._is_falling else (repr(high), "+inf")
        return (int(self._access.execute("ZCOUNT", self.key, *outside)),)

    def _retry(self, entries: Sequence[Entry]) -> Tally:
        now = _clock.now()
        promotions = [promotion for entry in entries if (promotion := _promotion(entry, now))]
        moved = sets.promote(self._access, self.key, promotions, now)
        return Tally(moved, len(promotions) - moved, len(entries) - len(promotions))

    def _bury(self, entries: Sequence[Entry]) -> Tally:
        now = _clock.now()
        if self.key == keys.DEAD:
            return Tally(refused=len(entries))
        promotions = [Promotion(entry.payload, "", buried_form(entry, now)) for entry in entries]
        moved = sets.promote(self._access, self.key, promotions, now)
        sets.trim_dead(self._access, now)
        return Tally(moved, len(entries) - moved)

    def _delete(self, entries: Sequence[Entry]) -> Tally:
        removed = withdrawals.from_set(self._access, self.key, [entry.payload for entry in entries])
        return Tally(removed, len(entries) - removed)


def _is_between(low: float, score: float | None, high: float) -> bool:
    return score is None or low <= score < high


def _promotion(entry: Entry, now: float) -> Promotion | None:
    """Return the way to the queue, as Sidekiq's Web UI has it; None for what is no job."""
    if not entry.job:
        return None
    job = {**pages.presentable(entry.job), "queue": entry.queue, "enqueued_at": now}
    if entry.retry_count is not None and entry.place != keys.SCHEDULE:
        job["retry_count"] = entry.retry_count - 1
    try:
        return Promotion(entry.payload, entry.queue, payload.encode(job))
    except (ValueError, RecursionError):
        return None


def buried_form(entry: Entry, now: float) -> bytes:
    """Return an entry as it goes to the dead set: as it is, if it says when it failed, which Web UIs want to know."""
    if not entry.job:
        return entry.payload
    job = pages.presentable(entry.job)
    failed = {} if job.get("failed_at") or job.get("retried_at") else {"failed_at": now}
    if job is entry.job and not failed:
        return entry.payload
    try:
        return payload.encode({**job, "queue": entry.queue, **failed})
    except (ValueError, RecursionError):
        return entry.payload
