"""What the quickstart shows while it works: one line redrawn on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from typing import TextIO

WIDTH = 40
#: without a terminal, a line at each of these
PLAIN_PERCENT = (0, 25, 50, 75, 100)

_ERASE = "\r\033[K"


def bar(done: int, total: int) -> str:
    """Draw a bar for ``done`` of ``total``."""
    filled = WIDTH * done // max(total, 1)
    return f"[{'#' * filled}{'.' * (WIDTH - filled)}] {percent(done, total):3d}%  {done} of {total} jobs"


def percent(done: int, total: int) -> int:
    """Return how much is done, rounded down."""
    return 100 * done // max(total, 1)


class Progress:
    """One line that grows, and others that are said above it; without a terminal, plain lines in order."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redraws = stream.isatty()
        self._shown = -1
        self._line = ""

    def show(self, done: int, total: int) -> None:
        """Show that so many are done, where that is worth a line."""
        if self._redraws:
            self._draw(bar(done, total))
            return
        reached = max(step for step in PLAIN_PERCENT if step <= percent(done, total))
        if reached > self._shown:
            self._shown = reached
            self._write(bar(done, total) + "\n")

    def say(self, line: str) -> None:
        """Print a line of its own; the bar goes on below it."""
        drawn, self._line = self._line, ""
        self._write((_ERASE if drawn else "") + line + "\n")
        if drawn:
            self._draw(drawn)

    def end(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._line:
            self._line = ""
            self._write("\n")

    def _draw(self, line: str) -> None:
        if line != self._line:
            self._line = line
            self._write(_ERASE + line)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
