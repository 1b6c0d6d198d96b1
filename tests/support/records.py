"""What the sample jobs wrote down while they ran.  Runs in the test process."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Event:
    """One line: a job started, ended, or saw something; ``at`` is the system's monotonic clock."""

    what: str
    jid: str
    key: Any
    pid: int
    at: float
    note: str


class Records:
    """The file that all daemons of one test write to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[Event]:
        """Return every event so far, in the order of the file."""
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [Event(**json.loads(line)) for line in whole.splitlines()]

    def events(self, what: str) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.all() if event.what == what]

    def starts(self) -> list[Event]:
        """Return each start of a job."""
        return self.events("start")

    def ends(self) -> list[Event]:
        """Return each end that a job reached by itself."""
        return self.events("end")

    def started(self) -> Counter[str]:
        """Return how often each job id was started."""
        return Counter(event.jid for event in self.starts())

    def ended(self) -> Counter[str]:
        """Return how often each job id reached its end."""
        return Counter(event.jid for event in self.ends())

    def running(self) -> set[str]:
        """Return the ids whose last start has not ended in any way that the job could note."""
        now: dict[str, bool] = {}
        for event in self.all():
            now[event.jid] = event.what == "start" or (event.what == "saw" and now.get(event.jid, False))
        return {jid for jid, running in now.items() if running}
