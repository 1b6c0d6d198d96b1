"""What Sidekiq's Web UI can show: one value that it does not expect makes a whole page an error.  Pure.

So nothing of that kind is written into a job.  What is no job stands in the dead set as others have written it
(docs/coming-from-sidekiq.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkworker.wire import failure, payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.wire.payload import Fields


#: also as milliseconds a time that has a year; a number of any length is JSON, and too much for a float
_MOST = 1e15


def _is_time(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and -_MOST < value < _MOST)


def _is_list(value: Any) -> bool:
    return value is None or isinstance(value, list)


def _is_backtrace(value: Any) -> bool:
    return _is_list(value) or (isinstance(value, str) and bool(failure.unpack_backtrace(value)))


_READ: dict[str, Callable[[Any], bool]] = {
    "created_at": _is_time,
    "enqueued_at": _is_time,
    "failed_at": _is_time,
    "retried_at": _is_time,
    "tags": _is_list,
    "error_backtrace": _is_backtrace,
}


def presentable(job: Fields) -> Fields:
    """Return a job without those of its fields that no page can show; the same dict if there are none."""
    wrong = {name for name, fits in _READ.items() if name in job and not fits(job[name])}
    return {name: value for name, value in job.items() if name not in wrong} if wrong else job


def running_form(text: bytes) -> str | None:
    """Return how the page of what runs can show a payload; None if it cannot."""
    if not payload.is_common_json(text):
        return None
    job = payload.decode(text)
    shown = presentable(job)
    return text.decode() if shown is job else payload.encode(shown).decode()
