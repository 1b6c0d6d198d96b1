"""Log lines: through Python's logging, to standard error, one line and one write for each.

Used in every process.  A control character in a message cannot begin a line of its own or steer a
terminal.  Each line names its speaker in the same way: ``child=2 pid=4711``.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = "forkworker"
#: not sys.stderr, which a job may close or replace
_STDERR = 2
_HOLD_SECONDS = 0.1
_CONTROL = {c: f"\\x{c:02x}" for c in [*range(32), *range(127, 160)]} | {10: "\\n", 9: "\\t", 13: "\\r"}
# line and paragraph separators, and what turns the direction of text
_CONTROL |= {c: f"\\u{c:04x}" for c in [0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]}
#: of a message, and of a traceback; what an app or a payload says may be longer than any log takes
_MOST_CHARACTERS = 20_000


def clean(text: str) -> str:
    """Return text with every control character made visible."""
    return text.translate(_CONTROL)


def cut(text: str) -> str:
    """Return the beginning and the end of a text that is too long."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} …{len(text) - 2 * half} characters… {text[-half:]}"


class TextFormatter(logging.Formatter):
    """``2026-11-23T22:15:03.123Z INFO child=2 pid=4711 what happened``."""

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._who = f"{speaker} pid={os.getpid()}"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is folded into it."""
        line = f"{_instant(record)} {record.levelname} {self._who} {clean(cut(record.getMessage()))}"
        if record.exc_info:
            line += " | " + clean(cut(self.formatException(record.exc_info)))
        return line


class JsonFormatter(logging.Formatter):
    """The same as one JSON object; job lines carry their fields."""

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._who = {"speaker": speaker, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {"time": _instant(record), "level": record.levelname, **self._who, "message": cut(record.getMessage())}
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = cut(self.formatException(record.exc_info))
        return json.dumps(fields)


def _instant(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


class _Writer(logging.Handler):
    """Writes each line by one system call, so that lines of several processes do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(_STDERR, (self.format(record) + "\n").encode("utf-8", "replace"))
        except OSError:
            pass  # a full disk or a closed terminal must not stop the work
        except Exception:  # noqa: BLE001 - a wrong log call is not the job's failure
            self.handleError(record)


def configure(level: str, form: str, speaker: str) -> None:
    """Send the log of this process to standard error; whatever was set before is replaced."""
    handler = _Writer()
    handler.setFormatter(JsonFormatter(speaker) if form == "json" else TextFormatter(speaker))
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def adopt_root(level: str) -> None:
    """Let the app's own log lines come out like ours, unless the app has arranged for them itself."""
    root = logging.getLogger()
    if not root.handlers:
        root.handlers[:] = logging.getLogger(ROOT).handlers
        root.setLevel(level.upper())


@contextmanager
def held() -> Iterator[None]:
    """Keep the app's threads from logging, for a fork: a line half written would be so for ever in the child.

    There logging makes all locks anew.  Where a lock is not to be had in time, a handler waits for another, say,
    nothing is worse than without.
    """
    handlers = [handler for known in logging._handlerList if (handler := known())]  # type: ignore[attr-defined]  # noqa: SLF001
    taken = [lock for handler in handlers if (lock := handler.lock) and lock.acquire(timeout=_HOLD_SECONDS)]
    try:
        yield
    finally:
        for lock in reversed(taken):
            lock.release()
