"""Planted bugs: copies of forkworker with one safety taken out.  Each must be caught, or the harness is too weak.

``python -m faults.bugs`` plants each in turn and attacks it; with names, only those.  Nothing of this is in
the product: a copy is edited, and the masters run the copy.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faults import harness

if TYPE_CHECKING:
    from faults.report import Report

PACKAGE = Path(__file__).resolve().parents[2] / "forkworker"
MOST_SECONDS = 600.0


@dataclass(frozen=True)
class Edit:
    """One replacement in one file."""

    path: str
    old: str
    new: str


#: name -> what is changed
BUGS: dict[str, tuple[Edit, ...]] = {
    "the owner check of settles is off": (
        Edit(
            "store/lua/settle.lua",
            "  if redis.call('LREM', list, -1, payload) == 0 then return 0 end\n",
            "  redis.call('LREM', list, -1, payload)\n",
        ),
        Edit(
            "store/lua/settle.lua",
            "      flags[#flags + 1] = redis.call('LREM', KEYS[6 + 2 * pair], -1, ARGV[j])\n",
            "      redis.call('LREM', KEYS[6 + 2 * pair], -1, ARGV[j])\n      flags[#flags + 1] = 1\n",
        ),
    ),
    "the second sweep is off": (
        Edit("keeper/keeper.py", "LINGER_SECONDS = 15.0", "LINGER_SECONDS = 0.0"),
        Edit("keeper/keeper.py", "        self._restorer.return_late(identity, queues)\n", ""),
        Edit("store/lua/unregister.lua", "if redis.call('LLEN', KEYS[i]) == 0 then", "if true then"),
    ),
    "a fetch is repeated by the connection": (
        Edit(
            "store/connection.py",
            "        self.send(commands)\n        return [self.read() for _ in commands]",
            "        try:\n"
            "            self.send(commands)\n"
            "            return [self.read() for _ in commands]\n"
            "        except StoreUnavailable:\n"
            "            self.send(commands)\n"
            "            return [self.read() for _ in commands]",
        ),
    ),
    "what an outage left in doubt is not looked for": (
        Edit(
            "runtime/exchange.py",
            "            elif self._hand.room:\n                self._hand.take([payload], queue, name, permit)",
            "            elif self._hand.room:\n                pass",
        ),
    ),
    "a restore is two steps": (
        Edit(
            "store/orphans.py",
            '    return Restored(*link.execute(*scripts.call("restore", named, [*head, *args])))',
            "    for e in entries:\n"
            "        if link.execute('LREM', keys.working(identity, queue), 1, e.payload):\n"
            "            link.execute('RPUSH', keys.queue(queue), e.payload)\n"
            "    return Restored(len(entries))",
        ),
    ),
    "a restore pushes first and removes then": (
        Edit(
            "store/orphans.py",
            '    return Restored(*link.execute(*scripts.call("restore", named, [*head, *args])))',
            "    for e in entries:\n"
            "        link.execute('RPUSH', keys.queue(queue), e.payload)\n"
            "        link.execute('LREM', keys.working(identity, queue), 1, e.payload)\n"
            "    return Restored(len(entries))",
        ),
    ),
    "working lists are made known after their first use": (
        Edit(
            "runtime/exchange.py",
            "            self._link.pipeline(working.register(identity, self._settings.queue_names, self._origin))",
            "            pass",
        ),
        Edit("store/lua/beat.lua", "redis.call('SADD', KEYS[7], unpack(take()))", "take()"),
        Edit(
            "keeper/keeper.py",
            "                processes.farewell(self._link, charge.identity)",
            "                from forkworker.store import working\n"
            "                self._link.pipeline(working.register("
            "charge.identity, self._settings.queue_names, charge.origin))\n"
            "                processes.farewell(self._link, charge.identity)",
        ),
    ),
    "the old nonce is kept after the fence": (
        Edit(
            "runtime/exchange.py",
            "        self._board.renew_nonce(process_info.new_nonce())",
            "        self._board.renew_nonce(self._board.nonce if self._identity else process_info.new_nonce())",
        ),
    ),
    "there is no fence": (Edit("store/lua/take.lua", "redis.call('SET', KEYS[2], 1, 'EX', ARGV[3])\n", ""),),
    "leases are read from wall clocks": (
        Edit(
            "keeper/watch.py",
            "        return now - sight.since >= self._lease",
            "        import time\n"
            "        beat = float(sight.beat or 0)\n"
            "        return now - sight.since >= self._lease or (beat > 0 and time.time() - beat > self._lease)",
        ),
    ),
    "a beat that Redis has dropped is a death": (
        Edit(
            "keeper/watch.py",
            "        return now - sight.since >= self._lease",
            "        return now - sight.since >= self._lease or not sight.beat",
        ),
    ),
    "an outage of Redis counts against the lease": (
        Edit("keeper/watch.py", "        self._sights.clear()", "        pass"),
    ),
    "the number of a settle is ignored": (
        Edit(
            "store/lua/settle.lua",
            "if last and tonumber(last) >= number then return result end\n",
            "",
        ),
    ),
    "an outcome whose reply was lost is dropped": (
        Edit(
            "runtime/exchange.py",
            "        self._link.close()\n        self._waits.abandon()\n        self._in_doubt = True",
            "        self._link.close()\n        self._waits.abandon()\n        self._in_doubt = True\n"
            "        self._ledger.command = None",
        ),
    ),
    "the epoch is ignored": (
        Edit(
            "runtime/hand.py",
            "if permit == unit.permit and",
            "if permit & 0xFFFFFFFF == unit.permit & 0xFFFFFFFF and",
        ),
    ),
    "jobs are started after the lease": (
        Edit(
            "runtime/hand.py",
            " and self._board.lease_until > self._clock.monotonic():",
            ":",
        ),
        Edit(
            "runtime/exchange.py",
            "        return self._board.lease_until > self._clock.monotonic()",
            "        return True",
        ),
    ),
    "jobs go back before their process has ended": (
        Edit(
            "runtime/service.py",
            "        interrupted = sum(",
            "        from forkworker.runtime.outcome import Outcome\n"
            "        for unit in list(self._exchange._hand.units.values()):\n"
            "            self._exchange.settle(Outcome(unit, 'back'))\n"
            "        threading.Event().wait(0.1)\n"
            "        interrupted = sum(",
        ),
    ),
    "the due are moved in two steps": (
        Edit(
            "store/sets.py",
            "    return int(link.execute(*command))",
            "    for p in promotions:\n"
            "        link.execute('LPUSH', keys.queue(p.queue) if p.queue else 'x', p.new_payload)\n"
            "        link.execute('ZREM', source, p.payload)\n"
            "    return len(promotions) + 0 * len(command)",
        ),
    ),
    "a retry is written before the job is taken out": (
        Edit(
            "store/lua/settle.lua",
            "  if redis.call('LREM', list, -1, payload) == 0 then return 0 end\n",
            "  local mine = redis.call('LREM', list, -1, payload)\n",
        ),
        Edit(
            "store/lua/settle.lua",
            "  if type(given) == 'table' then",
            "  if mine == 0 then return 0 end\n  if type(given) == 'table' then",
        ),
    ),
    "nobody takes over from another tree": (
        Edit("keeper/keeper.py", "            if orphans.take(", "            if False and orphans.take("),
    ),
}


def plant(name: str, folder: Path) -> Path:
    """Copy the package into a folder, with the bug; return the folder."""
    copy = folder / "forkworker"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in BUGS[name]:
        path = copy / edit.path
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(f"{name}: {edit.path} has changed: {edit.old!r} is there {text.count(edit.old)} times")
        path.write_text(text.replace(edit.old, edit.new))
    return folder


def hunt(name: str, seed: int, seconds: float = MOST_SECONDS) -> Report:
    """Attack a copy with a bug until it is caught, or the time is over."""
    folder = Path(tempfile.mkdtemp(prefix="fw-bug-"))
    try:
        return harness.run(seed, seconds, package=plant(name, folder), stop_at_first=True, tell=_quiet)
    finally:
        shutil.rmtree(folder)


def _quiet(line: str) -> None:
    print(f"    {line[:6000]}", flush=True)


def main() -> int:
    """Hunt; print a table."""
    parser = argparse.ArgumentParser(prog="faults.bugs", description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=MOST_SECONDS, help="of storm for each, at the most")
    given = parser.parse_args()
    harness.end_in_order()
    missed = 0
    for name in given.names or BUGS:
        print(f"{name} ...", flush=True)
        report = hunt(name, given.seed, given.seconds)
        caught = report.caught_after
        missed += caught is None
        by = Counter(re.split(r"[:\d]", violation)[0].strip() for violation in report.verdict.violations)
        told = ", ".join(f"{kind} ({times})" for kind, times in by.items())
        print(f"| {name} | {'missed' if caught is None else f'{caught:.0f} s'} | {given.seed} | {told} |", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
