"""forkworker: background jobs for Python on Redis, by a preforking daemon that never loses a job.

The public names are loaded when they are first used: the master and the command line are parts of
this package, too, and must stay small.
"""

import importlib
from typing import TYPE_CHECKING, Any

from forkworker.version import VERSION as __version__

if TYPE_CHECKING:
    from forkworker import inspect, middleware, testing
    from forkworker.client import Client, configure
    from forkworker.context import CurrentJob, current_job
    from forkworker.errors import (
        Bury,
        ConfigurationError,
        Drop,
        ForkworkerError,
        JobInterrupted,
        MalformedPayload,
        PushFailed,
        PushInDoubt,
        RetryIn,
        StoreUnavailable,
        UnknownJob,
    )
    from forkworker.hooks import on
    from forkworker.jobs import Job, job

_HOMES = {
    "client": ("Client", "configure"),
    "context": ("CurrentJob", "current_job"),
    "errors": (
        "Bury",
        "ConfigurationError",
        "Drop",
        "ForkworkerError",
        "JobInterrupted",
        "MalformedPayload",
        "PushFailed",
        "PushInDoubt",
        "RetryIn",
        "StoreUnavailable",
        "UnknownJob",
    ),
    "hooks": ("on",),
    "jobs": ("Job", "job"),
}

__all__ = [
    "Bury",
    "Client",
    "ConfigurationError",
    "CurrentJob",
    "Drop",
    "ForkworkerError",
    "Job",
    "JobInterrupted",
    "MalformedPayload",
    "PushFailed",
    "PushInDoubt",
    "RetryIn",
    "StoreUnavailable",
    "UnknownJob",
    "__version__",
    "configure",
    "current_job",
    "inspect",
    "job",
    "middleware",
    "on",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in ("inspect", "middleware", "testing"):
        return importlib.import_module(f"forkworker.{name}")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"forkworker.{module}"), name)
    raise AttributeError(f"module 'forkworker' has no attribute {name!r}")
