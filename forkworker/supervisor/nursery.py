"""Children from the request to fork them until the keeper has put back what they left.

Used in the master.  Carries out what `policy` has decided, and hears what children say.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

from forkworker.errors import ExitCode
from forkworker.supervisor.handle import ChildHandle
from forkworker.supervisor.states import ChildState
from forkworker.unix import process
from forkworker.unix.board import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.crew import Crew
    from forkworker.supervisor.fleet import Fleet
    from forkworker.unix.packets import Packet

#: when descriptors or memory have run out
NO_RESOURCES_PAUSE_SECONDS = 1.0
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
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._crew = crew
        self._clock = clock
        self._give_up = give_up

    def spawn(self, slot: int, gate: Gate) -> None:
        """Have a child forked for an empty slot."""
        try:
            child = ChildHandle(self._settings, slot, gate, self._clock.monotonic())
        except OSError as error:
            _log.error("a child for slot %d cannot be made now: %s", slot, error.strerror)
            self._fleet.postpone(slot, self._clock.monotonic() + NO_RESOURCES_PAUSE_SECONDS)
            return
        if self._crew.ask_for_child(slot, (child.far_end.fileno(), child.board_descriptor)):
            child.far_end.close()
            self._fleet.put(child)
        else:
            child.close()

    def kill(self, slot: int, why: str) -> None:
        """End the child in a slot."""
        child = self._fleet.in_slot(slot)
        if child and child.pid:
            _log.warning("%s is killed: %s", child, why)
            child.kill()
        elif child:
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
            _log.info("%s is ready", child)
        elif packet.kind == "still":
            child.still = True
        elif packet.kind == "failed":
            _log.error("%s could not boot: %s", child, fields["reason"])
            sys.stderr.write(fields["traceback"])

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
        pause = self._fleet.remove(child, self._clock.monotonic())
        if child.pid is None:
            child.close()
            return
        if status == ExitCode.CONFIGURATION and not self._fleet.was_ready:
            self._give_up(ExitCode.CONFIGURATION, f"{child} could not load the app: see its error above")
        if not was_told_to_stop or status != 0:
            again = f"; the slot is filled again in {pause:.1f} s" if pause else ""
            _log.error("%s %s%s", child, describe_status(status), again)
        self._fleet.unrestored[child.pid] = child
        self._fleet.statuses[child.pid] = status
        self._report_gone(child.pid)

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
        in_stop = self._fleet.unrestored[pid].board.gate == Gate.STOP
        in_order = in_stop and self._fleet.statuses[pid] == 0
        # a job that calls os._exit(0) has ended its process as surely as a segfault
        self._crew.tell_keeper("gone", pid=pid, crashed=not in_stop, in_order=in_order)

    def note_restored(self, fields: dict[str, Any]) -> None:
        """The keeper has put back what a child left: nothing is left to be done about it."""
        child = self._fleet.unrestored.pop(fields["pid"], None)
        self._fleet.statuses.pop(fields["pid"], None)
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


def describe_status(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"ended with exit code {status}"
    hint = ", perhaps out of memory" if -status == signal.SIGKILL else ""
    return f"was killed by signal {-status}{hint}"
