"""Outcomes on their way to Redis: collected, sent as numbered batches, and struck out when confirmed.

Used by the exchange thread alone.  A batch whose reply was lost is sent again as it is: its number
makes that harmless (`store/lua/settle.lua`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from forkworker.store import batches, working

if TYPE_CHECKING:
    from forkworker.runtime.outcome import Outcome
    from forkworker.store.connection import Command

#: jobs settled by one script
MOST_SETTLED = 250
_log = logging.getLogger(__name__)


class Ledger:
    """What has ended and is not settled yet."""

    def __init__(self) -> None:
        self._waiting: list[Outcome] = []
        self._sent: list[Outcome] = []
        self._number = 0
        #: the batch to send, until it is confirmed
        self.command: Command | None = None

    def __len__(self) -> int:
        """Count the outcomes that are not settled."""
        return len(self._waiting) + len(self._sent)

    def add(self, outcome: Outcome) -> None:
        """Take in an outcome."""
        self._waiting.append(outcome)

    def make_batch(self, identity: str, now: float) -> None:
        """Make the next batch, if none is under way."""
        if self.command or not self._waiting:
            return
        count = batches.how_many((len(o.unit.payload) + len(o.new_payload) for o in self._waiting), MOST_SETTLED)
        self._sent, self._waiting = self._waiting[:count], self._waiting[count:]
        self._number += 1
        settlements = [
            working.Settlement(o.kind, o.unit.queue, o.unit.working, o.unit.payload, o.new_payload, o.score)
            for o in self._sent
        ]
        self.command = working.settle(identity, self._number, settlements, now)

    def confirm(self, flags: bytes) -> tuple[list[Outcome], list[Outcome]]:
        """Close the batch; return the outcomes that are done with, and those of them that counted.

        One whose next home could not take it waits to be sent again.
        """
        sent, self._sent, self.command = self._sent, [], None
        if flags.count(working.SETTLED) == len(sent):
            return sent, sent
        over, counted = [], []
        for outcome, flag in zip(sent, flags, strict=True):
            if flag == working.NO_HOME:
                self._waiting.append(outcome)
                continue
            over.append(outcome)
            if flag == working.SETTLED:
                counted.append(outcome)
            else:
                _log.warning(
                    "jid=%.200s %.200s was taken over by another process: this run does not count",
                    outcome.jid,
                    outcome.name,
                )
        return over, counted
