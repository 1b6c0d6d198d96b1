"""The app of the trees under fire: its jobs do nothing, and whatever runs that none of them asked for is noted."""

from __future__ import annotations

import os
import threading
from typing import Any

import forkworker
from fuzz import watch

HEARD = os.environ["FORKWORKER_FUZZ_HEARD"]


def _note(told: str) -> None:
    if threading.current_thread().name.startswith("job thread"):
        descriptor = os.open(HEARD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, told.encode("utf-8", "replace") + b"\n")
        os.close(descriptor)


@forkworker.on("startup")
def _listen() -> None:
    watch.listen(_note)


@forkworker.job(name="quiet")
def quiet(*_: Any, **__: Any) -> None:
    """Do nothing with whatever it gets."""


@forkworker.job(name="fail", retry_in=3600)
def fail(*args: Any, **_: Any) -> None:
    """Fail with whatever it gets."""
    raise ValueError(*args)


@forkworker.job(name="fail_so", backtrace=True, retry_in=lambda count, error: len(error.args[0]) + count + 3600)
def fail_so(*args: Any, **_: Any) -> None:
    """Have a retry_in that trusts it."""
    raise ValueError(*args)


@forkworker.job(name="strict", retry_in=3600)
def strict(one: Any, two: Any = 2, *, three: Any = 3) -> None:
    """Have a signature."""
    del one, two, three


@forkworker.job(name="keyword", retry_in=3600)
def keyword(*, key: Any) -> None:
    """Take a keyword only."""
    del key
