"""Events and their callbacks.  Registered at import of the app, fired in forkserver and children."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, overload

Event = Literal["startup", "quiet", "resume", "shutdown", "exit", "before_fork", "after_fork"]
#: a job has failed for the last time; its callbacks take the payload as a dict, and the error
JobEvent = Literal["exhausted"]

_Callback = TypeVar("_Callback", bound=Callable[[], object])
_JobCallback = TypeVar("_JobCallback", bound=Callable[[dict[str, Any], BaseException], object])

_LAST_REGISTERED_FIRST = frozenset({"quiet", "shutdown", "exit"})
_log = logging.getLogger(__name__)


class Hooks:
    """The callbacks of each event."""

    def __init__(self) -> None:
        events = (*get_args(Event), *get_args(JobEvent))
        self._callbacks: dict[str, list[Callable[..., object]]] = {event: [] for event in events}

    @overload
    def on(self, event: JobEvent) -> Callable[[_JobCallback], _JobCallback]: ...

    @overload
    def on(self, event: Event) -> Callable[[_Callback], _Callback]: ...

    def on(self, event: Event | JobEvent) -> Callable[[Any], Any]:
        """Return a decorator that registers a function for an event.

        The function has no parameters; for ``exhausted`` it takes the job's payload, a dict, and the error.
        Raises ValueError for an event there is not.
        """
        if event not in self._callbacks:
            raise ValueError(f"there is no event {event!r}; the events are {', '.join(self._callbacks)}")

        def register(callback: Callable[..., object]) -> Callable[..., object]:
            if not callable(callback):
                raise TypeError(f"on({event!r}) registers a function, not {callback!r:.60}")
            self._callbacks[event].append(callback)
            return callback

        return register

    def fire(self, event: Event | JobEvent, *args: Any) -> None:
        """Call the callbacks; one that fails is logged and harms nothing."""
        for callback in self._in_order(event):
            try:
                callback(*args)
            except BaseException:  # noqa: BLE001 - users' code may raise anything
                _log.exception("the callback %s for the event %s failed", _name(callback), event)

    def fire_or_fail(self, event: Event) -> None:
        """Call the callbacks; the first failure is the caller's."""
        for callback in self._in_order(event):
            callback()

    def _in_order(self, event: str) -> list[Callable[..., object]]:
        callbacks = list(self._callbacks[event])
        return callbacks[::-1] if event in _LAST_REGISTERED_FIRST else callbacks


def _name(callback: Callable[..., object]) -> str:
    return f"{getattr(callback, '__module__', '?')}.{getattr(callback, '__qualname__', repr(callback))}"


hooks = Hooks()
on = hooks.on
