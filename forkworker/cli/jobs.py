"""``forkworker jobs``: lists, shows, retries, buries and deletes jobs that wait."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

from forkworker.cli import asking, moments, output, progress, reach
from forkworker.clock import SystemClock
from forkworker.errors import ExitCode, ForkworkerError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

    from forkworker.inspect import Entry, Filter, Inspector, Place, Tally

PLACE_HELP = "retries, dead, scheduled, or queue NAME"
#: as status has them, and as Redis has them
_ALIASES = {"retries": "retry", "scheduled": "schedule"}
DONE = {"retry": "retried", "bury": "buried", "delete": "deleted"}
INTERRUPTED = 130


class WrongWords(ForkworkerError):
    """The words of the command do not say what is meant."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the actions and their flags."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    lister = actions.add_parser("list", help="a page of those that match")
    lister.add_argument("place", nargs="+", metavar="PLACE", help=PLACE_HELP)
    lister.add_argument("--start", type=int, default=0, metavar="N", help="how many to pass over (default: 0)")
    lister.add_argument("--count", type=int, default=25, metavar="N", help="how many to list (default: 25)")
    shower = actions.add_parser("show", help="all of one job, with its error and traceback")
    shower.add_argument("jid", metavar="JID")
    shower.add_argument("place", nargs="*", metavar="PLACE", help=f"{PLACE_HELP} (default: wherever it is)")
    for name, summary in (
        ("retry", "put them into their queues now"),
        ("bury", "move them to the dead set"),
        ("delete", "delete them for good"),
    ):
        mover = actions.add_parser(name, help=summary)
        mover.add_argument("place", nargs="+", metavar="PLACE", help=PLACE_HELP)
        mover.add_argument("--all", action="store_true", help="all there are")
        asking.add_yes(mover)
        _add_filters(mover)
        reach.add_redis(mover)
    _add_filters(lister)
    reach.add_redis(lister)
    reach.add_redis(shower)


def _add_filters(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("which jobs").add_argument
    add("--name", help="the job's name; * and ? stand for others")
    add("--queue", help="the same of its queue")
    add("--error", metavar="TEXT", help="a part of CLASS: MESSAGE of its last error")
    add("--jid", help="its id")
    add("--since", metavar="TIME", help=moments.HELP)
    add("--before", metavar="TIME", help="the same")


def run(args: Namespace) -> int:
    """Do what was asked; Ctrl-C ends it in order."""
    here = reach.inspector(args)
    if args.action == "list":
        return _list(args, _place(here, args.place), _filter(args))
    if args.action == "show":
        return _show(args, here)
    return _move(args, _place(here, args.place), _filter(args))


def _place(here: Inspector, words: list[str]) -> Place:
    try:
        return here.place(":".join(_ALIASES.get(word, word) for word in words))
    except ValueError as error:
        raise WrongWords(str(error)) from None


def _filter(args: Namespace) -> Filter:
    from forkworker.inspect import Filter

    now = SystemClock().now()
    try:
        since, before = (None if text is None else moments.read(text, now) for text in (args.since, args.before))
    except ValueError as error:
        raise WrongWords(str(error)) from None
    return Filter(name=args.name, queue=args.queue, error=args.error, jid=args.jid, since=since, before=before)


# Looking


def _list(args: Namespace, place: Place, which: Filter) -> int:
    from forkworker.cli import listing
    from forkworker.inspect import Entry

    start, count = max(0, args.start), max(0, args.count)
    size, now, is_whole = len(place), SystemClock().now(), True
    found: list[Any] = []
    shown = Entry.to_dict if args.json else functools.partial(listing.line, now=now)
    with progress.Progress(f"looking through {place.key}") as going:
        try:
            found.extend(map(shown, _some(place, which, start, count + 1, going)))
        except progress.Interrupted:
            is_whole = False
    page = {"place": place.key, "size": size, "start": start, "more": len(found) > count}
    if args.json:
        print(output.as_json(page | {"jobs": found[:count]}))
    else:
        print("\n".join(listing.table(page, found[:count])))
    if not is_whole:
        output.complain(["interrupted: there may be others"])
    return ExitCode.OK if is_whole else INTERRUPTED


def _some(place: Place, which: Filter, start: int, count: int, going: progress.Progress) -> Iterable[Entry]:
    """Return a page, an entry after the other: each may have megabytes."""
    if which.is_empty:
        return place.some(start, count)
    return itertools.islice(place.entries(which, going.watch), start, start + count)


def _show(args: Namespace, here: Inspector) -> int:
    from forkworker.cli import listing

    with progress.Progress(f"looking for {args.jid}") as going:
        try:
            entry = _find(args, here, going)
        except progress.Interrupted:
            output.complain(["interrupted: it may be somewhere else"])
            return INTERRUPTED
    if entry is None:
        where = f"in {':'.join(args.place)}" if args.place else "anywhere: not waiting, and not running"
        raise WrongWords(f"there is no job {args.jid} {where}")
    shown = entry.to_dict() | {"payload": entry.payload.decode("utf-8", "replace")}
    print(output.as_json(shown) if args.json else "\n".join(listing.details(shown, SystemClock().now())))
    return ExitCode.OK


def _find(args: Namespace, here: Inspector, going: progress.Progress) -> Entry | None:
    if args.place:
        return _place(here, args.place).find(args.jid, going.watch)
    running = (job.entry for job in here.running() if job.entry.jid == args.jid)
    waiting = (entry for place in here.places() if (entry := place.find(args.jid, going.watch)))
    return next(itertools.chain(running, waiting), None)


# Moving


def _move(args: Namespace, place: Place, which: Filter) -> int:
    if which.is_empty and not args.all:
        raise WrongWords("say which jobs: --name, --queue, --error, --jid, --since, --before, or --all")
    if (args.action, place.key.partition(":")[0]) in (("retry", "queue"), ("bury", "dead")):
        raise WrongWords(
            f"those in {place.key} {'are in their queue' if args.action == 'retry' else 'are dead'} already"
        )
    try:
        most = _confirmed(args, place, which)
    except progress.Interrupted:
        output.complain(["interrupted: nothing was done"])
        return INTERRUPTED
    with progress.Progress(f"{args.action} in {place.key}") as going:
        counted = _Counted(going)
        try:
            tally = _act(args, place, which, most, counted)
        except progress.Interrupted:
            return _tell(args, place, {"done": counted.done, "gone": None, "refused": None}, INTERRUPTED)
    missed = args.jid is not None and not tally.done
    code = ExitCode.FAILURE if missed else ExitCode.OK
    return _tell(args, place, {"done": tally.done, "gone": tally.gone, "refused": tally.refused}, code)


class _Counted:
    """Keeps what was done so far, for the case of Ctrl-C."""

    def __init__(self, going: progress.Progress) -> None:
        self._going = going
        self.done = 0

    def watch(self, looked: int, total: int, done: int) -> None:
        self.done = done
        self._going.watch(looked, total, done)


def _confirmed(args: Namespace, place: Place, which: Filter) -> int | None:
    """Ask, where jobs would be lost or leave sight; return how many it was about, None for all that match."""
    if args.action == "retry" or args.yes:
        return None
    with progress.Progress(f"counting in {place.key}") as going:
        count = place.count(which, going.watch)
    if count:
        asking.sure(args, f"{args.action.capitalize()} {count:,} of {output.jobs(len(place))} in {place.key}?")
    return count


def _act(args: Namespace, place: Place, which: Filter, most: int | None, counted: _Counted) -> Tally:
    from forkworker.inspect import JobSet, Tally

    if args.action == "retry" and isinstance(place, JobSet):
        return place.retry_all(which, watch=counted.watch)
    if args.action == "bury":
        return place.bury_all(which, most=most, watch=counted.watch)
    if which.is_empty and most is None:
        return Tally(place.clear())
    return place.delete_all(which, most=most, watch=counted.watch)


def _tell(args: Namespace, place: Place, tally: dict[str, int | None], code: int) -> int:
    if args.json:
        print(output.as_json({"place": place.key, "action": args.action, **tally}))
        return code
    line = f"{output.jobs(tally['done'])} {DONE[args.action]}"
    if tally["gone"]:
        line += f", {tally['gone']:,} had gone meanwhile"
    if tally["refused"]:
        line += f", {tally['refused']:,} are no jobs and stay where they are"
    output.say(f"{line}; interrupted: the rest is as it was" if code == INTERRUPTED else line)
    return code
