"""Job functions: the ``@job`` decorator, and the registry by which payloads find their function.

Jobs are found by registered name only: nothing in a payload can name a module or an attribute.
"""

from __future__ import annotations

import functools
import inspect
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from forkworker import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_BACKTRACE_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is queued, retried and kept."""

    queue: str = "default"
    #: True: 25 times; a number; 0: to the dead set at once; False: dropped after a failure
    retry: bool | int = True
    #: (count of failures before this one, error) -> seconds
    retry_in: Callable[[int, BaseException], float] | None = None
    #: lines of the traceback that are kept; True: all, False: none
    backtrace: bool | int = DEFAULT_BACKTRACE_LINES
    #: False: not kept when its retries are exhausted
    dead: bool = True
    tags: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return what the payload must tell other workers and Web UIs."""
        told: dict[str, Any] = {}
        if self.backtrace is not False and self.backtrace != DEFAULT_BACKTRACE_LINES:
            told["backtrace"] = self.backtrace
        if not self.dead:
            told["dead"] = False
        if self.tags:
            told["tags"] = list(self.tags)
        return told


class Job(Generic[P, R]):
    """A function that can be called, or enqueued under its name."""

    def __init__(self, function: Callable[P, R], name: str, options: Options) -> None:
        self.function = function
        self.name = name
        self.default_options = options
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function, updated=())  # its attributes are not ours

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        """Show the name under which the job is known."""
        return f"<job {self.name}>"

    def options(
        self,
        *,
        queue: str | None = None,
        retry: bool | int | None = None,
        dead: bool | None = None,
        tags: Iterable[str] | None = None,
    ) -> Job[P, R]:
        """Return the same job with other options; the registered one stays as it is."""
        given: dict[str, Any] = {
            "queue": queue,
            "retry": retry,
            "dead": dead,
            "tags": tuple(tags) if tags is not None else None,
        }
        changed = replace(self.default_options, **{k: v for k, v in given.items() if v is not None})
        return Job(self.function, self.name, changed)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Push a run of this job; return its jid.

        Raises TypeError if the arguments do not fit the function or cannot travel as JSON, PushInDoubt
        if the connection to Redis was lost.
        """
        return client.default().push_jobs([self._payload(args, kwargs)])[0]

    def enqueue_in(self, delay: float | timedelta, /, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Push a run for so many seconds, or a timedelta, from now."""
        return client.default().push_jobs([self._payload(args, kwargs)], client.seconds_from_now(delay))[0]

    def enqueue_at(self, when: float | datetime, /, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Push a run for an instant: epoch seconds or an aware datetime."""
        return client.default().push_jobs([self._payload(args, kwargs)], client.epoch(when))[0]

    def enqueue_many(self, runs: Iterable[Sequence[Any]]) -> list[str | None]:
        """Push a run for each sequence of positional arguments, a thousand for each round trip."""
        return client.default().push_jobs(self._payload(tuple(args), {}) for args in runs)

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        options = self.default_options
        positional, keyword = self._bind(args, kwargs)
        told = options.fields()
        if keyword:
            told["kwargs"] = keyword
        return client.make_job(self.name, positional, queue=options.queue, retry=options.retry, **told)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Fit arguments to the signature: positional as far as the function allows."""
        bound = self.signature.bind(*args, **kwargs)
        self._fill_gaps(bound)
        for name, value in bound.arguments.items():
            _refuse_unfit(self.name, name, value)
        return list(bound.args), dict(bound.kwargs)

    def _fill_gaps(self, bound: inspect.BoundArguments) -> None:
        """Write out the defaults before a positional argument that was given by name."""
        positional = [p for p in self.signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        given = [i for i, parameter in enumerate(positional) if parameter.name in bound.arguments]
        for parameter in positional[: given[-1] if given else 0]:
            bound.arguments.setdefault(parameter.name, parameter.default)
        order = list(self.signature.parameters)
        bound.arguments = dict(sorted(bound.arguments.items(), key=lambda item: order.index(item[0])))


def _refuse_unfit(job: str, argument: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
        _refuse_keys(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{job}: the argument {argument!r} cannot travel as JSON: {error}") from None


def _refuse_keys(value: Any) -> None:
    """JSON would turn other keys into strings without a word."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the dict key {key!r} is no string")
            _refuse_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_keys(item)


class Registry:
    """The jobs that this process knows, by name and alias."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job[..., Any]] = {}

    def add(self, job: Job[..., Any], aliases: Iterable[str] = ()) -> None:
        """Register a job; raises ValueError if a name is taken by another function."""
        for name in (job.name, *aliases):
            known = self._jobs.get(name)
            if known and not _same_function(known.function, job.function):
                raise ValueError(f"two jobs are named {name!r}: {_place(known.function)} and {_place(job.function)}")
            self._jobs[name] = job

    def find(self, name: str) -> Job[..., Any] | None:
        """Return the job of a name, None if there is none."""
        return self._jobs.get(name)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._jobs)


def _same_function(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether a function was registered again, as a reload of its module does."""
    return _place(one) == _place(other)


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


registry = Registry()


@overload
def job(function: Callable[P, R], /) -> Job[P, R]: ...


@overload
def job(
    *,
    name: str | None = None,
    aliases: Iterable[str] = (),
    queue: str = "default",
    retry: bool | int = True,
    retry_in: Callable[[int, BaseException], float] | None = None,
    backtrace: bool | int = DEFAULT_BACKTRACE_LINES,
    dead: bool = True,
    tags: Iterable[str] = (),
) -> Callable[[Callable[P, R]], Job[P, R]]: ...


def job(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    aliases: Iterable[str] = (),
    tags: Iterable[str] = (),
    **options: Any,
) -> Job[P, R] | Callable[[Callable[P, R]], Job[P, R]]:
    """Make a function a job, under ``module.function`` or the name given.

    Raises ValueError for a function of ``__main__`` without a name: workers could not find it.
    """

    def decorate(function: Callable[P, R]) -> Job[P, R]:
        made = Job(function, name or _default_name(function), Options(tags=tuple(tags), **options))
        registry.add(made, aliases)
        return made

    return decorate(function) if function is not None else decorate


def _default_name(function: Callable[..., Any]) -> str:
    if function.__module__ == "__main__":
        raise ValueError(
            f"the job {function.__qualname__} is in __main__, where no worker can find it by that name: "
            "give it a name, @forkworker.job(name=...), or put it into a module"
        )
    return f"{function.__module__}.{function.__qualname__}"
