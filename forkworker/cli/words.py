"""What the words of ``forkworker jobs`` mean: which place, and which jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.cli import moments
from forkworker.clock import SystemClock
from forkworker.errors import ForkworkerError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from forkworker.inspect import Filter, Inspector, Place

PLACES = "retries, dead, scheduled, or queue NAME"
#: in the hands of processes; looked at only
RUNNING = "running"
#: as status has them, and as Redis has them
_ALIASES = {"retries": "retry", "scheduled": "schedule"}


class WrongWords(ForkworkerError):
    """The words of the command do not say what is meant."""


def add_place(parser: ArgumentParser, *, more: str = "") -> None:
    """Add the words that say where."""
    parser.add_argument("place", nargs="*", default=[], metavar="PLACE", help=f"{PLACES}{more}")


def add_filters(parser: ArgumentParser) -> None:
    """Add the flags that say which jobs."""
    add = parser.add_argument_group("which jobs").add_argument
    add("--name", help="the job's name; * and ? stand for others")
    add("--queue", help="the same of its queue")
    add("--error", metavar="TEXT", help="a part of CLASS: MESSAGE of its last error")
    add("--jid", help="its id")
    add("--since", metavar="TIME", help=moments.HELP)
    add("--before", metavar="TIME", help="the same")


def place(here: Inspector, words: Sequence[str]) -> Place:
    """Return where jobs are meant to be."""
    if not words:
        raise WrongWords(f"say where: {PLACES}")
    try:
        return here.place(":".join(_ALIASES.get(word, word) for word in words))
    except ValueError:
        raise WrongWords(f"{' '.join(words)!r} is no place for jobs: use {PLACES}") from None


def which(args: Namespace) -> Filter:
    """Return the filter that the flags make."""
    from forkworker.inspect import Filter

    now = SystemClock().now()
    try:
        since, before = (None if text is None else moments.read(text, now) for text in (args.since, args.before))
    except ValueError as error:
        raise WrongWords(str(error)) from None
    return Filter(name=args.name, queue=args.queue, error=args.error, jid=args.jid, since=since, before=before)
