"""A line in the log for each job that has ended.  Written by the exchange thread, once it is settled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forkworker.runtime.outcome import Outcome

_log = logging.getLogger(__name__)

#: characters: whoever can push can write long names
_MOST_NAME, _MOST_ERROR = 200, 1000
_WORDS = {
    "done": "done",
    "retry": "will be retried, failed",
    "failed": "dropped, failed",
    "bury": "now in the dead set, failed",
    "reject": "now in the dead set, no job",
}


class JobLog:
    """Says how jobs ended: at INFO, failures at WARNING."""

    def report(self, outcomes: list[Outcome]) -> None:
        """Write a line for each outcome."""
        for outcome in outcomes:
            if outcome.kind == "done":
                if _log.isEnabledFor(logging.INFO):
                    self._write(logging.INFO, outcome)
            elif outcome.kind != "back":
                self._write(logging.WARNING, outcome)

    def _write(self, level: int, outcome: Outcome) -> None:
        jid, name = outcome.jid[:_MOST_NAME], outcome.name[:_MOST_NAME]
        fields = {
            "jid": jid,
            "name": name,
            "queue": outcome.unit.queue,
            "outcome": outcome.kind,
            "seconds": round(outcome.seconds, 6),
        }
        message = "jid=%s %s queue=%s %s in %.3f s"
        args = [jid, name or "?", outcome.unit.queue, _WORDS[outcome.kind], outcome.seconds]
        if outcome.error:
            message += ": %s"
            args.append(outcome.error[:_MOST_ERROR])
            fields["error"] = outcome.error[:_MOST_ERROR]
        _log.log(level, message, *args, extra={"fields": fields})
