"""The board: what one process writes, every other reads, torn or whole."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from forkworker.unix import board as boards
from forkworker.unix.board import INLINE_BYTES, Board, Gate, Phase, Record, State, key

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

THREADS, WAITS, ENTRIES = 3, 5, 70


@pytest.fixture
def descriptor() -> Iterator[int]:
    number = boards.create(threads=THREADS, waits=WAITS, entries=ENTRIES)
    yield number
    os.close(number)


@pytest.fixture
def board(descriptor: int) -> Iterator[Board]:
    """The child's view."""
    view = Board(descriptor)
    yield view
    view.close()


@pytest.fixture
def reader(descriptor: int) -> Iterator[Board]:
    """The keeper's view of the same memory."""
    view = Board(descriptor)
    yield view
    view.close()


# Fields


def test_a_new_board_is_empty(board: Board) -> None:
    assert (board.gate, board.phase, board.epoch, board.permit) == (Gate.RUN, Phase.BOOTING, 0, 0)
    assert (board.deadline, board.lease_until, board.tick) == (0.0, 0.0, 0.0)
    assert (board.generation, board.fenced, board.waits) == (0, 0, [])
    assert (board.entries, board.busy, board.in_hand) == (ENTRIES, 0, 0)
    assert board.records(State.TAKEN, State.STARTED, State.ENDED) == []


def test_every_field_has_a_place_of_its_own_and_the_other_side_sees_it(board: Board, reader: Board) -> None:
    board.gate = Gate.QUIET
    board.phase = Phase.READY
    board.epoch = 0xFFFFFFFF
    board.deadline, board.lease_until, board.tick = 1.5, 2.5, 3.5
    board.fenced = 7
    board.renew_nonce("0123456789ab")
    for number in range(WAITS):
        board.note_wait(number, 2**63 + number)
    board.close_queues([True] * WAITS)
    for number in range(THREADS):
        board.note_thread(number, 2**47 + number)
    for entry in range(ENTRIES):
        board.put(entry, 65_535, bytes([entry]) * INLINE_BYTES)
        board.start(entry, entry, 100.5 + entry)

    assert (reader.gate, reader.phase, reader.epoch) == (Gate.QUIET, Phase.READY, 0xFFFFFFFF)
    assert (reader.deadline, reader.lease_until, reader.tick) == (1.5, 2.5, 3.5)
    assert (reader.fenced, reader.generation, reader.nonce) == (7, 1, "0123456789ab")
    assert reader.waits == [2**63 + number for number in range(WAITS)]
    assert (reader.closings, reader.closed) == (1, [True] * WAITS)
    assert [reader.ident(number) for number in range(THREADS)] == [2**47, 2**47 + 1, 2**47 + 2]
    assert [(r.thread, r.queue, r.started_at, r.head) for r in reader.records(State.STARTED)] == [
        (entry, 65_535, 100.5 + entry, bytes([entry]) * INLINE_BYTES) for entry in range(ENTRIES)
    ]


@pytest.mark.parametrize("threads", [1, 7, 8, 1000])
@pytest.mark.parametrize("waits", [1, 2, 300])
@pytest.mark.parametrize("entries", [1, 63, 64, 65, 2100])
def test_a_board_of_any_size_has_room_for_its_last_entry(threads: int, waits: int, entries: int) -> None:
    descriptor = boards.create(threads=threads, waits=waits, entries=entries)
    view = Board(descriptor)
    try:
        view.note_thread(threads - 1, 2**64 - 1)
        view.note_wait(waits - 1, 2**64 - 2)
        view.put(entries - 1, 3, b"x" * 5000)
        view.start(entries - 1, threads - 1, 9.5)

        assert view.ident(threads - 1) == 2**64 - 1
        assert view.waits == [2**64 - 2]
        assert [(r.thread, r.queue, r.length) for r in view.records(State.STARTED)] == [(threads - 1, 3, 5000)]
        assert view.in_hand == 1
    finally:
        view.close()
        os.close(descriptor)


@pytest.mark.parametrize("content", [bytes(4096), b"DBWF" + b"\xff" * 4092], ids=["zeros", "other version"])
def test_memory_that_is_no_board_is_refused(content: bytes) -> None:
    descriptor = os.memfd_create("no-board")
    os.write(descriptor, content)
    try:
        with pytest.raises(ValueError, match="no board"):
            Board(descriptor)
    finally:
        os.close(descriptor)


def test_a_nonce_is_counted_each_time(board: Board) -> None:
    board.renew_nonce("0" * 12)
    board.renew_nonce("f" * 12)

    assert (board.generation, board.nonce) == (2, "f" * 12)


def test_only_waiting_connections_are_told(board: Board) -> None:
    board.note_wait(0, 11)
    board.note_wait(WAITS - 1, 12)
    board.note_wait(0, 0)

    assert board.waits == [12]


def test_closed_queues_are_counted_when_they_change(board: Board, reader: Board) -> None:
    first = [number == 0 for number in range(WAITS)]

    assert reader.closed == [False] * WAITS
    assert not board.close_queues([False] * WAITS)
    assert board.close_queues(first)
    assert not board.close_queues(first)
    assert (reader.closings, reader.closed) == (1, first)
    assert board.close_queues([False] * WAITS)
    assert (reader.closings, reader.closed) == (2, [False] * WAITS)


def test_a_board_does_not_own_its_descriptor(descriptor: int) -> None:
    Board(descriptor).close()

    os.fstat(descriptor)


# Permits


@pytest.mark.parametrize(
    ("gate", "epoch", "may_start"),
    [
        (Gate.RUN, 0, True),
        (Gate.QUIET, 0, False),
        (Gate.STOP, 0, False),
        (Gate.RUN, 1, False),
        (Gate.RUN, 2, False),
    ],
    ids=["open", "quiet", "stop", "moving away", "moved away"],
)
def test_gate_and_epoch_are_one_word(board: Board, gate: Gate, epoch: int, may_start: bool) -> None:
    taken_under = board.start_permit

    board.gate, board.epoch = gate, epoch

    assert (board.permit == taken_under) is may_start
    assert (board.start_permit == board.permit) is (gate == Gate.RUN)


def test_the_epoch_wraps(board: Board) -> None:
    board.epoch = 2**32

    assert board.epoch == 0


# Entries


def test_an_entry_goes_from_free_to_taken_to_started_to_ended_to_free(board: Board, reader: Board) -> None:
    seen: list[tuple[int, int, list[State]]] = []

    def look() -> None:
        states = [record.state for record in reader.records(*State)]
        seen.append((reader.in_hand, reader.busy, [state for state in states if state != State.FREE]))

    look()
    board.put(4, 0, b"x")
    look()
    board.start(4, 2, 1.0)
    look()
    board.set_state(4, State.ENDED)
    look()
    board.set_state(4, State.FREE)
    look()

    assert seen == [
        (0, 0, []),
        (1, 0, [State.TAKEN]),
        (1, 1, [State.STARTED]),
        (1, 0, [State.ENDED]),
        (0, 0, []),
    ]


def test_records_are_those_in_the_states_asked_for(board: Board) -> None:
    for entry, payload in enumerate([b"a", b"b", b"c"]):
        board.put(entry, 0, payload)
    board.start(1, 0, 1.0)
    board.set_state(2, State.ENDED)

    assert [r.head for r in board.records(State.TAKEN)] == [b"a"]
    assert [r.head for r in board.records(State.STARTED, State.ENDED)] == [b"b", b"c"]
    assert board.records() == []


def test_an_entry_used_again_shows_nothing_of_the_last_one(board: Board) -> None:
    board.put(0, 7, b"long payload " * 500)
    board.start(0, 2, 99.5)
    board.set_state(0, State.FREE)

    board.put(0, 1, b"short")

    assert board.records(State.TAKEN) == [
        Record(State.TAKEN, thread=0, queue=1, started_at=0.0, head=b"short", length=5, sha1=b"")
    ]


# Payloads


@pytest.mark.parametrize(
    ("length", "whole"),
    [(0, True), (1, True), (INLINE_BYTES, True), (INLINE_BYTES + 1, False), (100_000, False)],
)
def test_a_record_describes_its_payload_and_no_other(board: Board, length: int, whole: bool) -> None:
    payload = os.urandom(length)
    board.put(0, 0, payload)

    (record,) = board.records(State.TAKEN)

    assert record.is_whole is whole
    assert record.head == payload[:INLINE_BYTES]
    assert record.length == length
    assert record.key == key(payload)
    assert record.key != key(payload + b"x")
    assert record.key != key(payload[:-1] + b"") or length == 0
    if length:
        assert record.key != key(payload[:-1] + bytes([payload[-1] ^ 1]))


def test_a_long_payload_is_known_by_its_digest(board: Board) -> None:
    payload = b"x" * 5000
    board.put(0, 0, payload)

    (record,) = board.records(State.TAKEN)

    assert record.sha1 == hashlib.sha1(payload).digest()


# Torn reads


class Meddler:
    """Stands in for the layout of a record, and writes into the board while it is read."""

    def __init__(self, writer: Board, entry: int, payload: bytes) -> None:
        self._real: Any = boards._RECORD
        self.size = self._real.size
        self._write: Any = lambda: writer.put(entry, 0, payload)
        self._armed = True

    def pack_into(self, *args: Any) -> None:
        self._real.pack_into(*args)

    def unpack_from(self, raw: bytes) -> Any:
        if self._armed:
            self._armed = False
            self._write()
        return self._real.unpack_from(raw)


def test_an_entry_that_changes_while_it_is_read_is_left_out(
    board: Board, reader: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.put(0, 0, b"old")
    board.put(1, 0, b"other")
    monkeypatch.setattr(boards, "_RECORD", Meddler(board, 0, b"new"))

    assert [r.head for r in reader.records(State.TAKEN)] == [b"other"]
    assert [r.head for r in reader.records(State.TAKEN)] == [b"new", b"other"]


def test_an_entry_that_moved_on_while_it_was_read_is_told_by_its_new_state(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.put(0, 0, b"x")
    read = Board._read

    def started_meanwhile(self: Board, entry: int) -> Record | None:
        board.start(entry, 1, 5.5)
        return read(self, entry)

    monkeypatch.setattr(Board, "_read", started_meanwhile)

    assert board.records(State.TAKEN) == []
    assert [r.thread for r in board.records(State.TAKEN, State.STARTED)] == [1]
