"""``forkworker pause`` and ``unpause``: who may take from a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.cli import output, reach
from forkworker.errors import ExitCode

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of both."""
    parser.add_argument("queue", metavar="QUEUE", help="its name")
    reach.add_redis(parser)


def pause(args: Namespace) -> int:
    """Let nobody take from a queue."""
    queue = reach.inspector(args).queue(args.queue)
    changed = queue.pause()
    known = "" if queue.is_known else "; nothing was pushed into a queue of that name yet"
    return _tell(args, changed, f"paused{'' if changed else ' already'}{known}", paused=True)


def unpause(args: Namespace) -> int:
    """Let a queue be taken from again."""
    changed = reach.inspector(args).queue(args.queue).unpause()
    return _tell(args, changed, "open again" if changed else "not paused", paused=False)


def _tell(args: Namespace, changed: bool, state: str, *, paused: bool) -> int:
    if args.json:
        print(output.as_json({"queue": args.queue, "paused": paused, "changed": changed}))
    else:
        output.say(f"{args.queue} is {state}")
    return ExitCode.OK
