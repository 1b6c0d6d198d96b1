"""Children from the request to fork them until the keeper has put back what they left.

Used in the master.  Carries out what `policy` has decided, and hears what children say.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
from typing import TYPE_CHECKING, Any

from forkworker import logs
from forkworker.errors import ExitCode
from forkworker.supervisor.crew import NO_RESOURCES_PAUSE_SECONDS
from forkworker.supervisor.handle import ChildHandle
from forkworker.supervisor.policy import KillAll, Replace, Spawn, TakeOver
from forkworker.supervisor.states import ChildState
from forkworker.unix import process
from forkworker.unix.board import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.crew import Crew
    from forkworker.supervisor.fleet import Fleet
    from forkworker.supervisor.policy import Action
    from forkworker.unix.packets import Packet

_log = logging.getLogger(__name__)


class Nursery:
    """Spawns, hears and buries the children of a fleet."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        crew: Crew,
        clock: Clock,
        *,
        give_up: Callable[[ExitCode, str], None],
        note_gone: Callable[[ChildHandle, int], None],
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._crew = crew
        self._clock = clock
        self._give_up = give_up
        self._note_gone = note_gone
        #: how the last child ended that was not ready before
        self.last_failure = ""

    def carry_out(self, action: Action, gate: Gate) -> None:
        """Do what was decided; ``gate`` is for a new child."""
        if isinstance(action, KillAll):
            for child in list(self._fleet):
                self.kill(child, action.why)
        elif isinstance(action, Spawn):
            if newborn := self._ask_for(action.slot, gate, self._fleet.generation):
                self._fleet.put(newborn)
        elif isinstance(action, Replace):
            self.spawn_beside(action.slot, gate, self._fleet.generation)
        elif isinstance(action, TakeOver):
            self._take_over()

    def _take_over(self) -> None:
        if old := self._fleet.take_over():
            self.let_leave(old)
            _log.info("%s finishes what it runs; another one has its slot", old)

    def let_leave(self, child: ChildHandle) -> None:
        """Let a child that has no slot take nothing more, finish what it runs, and end."""
        child.leave(self._clock.monotonic() + (self._settings.drain_timeout or math.inf))
        self._crew.tell_keeper("shut")

    def spawn_beside(self, slot: int, gate: Gate, generation: int) -> bool:
        """Have a child forked that is to take a slot over; False if that cannot be asked for now."""
        self._fleet.incoming = self._ask_for(slot, gate, generation)
        if self._fleet.incoming is None:
            self._fleet.replace_from = self._clock.monotonic() + NO_RESOURCES_PAUSE_SECONDS
        return self._fleet.incoming is not None

    def _ask_for(self, slot: int, gate: Gate, generation: int) -> ChildHandle | None:
        try:
            child = ChildHandle(self._settings, slot, gate, self._clock.monotonic(), generation)
        except OSError as error:
            _log.error("a child for slot %d cannot be made now: %s", slot, error.strerror)
            self._fleet.postpone(slot, self._clock.monotonic() + NO_RESOURCES_PAUSE_SECONDS)
            return None
        descriptors = (child.far_end.fileno(), child.board_descriptor)
        if self._crew.ask_for_child(slot, descriptors, is_new_code=generation > self._fleet.generation):
            child.far_end.close()
            return child
        child.close()
        return None

    def kill(self, child: ChildHandle, why: str) -> None:
        """End a child that lives."""
        if child.state not in (ChildState.SPAWNED, ChildState.READY):
            return
        if child.pid:
            _log.warning("%s is killed: %s", child, why)
            child.kill()
        else:
            self._remove(child, 0)  # it was asked for and never said hello

    def hear(self, child: ChildHandle) -> None:
        """Take in what a child has said."""
        packets, lives = child.channel.drain()
        for packet in packets:
            self._take_in(child, packet)
        if not lives:
            child.hung_up = True
            if child.pidfd is None:
                self._remove(child, 0)  # nobody was forked, it died before its first word, or was reaped right after

    def hear_newborn(self) -> set[int]:
        """Return the pids of all children; one may have said hello and ended since we last listened."""
        for child in list(self._fleet):
            if child.pid is None and not child.hung_up:
                self.hear(child)
        return {child.pid for child in self._fleet if child.pid}

    def _take_in(self, child: ChildHandle, packet: Packet) -> None:
        fields: Any = packet.fields
        if packet.kind == "hello":
            child.greet(fields["pid"])
            self.entrust(child)
        elif packet.kind == "ready" and child.state is ChildState.SPAWNED:
            self._fleet.note_ready(child)
            child.ready_at = self._clock.monotonic()
            _log.info("%s is ready", child)
        elif packet.kind == "still":
            child.still = True
        elif packet.kind == "failed":
            child.failure = fields["reason"]
            _log.error("%s could not boot: %s", child, child.failure)
            logs.tell_traceback(fields["traceback"])

    def bury(self, child: ChildHandle) -> None:
        """Read the status of a child that has ended, and empty its slot."""
        assert child.pidfd is not None
        with contextlib.suppress(ChildProcessError):
            status = process.reap(child.pidfd)
            if status is not None:
                if not child.hung_up:
                    self.hear(child)  # its last words
                self._remove(child, status)

    def _remove(self, child: ChildHandle, status: int) -> None:
        """Empty the slot, and have the keeper put back what the child left."""
        was_told_to_stop = child.board.gate == Gate.STOP
        child.note_end(status, self._clock.monotonic())
        pause = self._fleet.remove(child, self._clock.monotonic())
        if not child.has_booted:
            self.last_failure = describe_end(child, status)
        self._note_gone(child, status)
        if child.pid is None:
            child.close()
            return
        if status == ExitCode.CONFIGURATION and not self._fleet.was_ready:
            self._give_up(ExitCode.CONFIGURATION, f"{child} could not load the app: mend what its error above tells")
        self._fleet.unrestored[child.pid] = child
        self._report_gone(child.pid)
        if not was_told_to_stop or status != 0:
            again = f"; the slot is filled again in {pause:.1f} s" if pause else ""
            _log.error("%s %s%s", child, describe_status(status), again)

    # What the keeper has to know.

    def brief_keeper(self) -> None:
        """Tell a new keeper all there is to know."""
        for child in [*self._fleet, *self._fleet.unrestored.values()]:
            self.entrust(child)
        for pid in self._fleet.unrestored:
            self._report_gone(pid)

    def entrust(self, child: ChildHandle) -> None:
        """Put a child into the keeper's charge, once it has a pid."""
        if child.pid:
            self._crew.tell_keeper("child", (child.board_descriptor,), slot=child.slot, pid=child.pid)

    def _report_gone(self, pid: int) -> None:
        """Told again to a new keeper until one has confirmed it."""
        child = self._fleet.unrestored[pid]
        self._crew.tell_keeper("gone", pid=pid, crashed=child.has_crashed, in_order=child.left_in_order)

    def note_restored(self, fields: dict[str, Any]) -> None:
        """The keeper has put back what a child left: nothing is left to be done about it."""
        child = self._fleet.unrestored.pop(fields["pid"], None)
        if child is None:
            return
        if fields["moved"]:
            _log.info(
                "%s left %d jobs: %d are back in their queues, %d in the dead set; %d were running in a crash",
                child,
                fields["moved"],
                fields["moved"] - fields["buried"],
                fields["buried"],
                fields["recovered"],
            )
        child.close()

    def tell_unrestored(self) -> None:
        """At the end: say whose jobs there was no time to put back, if there are such; nothing else would show it."""
        if count := len(self._fleet.unrestored):
            _log.warning(
                "%d children are still shown in Redis, with what they had in hand: the next start on this host puts "
                "that back at once, another host in %g s",
                count,
                self._settings.lease,
            )


def describe_end(child: ChildHandle, status: int) -> str:
    """Say how a child ended, and why, if it has said so."""
    return ": ".join(filter(None, (describe_status(status), child.failure)))


def describe_status(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"ended with exit code {status}"
    hint = ", perhaps out of memory" if -status == signal.SIGKILL else ""
    return f"was killed by signal {-status}{hint}"
