"""How an error stands in a payload: its class, its message, and a backtrace in Sidekiq's form.  Pure.

Apart from `payload.py`, as the master, which reads payloads only, need not carry what packs backtraces.
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Sidekiq cuts messages here
MOST_MESSAGE_CHARACTERS = 10_000
#: more of a backtrace is not unpacked: a few bytes can hold gigabytes
MOST_BACKTRACE_BYTES = 4 * 1024 * 1024

_NO_TAG = str.maketrans("<>&", "()+")


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return class and message of an error, in the length that Sidekiq keeps."""
    return _told(_class_name, error), _told(str, error)


def _class_name(error: BaseException) -> str:
    kind = type(error)
    # Sidekiq's Web UI prints it as it is, and a browser takes "<locals>" for a tag
    name = kind.__qualname__.replace("<locals>.", "").translate(_NO_TAG)
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _told(tell: Callable[[BaseException], str], error: BaseException) -> str:
    try:
        return _text(tell(error)[:MOST_MESSAGE_CHARACTERS])
    except BaseException as failure:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"(its message cannot be shown: {type(failure).__name__})"


def _text(characters: str) -> str:
    """Return a text that UTF-8, and so any other program, can carry: names of files may be none."""
    return characters.encode("utf-8", "replace").decode()


def pack_backtrace(lines: Sequence[str]) -> str:
    """Return lines in Sidekiq's form; escaped, as its Web UI prints them as they are."""
    escaped = [html.escape(_text(line), quote=False) for line in lines]
    return base64.b64encode(zlib.compress(json.dumps(escaped).encode())).decode()


def unpack_backtrace(text: object) -> list[str]:
    """Return the lines of ``error_backtrace``, whichever Sidekiq packed them; none if they cannot be read."""
    if isinstance(text, list):
        return [str(line) for line in text]
    if not isinstance(text, str):
        return []
    try:
        lines = json.loads(zlib.decompressobj().decompress(base64.b64decode(text), MOST_BACKTRACE_BYTES))
    except (ValueError, zlib.error, RecursionError):
        return []
    return [html.unescape(str(line)) for line in lines] if isinstance(lines, list) else []
