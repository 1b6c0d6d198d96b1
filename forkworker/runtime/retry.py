"""What becomes of a job that failed.  Pure: payload, error and time in, decision out.

The delays and fields are Sidekiq's (docs/wire-format.md, sections 1 and 3).
"""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forkworker.errors import Bury, RetryIn, UnknownJob
from forkworker.jobs import Options
from forkworker.wire import payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.store.working import Kind

DEFAULT_RETRIES = 25
#: whatever a payload says; its fourth power in seconds is longer than anybody waits
_MOST_FAILURES = 1000
#: a hundred years: later than that a retry is not due
_LONGEST_DELAY_SECONDS = 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next home of a failed job: ``retry``, ``bury`` or ``failed`` (dropped)."""

    kind: Kind
    new_payload: bytes = b""
    #: epoch seconds: when the retry is due, or the time of death
    score: float = 0.0


def decide(
    job: dict[str, Any],
    error: BaseException,
    *,
    queue: str,
    now: float,
    options: Options | None = None,
    uniform: Callable[[], float] = random.random,
) -> Verdict:
    """Decide on a job (its decoded payload) that ended with an error.

    ``options`` are the registered job's, None if its name is unknown; ``uniform`` gives numbers from 0 to 1.
    """
    options = options or Options()
    most = most_retries(job, options, error)
    if most is None:
        return Verdict("failed")
    count = previous_failures(job)
    told = {**job, **_error_fields(job, error, options), **_count_fields(job, count, now)}
    told["queue"] = job.get("retry_queue") or queue
    if _may_retry(job, error, count, most, now):
        return Verdict("retry", payload.encode(told), now + delay(count, error, options, uniform))
    if job.get("dead", options.dead) is False:
        return Verdict("failed")
    return Verdict("bury", payload.encode(told), now)


def most_retries(job: dict[str, Any], options: Options, error: BaseException) -> int | None:
    """Return how often a job may be tried again; None: it is dropped after a failure."""
    told = job.get("retry", options.retry)
    if isinstance(error, UnknownJob):
        # a deploy is under way: another process may know the name, so never drop it
        return told if isinstance(told, int) and told > 1 else DEFAULT_RETRIES
    if isinstance(error, Bury):
        return 0
    if told is False or told is None:
        return None
    return told if isinstance(told, int) and told is not True else DEFAULT_RETRIES


def previous_failures(job: dict[str, Any]) -> int:
    """Return how often a job has failed before; the Web UI's "retry now" leaves -1."""
    count = job.get("retry_count")
    return min(max(0, count + 1), _MOST_FAILURES) if isinstance(count, int) else 0


def delay(count: int, error: BaseException, options: Options, uniform: Callable[[], float]) -> float:
    """Return the seconds until the next try: n**4 + 15 and jitter, or what the job wants."""
    if isinstance(error, RetryIn):
        return _bounded(error.seconds)
    wanted = options.retry_in(count, error) if options.retry_in else count**4 + 15
    return _bounded(wanted) + uniform() * 10 * (count + 1)


def _bounded(seconds: float) -> float:
    """Keep a delay between nothing and a hundred years; what is no number is nothing."""
    return min(seconds, _LONGEST_DELAY_SECONDS) if seconds > 0 else 0.0


def _may_retry(job: dict[str, Any], error: BaseException, count: int, most: int, now: float) -> bool:
    if isinstance(error, Bury):
        return False
    period = job.get("retry_for")
    if isinstance(period, int | float) and not isinstance(period, bool):
        first = payload.instant(job.get("failed_at")) or now
        return now - first < period
    return count < most


def _count_fields(job: dict[str, Any], count: int, now: float) -> dict[str, Any]:
    """The Web UI needs failed_at for the first failure and retried_at for later ones."""
    fields: dict[str, Any] = {"retry_count": count}
    if not isinstance(job.get("failed_at"), int | float):
        fields["failed_at"] = now
    if count > 0:
        fields["retried_at"] = now
    return fields


def _error_fields(job: dict[str, Any], error: BaseException, options: Options) -> dict[str, Any]:
    name, message = payload.describe_error(error)
    lines = backtrace(error, job.get("backtrace", options.backtrace))
    fields: dict[str, Any] = {"error_class": name, "error_message": message}
    if lines:
        fields["error_backtrace"] = payload.pack_backtrace(lines)
    return fields


def backtrace(error: BaseException, wanted: object) -> list[str]:
    """Return the last lines of where an error came from, the innermost first, without our own frames."""
    if wanted is False or wanted is None:
        return []
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/forkworker/runtime/" not in frame.filename]
    lines = [f"{frame.filename}:{frame.lineno}:in {frame.name}" for frame in reversed(own)]
    return lines[:wanted] if isinstance(wanted, int) and wanted is not True else lines
