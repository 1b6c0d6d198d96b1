"""Lifecycle events and their callbacks.  Registered at import of the app, fired in forkserver and children."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

Event = Literal["startup", "quiet", "resume", "shutdown", "exit", "before_fork", "after_fork"]

_LAST_REGISTERED_FIRST = frozenset({"quiet", "shutdown", "exit"})
_log = logging.getLogger(__name__)


class Hooks:
    """The callbacks of each event."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[], object]]] = {event: [] for event in get_args(Event)}

    def on(self, event: Event) -> Callable[[Callable[[], object]], Callable[[], object]]:
        """Return a decorator that registers a function without parameters for an event.

        Raises ValueError for an event there is not.
        """
        if event not in self._callbacks:
            raise ValueError(f"there is no event {event!r}; the events are {', '.join(self._callbacks)}")

        def register(callback: Callable[[], object]) -> Callable[[], object]:
            self._callbacks[event].append(callback)
            return callback

        return register

    def fire(self, event: Event) -> None:
        """Call the callbacks; one that fails is logged and harms nothing."""
        for callback in self._in_order(event):
            try:
                callback()
            except (Exception, SystemExit):  # noqa: BLE001 - users' code may raise anything
                _log.exception("the callback %s for the event %s failed", _name(callback), event)

    def fire_or_fail(self, event: Event) -> None:
        """Call the callbacks; the first failure is the caller's."""
        for callback in self._in_order(event):
            callback()

    def _in_order(self, event: Event) -> list[Callable[[], object]]:
        callbacks = list(self._callbacks[event])
        return callbacks[::-1] if event in _LAST_REGISTERED_FIRST else callbacks


def _name(callback: Callable[[], object]) -> str:
    return f"{getattr(callback, '__module__', '?')}.{getattr(callback, '__qualname__', repr(callback))}"


hooks = Hooks()
on = hooks.on
