"""The harness: rounds of storm and calm, each in a world of its own, each judged.  The main thread."""

from __future__ import annotations

import random
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis
from support.waiting import wait_until

from faults import faults
from faults import world as worlds
from faults.census import Census
from faults.checker import Checker, Verdict, merge
from faults.generator import Generator
from faults.nemesis import ROUNDS, Nemesis, is_valkey
from faults.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from faults.world import World

ROUND_SECONDS = 60.0
#: from the end of the last fault: what was under way to a dead process comes late, and is swept then
STRANDED_SECONDS = 22.0
#: suspects of crashes run one after the other
CALM_SECONDS = 120.0
PROBES = 8
# One script, so that a job that moves between two reads is not overlooked.  ARGV 1: what is due by then waits.
_LEFT = """
local working, waiting = {}, {}
for _, key in ipairs(redis.call('KEYS', 'working:*')) do
  for _, text in ipairs(redis.call('LRANGE', key, 0, -1)) do working[#working + 1] = key .. ' ' .. text end
end
for _, key in ipairs(redis.call('KEYS', 'queue:*')) do
  for _, text in ipairs(redis.call('LRANGE', key, 0, 5)) do waiting[#waiting + 1] = key .. ' ' .. text end
end
for _, key in ipairs({'schedule', 'retry'}) do
  for _, text in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[1])) do
    waiting[#waiting + 1] = key .. ' ' .. text
  end
end
return {working, waiting}
"""
#: a retry that is due later than this was written by a clock that had stepped
FAR_SECONDS = 60.0


def end_in_order() -> None:
    """Let SIGTERM end the harness like Ctrl-C: everything is cleared up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def run(
    seed: int,
    seconds: float,
    *,
    package: Path | None = None,
    only: Sequence[str] = (),
    round_seconds: float = ROUND_SECONDS,
    stop_at_first: bool = False,
    keep: Callable[[Report], object] = lambda _: None,
    tell: Callable[[str], None] = print,
) -> Report:
    """Attack for so many seconds of storm; the calms come on top.  ``keep`` gets the figures after each round."""
    report = Report([seed])
    began = time.monotonic()
    while report.storm_seconds < seconds:
        storm = min(round_seconds, seconds - report.storm_seconds)
        verdict = _round(report, seed * ROUNDS + report.rounds, storm, package, only, tell)
        report.verdict = merge([report.verdict, verdict])
        report.storm_seconds, report.rounds = report.storm_seconds + storm, report.rounds + 1
        if verdict.violations and report.caught_after is None:
            report.caught_after = time.monotonic() - began
        report.seconds = time.monotonic() - began
        keep(report)
        if verdict.violations and stop_at_first:
            break
    return report


def _round(
    report: Report, seed: int, storm: float, package: Path | None, only: Sequence[str], tell: Callable[[str], None]
) -> Verdict:
    with worlds.make(package, valkey=is_valkey(seed)) as world:
        report.left_out = world.left_out
        verdict = _attack(world, seed, storm, only)
        for deed in world.deeds:
            report.faults[deed.kind] += deed.worked
            if not deed.worked:
                report.missed[f"{deed.kind}: {deed.missed or 'no effect'}"] += 1
        tell(
            f"round {seed}: {verdict.accepted} jobs accepted, {verdict.runs} runs, {len(world.deeds)} faults, "
            f"{sum(verdict.again.values())} run again, {verdict.poisoned} taken for poisonous, "
            f"{len(verdict.violations)} violations"
        )
        for violation in verdict.violations[:20]:
            tell(f"  {violation}")
        return verdict


def boot(world: World) -> None:
    """Start all masters, and wait for their children."""
    for host in world.hosts:
        host.daemon.start()
    for host in world.hosts:
        host.daemon.wait_ready(seconds=30)


def _attack(world: World, seed: int, storm: float, only: Sequence[str]) -> Verdict:
    boot(world)
    generator = world.generator = Generator(world, seed)
    census = world.census = Census(world)
    nemesis = Nemesis(world, seed, only)
    world.watch()
    census.start()
    generator.start()
    nemesis.start()
    try:
        _last(storm, nemesis, generator)
        stuck = [*recover(world), *calm(world)]
        _cut_last(world)
        stuck += calm(world)
    finally:
        census.stop()
    verdict = Checker(world).judge()
    verdict.violations[:0] = stuck
    return verdict


def _last(seconds: float, nemesis: Nemesis, generator: Generator) -> None:
    """Let the storm last, and end it."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until and not nemesis.has_failed and generator.error is None:
            time.sleep(0.1)
    finally:
        try:
            nemesis.stop()
        finally:
            generator.stop()


def recover(world: World) -> list[str]:
    """After the storm: wait until all trees are whole again; return what does not come to be."""
    for host in world.hosts:
        _renew(host)
    try:
        for host in world.hosts:  # some may have been told to stop a moment ago, end only now, and be started again
            host.daemon.wait_until(lambda daemon=host.daemon: daemon.is_ready(daemon.size), 40, "the tree is whole")
    except AssertionError as error:
        return [f"no recovery: {error}"]
    return []


def _cut_last(world: World) -> None:
    """What is left behind now is not found by chance, with the next fault: it can be judged by a short time."""
    for host in world.hosts:
        faults.do(world, "cut after a fetch ran", host, random.Random(0), 0, lambda _: None)


def calm(world: World) -> list[str]:
    """Wait until nothing is left that could run; return what does not come to an end."""
    for host in world.hosts:
        world.generator.probe(host.queue, PROBES)
    waits: list[tuple[Callable[[], Any], float, str]] = [
        (lambda: not _left(world)[0], STRANDED_SECONDS, "working lists are empty"),
        (lambda: not any(_left(world)), CALM_SECONDS, "nothing is left that could run"),
    ]
    found = []
    for look, seconds, what in waits:
        try:
            wait_until(look, seconds, what, poll=0.1)
        except AssertionError as error:
            held = [str(item)[:300] for items in _left(world) for item in items[:3]]
            found.append(f"stranded: {error} {held}\n{_describe(world)}")
    return found


def _describe(world: World) -> str:
    return "\n".join(host.daemon.describe() for host in world.hosts)


def _renew(host: worlds.Host) -> None:
    """Resume a master that is quiet."""
    with suppress(ProcessLookupError, KeyError):
        host.daemon.signal(signal.SIGCONT)


def _left(world: World) -> tuple[list[Any], list[Any]]:
    """What working lists hold, and what waits and is due, or soon will be."""
    try:
        working, waiting = world.client.eval(_LEFT, 0, repr(time.time() + FAR_SECONDS))  # type: ignore[misc]
    except redis.ConnectionError:
        return ["Redis does not answer"], []
    return working, waiting
