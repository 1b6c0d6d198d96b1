"""Doing something again and again, on a terminal in the same place, until Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from typing import TYPE_CHECKING

from forkworker import clock

if TYPE_CHECKING:
    from collections.abc import Callable

_HOME, _TO_THE_END = "\x1b[H", "\x1b[J"


def repeat(show: Callable[[int | None], int], seconds: float) -> int:
    """Call what prints a report, every so many seconds; return what it returned last.

    It is told how many lines there is room for, None if that does not matter.
    """
    code = 0
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            code = _redraw(show) if sys.stdout.isatty() else show(None)
            sys.stdout.flush()
            clock.sleep(seconds)
    return code


def _redraw(show: Callable[[int | None], int]) -> int:
    """Write over the last report, a line at a time, so that nothing flickers; what does not fit is cut off."""
    report, rows = _Terminal(), max(1, shutil.get_terminal_size().lines - 1)
    with contextlib.redirect_stdout(report):
        code = show(rows)
    lines = report.getvalue().splitlines()[:rows]
    print(_HOME + "".join(f"{line}\x1b[K\n" for line in lines) + _TO_THE_END, end="")
    return code


class _Terminal(io.StringIO):
    """Collects what is meant for a terminal, colours and all."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        """Be as wide as the real one."""
        return sys.__stdout__.fileno() if sys.__stdout__ else super().fileno()
