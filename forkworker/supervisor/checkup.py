"""Looks at living children: who hangs in its boot or its end, whose interpreter is stuck, and who is worn.

Used in the master.  What it finds worn, `policy` replaces; what hangs in a boot, an import or an end, it kills itself.
"""

from __future__ import annotations

import logging
import math
import signal
from typing import TYPE_CHECKING

from forkworker.supervisor import policy
from forkworker.supervisor.states import ChildState
from forkworker.supervisor.wear import LEAST_LOOK_SECONDS, Wear
from forkworker.unix import process
from forkworker.unix.board import Gate, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.crew import Crew
    from forkworker.supervisor.fleet import Fleet
    from forkworker.supervisor.handle import ChildHandle
    from forkworker.supervisor.helpers import Helper

#: between the stacks of a child and its end
DUMP_SECONDS = 0.3
#: an interpreter that was not free for so long is told of
HANG_SECONDS = 10.0
#: what a replacement takes to be ready: a child that would be over its limit by then is replaced now
LEAD_SECONDS = 0.3
#: our next look and what a job then allocates before it sees the gate: a child that would be over by then takes no more
REST_SECONDS = 2 * LEAST_LOOK_SECONDS
_MEGABYTE = 1024 * 1024
_log = logging.getLogger(__name__)


class Checkup:
    """Looks at all children of a fleet, and at those who load the app, each time the master's loop comes round."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        crew: Crew,
        clock: Clock,
        *,
        kill: Callable[[ChildHandle, str], None],
        dump: Callable[[ChildHandle], None],
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._crew = crew
        self._clock = clock
        self._kill = kill
        self._dump = dump
        self._wear: dict[ChildHandle, Wear] = {}
        self._has_told_heavy = False

    def look(self, *, is_redis_away: bool) -> None:
        """Look at all of them."""
        now = self._clock.monotonic()
        for helper in self._crew:
            self._look_at_import(helper, now)
        self._wear = {child: wear for child, wear in self._wear.items() if _works(child)}
        for child in list(self._fleet):
            if child.state is ChildState.SPAWNED:
                if is_redis_away:
                    child.boots_from = now  # nobody can be ready, and the next would be so no sooner
                self._look_at_boot(child, now)
            elif child.state is ChildState.READY:
                self._look_at_tick(child, now)
                self._look_at_end(child, now)
                if _works(child) and child is not self._fleet.incoming:
                    self._look_at_wear(child, now)

    @property
    def next_instant(self) -> float | None:
        """When a boot or an import has lasted too long, or memory is to be looked at, if nothing happens before."""
        booting = [child for child in self._fleet if child.state is ChildState.SPAWNED]
        instants = [self._end_of_boot(child) for child in booting]
        instants += [helper.load_by for helper in self._crew if helper.load_by is not None]
        instants += [by for child in self._fleet if (by := self._end_by(child)) < math.inf]
        if self._settings.max_memory:
            instants += [wear.look_at for wear in self._wear.values()]
        return min(instants, default=None)

    # Imports and boots, and interpreters that are stuck.

    def _look_at_import(self, helper: Helper, now: float) -> None:
        if helper.load_by is None or now < helper.load_by:
            return
        if helper.is_dumped:
            helper.load_by = None
            helper.kill()
        else:
            helper.is_dumped = True
            helper.load_by = now + DUMP_SECONDS
            helper.failure = f"the app was not loaded after {self._settings.boot_timeout:g} s (boot_timeout)"
            _log.error("%s; this is where its import is:", helper.failure)
            helper.send(signal.SIGTTIN)

    def _end_of_boot(self, child: ChildHandle) -> float:
        return child.boots_from + self._settings.boot_timeout + (DUMP_SECONDS if child.is_dumped else 0.0)

    def _look_at_boot(self, child: ChildHandle, now: float) -> None:
        if now < self._end_of_boot(child):
            return
        if child.is_dumped:
            self._kill(child, f"it was not ready after {self._settings.boot_timeout:g} s")
        else:
            child.is_dumped = True
            self._dump(child)

    def _look_at_tick(self, child: ChildHandle, now: float) -> None:
        if child.board.phase == Phase.STOPPING:
            return  # it ticks no more, whatever its interpreter does
        silent = now - child.board.tick
        if silent < HANG_SECONDS:
            child.is_dumped = False
        elif not child.is_dumped:
            child.is_dumped = True
            _log.error("%s hangs: its interpreter was not free for %.0f s; a job may keep the GIL", child, silent)
            self._dump(child)
        if 0 < self._settings.hang_timeout <= silent:
            self._kill(child, f"its interpreter was not free for {silent:.0f} s")

    # Ends.

    def _look_at_end(self, child: ChildHandle, now: float) -> None:
        """Kill a child that does not end, as callbacks of the app or a job keep it from that.

        One that leaves finishes what it runs first; one that was told to stop alone has the time of any stop.
        """
        ends = child.board.phase == Phase.STOPPING or (child.board.gate == Gate.STOP and not child.is_leaving)
        if ends and child.end_by == math.inf:
            child.end_by = now + self._settings.timeout + policy.UNWIND_SECONDS
        if now >= self._end_by(child):
            self._kill(child, "it did not stop in time")

    def _end_by(self, child: ChildHandle) -> float:
        drained_by = child.board.deadline if child.is_leaving else math.inf
        return min(child.end_by, drained_by + policy.UNWIND_SECONDS)

    # Wear.

    def _look_at_wear(self, child: ChildHandle, now: float) -> None:
        settings = self._settings
        if not (settings.max_memory or settings.max_jobs or settings.max_age):
            return
        if child not in self._wear:
            self._wear[child] = Wear(now)
        wear = self._wear[child]
        if 0 < settings.max_jobs * wear.share <= child.board.settled:
            self._retire(child, f"it has done {child.board.settled} jobs (max_jobs {settings.max_jobs})")
        if 0 < settings.max_age * wear.share <= now - child.ready_at:
            self._retire(child, f"it is {now - child.ready_at:.0f} s old (max_age {settings.max_age:g})")
        if settings.max_memory and child.pid and now >= wear.look_at:
            self._look_at_memory(child, child.pid, wear, now)

    def _look_at_memory(self, child: ChildHandle, pid: int, wear: Wear, now: float) -> None:
        limit = self._settings.max_memory
        wear.note(now, _measured(pid, limit), limit)
        if wear.is_heavy_from_birth:
            self._tell_heavy(child, wear.size)
            return
        if wear.is_over(limit, LEAD_SECONDS):
            self._retire(child, f"it has {wear.size / _MEGABYTE:.0f} MB (max_memory {limit / _MEGABYTE:.0f} MB)")
        if wear.is_over(limit, REST_SECONDS):
            child.shut(Gate.QUIET)  # its replacement is on its way, and may come too late

    def _retire(self, child: ChildHandle, why: str) -> None:
        if not child.is_worn:
            child.is_worn = True
            _log.info("%s is to be replaced: %s", child, why)

    def _tell_heavy(self, child: ChildHandle, size: float) -> None:
        if not self._has_told_heavy:
            self._has_told_heavy = True
            _log.warning(
                "%s has %.0f MB right after its boot: it is not replaced for that, as the next one would have it, too; "
                "raise max_memory",
                child,
                size / _MEGABYTE,
            )


def _works(child: ChildHandle) -> bool:
    return child.state is ChildState.READY and child.board.gate != Gate.STOP


def _measured(pid: int, limit: int) -> float:
    """Return a process's own memory; its upper bound, which is cheap to have, while that is far from the limit."""
    most = process.anonymous_bytes(pid)
    return most if most < limit / 2 else process.private_bytes(pid)
