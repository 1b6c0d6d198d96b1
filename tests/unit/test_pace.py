"""How much is read ahead: what will be started within a few milliseconds."""

from __future__ import annotations

import pytest

from forkworker.runtime.pace import AHEAD_SECONDS, MOST_AHEAD, Pace

pytestmark = pytest.mark.unit


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def ahead_at(per_second: float, batches: int = 50) -> int:
    clock = FakeClock()
    pace = Pace(clock)
    for _ in range(batches):
        clock.seconds += 0.01
        pace.note(int(per_second / 100))
    return pace.ahead


def test_nothing_is_read_ahead_before_a_job_has_ended() -> None:
    assert Pace(FakeClock()).ahead == 0


@pytest.mark.parametrize("per_second", [0, 100, 1000, 20_000])
def test_what_is_read_ahead_is_started_within_a_few_milliseconds(per_second: float) -> None:
    assert ahead_at(per_second) == pytest.approx(per_second * AHEAD_SECONDS, abs=1)
    assert AHEAD_SECONDS < 0.01


def test_it_has_a_limit() -> None:
    assert ahead_at(10_000_000) == MOST_AHEAD


def test_a_pause_slows_it_down() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    for _ in range(50):
        clock.seconds += 0.01
        pace.note(200)
    before = pace.ahead
    clock.seconds += 5
    pace.note(1)

    assert pace.ahead < before


def test_what_was_not_started_in_time_ends_it() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    for _ in range(5):
        clock.seconds += 0.01
        pace.note(1000)
    assert pace.ahead

    pace.forget()

    assert pace.ahead == 0
