"""``forkworker processes``: those that Redis knows of, on every host; quiets, stops or asks one for its stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.cli import output, reach
from forkworker.cli.output import cell, duration, painted
from forkworker.clock import SystemClock
from forkworker.errors import ExitCode, ForkworkerError
from forkworker.store.processes import SILENT_SECONDS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from forkworker.inspect import Process

ACTIONS = {"quiet": "takes no jobs any more", "stop": "stops", "stacks": "writes its stacks to its log"}


class NoSuchProcess(ForkworkerError):
    """No process, or more than one, is meant."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``processes``."""
    parser.add_argument("action", nargs="?", choices=["list", *ACTIONS], default="list", help="default: list")
    parser.add_argument("process", nargs="?", metavar="PROCESS", help="its identity, or a part that only it has")
    reach.add_redis(parser)


def run(args: Namespace) -> int:
    """List the processes, or leave one a signal, which it obeys with its next beat."""
    processes = reach.inspector(args).processes()
    if args.action == "list":
        chosen = [p for p in processes if args.process is None or args.process in p.identity]
        if args.json:
            print(output.as_json({"processes": [process.to_dict() for process in chosen]}))
        else:
            print("\n".join(_table(chosen) if chosen else ["no process shows a sign of life"]))
        return ExitCode.OK
    return _signal(args, _the_one(processes, args.process))


def _the_one(processes: Sequence[Process], wanted: str | None) -> Process:
    if wanted is None:
        raise NoSuchProcess("say which process: forkworker processes lists them")
    found = [process for process in processes if wanted in process.identity]
    exact = [process for process in found if process.identity == wanted]
    if len(exact or found) != 1:
        many = f"{len(found)} processes have" if found else "no process has"
        raise NoSuchProcess(f"{many} {wanted!r} in the identity: forkworker processes lists them")
    return (exact or found)[0]


def _signal(args: Namespace, process: Process) -> int:
    act = {"quiet": process.quiet, "stop": process.stop, "stacks": process.dump_stacks}[args.action]
    if not act():
        raise NoSuchProcess(f"{process.identity} has gone")
    if args.json:
        print(output.as_json({"identity": process.identity, "action": args.action}))
    else:
        output.say(f"{process.identity} {ACTIONS[args.action]}, with its next beat (5 s)")
    return ExitCode.OK


def _table(processes: Sequence[Process]) -> Iterator[str]:
    now = SystemClock().now()
    yield f"{'process':<37} {'tag':<9} {'busy':>9} {'up':>7} {'memory':>7}"
    for process in processes:
        busy, up = f"{process.busy}/{process.concurrency}", duration(now - process.started_at)
        memory = f"{process.rss_kilobytes // 1024} MB"
        line = f"{cell(process.identity, 37)} {cell(process.tag, 9)} {busy:>9} {up:>7} {memory:>7}"
        yield f"{line} {_mark(process, now)}".rstrip()


def is_silent(process: Process, now: float) -> bool:
    """Say whether it has missed its beats: what it seems to run may not run any more."""
    return bool(process.beat) and now - process.beat > SILENT_SECONDS


def _mark(process: Process, now: float) -> str:
    """Return what catches the eye."""
    if is_silent(process, now):
        return painted("silent", "red")
    return painted("quiet", "yellow") if process.is_quiet else ""
