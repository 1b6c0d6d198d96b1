"""What becomes of a job that failed.  Pure: payload, error and time in, decision out.

The delays and fields are Sidekiq's (docs/wire-format.md, sections 1 and 3).
"""

from __future__ import annotations

import itertools
import random
import re
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forkworker import delay as delays
from forkworker.errors import Bury, RetryIn, UnknownJob
from forkworker.options import Options
from forkworker.settings import QUEUE_NAME
from forkworker.wire import failure, pages, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forkworker.store.working import Kind

DEFAULT_RETRIES = 25
#: of a backtrace, also where a payload wants all
_MOST_LINES = 10_000
#: whatever a payload says; its fourth power in seconds is longer than anybody waits
_MOST_FAILURES = 1000
#: a hundred years: later than that a retry is not due
_LONGEST_DELAY_SECONDS = 100 * 365 * 86_400.0


_MOST_CAUSE_CHARACTERS = 300
#: frames that nobody who reads a traceback looks for
_OURS = re.compile(r"/forkworker/(runtime/|middleware\.py$)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next home of a failed job: ``retry``, ``bury`` or ``failed`` (dropped)."""

    kind: Kind
    new_payload: bytes = b""
    #: epoch seconds: when the retry is due, or the time of death
    score: float = 0.0
    #: the job as it ended, if it has failed for the last time
    exhausted: dict[str, Any] | None = None


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
    shown = pages.presentable(job)
    told = {**shown, **_error_fields(job, error, options), **_count_fields(shown, count, now)}
    told["queue"] = _queue(job, queue)
    if _may_retry(job, error, count, most, now):
        return Verdict("retry", payload.encode(told), now + delay(job, count, error, options, uniform))
    if _is_kept(job, error, options):
        return Verdict("bury", payload.encode(told), now, told)
    return Verdict("failed", exhausted=told)


def _queue(job: dict[str, Any], queue: str) -> str:
    wanted = job.get("retry_queue")
    return wanted if isinstance(wanted, str) and QUEUE_NAME.fullmatch(wanted) else queue


def _is_kept(job: dict[str, Any], error: BaseException, options: Options) -> bool:
    """Whether the dead set gets it: always what asked for that, and what never ran as nobody knew its name."""
    return isinstance(error, Bury | UnknownJob) or job.get("dead", options.dead) is not False


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
    """Return how often a job has failed before, within reason."""
    return min(payload.failures_of(job), _MOST_FAILURES)


def delay(
    job: dict[str, Any], count: int, error: BaseException, options: Options, uniform: Callable[[], float]
) -> float:
    """Return the seconds until the next try: n**4 + 15, or what the job wants, and jitter.

    A delay that was chosen gets a tenth of itself at the most, or a second: it means about what it says, and jobs
    that fail together are spread all the same.
    """
    if isinstance(error, RetryIn):
        return _bounded(error.seconds)
    wanted, most_jitter = _wanted(job, count, error, options), 10.0 * (count + 1)
    if wanted is None:
        return count**4 + 15 + uniform() * most_jitter
    seconds = _bounded(wanted)
    return seconds + uniform() * min(most_jitter, max(1.0, seconds / 10))


def _wanted(job: dict[str, Any], count: int, error: BaseException, options: Options) -> float | None:
    """Return the seconds that the job itself or its options say, None if neither does."""
    told = job.get("retry_in")
    if isinstance(told, int | float) and not isinstance(told, bool):
        return told
    if options.retry_in is None:
        return None
    return delays.seconds(options.retry_in(count, error) if callable(options.retry_in) else options.retry_in)


def _bounded(seconds: float) -> float:
    """Keep a delay between nothing and a hundred years; what is no number is nothing."""
    return min(seconds, _LONGEST_DELAY_SECONDS) if seconds > 0 else 0.0


def _may_retry(job: dict[str, Any], error: BaseException, count: int, most: int, now: float) -> bool:
    if isinstance(error, Bury):
        return False
    if isinstance(error, UnknownJob):
        return count < most
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
    name, message = failure.describe_error(error)
    lines = backtrace(error, job.get("backtrace", options.backtrace))
    fields: dict[str, Any] = {"error_class": name, "error_message": message}
    if lines:
        fields["error_backtrace"] = failure.pack_backtrace(lines)
    return fields


def backtrace(error: BaseException, wanted: object) -> list[str]:
    """Return the last lines of where an error came from, the innermost first, then the same of what caused it."""
    if wanted is False or wanted is None:
        return []
    lines = itertools.chain.from_iterable(_origins(error))
    most = max(0, wanted) if isinstance(wanted, int) and wanted is not True else _MOST_LINES
    return list(itertools.islice(lines, min(most, _MOST_LINES)))


def _origins(error: BaseException) -> Iterator[list[str]]:
    yield _places(error)
    seen: set[int] = set()
    cause = _cause(error)
    while cause is not None and id(cause) not in seen:
        seen |= {id(error), id(cause)}
        name, message = failure.describe_error(cause)
        yield [f"caused by {name}: {' '.join(message.split())[:_MOST_CAUSE_CHARACTERS]}", *_places(cause)]
        cause = _cause(cause)


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _places(error: BaseException) -> list[str]:
    """Return the frames, without our own."""
    # not extract_tb, which reads the sources
    places = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(code, line) for code, line in places if not _OURS.search(code.co_filename)]
    return [f"{code.co_filename}:{line}:in {code.co_name}" for code, line in reversed(own)]
