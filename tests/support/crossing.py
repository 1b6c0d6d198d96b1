"""Sample jobs beside those of ``support.jobs``, known to a Sidekiq worker in Ruby, too.

Runs in the children of the daemons under test.
"""

from __future__ import annotations

from typing import Any

import forkworker
from support.jobs import _sleep, note, noted


@forkworker.job(name="Crossing")
def crossing(key: Any, fails_in: str = "") -> None:
    """Note that it ran, and with which retry count; fail if it shall in Python."""
    note("saw", key, str(forkworker.current_job().retry_count))
    with noted(key):
        if fails_in == "python":
            raise ValueError("not <b>here</b>, in Python")


@forkworker.job(name="receipt")
def receipt(order: int, *, seconds: float = 0, text: str = "") -> None:
    """Run for so many seconds; fail with the text if there is one."""
    with noted(order):
        _sleep(seconds)
        if text:
            next(refuse(text) for _ in range(1))  # a frame whose name looks like a tag


class ReceiptError(Exception):
    """An error with a name of its own."""


def refuse(text: str) -> None:
    """Raise an error."""
    raise ReceiptError(text)
