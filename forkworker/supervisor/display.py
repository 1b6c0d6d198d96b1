"""Shows how a master stands: the process title, and what systemd is told.  Used in the master."""

from __future__ import annotations

from typing import TYPE_CHECKING

from setproctitle import setproctitle

from forkworker import config
from forkworker.supervisor.states import MasterState

if TYPE_CHECKING:
    from forkworker.settings import Settings
    from forkworker.supervisor.fleet import Fleet
    from forkworker.unix.notify import Notifier


def describe(settings: Settings) -> str:
    """Return what a master was told to do, for the log."""
    queues = " ".join(f"{queue.name},{queue.weight}" if queue.weight else queue.name for queue in settings.queues)
    return (
        f"{settings.processes} children of {settings.concurrency} threads, queues {queues}, "
        f"Redis {config.public_address(settings.redis_url)}"
    )


class Display:
    """Writes only what has changed."""

    def __init__(self, settings: Settings, fleet: Fleet, notifier: Notifier) -> None:
        self._settings = settings
        self._fleet = fleet
        self._notifier = notifier
        self._title = self._status = ""
        self._has_told_ready = False

    def show(self, state: MasterState, note: str) -> None:
        """Bring everything up to date; the note is for operators, '' for none."""
        self._show_title(state)
        self._show_status(state, note)
        if self._fleet.was_ready and not self._has_told_ready:
            self._has_told_ready = True
            self._notifier.tell(READY=1)

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
            stopping = {"STOPPING": 1} if state is MasterState.STOPPING else {}
            self._notifier.tell(STATUS=status, **stopping)
