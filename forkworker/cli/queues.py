"""``forkworker queues``: how full the queues are; deletes one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from forkworker.cli import asking, output, reach
from forkworker.cli.output import cell, duration, painted
from forkworker.errors import ExitCode

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from forkworker.store.overview import QueueSize


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``queues``."""
    reach.add_redis(parser)
    asking.add_yes(parser)
    parser.add_argument("--clear", metavar="QUEUE", help="delete a queue with all that waits in it")


def run(args: Namespace) -> int:
    """List the queues, or clear one."""
    if args.clear is not None:
        return _clear(args)
    queues = reach.inspector(args).queues()
    if args.json:
        print(output.as_json({"queues": [dataclasses.asdict(queue) for queue in queues]}))
    else:
        print("\n".join(table(queues) if queues else ["no queue has a name yet: nothing was ever pushed"]))
    return ExitCode.OK


def _clear(args: Namespace) -> int:
    queue = reach.inspector(args).queue(args.clear)
    size = len(queue)
    is_there = size > 0 or queue.is_known
    if is_there:
        asking.sure(args, f"Delete the queue {queue.name} with {output.jobs(size)}?")
    deleted = queue.clear()
    if args.json:
        print(output.as_json({"queue": queue.name, "deleted": deleted}))
    else:
        is_deleted = f"{queue.name} is deleted, with {output.jobs(deleted)}"
        output.say(is_deleted if is_there else f"there is no queue {queue.name}")
    return ExitCode.OK


def table(queues: Sequence[QueueSize]) -> Iterator[str]:
    """Return a line for each queue."""
    yield f"{'queue':<44} {'size':>14} {'latency':>10}"
    for queue in queues:
        line = f"{cell(queue.name, 44)} {queue.size:>14,} {duration(queue.latency_seconds):>10}"
        yield f"{line}  {painted('paused', 'yellow')}" if queue.paused else line
