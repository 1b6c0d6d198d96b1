"""The board: a small shared memory in which a child notes what it does, and is told what it may do.

The master makes one for each child and hands it to the child and to the keeper.  Nobody needs the
child's GIL to read it.  Every field has one writer, and is written by one plain store of its size;
the gate alone has two: a child that was signalled by itself may shut it, which only the master opens.

The hand table has one entry for each payload the child has in hand, that is in its working lists and
known to it.  The exchange thread writes entries; a job thread only moves the state of its own.

The permit (gate and epoch in one word) decides whether what was taken may still be started.  A keeper
that wants to move unstarted payloads away makes the epoch odd, looks at the states, moves, and makes
it even again.  A job thread marks its entry STARTED *first* and compares the permit *then*: either
the keeper sees the mark, or the thread sees the new epoch and does not run the job.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from forkworker.unix import tally
from forkworker.unix.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 2
#: a child whose tick is older is stuck: a job keeps the GIL
STUCK_SECONDS = 1.0
INLINE_BYTES = 960

_MAGIC = 0x44425746  # "FWBD"
_HEADER_BYTES = 128
_RECORD_BYTES = 1024
#: of a record: sequence, thread, queue, bytes of the payload, started at (epoch), SHA-1 of what does not fit
_RECORD = struct.Struct("=IHHIxxxxd20s")

# Offsets of the header's fields, in units of their size.
_U32_MAGIC, _U32_VERSION, _U32_ENTRIES, _U32_THREADS = 0, 1, 2, 3
_U64_PERMIT, _U8_GATE, _U32_EPOCH = 2, 16, 5
_F64_DEADLINE, _F64_LEASE_UNTIL, _F64_TICK = 3, 4, 5
_U32_FENCED, _U32_GENERATION, _U8_PHASE, _U8_ANSWERED = 12, 13, 56, 57
_NONCE, _NONCE_BYTES = 64, 12
_U32_WAITS, _U32_SETTLED, _U32_CLOSINGS = 20, 21, 22


class Gate(IntEnum):
    """What the child may do; written by the master."""

    RUN = 0
    QUIET = 1
    STOP = 2


class Phase(IntEnum):
    """How far the child is; written by its main thread."""

    BOOTING = 0
    READY = 1
    STOPPING = 2


class State(IntEnum):
    """What became of a payload in hand."""

    FREE = 0
    TAKEN = 1
    STARTED = 2
    ENDED = 3


# An enum's members are slow to look up, and these are for each job.
_TAKEN, _STARTED = int(State.TAKEN), int(State.STARTED)


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of the hand table, as others read it."""

    state: State
    thread: int
    queue: int
    started_at: float
    #: the whole payload if it fits, else its beginning
    head: bytes
    length: int
    sha1: bytes

    @property
    def is_whole(self) -> bool:
        """Whether ``head`` is the whole payload."""
        return len(self.head) == self.length

    @property
    def key(self) -> bytes:
        """What ``key`` returns for the payload of this entry."""
        return self.head if self.is_whole else self.sha1


def key(payload: bytes) -> bytes:
    """Return what stands on a board for a payload: itself, or its SHA-1 if it does not fit."""
    if len(payload) <= INLINE_BYTES:
        return payload
    import hashlib  # here, as it brings OpenSSL, 3 MB that the master has no need of

    return hashlib.sha1(payload).digest()  # noqa: S324 - tells payloads apart, guards nothing


def create(*, threads: int, waits: int, entries: int) -> int:
    """Return the descriptor of a new, empty board for so many threads, waits, and payloads in hand."""
    descriptor = os.memfd_create("forkworker-board", os.MFD_CLOEXEC)
    records = _records_offset(threads + 2 * waits, entries)
    os.ftruncate(descriptor, records + entries * _RECORD_BYTES + tally.BYTES)
    os.pwrite(descriptor, struct.pack("=IIII", _MAGIC, VERSION, entries, threads), 0)
    os.pwrite(descriptor, struct.pack("=I", waits), 4 * _U32_WAITS)
    return descriptor


def _records_offset(words: int, entries: int) -> int:
    """Header, then a word for each thread and two for each wait, then a byte for each entry, then the records."""
    return _HEADER_BYTES + 8 * words + -(-entries // 64) * 64


class Board:
    """A view of a board; takes no ownership of the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, 0)
        view = memoryview(self._map)
        self._u8, self._u16 = view, view.cast("H")
        self._u32, self._u64 = view.cast("I"), view.cast("Q")
        self._f64 = view.cast("d")
        if self._u32[_U32_MAGIC] != _MAGIC or self._u32[_U32_VERSION] != VERSION:
            raise ValueError("this memory is no board of this version")
        self.entries = self._u32[_U32_ENTRIES]
        self._idents = _HEADER_BYTES // 8
        threads, waits = self._u32[_U32_THREADS], self._u32[_U32_WAITS]
        self._waits = slice(self._idents + threads, self._idents + threads + waits)
        self._closed = slice(self._waits.stop, self._waits.stop + waits)
        states = _HEADER_BYTES + 8 * (threads + 2 * waits)
        self._states = view[states : states + self.entries]
        self._records = _records_offset(threads + 2 * waits, self.entries)
        self.tally = Tally(view[self._records + self.entries * _RECORD_BYTES :])

    def close(self) -> None:
        """Give the memory back."""
        self.tally.close()
        for view in (self._states, self._f64, self._u64, self._u32, self._u16, self._u8):
            view.release()
        self._map.close()

    # Written by the master.

    @property
    def gate(self) -> Gate:
        """What the child may do."""
        return Gate(self._u8[_U8_GATE])

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self._u8[_U8_GATE] = gate

    @property
    def deadline(self) -> float:
        """When a stop must be over, in monotonic seconds; 0 for none yet."""
        return self._f64[_F64_DEADLINE]

    @deadline.setter
    def deadline(self, instant: float) -> None:
        self._f64[_F64_DEADLINE] = instant

    # Written by the keeper.

    @property
    def epoch(self) -> int:
        """Odd while the keeper moves unstarted payloads away."""
        return self._u32[_U32_EPOCH]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._u32[_U32_EPOCH] = epoch & 0xFFFFFFFF

    @property
    def lease_until(self) -> float:
        """The instant, monotonic, from which others may think the child dead."""
        return self._f64[_F64_LEASE_UNTIL]

    @lease_until.setter
    def lease_until(self, instant: float) -> None:
        self._f64[_F64_LEASE_UNTIL] = instant

    @property
    def fenced(self) -> int:
        """The last generation of the identity that others have declared dead."""
        return self._u32[_U32_FENCED]

    @fenced.setter
    def fenced(self, generation: int) -> None:
        self._u32[_U32_FENCED] = generation

    @property
    def closings(self) -> int:
        """Counts the changes of ``closed``."""
        return self._u32[_U32_CLOSINGS]

    @property
    def closed(self) -> list[bool]:
        """For each queue whether it is paused, so that nothing may be taken from it."""
        return [bool(word) for word in self._u64[self._closed]]

    def close_queues(self, closed: Sequence[bool]) -> bool:
        """Note which queues are paused, and only then count it; False if that is not new."""
        if list(closed) == self.closed:
            return False
        for number, is_closed in enumerate(closed, self._closed.start):
            self._u64[number] = is_closed
        self._u32[_U32_CLOSINGS] = (self._u32[_U32_CLOSINGS] + 1) & 0xFFFFFFFF
        return True

    # Written by the child.

    @property
    def permit(self) -> int:
        """Gate and epoch in one word."""
        return self._u64[_U64_PERMIT]

    @property
    def start_permit(self) -> int:
        """The permit without which a payload taken now must not be started: this epoch, the gate open."""
        return self._u32[_U32_EPOCH] << 32

    @property
    def tick(self) -> float:
        """When the child's main thread last had the GIL, monotonic."""
        return self._f64[_F64_TICK]

    @tick.setter
    def tick(self, instant: float) -> None:
        self._f64[_F64_TICK] = instant

    @property
    def phase(self) -> Phase:
        """How far the child is."""
        return Phase(self._u8[_U8_PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._u8[_U8_PHASE] = phase

    @property
    def is_answered(self) -> bool:
        """Whether nothing that the child has sent to Redis is under way, and nothing more will be sent."""
        return bool(self._u8[_U8_ANSWERED])

    @is_answered.setter
    def is_answered(self, is_answered: bool) -> None:
        self._u8[_U8_ANSWERED] = is_answered

    @property
    def generation(self) -> int:
        """Counts the nonces of this child, from 1; 0 before it has one."""
        return self._u32[_U32_GENERATION]

    @property
    def nonce(self) -> str:
        """The last part of the child's identity."""
        return bytes(self._u8[_NONCE : _NONCE + _NONCE_BYTES]).decode("ascii")

    def renew_nonce(self, nonce: str) -> None:
        """Set a new nonce, and only then count it."""
        self._u8[_NONCE : _NONCE + _NONCE_BYTES] = nonce.encode("ascii")
        self._u32[_U32_GENERATION] += 1

    @property
    def settled(self) -> int:
        """How many jobs the child is through with."""
        return self._u32[_U32_SETTLED]

    def count_settled(self, number: int) -> None:
        """Count more of them."""
        self._u32[_U32_SETTLED] = (self._u32[_U32_SETTLED] + number) & 0xFFFFFFFF

    @property
    def waits(self) -> list[int]:
        """The client ids of the child's waiting connections."""
        return [client for client in self._u64[self._waits] if client]

    def note_wait(self, number: int, client_id: int) -> None:
        """Note the client id of a waiting connection."""
        self._u64[self._waits.start + number] = client_id

    def note_thread(self, number: int, ident: int) -> None:
        """Note the identifier under which a thread stands in stack dumps."""
        self._u64[self._idents + number] = ident

    def ident(self, number: int) -> int:
        """Return what ``note_thread`` noted."""
        return self._u64[self._idents + number]

    def put(self, entry: int, queue: int, payload: bytes) -> None:
        """Fill a free entry; its state is set last."""
        offset = self._records + entry * _RECORD_BYTES
        length = len(payload)
        self._u32[offset // 4] = (self._u32[offset // 4] + 1) & 0xFFFFFFFF
        self._u16[offset // 2 + 3] = queue
        self._u32[offset // 4 + 2] = length
        start = offset + _RECORD.size
        if length > INLINE_BYTES:
            self._u8[start - 20 : start] = key(payload)
            payload = payload[:INLINE_BYTES]
        self._u8[start : start + len(payload)] = payload
        self._states[entry] = _TAKEN

    def start(self, entry: int, thread: int, now: float) -> int:
        """Mark an entry as started and return the permit, read after that."""
        offset = self._records + entry * _RECORD_BYTES
        self._u16[offset // 2 + 2] = thread
        self._f64[offset // 8 + 2] = now
        self._states[entry] = _STARTED
        return self._u64[_U64_PERMIT]

    def set_state(self, entry: int, state: int) -> None:
        """Move an entry on."""
        self._states[entry] = state

    # Read by all.

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return bytes(self._states).count(State.STARTED)

    @property
    def in_hand(self) -> int:
        """How many payloads the child has taken and not settled."""
        return self.entries - bytes(self._states).count(State.FREE)

    def records(self, *states: State) -> list[Record]:
        """Return the entries in one of these states."""
        found = (self._read(entry) for entry, state in enumerate(bytes(self._states)) if state in states)
        return [record for record in found if record and record.state in states]

    def _read(self, entry: int) -> Record | None:
        """Copy an entry; None if it changed meanwhile."""
        offset = self._records + entry * _RECORD_BYTES
        raw = bytes(self._u8[offset : offset + _RECORD_BYTES])
        state = State(self._states[entry])
        sequence, thread, queue, length, started_at, sha1 = _RECORD.unpack_from(raw)
        if self._u32[offset // 4] != sequence:
            return None
        head = raw[_RECORD.size : _RECORD.size + min(length, INLINE_BYTES)]
        # what `put` and `start` have not written yet is of the payload before
        sha1 = b"" if length <= INLINE_BYTES else sha1
        if state is State.TAKEN:
            thread, started_at = 0, 0.0
        return Record(state, thread, queue, started_at, head, length, sha1)
