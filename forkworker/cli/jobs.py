"""``forkworker jobs``: retries, buries and deletes jobs that wait; `looking` lists and shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.cli import asking, output, reach, words
from forkworker.cli.progress import Interrupted, Progress
from forkworker.cli.words import WrongWords
from forkworker.errors import ExitCode

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from forkworker.inspect import Filter, Inspector, Place, Tally

SUMMARIES = {
    "list": "a page of those that match",
    "kinds": "how many there are of each name and class of error",
    "show": "all of one job, with its error and traceback",
    "retry": "put them into their queues now",
    "bury": "move them to the dead set",
    "delete": "delete them for good",
}
DONE = {"retry": "retried", "bury": "buried", "delete": "deleted"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the actions and their flags."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    for name, summary in SUMMARIES.items():
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == "show":
            action.add_argument("jid", metavar="JID")
            words.add_place(action, more=" (default: wherever it is)")
        else:
            words.add_place(action, more="; or running" if name == "list" else "")
            words.add_filters(action)
        if name == "list":
            action.add_argument("--start", type=int, default=0, metavar="N", help="how many to pass over (default: 0)")
            action.add_argument("--count", type=int, default=25, metavar="N", help="how many to list (default: 25)")
        if name in DONE:
            action.add_argument("--all", action="store_true", help="all there are")
            asking.add_yes(action)
        reach.add_redis(action)


def run(args: Namespace) -> int:
    """Do what was asked; Ctrl-C ends it in order."""
    if args.action is None:
        raise WrongWords(f"say what to do: {', '.join(SUMMARIES)} (see forkworker jobs --help)")
    here = reach.inspector(args)
    if args.action in DONE:
        return _move(args, here)
    from forkworker.cli import looking

    return {"list": looking.page, "kinds": looking.kinds, "show": looking.show}[args.action](args, here)


def _move(args: Namespace, here: Inspector) -> int:
    if args.place == [words.RUNNING]:
        raise WrongWords("those that run are in the hands of their processes: forkworker processes stops one")
    place, which = words.place(here, args.place), words.which(args)
    if which.is_empty and not args.all:
        raise WrongWords("say which jobs: --name, --queue, --error, --jid, --since, --before, or --all")
    if (args.action, place.key.partition(":")[0]) in (("retry", "queue"), ("bury", "dead")):
        raise WrongWords(
            f"those in {place.key} {'are in their queue' if args.action == 'retry' else 'are dead'} already"
        )
    try:
        most = _confirmed(args, place, which)
    except Interrupted:
        output.complain(["interrupted: nothing was done"])
        return ExitCode.INTERRUPTED
    with Progress(f"{args.action} in {place.key}") as going:
        counted = _Counted(going)
        try:
            tally = _act(args, place, which, most, counted)
        except Interrupted:
            return _tell(args, place, {"done": counted.done, "gone": None, "refused": None}, ExitCode.INTERRUPTED)
    missed = args.jid is not None and not tally.done
    code = ExitCode.FAILURE if missed else ExitCode.OK
    return _tell(args, place, {"done": tally.done, "gone": tally.gone, "refused": tally.refused}, code)


class _Counted:
    """Keeps what was done so far, for the case of Ctrl-C."""

    def __init__(self, going: Progress) -> None:
        self._going = going
        self.done = 0

    def watch(self, looked: int, total: int, done: int) -> None:
        self.done = done
        self._going.watch(looked, total, done)


def _confirmed(args: Namespace, place: Place, which: Filter) -> int | None:
    """Ask, where jobs would be lost or leave sight; return how many it was about, None for all that match."""
    if args.action == "retry" or args.yes:
        return None
    with Progress(f"counting in {place.key}") as going:
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
    if code != ExitCode.INTERRUPTED and not any(tally.values()) and (there := len(place)):
        line += f": none of {there:,} in {place.key} matches"
    output.say(f"{line}; interrupted: the rest is as it was" if code == ExitCode.INTERRUPTED else line)
    return code
