"""What may travel as JSON to every reader, and where in a value that is not so.  Pure; used where jobs are pushed.

Stricter than Python's own json, which writes NaN, turns the keys of dicts into strings without a word,
and nests as deep as the stack allows.
"""

from __future__ import annotations

import math
from typing import Any

from forkworker.wire import payload

#: the payload and its list of arguments are two
MOST_DEPTH = payload.MOST_NESTING - 2
#: Python refuses to read more than 4300 digits
_MOST_BITS = 14_000

_ADVICE = {
    "bytes": "send text, such as base64",
    "bytearray": "send text, such as base64",
    "set": "send a sorted list",
    "frozenset": "send a sorted list",
    "datetime": "send isoformat() or a timestamp",
    "date": "send isoformat()",
    "Decimal": "send str()",
    "UUID": "send str()",
    "Path": "send str()",
    "PosixPath": "send str()",
}


def is_fit(value: Any) -> bool:
    """Whether a value may travel; what ``refuse_misfit`` says of one that may not takes longer to find."""
    return _misfit(value, MOST_DEPTH) is None


def refuse_misfit(value: Any, name: str) -> None:
    """Raise TypeError, which names the place, for a value that JSON cannot carry to every reader."""
    found = _misfit(value, MOST_DEPTH)
    if found:
        place, why = found
        raise TypeError(f"{name} cannot travel as JSON: {_cut(place, 100)}{': ' if place else ''}{why}")


def _misfit(value: Any, depth: int) -> tuple[str, str] | None:
    """Return where in a value is what cannot travel, and why it cannot; None if all can."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if _is_text(value) else ("", f"half of a surrogate pair in {_shown(value)}")
    if isinstance(value, int):
        return None if value.bit_length() <= _MOST_BITS else ("", "a number of more than 4200 digits")
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", f"{float(value)} is no JSON")
    if isinstance(value, list | tuple | dict):
        return _misfit_within(value, depth) if depth else ("", f"nested more than {MOST_DEPTH} deep, or in a circle")
    return "", _foreign(value)


def _misfit_within(value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> tuple[str, str] | None:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found = _misfit(item, depth - 1)
        if isinstance(value, dict) and not found:
            found = _misfit_key(key)
            if found:
                return found
        if found:
            return f"[{_shown(key)}]{found[0]}", found[1]
    return None


def _misfit_key(key: object) -> tuple[str, str] | None:
    if not isinstance(key, str):
        return "", f"the dict key {_shown(key)} is no string"
    return None if _is_text(key) else ("", f"half of a surrogate pair in the dict key {_shown(key)}")


def _is_text(value: str) -> bool:
    """Whether a string has an encoding: Linux' file names may come with halves of surrogate pairs."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _foreign(value: object) -> str:
    name = type(value).__name__
    advice = f"; {_ADVICE[name]}" if name in _ADVICE else ""
    return f"{_shown(value)} is of the type {name}{advice}"


def _shown(value: object) -> str:
    try:
        return _cut(repr(value[:61] if isinstance(value, str | bytes | bytearray) else value), 60)
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        return "something"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
