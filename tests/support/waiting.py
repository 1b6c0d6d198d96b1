"""Waiting for facts instead of for time, and measuring how far this machine let us look.

Runs in the test process.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

POLL_SECONDS = 0.02

Value = TypeVar("Value")


def wait_until(
    predicate: Callable[[], Value],
    seconds: float,
    what: str = "",
    explain: Callable[[], str] = str,
    poll: float = POLL_SECONDS,
) -> Value:
    """Return the predicate's first true value; fail, with an explanation, when it has none in time."""
    deadline = time.monotonic() + seconds
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or predicate}\n{explain()}")
        time.sleep(poll)
    return value


@dataclass(frozen=True)
class Sample(Generic[Value]):
    """What was seen; it was so at some instant from ``before`` to ``after``."""

    before: float
    after: float
    value: Value


class Watch(Generic[Value]):
    """A thread that looks at something all the time, for as long as the ``with`` block lasts.

    ``stall`` is the longest time in which it did not get to look: a bound in milliseconds can only be
    judged as finely as that, so tests add it to what they allow.
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
                self.samples.append(Sample(before, time.monotonic(), value))
        except BaseException as error:  # noqa: BLE001 - handed to the test, which is another thread
            self.error = error

    def since(self, instant: float) -> list[Sample[Value]]:
        """Return what was seen after this instant of the monotonic clock."""
        return [sample for sample in self.samples if sample.before >= instant]

    def stall(self, start: float, end: float) -> float:
        """Return the longest gap between two looks from ``start`` to ``end``, in seconds."""
        times = [start, *(s.after for s in self.samples if start <= s.after <= end), end]
        return max(later - earlier for earlier, later in itertools.pairwise(times))
