"""The rolling restart: new code comes up beside the old, is tried in one child, and then takes slot after slot.

Used in the master.  Until the trial is over nothing has changed for the old children; a failure before
that ends the new ones and leaves everything as it was.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, Any

from forkworker import logs
from forkworker.supervisor.nursery import describe_end, describe_status
from forkworker.supervisor.states import ChildState

if TYPE_CHECKING:
    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.crew import Crew
    from forkworker.supervisor.fleet import Fleet
    from forkworker.supervisor.handle import ChildHandle
    from forkworker.supervisor.helpers import Helper
    from forkworker.supervisor.nursery import Nursery
    from forkworker.unix.board import Gate
    from forkworker.unix.packets import Packet

#: the first child of the new code must live for so long before the others follow
TRIAL_SECONDS = 10.0
_TRIAL_SLOT = 0
_log = logging.getLogger(__name__)


class Stage(str, Enum):
    """How far a rolling restart is."""

    NONE = "none"
    LOADING = "loading the new code"
    TRYING = "trying the new code in one child"
    REPLACING = "replacing the other children"


class Rollout:
    """Rolling restarts, one at a time; requests that come meanwhile are answered by one more."""

    def __init__(self, settings: Settings, fleet: Fleet, crew: Crew, nursery: Nursery, clock: Clock) -> None:
        self._settings = settings
        self._fleet = fleet
        self._crew = crew
        self._nursery = nursery
        self._clock = clock
        self._trial: ChildHandle | None = None
        self._is_loaded = False
        #: numbers of rolling restarts: the last that was asked for, that was begun, that has ended
        self._asked = self._begun = self._ended = 0
        self.stage = Stage.NONE
        #: why the last one failed; '' if it did not
        self.failure = ""

    def request(self) -> int:
        """Ask for one that begins from now on; return its number."""
        self._asked += 1
        _log.info("rolling restart: asked for")
        return self._asked

    def result(self, number: int) -> dict[str, Any] | None:
        """Return how the rolling restart of a number has ended; None if it has not."""
        if self._ended < number:
            return None
        return {"ok": False, "error": self.failure} if self.failure else {"ok": True}

    @property
    def replace_from(self) -> float | None:
        """From when on outdated children may be replaced; not while new code is on trial."""
        return None if self.stage in (Stage.LOADING, Stage.TRYING) else self._fleet.replace_from

    @property
    def note(self) -> str:
        """What operators should know now; '' for nothing."""
        if self.stage is Stage.REPLACING:
            return f"rolling restart: {self._fleet.outdated} children to be replaced"
        if self.stage is not Stage.NONE:
            return f"rolling restart: {self.stage.value}"
        return f"the rolling restart failed: {self.failure}" if self.failure else ""

    @property
    def next_instant(self) -> float | None:
        """When ``step`` has something to do, if nothing happens before: when the trial is over.

        None while no child is on trial and ready.
        """
        if self._trial and self._trial.state is ChildState.READY:
            return self._trial.ready_at + TRIAL_SECONDS
        return None

    def step(self, gate: Gate) -> None:
        """Go on to the next stage if it is time; ``gate`` is for a new child."""
        now = self._clock.monotonic()
        if self._asked > self._begun and self.stage is not Stage.REPLACING:
            self._begin()
        elif self.stage is Stage.LOADING and self._is_loaded:
            self._try(gate)
        elif self.stage is Stage.TRYING and self.next_instant is not None and now >= self.next_instant:
            self._commit()
        elif self.stage is Stage.REPLACING and not self._fleet.outdated and not self._fleet.incoming:
            self._finish()

    def _begin(self) -> None:
        if not self._fleet.was_ready or (self._fleet.incoming and self._fleet.incoming is not self._trial):
            return
        if self._crew.is_renewing_keeper:  # else the one in reserve would be taken for one that nobody needs
            return
        self._call_off()
        self._begun = self._asked
        self._is_loaded = False
        self.failure = ""
        self.stage = Stage.LOADING
        _log.info("rolling restart: %s", self.stage.value)
        try:
            self._crew.start_incoming()
        except OSError as error:
            self._fail(f"no process can be started now: {error.strerror}")

    def hear(self, packet: Packet) -> None:
        """Take in what the incoming forkserver says."""
        fields: Any = packet.fields
        if packet.kind == "loaded":
            self._is_loaded = True
        elif packet.kind == "failed":
            logs.tell_traceback(fields["traceback"])
            self._fail(fields["reason"])
        elif packet.kind == "unforked":
            self._fail(f"no child could be forked: {fields['reason']}")

    def note_forkserver_gone(self, helper: Helper, status: int) -> None:
        """The incoming forkserver has ended."""
        self._fail(helper.failure or f"the process that loads the app {describe_status(status)}")

    def note_child_gone(self, child: ChildHandle, status: int) -> None:
        """A child has ended; the one on trial takes the new code along."""
        if child is self._trial:
            self._trial = None
            self._fail(f"its first child {describe_end(child, status)}")

    def _try(self, gate: Gate) -> None:
        if self._nursery.spawn_beside(_TRIAL_SLOT, gate, self._fleet.generation + 1):
            self._trial = self._fleet.incoming
            self.stage = Stage.TRYING
            _log.info("rolling restart: %s, for %g s", self.stage.value, TRIAL_SECONDS)
        else:
            self._fail("no child could be made")

    def _commit(self) -> None:
        self._trial = None
        self._crew.take_incoming()
        self._fleet.generation += 1
        self._fleet.replace_from = 0.0
        self.stage = Stage.REPLACING
        _log.info("rolling restart: %s", self.stage.value)

    def _finish(self) -> None:
        self._end("")
        self._crew.renew_keeper()
        _log.info("rolling restart: done; %d children finish what they run", len(self._fleet.leaving))

    def _fail(self, why: str) -> None:
        if self.stage in (Stage.LOADING, Stage.TRYING):
            self._call_off()
            self._end(why)
            _log.error("the rolling restart failed, the old code works on: %s", why)

    def _end(self, failure: str) -> None:
        self.stage = Stage.NONE
        self.failure = failure
        self._ended = self._begun

    def _call_off(self) -> None:
        """End what there is of new code, if there is any."""
        self._crew.drop_incoming()
        if self._trial and (child := self._fleet.let_incoming_go()):
            self._nursery.let_leave(child)
        self._trial = None
