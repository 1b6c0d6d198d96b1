"""A line in the log for each job that has ended.  Written by the exchange thread, once it is settled."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from forkworker import logs

if TYPE_CHECKING:
    from forkworker.runtime.outcome import Outcome

_log = logging.getLogger(__name__)

#: bytes, in whichever form: whoever can push can write long names, and a pipe takes only so much of a line whole
_MOST_NAME, _MOST_ERROR = 300, 1000
#: what JSON may need for one character
_MOST_CHARACTER = 12
_UNTOLD = ("done", "back")
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
        if _log.isEnabledFor(logging.INFO):
            self._write(logging.INFO, [outcome for outcome in outcomes if outcome.kind == "done"])
        self._write(logging.WARNING, [outcome for outcome in outcomes if outcome.kind not in _UNTOLD])

    @staticmethod
    def _write(level: int, outcomes: list[Outcome]) -> None:
        """Through logging a line costs as much as all else of a job: where it makes no difference it is passed by."""
        if not outcomes:
            return
        if writer := logs.sole_writer(_log):
            writer.emit_many(logging.getLevelName(level), outcomes, TELLER)
            return
        for outcome in outcomes:
            _log.log(level, "%s", _message(outcome), extra={"fields": _fields(outcome)})


def _message(outcome: Outcome) -> str:
    unit, kind, name, jid, seconds, error, *_ = outcome
    jid, name = _short(jid, _MOST_NAME), _short(name, _MOST_NAME)
    told = f"jid={jid} {name or '?'} queue={unit.queue} {_WORDS[kind]} in {seconds:.3f} s"
    return f"{told}: {_short(error, _MOST_ERROR)}" if error else told


def _fields(outcome: Outcome) -> dict[str, Any]:
    unit, kind, name, jid, seconds, error, *_ = outcome
    fields = {
        "jid": _short(jid, _MOST_NAME),
        "name": _short(name, _MOST_NAME),
        "queue": unit.queue,
        "outcome": kind,
        "seconds": round(seconds, 6),
    }
    return {**fields, "error": _short(error, _MOST_ERROR)} if error else fields


def _short(text: str, most: int) -> str:
    """Return as much of a text as needs so many bytes in a log at the most."""
    if len(text) * _MOST_CHARACTER <= most:
        return text
    text = text[:most]
    is_plain = text.isascii() and text.isprintable() and not ('"' in text or "\\" in text)
    while not is_plain and (size := len(json.dumps(text)) - 2) > most:
        text = text[: len(text) * most // size]
    return text


TELLER = logs.Teller(_message, _fields)
