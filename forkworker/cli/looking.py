"""``forkworker jobs list``, ``kinds`` and ``show``: what looks at jobs and changes nothing."""

from __future__ import annotations

import functools
import heapq
import itertools
from typing import TYPE_CHECKING, Any

from forkworker.cli import listing, output, processes, words
from forkworker.cli.progress import Interrupted, Progress
from forkworker.cli.words import RUNNING, WrongWords
from forkworker.clock import SystemClock
from forkworker.errors import ExitCode
from forkworker.inspect import Entry, Kinds, Queue
from forkworker.store.processes import SILENT_SECONDS

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from forkworker.inspect import Filter, Inspector, Place, Running


def page(args: Namespace, here: Inspector) -> int:
    """Print a page of those that match."""
    if args.place == [RUNNING]:
        return _page_of_running(args, here)
    place, which, now = words.place(here, args.place), words.which(args), SystemClock().now()
    start, count = max(0, args.start), max(0, args.count)
    size, is_whole = len(place), True
    found: list[Any] = []
    shown = Entry.to_dict if args.json else functools.partial(listing.line, now=now)
    with Progress(f"looking through {place.key}") as going:
        try:
            found.extend(map(shown, _some(place, which, start, count + 1, going)))
        except Interrupted:
            is_whole = False
    _tell_page(args, {"place": place.key, "size": size, "start": start, "more": len(found) > count}, found[:count])
    if isinstance(place, Queue) and not size and not place.is_known:
        output.complain([f"there is no queue {place.name}: forkworker queues lists those there are"])
    return _end(is_whole=is_whole)


def _some(place: Place, which: Filter, start: int, count: int, going: Progress) -> Iterable[Entry]:
    """Return a page, an entry after the other: each may have megabytes."""
    if which.is_empty:
        return place.some(start, count)
    return itertools.islice(place.entries(which, going.watch), start, start + count)


def _page_of_running(args: Namespace, here: Inspector) -> int:
    """Print those that have run for the longest, of all hosts."""
    which, now = words.which(args), SystemClock().now()
    start, count = max(0, args.start), max(0, args.count)
    shown = listing.running if args.json else functools.partial(listing.running_line, now=now)
    size = 0

    def matching() -> Iterator[Running]:
        nonlocal size
        for job in here.running():
            if which.matches(job.entry):
                size += 1
                yield job

    oldest = heapq.nsmallest(start + count, matching(), key=lambda job: (job.since, job.identity, job.thread))
    told = {"place": RUNNING, "size": size, "start": start, "more": size > start + count}
    _tell_page(args, told, [shown(job) for job in oldest[start:]])
    _doubt(here, {job.identity for job in oldest[start:]})
    return ExitCode.OK


def _doubt(here: Inspector, identities: set[str]) -> None:
    """Say whose word is old: until its lease is over, a process that was killed looks as if it ran its jobs."""
    now = SystemClock().now()
    silent = [p.identity for p in here.processes() if p.identity in identities and processes.is_silent(p, now)]
    if silent:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        since = f"no beat for {SILENT_SECONDS:.0f} s, see forkworker doctor"
        output.complain([f"{silent[0]}{more} may not run these any more: {since}"])


def _tell_page(args: Namespace, page: dict[str, Any], found: list[Any]) -> None:
    print(output.as_json(page | {"jobs": found}) if args.json else "\n".join(listing.table(page, found)))


def kinds(args: Namespace, here: Inspector) -> int:
    """Print how many there are of each name and class of error."""
    place, which = words.place(here, args.place), words.which(args)
    size, is_whole, counted = len(place), True, Kinds()
    with Progress(f"looking through {place.key}") as going:
        try:
            for entry in place.entries(which, going.watch):
                counted.add(entry)
        except Interrupted:
            is_whole = False
    told = {"place": place.key, "size": size, "kinds": [kind.to_dict() for kind in counted.sorted()]}
    print(output.as_json(told) if args.json else "\n".join(listing.kinds(told, SystemClock().now())))
    return _end(is_whole=is_whole)


def _end(*, is_whole: bool) -> int:
    if not is_whole:
        output.complain(["interrupted: there may be others"])
    return ExitCode.OK if is_whole else ExitCode.INTERRUPTED


def show(args: Namespace, here: Inspector) -> int:
    """Print all of one job."""
    with Progress(f"looking for {args.jid}") as going:
        try:
            runs = None if args.place else _running(here, args.jid)
            entry = _find(args, here, runs, going)
        except Interrupted:
            output.complain(["interrupted: it may be somewhere else"])
            return ExitCode.INTERRUPTED
    if entry is None:
        where = f"in {':'.join(args.place)}" if args.place else "anywhere: not waiting, and not running"
        raise WrongWords(f"there is no job {args.jid} {where}")
    told = entry.to_dict() | {"payload": entry.payload.decode("utf-8", "replace"), "running": None}
    if runs:
        told["running"] = {"identity": runs.identity, "thread": runs.thread, "since": runs.since}
    print(output.as_json(told) if args.json else "\n".join(listing.details(told, SystemClock().now())))
    if runs:
        _doubt(here, {runs.identity})
    return ExitCode.OK


def _running(here: Inspector, jid: str) -> Running | None:
    return next((job for job in here.running() if job.entry.jid == jid), None)


def _find(args: Namespace, here: Inspector, runs: Running | None, going: Progress) -> Entry | None:
    if args.place:
        return words.place(here, args.place).find(args.jid, going.watch)
    if runs:  # what was published of it may be shortened
        return here.taken(args.jid) or runs.entry
    waiting = (entry for place in here.places() if (entry := place.find(args.jid, going.watch)))
    return next(waiting, None) or here.taken(args.jid)
