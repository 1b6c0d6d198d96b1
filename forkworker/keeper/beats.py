"""Beats: shows in Redis that each child lives and what it runs, read from its board; renews its lease.

A child whose job keeps the GIL for an hour is as alive as any other: it takes no part in this.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from forkworker.errors import IdentityTaken
from forkworker.store import orphans, processes
from forkworker.unix import board
from forkworker.unix.board import Gate, Record, State
from forkworker.wire import pages, payload

if TYPE_CHECKING:
    from forkworker.clock import Clock
    from forkworker.keeper.charge import Charge
    from forkworker.settings import Settings
    from forkworker.store.connection import Link

#: a working list that holds more is not read at each beat, only to show what does not fit on the board
MOST_READ_BYTES = 1_000_000
_log = logging.getLogger(__name__)


class Beats:
    """Publishes the beats of all charges."""

    def __init__(self, settings: Settings, link: Link, clock: Clock) -> None:
        self._settings = settings
        self._link = link
        self._clock = clock

    def beat(self, charge: Charge) -> list[str]:
        """Publish one beat and renew the lease; return the signals that the Web UI left for the child."""
        board, generation = charge.board, charge.board.generation
        if generation == board.fenced:
            return []  # no identity yet, or a new one is to come
        began = self._clock.monotonic()
        self._link.execute("PING")
        round_trip = self._clock.monotonic() - began
        sent = self._clock.monotonic()
        try:
            signals = processes.beat(self._link, self._sign(charge, round_trip), self._settings.lease)
        except IdentityTaken:
            self._fence(charge, generation)
            return []
        # counted from the sending: others count from when they first see the beat, which is later
        board.lease_until = sent + self._settings.lease
        charge.beat_at = sent
        return signals

    def _fence(self, charge: Charge, generation: int) -> None:
        """Tell the child that its identity is lost, and that what it has not started is not its own any more."""
        board = charge.board
        board.lease_until = 0.0
        board.epoch += 2
        board.fenced = generation
        _log.warning(
            "child %d (pid %d) was declared dead by another keeper; it will take a new nonce", charge.slot, charge.pid
        )

    def _sign(self, charge: Charge, round_trip: float) -> processes.Beat:
        board = charge.board
        return processes.Beat(
            identity=charge.identity,
            origin=charge.origin,
            fields={
                "info": charge.info,
                "busy": board.busy,
                "beat": repr(self._clock.now()),
                "quiet": "false" if board.gate == Gate.RUN else "true",
                "rss": charge.rss_kilobytes,
                "rtt_us": int(round_trip * 1_000_000),
                "concurrency": self._settings.concurrency,
            },
            queues=self._settings.queue_names,
            work=self._work(charge),
        )

    def _work(self, charge: Charge) -> dict[str, str]:
        """What each thread runs, in Sidekiq's form."""
        shown = {}
        records = charge.board.records(State.STARTED)
        long = self._read_long(charge, [record for record in records if not record.is_whole])
        for record in records:
            queue = self._settings.queue_names[record.queue]
            text = record.head if record.is_whole else long.get(record.key, b"")
            # one that Ruby cannot read would be an error instead of the whole page
            form = pages.running_form(text)
            work = {
                "queue": queue,
                "payload": _placeholder(record, queue) if form is None else form,
                "run_at": int(record.started_at),
            }
            shown[f"thread{record.thread}"] = json.dumps(work)
        return shown

    def _read_long(self, charge: Charge, records: list[Record]) -> dict[bytes, bytes]:
        """Read what did not fit on the board from the working lists: each once, and none that is large."""
        everything = charge.board.records(State.TAKEN, State.STARTED, State.ENDED)
        found = {}
        for number in {record.queue for record in records}:
            if sum(record.length for record in everything if record.queue == number) <= MOST_READ_BYTES:
                queue = self._settings.queue_names[number]
                found.update({board.key(text): text for text in orphans.contents(self._link, charge.identity, queue)})
        return found


def _placeholder(record: Record, queue: str) -> str:
    name, jid = (text.encode("utf-8", "replace").decode() for text in payload.name_and_jid(record.head))
    return json.dumps({"class": name, "args": [f"({record.length} bytes)"], "jid": jid, "queue": queue})
