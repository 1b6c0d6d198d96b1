"""What the commands print.

Names and tags come from jobs and from other processes: nothing in them may steer a terminal.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH = 80
_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    r"""Return the text with every control character escaped, as in ``\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """Do the same to a text of several lines, such as a traceback."""
    return "".join(c if c in _KEPT else printable(c) for c in text)


def fit(text: str, width: int) -> str:
    """Return one printable line that is no longer than width."""
    line = printable(text)
    return line if len(line) <= width else line[: max(width - 3, 0)] + "..."


def as_json(value: Any) -> str:
    """Return JSON that is safe on a terminal: json leaves only DEL as it is."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def say(line: str) -> None:
    """Tell the user something."""
    print(f"forkworker: {printable(line)}")


def complain(lines: Iterable[str]) -> None:
    """Tell the user what is wrong, a line each."""
    for line in lines:
        print(f"forkworker: {printable(line)}", file=sys.stderr)
