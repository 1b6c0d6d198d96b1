"""``forkworker status``: what masters, children and threads are doing, and how full Redis is."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from forkworker import config
from forkworker.cli import control, output, reach
from forkworker.cli.output import WIDTH, cell, duration, fit, painted
from forkworker.cli.rates import Rates
from forkworker.clock import SystemClock
from forkworker.errors import ConfigurationError, ExitCode, StoreUnavailable
from forkworker.unix.control import ControlError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

_CHANGE = "change"
SETS = ("scheduled", "retries", "dead", "processes", "processed", "failed")
#: of orphans, so many are named
_MOST_ORPHANS = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``status``."""
    control.add_selection(parser)
    parser.add_argument("--redis", metavar="URL", help="the address of Redis, if not the configured one")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", nargs="?", type=float, const=2.0, metavar="SECONDS",
                        help="look again and again, every 2 seconds, and show rates; Ctrl-C ends it")  # fmt: skip


def run(args: Namespace) -> int:
    """Print what can be seen; fails if the master that was named, or Redis, could not be asked."""
    rates = Rates(SystemClock())
    if args.watch is None:
        return _look(args, rates)
    from forkworker.cli import watching

    return watching.repeat(lambda rows: _look(args, rates, rows), max(0.1, args.watch))


def _look(args: Namespace, rates: Rates, rows: int | None = None) -> int:
    masters, missing = _ask_masters(args)
    redis = rates.add(_ask_redis(args))
    if args.json:
        print(output.as_json({"masters": masters, "redis": redis}))
    else:
        print("\n".join(_fitting(masters, redis, rows, is_known=not missing)))
    output.complain(missing)
    return ExitCode.OK if redis["reachable"] and not missing else ExitCode.FAILURE


def _ask_masters(args: Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        return [master.status for master in control.find_masters(args)], []
    except ConfigurationError as error:
        return [], error.problems
    except ControlError as error:
        return [], [str(error)]


def _ask_redis(args: Namespace) -> dict[str, Any]:
    try:
        url = reach.address(args)
    except ConfigurationError as error:
        return {"reachable": False, "address": None, "error": str(error)}
    address = config.public_address(url)
    try:
        return {"reachable": True, "address": address, **read_overview(url)}
    except StoreUnavailable as error:
        return {"reachable": False, "address": address, "error": config.without_password(str(error))}


def read_overview(url: str) -> dict[str, Any]:
    """Return the counts; imported here, as Redis' client is heavy and no other command needs it."""
    from forkworker.store import overview

    return dataclasses.asdict(overview.read(url))


def _fitting(
    masters: list[dict[str, Any]], redis: dict[str, Any], rows: int | None, *, is_known: bool = True
) -> list[str]:
    """Return the report, with fewer threads for each child if it would have too many lines."""
    if not masters and not is_known:  # why is told on standard error
        return list(_redis(redis))
    whole = list(_report(masters, redis))
    if rows is None or len(whole) <= rows:
        return whole
    busy = [len(child.get("threads") or ()) for master in masters for child in master.get("children") or ()]
    room = rows - len(whole) + sum(busy)
    return list(_report(masters, redis, max(1, room // max(1, len(busy)) - 1)))


def _report(masters: list[dict[str, Any]], redis: dict[str, Any], most: int = sys.maxsize) -> Iterator[str]:
    if not masters:
        yield "No master of this user is running here."
    for master in masters:
        yield from _master(master, most)
        yield ""
    yield from _redis(redis)


def _master(master: dict[str, Any], most: int) -> Iterator[str]:
    age = duration(SystemClock().now() - float(master.get("started_at") or 0))
    yield painted(
        fit(f"master {master.get('pid')} {master.get('tag')}: {master.get('state')} for {age}", WIDTH), "bold"
    )
    yield fit(f"  forkworker {master.get('version')} on {master.get('hostname')}", WIDTH)
    yield fit(f"  queues {', '.join(map(str, master.get('queues') or ()))}", WIDTH)
    yield from (f"  {line}" for line in textwrap.wrap(output.printable(str(master.get("note") or "")), WIDTH - 2))
    for child in master.get("children") or ():
        yield from _child(child, most)


def _child(child: dict[str, Any], most: int) -> Iterator[str]:
    """Return its line, and those of what it runs, the longest first.

    Of one that is stuck the last to start is the suspect: once the lock is held, nothing starts.
    """
    busy = f"{child.get('busy')} of {child.get('concurrency')} threads busy"
    stuck = float(child.get("stuck_seconds") or 0)
    state = str(child.get("state")).removesuffix("stuck") + (f" stuck for {duration(stuck)}" if stuck else "")
    line = fit(f"  child {child.get('slot')}  pid {child.get('pid')}  {state.strip()}  {busy}", WIDTH)
    yield painted(line, "red") if stuck else line
    threads = sorted(child.get("threads") or (), key=_seconds, reverse=not stuck)
    yield from map(_thread, threads[:most])
    if len(threads) > most:
        yield f"         and {len(threads) - most} more, for {'longer' if stuck else 'less'}"


def _seconds(thread: dict[str, Any]) -> float:
    return float(thread.get("seconds") or 0)


def _thread(thread: dict[str, Any]) -> str:
    number, seconds = fit(str(thread.get("thread")), 4), duration(_seconds(thread))
    name, queue, jid = str(thread.get("name")), str(thread.get("queue")), str(thread.get("jid"))
    return f"    {number:>4} {seconds:>7} {cell(name, 26)} {cell(queue, 11)} {fit(jid, 24)}"


def _redis(redis: dict[str, Any]) -> Iterator[str]:
    if not redis["reachable"]:
        where = f" at {redis['address']}" if redis["address"] else ""
        yield output.printable(f"Redis{where} is not reachable: {redis['error']}")
        return
    yield painted(fit(f"Redis at {redis['address']}", WIDTH), "bold")
    yield from _orphans(redis.get("orphans") or [])  # first, as what is watched may be cut at its end
    if redis["queues"]:
        yield f"  {'queue':<32} {'size':>14} {_CHANGE if _has_rates(redis) else '':>10} {'latency':>9}"
    for queue in redis["queues"]:
        yield _queue(queue)
    for name in SETS:
        rate = redis.get(f"{name}_per_second")
        yield f"  {name:<32} {redis[name]:>14,} {'' if rate is None else f'{rate:,.1f}/s':>10}".rstrip()


def _queue(queue: dict[str, Any]) -> str:
    change = queue.get("change_per_second")
    shown = "" if change is None else f"{change:+,.1f}/s"
    latency = duration(queue["latency_seconds"])
    line = f"  {cell(queue['name'], 32)} {queue['size']:>14,} {shown:>10} {latency:>9}"
    return f"{line}  {painted('paused', 'yellow')}" if queue.get("paused") else line


def _has_rates(redis: dict[str, Any]) -> bool:
    return redis.get("processed_per_second") is not None


def _orphans(orphans: list[dict[str, Any]]) -> Iterator[str]:
    """Say who has gone and left jobs; a keeper puts them back when their lease is over."""
    if orphans:
        jobs = sum(orphan["size"] for orphan in orphans)
        yield painted(f"  {'orphans':<32} {jobs:>14,}", "red")
    for orphan in orphans[:_MOST_ORPHANS]:
        yield fit(f"    {orphan['size']} of {orphan['queue']}, left by {orphan['identity']}", WIDTH)
    if len(orphans) > _MOST_ORPHANS:
        yield f"    and others: {len(orphans) - _MOST_ORPHANS} working lists"
