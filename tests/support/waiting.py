"""Waiting for facts instead of for time, and measuring how far this machine let us look.

Runs in the test process.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

POLL_SECONDS = 0.02
#: how long, since its boot, something on this machine has waited for a processor
PRESSURE = Path("/proc/pressure/cpu")
#: so much of that time is not counted: the rest bounds what a test may take on the busiest machine, to four times
FORGIVEN = 0.75

Value = TypeVar("Value")


def pressed_seconds() -> float:
    """Return how long something has waited for a processor; 0 where the kernel does not tell."""
    try:
        return int(PRESSURE.read_text().split("total=")[1].split()[0]) / 1e6
    except OSError:
        return 0.0


class Pace:
    """How far this machine, which is busy with other things, let its processes run since the pace was taken."""

    def __init__(self) -> None:
        self._pressed = pressed_seconds()

    def stretch(self, seconds: float) -> float:
        """Return how long by the clock that may take for which a free machine would have so many seconds."""
        return seconds + FORGIVEN * (pressed_seconds() - self._pressed)


def wait_until(
    predicate: Callable[[], Value],
    seconds: float,
    what: str = "",
    explain: Callable[[], str] = str,
    poll: float = POLL_SECONDS,
) -> Value:
    """Return the predicate's first true value; fail, with an explanation, when it has none in time.

    On a busy machine the time is longer.
    """
    began, pace = time.monotonic(), Pace()
    while not (value := predicate()):
        took = time.monotonic() - began
        if took > seconds and took > pace.stretch(seconds):
            raise AssertionError(f"not within {seconds:g} s (in {took:.1f} s): {what or predicate}\n{explain()}")
        time.sleep(poll)
    return value


@dataclass(frozen=True)
class Sample(Generic[Value]):
    """What was seen; it was so at some instant from ``before`` to ``after``."""

    before: float
    after: float
    value: Value
    #: until ``after``
    pressed: float


class Watch(Generic[Value]):
    """A thread that looks at something all the time, for as long as the ``with`` block lasts.

    ``stall`` is the longest time in which it did not get to look, and what the machine's other work may have cost
    those we look at: a bound in milliseconds can only be judged as finely as that, so tests add it to what they allow.
    """

    def __init__(self, look: Callable[[], Value], every: float = 0.002) -> None:
        self.samples: list[Sample[Value]] = []
        self.error: BaseException | None = None
        self._look = look
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every):
                before = time.monotonic()
                value = self._look()
                self.samples.append(Sample(before, time.monotonic(), value, pressed_seconds()))
        except BaseException as error:  # noqa: BLE001 - handed to the test, which is another thread
            self.error = error

    def since(self, instant: float) -> list[Sample[Value]]:
        """Return what was seen after this instant of the monotonic clock."""
        return [sample for sample in self.samples if sample.before >= instant]

    def stall(self, start: float, end: float) -> float:
        """Return the longest gap between two looks from ``start`` to ``end``, and what is forgiven, in seconds."""
        seen = [sample for sample in self.samples if start <= sample.after <= end]
        times = [start, *(sample.after for sample in seen), end]
        forgiven = FORGIVEN * (seen[-1].pressed - seen[0].pressed) if seen else 0.0
        return max(later - earlier for earlier, later in itertools.pairwise(times)) + forgiven
