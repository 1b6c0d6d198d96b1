"""The crew: what has to be started is started, now or later."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from forkworker.clock import SystemClock
from forkworker.settings import Settings
from forkworker.supervisor import crew as crews
from forkworker.supervisor.crew import Crew

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit


class Times(SystemClock):
    """A clock that stands still until it is moved."""

    now_is = 100.0

    def monotonic(self) -> float:
        return self.now_is


def failing(times: int, calls: list[float], clock: Times) -> Callable[[], None]:
    def start() -> None:
        calls.append(clock.monotonic())
        if len(calls) <= times:
            raise BlockingIOError(errno.EAGAIN, "no more processes")

    return start


def test_what_cannot_be_started_now_is_started_later(caplog: pytest.LogCaptureFixture) -> None:
    """Incident: a helper had to be replaced when no process could be forked, and the master ended."""
    clock, calls = Times(), list[float]()
    crew = Crew(Settings(), clock)
    crew.start_later(failing(2, calls, clock), 0.0)
    for _ in range(5):
        crew.start_due()
        clock.now_is += crews.NO_RESOURCES_PAUSE_SECONDS

    assert calls == [100.0, 101.0, 102.0]
    assert caplog.messages == ["a process cannot be started now: no more processes; trying again"] * 2
