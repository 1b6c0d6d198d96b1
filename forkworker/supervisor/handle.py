"""A child as the master has it: board, channel, pidfd, state."""

from __future__ import annotations

import math
import os
import signal
from typing import TYPE_CHECKING, Any

from forkworker.supervisor.states import ChildState, move
from forkworker.unix import board, packets, process
from forkworker.unix.board import STUCK_SECONDS, Board, Gate, State
from forkworker.wire import payload, process_info

if TYPE_CHECKING:
    from forkworker.settings import Settings

#: that the master holds for a slot, in which one child may be and another may leave; and for all else
_DESCRIPTORS, _OTHER_DESCRIPTORS = 10, 300
#: room on the board beyond one running and one waiting payload for each thread
_SPARE_ENTRIES = 264


class ChildHandle:
    """One child, from the request to fork it until its jobs are back."""

    def __init__(self, settings: Settings, slot: int, gate: Gate, now: float, generation: int) -> None:
        self.slot = slot
        #: since when its boot counts
        self.boots_from = now
        #: of the app's code
        self.generation = generation
        self.state = ChildState.SPAWNED
        self.pid: int | None = None
        self.pidfd: int | None = None
        #: whether it has said that it takes nothing any more
        self.still = False
        self.has_booted = False
        self.ready_at = 0.0
        #: when it must have ended, once it ends by itself, or was told to alone
        self.end_by = math.inf
        #: why it could not boot, in its own words
        self.failure = ""
        #: whether it was told to end once it is through with what it runs
        self.is_leaving = False
        #: whether another one should have its slot
        self.is_worn = False
        #: whether it has written its stacks, as it hangs
        self.is_dumped = False
        #: once it has ended: whether that counts for what it was running; and whether it has seen to all itself
        self.has_crashed = self.left_in_order = False
        #: whether its end of the channel is closed
        self.hung_up = False
        self._settings = settings
        self.channel, self.far_end = packets.pair()
        #: a duplicate, to have a descriptor for the pidfd: once there is a child, it cannot be done without
        self._room: int | None
        self.board_descriptor, self._room, self.board = _make_board(settings)
        self.board.gate = gate

    def __str__(self) -> str:
        return f"child {self.slot} (pid {self.pid or 'unknown'})"

    @property
    def identity(self) -> str:
        """``HOST:PID:NONCE``, '' before the child has chosen a nonce."""
        if not self.pid or not self.board.generation:
            return ""
        return process_info.identity(self._settings.hostname, self.pid, self.board.nonce)

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing in hand."""
        return self.board.in_hand == 0

    def greet(self, pid: int) -> None:
        """Learn the pid from the child's hello."""
        if self._room is not None:
            os.close(self._room)
            self._room = None
        self.pid, self.pidfd = pid, process.open_pidfd(pid)

    def move(self, state: ChildState) -> None:
        """Move to a state."""
        self.state = move(self.state, state)

    def shut(self, gate: Gate, deadline: float = 0.0) -> None:
        """Set the gate, unless the child is stopping already, and have the child look at it."""
        if self.board.gate != Gate.STOP or gate == Gate.STOP:
            self.still = self.still and gate != Gate.RUN
            self.board.deadline = deadline
            self.board.gate = gate
        self.channel.send("look")

    def leave(self, deadline: float) -> None:
        """Have it finish what it runs, by an instant that may be infinitely far, and end."""
        self.is_leaving = True
        self.shut(Gate.STOP, deadline)

    def note_end(self, status: int, now: float) -> None:
        """Judge how it has ended.

        A job that calls ``os._exit(0)`` has ended its process as surely as a segfault has; not at a stop, which may
        kill what does not end in time.
        """
        in_stop = self.board.gate == Gate.STOP
        in_time = self.is_leaving and now < self.board.deadline
        self.left_in_order = in_stop and status == 0 and self.board.is_answered
        self.has_crashed = not in_stop or (in_time and status != 0)

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it is known and lives."""
        if self.pidfd is not None:
            process.send(self.pidfd, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send(signal.SIGKILL)
        self.move(ChildState.KILLED)

    def status(self, now: float, instant: float) -> dict[str, Any]:
        """Return what ``forkworker status`` shows; ``now`` is epoch seconds, ``instant`` monotonic."""
        stuck = self.stuck_seconds(instant)
        return {
            "slot": self.slot,
            "pid": self.pid,
            "identity": self.identity,
            "state": self._state_told(stuck),
            "stuck_seconds": round(stuck, 3),
            "busy": self.board.busy,
            "concurrency": self._settings.concurrency,
            "threads": self.running(now),
        }

    def stuck_seconds(self, instant: float) -> float:
        """Return for how long a job has kept the interpreter, 0.0 if it is free."""
        silent = instant - self.board.tick
        return silent if self.state is ChildState.READY and silent > STUCK_SECONDS else 0.0

    def _state_told(self, stuck: float) -> str:
        if self.is_leaving:
            return "leaving"
        if self.state is ChildState.READY and self.board.gate == Gate.QUIET:
            return "quiet"
        return "stuck" if stuck else self.state.value

    def running(self, now: float) -> list[dict[str, Any]]:
        """Return what each busy thread runs."""
        threads = []
        for record in sorted(self.board.records(State.STARTED), key=lambda record: record.thread):
            name, jid = payload.name_and_jid(record.head)
            threads.append(
                {
                    "thread": record.thread,
                    "ident": self.board.ident(record.thread),
                    "name": name,
                    "jid": jid,
                    "queue": self._settings.queue_names[record.queue],
                    "seconds": round(max(0.0, now - record.started_at), 3),
                }
            )
        return threads

    def close(self) -> None:
        """Let everything go."""
        self.channel.close()
        self.far_end.close()
        self.board.close()
        for descriptor in (self.board_descriptor, self._room, self.pidfd):
            if descriptor is not None:
                os.close(descriptor)


def descriptors_for(slots: int) -> int:
    """Return how many descriptors a master with so many slots may need at a time."""
    return _OTHER_DESCRIPTORS + _DESCRIPTORS * slots


def _make_board(settings: Settings) -> tuple[int, int, Board]:
    entries = 2 * (settings.concurrency + len(settings.queues)) + _SPARE_ENTRIES
    descriptor = board.create(threads=settings.concurrency, waits=len(settings.queues), entries=entries)
    made = [descriptor]
    try:
        made.append(os.dup(descriptor))
        return descriptor, made[1], Board(descriptor)
    except OSError:
        for each in made:
            os.close(each)
        raise
