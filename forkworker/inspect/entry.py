"""One entry of a queue or a set: a payload, and where it stands.  Decoded when it is first asked."""

from __future__ import annotations

from typing import Any

from forkworker.errors import MalformedPayload
from forkworker.wire import failure, keys, payload

#: of a text that is no job, as much is shown
_MOST_SHOWN_BYTES = 2000


class Entry:
    """A job that waits.  What cannot be read is None or empty; ``problem`` says why an entry is no job."""

    __slots__ = ("_job", "payload", "place", "position", "problem", "score")

    def __init__(self, place: str, text: bytes, score: float | None = None, position: int = 0) -> None:
        #: ``queue:NAME``, ``schedule``, ``retry``, ``dead``, or of a job that runs ``working:IDENTITY:QUEUE``
        self.place = place
        #: its exact bytes, by which it is removed
        self.payload = text
        self.score = score
        #: where in its queue or set it stood when it was read
        self.position = position
        self.problem = ""
        self._job: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Entry {self.name!r:.80} jid={self.jid!r:.40} in {self.place!r:.80}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return NotImplemented
        return (self.place, self.payload, self.score) == (other.place, other.payload, other.score)

    def __hash__(self) -> int:
        return hash((self.place, self.payload))

    @property
    def job(self) -> dict[str, Any]:
        """The payload as a dict; empty if it is no job."""
        if self._job is None:
            try:
                self._job = payload.decode(self.payload)
            except MalformedPayload as error:
                self._job, self.problem = {}, str(error)
        return self._job

    @property
    def name(self) -> str:
        """The name of the job; of one of Rails' ActiveJob the name inside."""
        job = self.job
        if not job:
            return payload.name_and_jid(self.payload[:_MOST_SHOWN_BYTES])[0]
        wrapped = job.get("wrapped")
        return wrapped if isinstance(wrapped, str) and wrapped else str(job["class"])

    @property
    def jid(self) -> str:
        """The job's id."""
        jid = self.job.get("jid")
        return jid if isinstance(jid, str) else payload.name_and_jid(self.payload[:_MOST_SHOWN_BYTES])[1]

    @property
    def queue(self) -> str:
        """The queue that it waits in, was taken from, or will go to."""
        prefix = keys.queue("")
        if self.place.startswith(prefix):
            return self.place[len(prefix) :]
        if taken := keys.parse_working(self.place):
            return taken[1]
        queue = self.job.get("queue")
        return queue if isinstance(queue, str) and queue else "default"

    @property
    def args(self) -> list[Any]:
        """The positional arguments."""
        args: list[Any] = self.job.get("args") or []
        return args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword-only arguments."""
        kwargs = self.job.get("kwargs")
        return kwargs if isinstance(kwargs, dict) else {}

    @property
    def error_class(self) -> str:
        """The class of the last error, '' if it has not failed."""
        return _text(self.job.get("error_class"))

    @property
    def error_message(self) -> str:
        """The message of the last error."""
        return _text(self.job.get("error_message"))

    @property
    def backtrace(self) -> list[str]:
        """Where the last error came from, the innermost line first."""
        return failure.unpack_backtrace(self.job.get("error_backtrace"))

    @property
    def retry_count(self) -> int | None:
        """0 after the first failure; None before it."""
        count = self.job.get("retry_count")
        return count if isinstance(count, int) and not isinstance(count, bool) else None

    @property
    def enqueued_at(self) -> float | None:
        """When it came to its queue, in epoch seconds."""
        return self._instant("enqueued_at")

    @property
    def failed_at(self) -> float | None:
        """When it failed last."""
        return self._instant("retried_at") or self._instant("failed_at")

    @property
    def time(self) -> float | None:
        """What filters go by: in a queue since when, in the schedule until when, in retry and dead when it failed."""
        if self.place == keys.RETRY:
            return self.failed_at
        if self.score is not None:
            return self.score
        return self.enqueued_at or self._instant("created_at")

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` shows; instants are epoch seconds or None."""
        job = self.job
        return {
            "place": self.place,
            "position": self.position,
            "jid": self.jid,
            "name": self.name,
            "queue": self.queue,
            "args": self.args,
            "kwargs": self.kwargs,
            "tags": job.get("tags") if isinstance(job.get("tags"), list) else [],
            "created_at": self._instant("created_at"),
            "enqueued_at": self.enqueued_at,
            "due_at": payload.instant(self.score) if self.place in (keys.SCHEDULE, keys.RETRY) else None,
            "died_at": payload.instant(self.score) if self.place == keys.DEAD else None,
            "failed_at": self.failed_at,
            "retry_count": self.retry_count,
            "error_class": self.error_class,
            "error_message": self.error_message,
            "backtrace": self.backtrace,
            "bytes": len(self.payload),
            "problem": self.problem,
        }

    def _instant(self, field: str) -> float | None:
        return payload.instant(self.job.get(field))


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
