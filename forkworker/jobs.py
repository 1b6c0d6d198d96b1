"""Job functions: the ``@job`` decorator, and the registry by which payloads find their function.

Jobs are found by registered name only: nothing in a payload can name a module or an attribute.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from forkworker import client, options
from forkworker.options import DEFAULT_BACKTRACE_LINES, Options
from forkworker.wire import payload, portable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta

    from forkworker.options import OnExhausted, RetryIn

P = ParamSpec("P")
R = TypeVar("R")


class Job(Generic[P, R]):
    """A function that can be called, or enqueued under its name."""

    def __init__(self, function: Callable[P, R], name: str, options: Options) -> None:
        self.function = function
        self.name = name
        self.signature = inspect.signature(function)
        self._names, self._counts = _positions(self.signature)
        self._state(options, frozenset())
        functools.update_wrapper(self, function, updated=())  # its attributes are not ours

    def _state(self, options: Options, stated: frozenset[str]) -> None:
        """Set the options; ``stated`` names those that count for these pushes, whatever the registered job says."""
        self.default_options = options
        self._stated = stated
        self._told = options.fields(stated)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
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
        retry_in: float | timedelta | None = None,
        backtrace: bool | int | None = None,
        dead: bool | None = None,
        tags: Iterable[str] | None = None,
    ) -> Job[P, R]:
        """Return the same job with other options for what is pushed by it; the registered one stays as it is.

        Raises TypeError or ValueError for what cannot be.  A function for ``retry_in`` cannot travel:
        it belongs to the decorator.
        """
        if callable(retry_in):
            raise TypeError("retry_in: a function cannot travel with a job; give seconds here, or it to the decorator")
        given: dict[str, Any] = {
            "queue": queue,
            "retry": retry,
            "retry_in": retry_in,
            "backtrace": backtrace,
            "dead": dead,
            "tags": options.texts("tags", tags) if tags is not None else None,
        }
        given = {name: value for name, value in given.items() if value is not None}
        changed = copy.copy(self)  # not made anew: to look at the function takes longer than to push
        changed._state(replace(self.default_options, **given), self._stated | set(given))  # noqa: SLF001 - a job, too
        return changed

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Push a run of this job; return its jid.

        Raises TypeError if the arguments do not fit the function or cannot travel as JSON, PushFailed if
        Redis did not accept it, and PushInDoubt if the connection was lost and nobody knows.  None instead
        of a jid says that a middleware kept it back.
        """
        return client.default().push_jobs([self._payload(args, kwargs)])[0]

    def enqueue_in(self, delay: float | timedelta, /, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Push a run for so many seconds, or a timedelta, from now."""
        return client.default().push_jobs([self._payload(args, kwargs)], client.seconds_from_now(delay))[0]

    def enqueue_at(self, when: float | datetime, /, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Push a run for an instant: epoch seconds or an aware datetime."""
        return client.default().push_jobs([self._payload(args, kwargs)], client.epoch(when))[0]

    def enqueue_many(self, runs: Iterable[Sequence[Any]]) -> list[str | None]:
        """Push a run for each sequence of positional arguments, a thousand for each round trip.

        Nothing is pushed if one of them does not fit.  On PushFailed and PushInDoubt the error's
        ``accepted`` tells which were pushed before.
        """
        every = list(runs)
        jids = payload.new_jids(len(every))
        return client.default().push_jobs([self._row(number, args, jids[number]) for number, args in enumerate(every)])

    def _row(self, number: int, args: Sequence[Any], jid: str) -> dict[str, Any]:
        if type(args) is not tuple and (isinstance(args, str | bytes) or not isinstance(args, Sequence)):
            raise TypeError(f"{self.name}: run {number} is {args!r:.60}, not a sequence of arguments such as ('a', 1)")
        try:
            return self._payload(tuple(args), {}, jid)
        except TypeError as error:
            raise TypeError(f"{error} (run {number})") from None

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any], jid: str | None = None) -> dict[str, Any]:
        default = self.default_options
        positional, keyword = self._bind(args, kwargs)
        told = {**self._told, "kwargs": keyword} if keyword else self._told
        return client.make_job(self.name, positional, queue=default.queue, retry=default.retry, jid=jid, **told)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Fit arguments to the signature: positional as far as the function allows."""
        if not kwargs and len(args) in self._counts:  # it is clear which is which, and binding takes long
            if not all(map(portable.is_fit, args)):
                self._refuse_misfits(zip(self._names, args, strict=False))
            return list(args), {}
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        if kwargs:
            self._fill_gaps(bound)
        self._refuse_misfits(bound.arguments.items())
        return list(bound.args), dict(bound.kwargs)

    def _refuse_misfits(self, arguments: Iterable[tuple[str, Any]]) -> None:
        for name, value in arguments:
            if not portable.is_fit(value):
                portable.refuse_misfit(value, f"{self.name}: the argument {name!r}")

    def _fill_gaps(self, bound: inspect.BoundArguments) -> None:
        """Write out the defaults before a positional argument that was given by name."""
        positional = [p for p in self.signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        given = [i for i, parameter in enumerate(positional) if parameter.name in bound.arguments]
        for parameter in positional[: given[-1] if given else 0]:
            bound.arguments.setdefault(parameter.name, parameter.default)
        order = list(self.signature.parameters)
        bound.arguments = dict(sorted(bound.arguments.items(), key=lambda item: order.index(item[0])))


def _positions(signature: inspect.Signature) -> tuple[list[str], range]:
    """Return the names of the positional parameters, and how many arguments fit them without more ado."""
    parameters = signature.parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    is_plain = all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters if p not in positional)
    least = sum(p.default is p.empty for p in positional)
    return [p.name for p in positional], range(least, len(positional) + 1) if is_plain else range(0)


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
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)


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
    retry_in: RetryIn | float | timedelta | None = None,
    on_exhausted: OnExhausted | None = None,
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
    **others: Any,
) -> Job[P, R] | Callable[[Callable[P, R]], Job[P, R]]:
    """Make a function a job, under ``module.function`` or the name given.

    Raises ValueError for a function of ``__main__`` without a name, as workers could not find it, and
    TypeError for what cannot be run as a job, such as a coroutine function.
    """
    made = Options(tags=options.texts("tags", tags), **others)
    older = options.texts("aliases", aliases)

    def decorate(function: Callable[P, R]) -> Job[P, R]:
        _refuse_unfit(function)
        new = Job(function, _checked_name(function, name), made)
        registry.add(new, older)
        return new

    return decorate(function) if function is not None else decorate


def _refuse_unfit(function: object) -> None:
    """A job is run by an ordinary call; what such a call only prepares would end as done without having run."""
    if isinstance(function, Job):
        raise TypeError(f"{function!r} is a job already: use its options() or the decorator's aliases")
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"a job is a function, not {function!r:.60}; options come by keyword, as in job(name=...)")
    for kind, is_it in _NOT_RUN_BY_A_CALL.items():
        if is_it(function):
            raise TypeError(f"the job {_place(function)} is a {kind}: calling it would run nothing; wrap it in a def")


_NOT_RUN_BY_A_CALL: dict[str, Callable[[object], bool]] = {
    "coroutine function": inspect.iscoroutinefunction,
    "generator function": inspect.isgeneratorfunction,
    "asynchronous generator function": inspect.isasyncgenfunction,
}


def _checked_name(function: Callable[..., Any], name: str | None) -> str:
    if name is None:
        return _default_name(function)
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a job must be a string that is not empty, not {name!r}")
    return name


def _default_name(function: Callable[..., Any]) -> str:
    if not hasattr(function, "__qualname__"):
        raise TypeError(f"{function!r:.100} has no name of its own: give it one, @forkworker.job(name=...)")
    if function.__module__ == "__main__":
        raise ValueError(
            f"the job {function.__qualname__} is in __main__, where no worker can find it by that name: "
            "give it a name, @forkworker.job(name=...), or put it into a module"
        )
    return _place(function)
