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


def repeat(show: Callable[[], int], seconds: float) -> int:
    """Call what prints a report, every so many seconds; return what it returned last."""
    code = 0
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            code = _redraw(show) if sys.stdout.isatty() else show()
            sys.stdout.flush()
            clock.sleep(seconds)
    return code


def _redraw(show: Callable[[], int]) -> int:
    """Write over the last report, a line at a time, so that nothing flickers; what does not fit is cut off."""
    report = _Terminal()
    with contextlib.redirect_stdout(report):
        code = show()
    lines = report.getvalue().splitlines()[: max(1, shutil.get_terminal_size().lines - 1)]
    print(_HOME + "".join(f"{line}\x1b[K\n" for line in lines) + _TO_THE_END, end="")
    return code


class _Terminal(io.StringIO):
    """Collects what is meant for a terminal, colours and all."""

    def isatty(self) -> bool:
        return True
