"""Shows how a master stands: the process title, and what systemd is told.  Used in the master's own loop.

So a master that hangs feeds no watchdog, and nobody else does it in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from setproctitle import setproctitle

from forkworker import config
from forkworker.supervisor.states import MasterState

if TYPE_CHECKING:
    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.fleet import Fleet
    from forkworker.unix.notify import Notifier

#: how old title and status may get
SHOW_SECONDS = 1.0
#: for how long systemd is asked to wait while the tree boots, again and again
EXTEND_SECONDS = 20.0
#: what a boot may take beside the app's import and the children's start: Redis is waited for
WAIT_SECONDS = 30.0
#: beyond ``timeout``, when the tree stops: for children to unwind, the keeper to put back, and an embedded Redis
LEAVE_SECONDS = 5.0


def describe(settings: Settings) -> str:
    """Return what a master was told to do, for the log."""
    return (
        f"{settings.processes} children of {settings.concurrency} threads, "
        f"queues {' '.join(map(str, settings.queues))}, Redis {config.public_address(settings.redis_url)}"
    )


class Display:
    """Writes only what has changed, and feeds the watchdog."""

    def __init__(self, settings: Settings, fleet: Fleet, notifier: Notifier, clock: Clock) -> None:
        self._settings = settings
        self._fleet = fleet
        self._notifier = notifier
        self._clock = clock
        self._title = self._status = ""
        self._has_told_ready = False
        self._feed_at = 0.0
        #: an import that hangs shall not be waited for
        self._boot_by = clock.monotonic() + 2 * settings.boot_timeout + WAIT_SECONDS
        #: how long the loop may sleep between two calls of ``show``
        self.pace_seconds = min(SHOW_SECONDS, (notifier.watchdog_seconds or SHOW_SECONDS * 4) / 4)

    def show(self, state: MasterState, note: str) -> None:
        """Bring everything up to date; the note is for operators, '' for none."""
        self._show_title(state)
        self._show_status(state, note)
        if self._fleet.was_ready and not self._has_told_ready:
            self._has_told_ready = True
            self._notifier.tell(READY=1)
        self._feed(state)

    def _show_title(self, state: MasterState) -> None:
        title = f"forkworker: master [{self._settings.tag}] {len(self._fleet)} children"
        if state is not MasterState.RUNNING:
            title += f" ({state.value})"
        if title != self._title:
            self._title = title
            setproctitle(title)

    def _show_status(self, state: MasterState, note: str) -> None:
        busy = sum(child.board.busy for child in self._fleet)
        threads = len(self._fleet) * self._settings.concurrency
        status = f"{state.value}: {len(self._fleet)} children, {busy} of {threads} threads busy"
        status += f"; {note}" if note else ""
        if status != self._status:
            self._status = status
            self._notifier.tell(STATUS=status, **self._stopping(state))

    def _stopping(self, state: MasterState) -> dict[str, int]:
        """Return what a stop is announced by; asked for more time, a TimeoutStopSec that is too short kills nobody."""
        if state is not MasterState.STOPPING:
            return {}
        return {"STOPPING": 1, "EXTEND_TIMEOUT_USEC": round((self._settings.timeout + LEAVE_SECONDS) * 1e6)}

    def _feed(self, state: MasterState) -> None:
        """Tell systemd that we live; and, while the tree boots, that it shall go on waiting."""
        now = self._clock.monotonic()
        if now < self._feed_at:
            return
        self._feed_at = now + self.pace_seconds
        is_booting = state is MasterState.BOOTING and now < self._boot_by
        booting = {"EXTEND_TIMEOUT_USEC": round(EXTEND_SECONDS * 1e6)} if is_booting else {}
        watched = {"WATCHDOG": 1} if self._notifier.watchdog_seconds else {}
        if booting or watched:
            self._notifier.tell(**booting, **watched)
