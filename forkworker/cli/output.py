"""What the commands print.

Names, arguments and errors come from jobs and from other processes: nothing in them may steer a terminal.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from forkworker.config import wants_colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH = 80
_KEPT = frozenset("\n\t")
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "yellow": "33"}


def printable(text: str) -> str:
    r"""Return the text with all that is invisible or steers a terminal escaped, as in ``\x1b`` and ``\u202e``."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if text.isascii():
        return text
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # a terminal may not have every letter
    return text.encode(encoding, "backslashreplace").decode(encoding)


def printable_lines(text: str) -> str:
    """Do the same to a text of several lines, such as a traceback."""
    return "".join(c if c in _KEPT else printable(c) for c in text)


def width() -> int:
    """Return how many columns there are: those of the terminal, at least 80, and 80 where there is none."""
    try:
        return max(WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        return WIDTH


def columns(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # a megabyte that no daemon needs

    wide = sum(unicodedata.east_asian_width(c) in ("W", "F") for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def fit(text: str, width: int) -> str:
    """Return one printable line that is no wider than ``width``."""
    line = printable(text[: 4 * width])  # what follows cannot be seen, and may be megabytes
    if columns(line) <= width and len(text) <= 4 * width:
        return line
    while columns(line) > max(width - 3, 0):
        line = line[:-1]
    return line + "..."


def cell(text: str, width: int) -> str:
    """Return a line of just this width."""
    line = fit(text, width)
    return line + " " * (width - columns(line))


def as_json(value: Any) -> str:
    """Return JSON that is safe on a terminal: json leaves only DEL as it is."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def duration(seconds: float) -> str:
    """Return a duration in at most seven characters."""
    for limit, size, unit in ((60, 1, "s"), (6000, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0.0) / size:.{1 if unit == 's' else 0}f} {unit}"
    return f"{seconds / 86400:.0f} d"


def jobs(count: int | None) -> str:
    """Return so many jobs in words."""
    return "1 job" if count == 1 else f"{count or 0:,} jobs"


def painted(text: str, colour: str) -> str:
    """Return a text in a colour: bold, dim, red, yellow; on a terminal only."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if sys.stdout.isatty() and wants_colours() else text


def paragraph(text: str, indent: str = "") -> Iterator[str]:
    """Return a printable text in lines as wide as the terminal; those after the first are indented by four more."""
    from textwrap import wrap

    yield from wrap(printable(text), width(), initial_indent=indent, subsequent_indent=f"{indent}    ",
                    break_on_hyphens=False)  # fmt: skip


def is_cut_off() -> bool:
    """Whether the reader of our output has gone, as ``head`` does; what is left of it is dropped then."""
    poll, output = select.poll(), sys.stdout.fileno()
    poll.register(output, 0)
    is_cut_off = any(event & select.POLLERR for _, event in poll.poll(0))
    if is_cut_off:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return is_cut_off


def say(line: str) -> None:
    """Tell the user something."""
    print(f"forkworker: {printable(line)}")


def complain(lines: Iterable[str]) -> None:
    """Tell the user what is wrong, a line each."""
    for line in lines:
        print(f"forkworker: {printable(line)}", file=sys.stderr)
