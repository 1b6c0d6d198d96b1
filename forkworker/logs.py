"""Log lines: through Python's logging, to standard error, one line and one write for each.

Used in every process.  A control character in a message cannot begin a line of its own or steer a
terminal.  Each line names its speaker in the same way: ``child=2 pid=4711``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import stat
import sys
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from forkworker.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = "forkworker"
#: not sys.stderr, which a job may close or replace
_STDERR = 2
_HOLD_SECONDS = 0.1
_CONTROL = {c: f"\\x{c:02x}" for c in [*range(32), *range(127, 160)]} | {10: "\\n", 9: "\\t", 13: "\\r"}
# line and paragraph separators, and what turns the direction of text
_TURNS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROL |= {c: f"\\u{c:04x}" for c in (0x2028, 0x2029, *_TURNS)}
#: of a message, and of a traceback; what an app or a payload says may be longer than any log takes
_MOST_CHARACTERS = 20_000
#: lines that are written at once, in bytes: a file takes any number of them whole, a pipe only so many
_MOST_AT_ONCE = 65536


class Teller(NamedTuple):
    """How things of one kind are told: by a message and, in a log of JSON objects, by fields beside it."""

    message: Callable[[Any], str]
    fields: Callable[[Any], dict[str, Any]]


def clean(text: str) -> str:
    """Return text with every control character made visible."""
    return text.translate(_CONTROL)


def cut(text: str) -> str:
    """Return the beginning and the end of a text that is too long."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} …{len(text) - 2 * half} characters… {text[-half:]}"


def clean_lines(text: str) -> str:
    """Do the same to a text of several lines, such as a traceback, which stay."""
    return "".join(f"{clean(line)}\n" for line in text.replace("\t", "    ").split("\n")).removesuffix("\n")


class TextFormatter(logging.Formatter):
    """``2026-11-23T22:15:03.123Z INFO child=2 pid=4711 what happened``."""

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._who = f"{speaker} pid={os.getpid()}"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is folded into it."""
        line = self._head(_instant(record.created), record.levelname) + _one_line(record.getMessage())
        if record.exc_info:
            line += " | " + clean(cut(self.formatException(record.exc_info)))
        return line

    def lines(self, instant: str, level: str, things: Iterable[Any], teller: Teller) -> Iterator[str]:
        """Return a line for each thing; it ends with a line feed."""
        head, message = self._head(instant, level), teller.message
        return (f"{head}{_one_line(message(thing))}\n" for thing in things)

    def block(self, text: str) -> str:
        """Return a traceback as it is read best."""
        return clean_lines(cut(text))

    def _head(self, instant: str, level: str) -> str:
        return f"{instant} {level} {self._who} "


def _one_line(message: str) -> str:
    text = cut(message)
    return text if text.isprintable() else clean(text)


class JsonFormatter(logging.Formatter):
    """The same as one JSON object; job lines carry their fields."""

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._who = {"speaker": speaker, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "traceback": cut(self.formatException(record.exc_info))}
        return self._line(_instant(record.created), record.levelname, record.getMessage(), fields)

    def lines(self, instant: str, level: str, things: Iterable[Any], teller: Teller) -> Iterator[str]:
        """Return a line for each thing; it ends with a line feed."""
        return (self._line(instant, level, teller.message(thing), teller.fields(thing)) + "\n" for thing in things)

    def block(self, text: str) -> str:
        """Return a traceback as a line like others."""
        return self._line(_instant(SystemClock.now()), "ERROR", "traceback", {"traceback": cut(text)}) + "\n"

    def _line(self, instant: str, level: str, message: str, fields: dict[str, Any]) -> str:
        line = json.dumps({"time": instant, "level": level, **self._who, "message": cut(message), **fields})
        return line.replace("\x7f", "\\u007f")  # the one control character that json leaves as it is


def _instant(seconds: float) -> str:
    when = datetime.fromtimestamp(int(seconds), timezone.utc)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{int(seconds % 1 * 1000):03d}Z"


class _Writer(logging.Handler):
    """Writes each line by one system call, so that lines of several processes do not mix."""

    formatter: TextFormatter | JsonFormatter

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write((self.format(record) + "\n").encode("utf-8", "replace"))
        except Exception:  # noqa: BLE001 - a wrong log call is not the job's failure
            self.handleError(record)

    def emit_many(self, level: str, things: Iterable[Any], teller: Teller) -> None:
        """Write a line of this moment for each thing, several at once: each write may cost the thread its turn."""
        lines = self.formatter.lines(_instant(SystemClock.now()), level, things, teller)
        for chunk in _chunks(lines, _most_at_once()):
            self._write(chunk)

    def emit_block(self, text: str) -> None:
        """Write a traceback that another process has sent."""
        self._write(self.formatter.block(text).encode("utf-8", "replace"))

    @staticmethod
    def _write(text: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk or a closed terminal must not stop the work
            while text:  # a signal may end the write of a long line halfway
                text = text[os.write(_STDERR, text) :]


def _most_at_once() -> int:
    """Return how many bytes are written as a whole, whoever else writes to the same place."""
    try:
        is_file = stat.S_ISREG(os.fstat(_STDERR).st_mode)
    except OSError:
        is_file = False
    return _MOST_AT_ONCE if is_file else select.PIPE_BUF


def _chunks(lines: Iterable[str], most: int) -> Iterator[bytes]:
    """Return whole lines together, as many as have so many bytes; a longer line is alone."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        text = line.encode("utf-8", "replace")
        if held and size + len(text) > most:
            yield b"".join(held)
            held, size = [], 0
        held.append(text)
        size += len(text)
    yield b"".join(held)


def configure(level: str, form: str, speaker: str) -> None:
    """Send the log of this process to standard error; whatever was set before is replaced."""
    handler = _Writer()
    handler.setFormatter(JsonFormatter(speaker) if form == "json" else TextFormatter(speaker))
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def tell_traceback(text: str) -> None:
    """Write a traceback, if another process has sent one: in lines, or in a log of JSON objects as one."""
    for handler in logging.getLogger(ROOT).handlers:
        if isinstance(handler, _Writer) and text:
            handler.emit_block(text)


def tell_end(why: str) -> None:
    """Say why a command ends: as any command does, or in a log of JSON objects as one of them."""
    logger = logging.getLogger(ROOT)
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logger.handlers):
        logger.critical("%s", why)
    else:
        sys.stderr.write(f"forkworker: {clean(why)}\n")


def sole_writer(logger: logging.Logger) -> _Writer | None:
    """Return our handler if all that a logger says goes to it alone, as it is; None if others arranged for more."""
    ours = logging.getLogger(ROOT)
    handler = ours.handlers[0] if len(ours.handlers) == 1 else None
    is_plain = not (logger.handlers or logger.filters or ours.filters or ours.propagate)
    return handler if is_plain and isinstance(handler, _Writer) and not handler.filters else None


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
