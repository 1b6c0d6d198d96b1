"""What a child has in hand: who claims a unit decides on it, and nothing starts without a permit."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from forkworker.runtime.hand import Hand, Unit
from forkworker.unix import board as boards
from forkworker.unix.board import Board, Gate, State

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

ENTRIES = 4


class FakeClock:
    def __init__(self) -> None:
        self.instant = 100.0

    def now(self) -> float:
        return 1_764_000_000.5

    def monotonic(self) -> float:
        return self.instant


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = boards.create(threads=2, waits=2, entries=ENTRIES)
    view = Board(descriptor)
    view.lease_until = 160.0
    yield view
    view.close()
    os.close(descriptor)


@pytest.fixture
def hand(board: Board, clock: FakeClock) -> Hand:
    return Hand(board, ("high", "low"), clock)


def take(hand: Hand, board: Board, payload: bytes = b"x", queue: str = "low") -> Unit:
    hand.take([payload], queue, f"working:w:{queue}", board.start_permit)
    return hand.unstarted[-1]


def states(board: Board) -> list[State]:
    return sorted(record.state for record in board.records(State.TAKEN, State.STARTED, State.ENDED))


def test_what_is_taken_stands_on_the_board_and_is_offered(hand: Hand, board: Board) -> None:
    unit = take(hand, board, b"payload", "low")

    (record,) = board.records(State.TAKEN)
    assert (record.head, record.queue) == (b"payload", 1)
    assert (unit.payload, unit.queue, unit.working, unit.taken_at) == (
        b"payload",
        "low",
        "working:w:low",
        100.0,
    )
    assert hand.ready.get_nowait() is unit
    assert list(hand.units.values()) == [unit]
    assert hand.room == ENTRIES - 1


def test_units_are_offered_in_the_order_in_which_they_were_taken(hand: Hand, board: Board) -> None:
    units = [take(hand, board, bytes([n])) for n in range(ENTRIES)]

    assert hand.unstarted == units
    assert [hand.ready.get_nowait() for _ in units] == units
    assert hand.room == 0


def test_an_entry_is_free_again_once_its_unit_is_forgotten(hand: Hand, board: Board) -> None:
    for round_number in range(3 * ENTRIES):
        unit = take(hand, board, bytes([round_number]))
        hand.claim(unit)
        hand.forget(unit)

    assert (hand.room, hand.units, hand.unstarted) == (ENTRIES, {}, [])
    assert board.in_hand == 0


def test_a_unit_is_claimed_once(hand: Hand, board: Board) -> None:
    unit = take(hand, board)

    assert hand.claim(unit) is True
    assert hand.claim(unit) is False
    assert hand.unstarted == []
    assert states(board) == [State.TAKEN]


def test_of_two_sides_that_claim_at_once_one_gets_each_unit(clock: FakeClock) -> None:
    count = 2000
    descriptor = boards.create(threads=2, waits=1, entries=count)
    board = Board(descriptor)
    hand = Hand(board, ("q",), clock)
    units = []
    for _ in range(count):
        hand.take([b"x"], "q", "w", 0)
    units = hand.unstarted
    claimed: list[list[Unit]] = [[], []]
    begin = threading.Barrier(2)

    def claim(side: int) -> None:
        begin.wait(5)
        # from both ends, so that they meet
        for unit in units if side else reversed(units):
            if hand.claim(unit):
                claimed[side].append(unit)

    threads = [threading.Thread(target=claim, args=[side]) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    board.close()
    os.close(descriptor)

    assert sorted(unit.entry for side in claimed for unit in side) == list(range(count))
    assert hand.unstarted == []


def test_a_started_unit_stands_on_the_board_with_its_thread_and_time(hand: Hand, board: Board) -> None:
    unit = take(hand, board)
    hand.claim(unit)

    assert hand.start(unit, 1, 1_764_000_000.5) is True

    (record,) = board.records(State.STARTED)
    assert (record.thread, record.started_at) == (1, 1_764_000_000.5)


@pytest.mark.parametrize(
    ("gate", "epoch", "lease_until", "starts"),
    [
        (Gate.RUN, 0, 160.0, True),
        (Gate.QUIET, 0, 160.0, False),
        (Gate.STOP, 0, 160.0, False),
        (Gate.RUN, 1, 160.0, False),
        (Gate.RUN, 2, 160.0, False),
        (Gate.RUN, 0, 100.0, False),
        (Gate.RUN, 0, 0.0, False),
        (Gate.QUIET, 1, 0.0, False),
    ],
    ids=[
        *("allowed", "quiet", "stopping", "being moved away", "moved away"),
        *("lease just over", "no lease", "nothing allows it"),
    ],
)
def test_gate_epoch_and_lease_decide_whether_a_claimed_unit_starts(
    hand: Hand, board: Board, gate: Gate, epoch: int, lease_until: float, starts: bool
) -> None:
    unit = take(hand, board)
    hand.claim(unit)
    board.gate, board.epoch, board.lease_until = gate, epoch, lease_until

    assert hand.start(unit, 0, 1.0) is starts

    assert states(board) == [State.STARTED if starts else State.TAKEN]


def test_a_unit_taken_while_the_gate_was_shut_starts_once_it_is_open(hand: Hand, board: Board) -> None:
    board.gate = Gate.QUIET
    unit = take(hand, board)
    hand.claim(unit)
    board.gate = Gate.RUN

    assert hand.start(unit, 0, 1.0) is True


def test_a_unit_taken_after_others_were_moved_away_starts(hand: Hand, board: Board) -> None:
    board.epoch = 2
    unit = take(hand, board)
    hand.claim(unit)

    assert hand.start(unit, 0, 1.0) is True


def test_an_ended_unit_stays_in_hand_until_it_is_settled(hand: Hand, board: Board) -> None:
    unit = take(hand, board)
    hand.claim(unit)
    hand.start(unit, 0, 1.0)

    hand.end(unit)

    assert states(board) == [State.ENDED]
    assert (board.busy, board.in_hand, hand.room) == (0, 1, ENTRIES - 1)


def test_the_mark_is_set_before_the_permit_is_read(hand: Hand, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the keeper sees the mark, or the thread sees the new epoch: never neither."""
    unit = take(hand, board)
    hand.claim(unit)
    seen: list[list[State]] = []
    start = Board.start

    def keeper_comes_right_after(self: Board, entry: int, thread: int, now: float) -> int:
        permit = start(self, entry, thread, now)
        board.epoch += 1
        seen.append(states(board))
        return permit

    monkeypatch.setattr(Board, "start", keeper_comes_right_after)

    assert hand.start(unit, 0, 1.0) is True
    assert seen == [[State.STARTED]]
