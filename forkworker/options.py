"""How a job is queued, retried and kept: values that are checked where they are written down.

Used by programs that enqueue and in children.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from forkworker import delay
from forkworker.settings import QUEUE_NAME

DEFAULT_BACKTRACE_LINES = 20

#: (count of failures before this one, error) -> seconds
RetryIn = Callable[[int, BaseException], "float | timedelta"]
#: (payload as it goes to the dead set, error)
OnExhausted = Callable[[dict[str, Any], BaseException], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is queued, retried and kept.  Raises TypeError or ValueError for what cannot be."""

    queue: str = "default"
    #: True: 25 times; a number; 0: to the dead set at once; False: dropped after a failure
    retry: bool | int = True
    #: the delay before the next try, or what works it out; None: Sidekiq's
    retry_in: RetryIn | float | timedelta | None = None
    #: called once a job has failed for the last time
    on_exhausted: OnExhausted | None = None
    #: lines of the traceback that are kept; True: all, False: none
    backtrace: bool | int = DEFAULT_BACKTRACE_LINES
    #: False: not kept when its retries are exhausted
    dead: bool = True
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_queue(self.queue)
        _check_count("retry", self.retry)
        _check_count("backtrace", self.backtrace)
        _check_retry_in(self.retry_in)
        if self.on_exhausted is not None and not callable(self.on_exhausted):
            raise TypeError(f"on_exhausted must be a function of job and error, not {self.on_exhausted!r}")
        if not isinstance(self.dead, bool):
            raise TypeError(f"dead must be True or False, not {self.dead!r}")

    def fields(self, stated: Collection[str] = ()) -> dict[str, Any]:
        """Return what the payload must tell other workers and Web UIs; ``stated`` names what counts for this push."""
        told: dict[str, Any] = {}
        if "backtrace" in stated or (self.backtrace is not False and self.backtrace != DEFAULT_BACKTRACE_LINES):
            told["backtrace"] = self.backtrace
        if "dead" in stated or not self.dead:
            told["dead"] = self.dead
        if "retry_in" in stated and self.retry_in is not None and not callable(self.retry_in):
            told["retry_in"] = delay.seconds(self.retry_in)
        if self.tags:
            told["tags"] = list(self.tags)
        return told


@functools.lru_cache(maxsize=1024)
def _is_queue_name(name: str) -> bool:
    return QUEUE_NAME.fullmatch(name) is not None


def check_queue(name: object) -> None:
    """Raise ValueError for a name that Sidekiq's Web UI could not open."""
    if not isinstance(name, str) or not _is_queue_name(name):
        raise ValueError(f"queue {name!r}: a name may have letters, digits and _ : . - only")


def check_retry(retry: object) -> None:
    """Raise TypeError or ValueError for what says nothing about retries."""
    _check_count("retry", retry)


def texts(option: str, values: Iterable[str]) -> tuple[str, ...]:
    """Return values as a tuple; raises TypeError for one string, which would be taken apart, or what is no text."""
    told = () if isinstance(values, str | bytes) else tuple(values)
    if isinstance(values, str | bytes) or not all(isinstance(value, str) for value in told):
        raise TypeError(f"{option} must be several strings, such as [{option[:-1]!r}], not {values!r}")
    return told


def _check_count(option: str, value: object) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{option} must be True, False or a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{option} must be True, False or a number from 0, not {value!r}")


def _check_retry_in(value: object) -> None:
    if value is None or callable(value):
        return
    if not isinstance(value, int | float | timedelta):
        raise TypeError(f"retry_in must be seconds, a timedelta or a function of count and error, not {value!r}")
    if delay.seconds(value) < 0:
        raise ValueError(f"retry_in must not be negative, as {value!r} is")
