"""For users' own tests: jobs that are pushed are collected, or run at once; Redis is not touched.

Both go the whole way of a job but for Redis: arguments are bound and turned into JSON and back, client
and server middleware run, ``current_job()`` works.  Used in test processes only.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from forkworker import client, context, jobs
from forkworker.errors import Drop
from forkworker.runtime.executor import perform, unknown_job
from forkworker.wire import payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forkworker.client import Parcel
    from forkworker.jobs import Job


@dataclass(frozen=True)
class Pushed:
    """A job that was pushed, as a worker would read it."""

    #: the whole payload
    fields: dict[str, Any]
    #: epoch seconds, if it was pushed for later
    at: float | None = None

    @property
    def name(self) -> str:
        """The job's name."""
        name: str = self.fields["class"]
        return name

    @property
    def args(self) -> list[Any]:
        """Its positional arguments."""
        args: list[Any] = self.fields["args"]
        return args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Its keyword-only arguments."""
        kwargs: dict[str, Any] = self.fields.get("kwargs", {})
        return kwargs

    @property
    def queue(self) -> str:
        """The queue that it was pushed to."""
        queue: str = self.fields["queue"]
        return queue

    @property
    def jid(self) -> str:
        """Its id, as ``enqueue`` returned it."""
        return payload.jid_of(self.fields)

    def run(self) -> Any:
        """Run it, here and now, and return its value; what it raises is the test's, but for Drop."""
        text = payload.encode(self.fields)
        found = jobs.registry.find(self.name)
        if found is None:
            raise unknown_job(self.name, jobs.registry, "is its module imported by the test?")
        fields = payload.decode(text)
        current = context.CurrentJob(fields, text, self.queue, is_stopping=_no, count_recoveries=_none)
        try:
            return perform(found, fields, current)
        except Drop:
            return None


class Collected:
    """The jobs pushed so far, the oldest first; a sequence."""

    def __init__(self) -> None:
        self._pushed: list[Pushed] = []

    def __len__(self) -> int:
        return len(self._pushed)

    def __iter__(self) -> Iterator[Pushed]:
        return iter(list(self._pushed))

    @overload
    def __getitem__(self, index: int) -> Pushed: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Pushed]: ...

    def __getitem__(self, index: int | slice) -> Pushed | Sequence[Pushed]:
        return self._pushed[index]

    def __repr__(self) -> str:
        return f"<collected: {', '.join(f'{each.name}{tuple(each.args)}' for each in self._pushed) or 'nothing'}>"

    def of(self, job: Job[..., Any] | str) -> list[Pushed]:
        """Return those of one job, given as the job or by its name."""
        name = job if isinstance(job, str) else job.name
        return [each for each in self._pushed if each.name == name]

    def clear(self) -> None:
        """Forget all."""
        self._pushed.clear()

    def run(self) -> int:
        """Run all, also those for later and those that they push themselves; return how many ran.

        The first that raises ends it; it and those behind it are still there.
        """
        count = 0
        while self._pushed:
            self._pushed[0].run()
            del self._pushed[0]
            count += 1
        return count

    def _take(self, parcels: list[Parcel], at: float | None) -> None:
        self._pushed += [Pushed(payload.decode(parcel.payload), at) for parcel in parcels]


@contextlib.contextmanager
def collect() -> Iterator[Collected]:
    """Collect what is pushed meanwhile, by every client and in every thread of this process."""
    collected = Collected()
    with _diverted(collected._take):  # noqa: SLF001 - of this module
        yield collected


@contextlib.contextmanager
def inline() -> Iterator[None]:
    """Run what is pushed meanwhile at once, within ``enqueue``, also what is pushed for later."""

    def run(parcels: list[Parcel], at: float | None) -> None:
        for parcel in parcels:
            Pushed(payload.decode(parcel.payload), at).run()

    with _diverted(run):
        yield


@contextlib.contextmanager
def _diverted(taker: client.Taker) -> Iterator[None]:
    before = client.divert(taker)
    try:
        yield
    finally:
        client.divert(before)


def _no() -> bool:
    return False


def _none(_payload: bytes) -> int:
    return 0
