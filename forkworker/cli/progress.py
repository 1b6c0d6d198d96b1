"""Long work: shows how far it is, on a terminal only, and ends in order at Ctrl-C."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from forkworker.clock import SystemClock

if TYPE_CHECKING:
    from types import FrameType

_AFTER_SECONDS, _EVERY_SECONDS = 0.5, 0.1
_CLEAR = "\r\x1b[K"


class Interrupted(Exception):
    """Ctrl-C was pressed."""


class Progress:
    """A context in which Ctrl-C is noted, and obeyed when the next piece of the work is done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._clock = SystemClock()
        self._show_at = 0.0
        self._has_shown = False
        self._is_over = False
        self._before: Any = None

    def __enter__(self) -> Progress:
        self._show_at = self._clock.monotonic() + _AFTER_SECONDS
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if self._has_shown:
            print(_CLEAR, end="", file=sys.stderr, flush=True)

    def watch(self, looked: int, total: int, matched: int) -> None:
        """Show how far it is; raises Interrupted."""
        now = self._clock.monotonic()
        if sys.stderr.isatty() and now >= self._show_at:
            self._show_at, self._has_shown = now + _EVERY_SECONDS, True
            line = f"{_CLEAR}{self._what}: {matched:,} of {looked:,} looked at, of {total:,}"
            print(line, end="", file=sys.stderr, flush=True)
        if self._is_over:
            raise Interrupted

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_over:  # Redis may not answer: the second one does not wait
            raise KeyboardInterrupt
        self._is_over = True
