"""Middleware: callables around each push (``client``) and each run of a job (``server``).

A middleware is a callable ``(job, call_next)``.  On the client side ``job`` is the payload as a dict,
and not calling ``call_next()`` keeps the job from being pushed; on the server side it is the same
dict, and ``call_next()`` runs the job and returns its value.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Middleware = Callable[[dict[str, Any], Callable[[], Any]], Any]


class Chain:
    """Middleware in order: the first added is the outermost."""

    def __init__(self) -> None:
        self._links: list[Middleware] = []

    def add(self, middleware: Middleware) -> Middleware:
        """Add a middleware; usable as a decorator."""
        self._links.append(middleware)
        return middleware

    def remove(self, middleware: Middleware) -> None:
        """Take a middleware out again; raises ValueError if it is not in."""
        self._links.remove(middleware)

    @property
    def is_empty(self) -> bool:
        """Whether there is no middleware."""
        return not self._links

    def run(self, job: dict[str, Any], innermost: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call the innermost, with its arguments, through all links."""
        if not self._links:
            return innermost(*args, **kwargs)
        call = functools.partial(innermost, *args, **kwargs)
        for link in reversed(self._links):
            call = functools.partial(link, job, call)
        return call()


client = Chain()
server = Chain()
