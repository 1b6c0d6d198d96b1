"""How a run of a job ended: a value, whatever happened in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from forkworker.runtime.hand import Unit
    from forkworker.store.working import Kind


class Outcome(NamedTuple):
    """A run that has ended, and what shall become of its payload."""

    unit: Unit
    kind: Kind
    #: for the log line
    name: str = ""
    jid: str = ""
    seconds: float = 0.0
    error: str = ""
    #: for the retry and the dead set
    new_payload: bytes = b""
    score: float = 0.0


class Interrupted(NamedTuple):
    """A run cut off by a forced stop: its payload stays in the working list until the process has gone."""

    unit: Unit


class NotStarted(NamedTuple):
    """A unit that may not be run: the gate is shut, or it may have been given away meanwhile."""

    unit: Unit


Ended = Outcome | Interrupted | NotStarted
