"""``forkworker status``: what masters, children and threads are doing, and how full Redis is."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

from forkworker import config
from forkworker.cli import control, output
from forkworker.cli.output import WIDTH, fit
from forkworker.clock import SystemClock
from forkworker.errors import ConfigurationError, ExitCode, StoreUnavailable
from forkworker.settings import DEFAULT_REDIS_URL
from forkworker.unix.control import ControlError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

SETS = ("scheduled", "retries", "dead", "processes", "processed", "failed")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``status``."""
    control.add_selection(parser)
    parser.add_argument("--redis", metavar="URL", help="the address of Redis, if not the configured one")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: Namespace) -> int:
    """Print what can be seen; fails if the master that was named, or Redis, could not be asked."""
    masters, missing = _ask_masters(args)
    redis = _ask_redis(args)
    if args.json:
        print(output.as_json({"masters": masters, "redis": redis}))
    else:
        print("\n".join(_report(masters, redis)))
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
        url = config.lookup_one("redis_url", {"redis_url": args.redis, "config": args.config}) or DEFAULT_REDIS_URL
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


def _report(masters: list[dict[str, Any]], redis: dict[str, Any]) -> Iterator[str]:
    if not masters:
        yield "No master of this user is running here."
    for master in masters:
        yield from _master(master)
        yield ""
    yield from _redis(redis)


def _master(master: dict[str, Any]) -> Iterator[str]:
    age = duration(SystemClock().now() - float(master.get("started_at") or 0))
    yield fit(f"master {master.get('pid')} {master.get('tag')}: {master.get('state')} for {age}", WIDTH)
    yield fit(f"  forkworker {master.get('version')} on {master.get('hostname')}", WIDTH)
    yield fit(f"  queues {', '.join(map(str, master.get('queues') or ()))}", WIDTH)
    yield from (f"  {line}" for line in textwrap.wrap(output.printable(str(master.get("note") or "")), WIDTH - 2))
    for child in master.get("children") or ():
        yield from _child(child)


def _child(child: dict[str, Any]) -> Iterator[str]:
    busy = f"{child.get('busy')} of {child.get('concurrency')} threads busy"
    yield fit(f"  child {child.get('slot')}  pid {child.get('pid')}  {child.get('state')}  {busy}", WIDTH)
    for thread in child.get("threads") or ():
        yield _thread(thread)


def _thread(thread: dict[str, Any]) -> str:
    number, seconds = fit(str(thread.get("thread")), 4), duration(float(thread.get("seconds") or 0))
    name, queue, jid = str(thread.get("name")), str(thread.get("queue")), str(thread.get("jid"))
    return f"    {number:>4} {seconds:>7} {fit(name, 26):<26} {fit(queue, 11):<11} {fit(jid, 24)}"


def _redis(redis: dict[str, Any]) -> Iterator[str]:
    if not redis["reachable"]:
        where = f" at {redis['address']}" if redis["address"] else ""
        yield output.printable(f"Redis{where} is not reachable: {redis['error']}")
        return
    yield fit(f"Redis at {redis['address']}", WIDTH)
    if redis["queues"]:
        yield f"  {'queue':<40} {'size':>12} {'latency':>10}"
    for queue in redis["queues"]:
        latency = duration(queue["latency_seconds"])
        yield f"  {fit(queue['name'], 40):<40} {queue['size']:>12} {latency:>10}"
    yield from (f"  {name:<40} {redis[name]:>12}" for name in SETS)


def duration(seconds: float) -> str:
    """Return a duration in at most seven characters."""
    for limit, size, unit in ((60, 1, "s"), (6000, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0.0) / size:.{1 if unit == 's' else 0}f} {unit}"
    return f"{seconds / 86400:.0f} d"
