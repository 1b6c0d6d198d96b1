"""What a running job can ask about itself.  Set by job threads, read by jobs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from forkworker.wire import payload

if TYPE_CHECKING:
    from collections.abc import Callable


class CurrentJob:
    """The run of a job, as the job itself sees it.  Made for each run, so nothing is worked out unless asked for."""

    __slots__ = ("_count_recoveries", "_fields", "_is_stopping", "_text", "queue")

    def __init__(
        self,
        fields: dict[str, Any],
        text: bytes,
        queue: str,
        is_stopping: Callable[[], bool],
        count_recoveries: Callable[[bytes], int],
    ) -> None:
        self._fields = fields
        self._text = text
        #: the queue that it was taken from
        self.queue = queue
        self._is_stopping = is_stopping
        self._count_recoveries = count_recoveries

    @property
    def jid(self) -> str:
        """The job's id; '' if its client gave it none."""
        return payload.jid_of(self._fields)

    @property
    def name(self) -> str:
        """The name under which it was pushed."""
        return str(self._fields["class"])

    @property
    def tags(self) -> tuple[str, ...]:
        """The labels that it was pushed with."""
        tags = self._fields.get("tags")
        return tuple(map(str, tags)) if isinstance(tags, list) else ()

    @property
    def retry_count(self) -> int:
        """Failures so far; 0 for the first run."""
        return payload.failures_of(self._fields)

    @property
    def stopping(self) -> bool:
        """Whether a stop has begun: what can be left for later should be."""
        return self._is_stopping()

    @property
    def recoveries(self) -> int:
        """In how many crashes within 72 hours this very payload was running; asks Redis."""
        return self._count_recoveries(self._text)


_current: ContextVar[CurrentJob | None] = ContextVar("forkworker_current_job", default=None)
set_current = _current.set
reset_current = _current.reset


def current_job() -> CurrentJob:
    """Return the job that runs in this thread; raises LookupError outside of one."""
    current = _current.get()
    if current is None:
        raise LookupError("no job is running here: current_job() works inside a job only")
    return current
