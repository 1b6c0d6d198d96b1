"""The exceptions and exit codes of forkworker.  Used in every process."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from forkworker.delay import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta


class ExitCode(IntEnum):
    """How ``forkworker`` ends, after sysexits.h; after Ctrl-C as shells have it."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CRASH_LOOP = 70
    REDIS_UNAVAILABLE = 75
    CONFIGURATION = 78
    INTERRUPTED = 130


class ForkworkerError(Exception):
    """Base of every error that forkworker raises."""


class ConfigurationError(ForkworkerError):
    """The configuration, or the app it names, cannot be used.

    ``problems`` holds one plain line for each thing that is wrong.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class StoreUnavailable(ForkworkerError):
    """Redis cannot be reached, or refuses to work, at the moment."""


class StoreUnfit(StoreUnavailable):
    """Redis is of a version or a kind that lacks what is needed: waiting does not help."""


class PushFailed(StoreUnavailable):
    """Redis could not be reached, or refused a push: the job was not accepted, and may be pushed again.

    ``accepted`` holds the jids of those jobs of the same call that earlier round trips have brought in.
    """

    accepted: Sequence[str] = ()


class PushInDoubt(StoreUnavailable):
    """The connection was lost during a push: the job may or may not have been accepted.

    ``accepted`` holds the jids of those jobs of the same call that earlier round trips have brought in.
    """

    accepted: Sequence[str] = ()


class IdentityTaken(ForkworkerError):
    """Another tree has declared this process dead and taken its jobs over."""


class MalformedPayload(ForkworkerError):
    """The text taken from a queue is not a job: broken JSON, no object, or without a class."""


class UnknownJob(ForkworkerError):
    """No job of this name is registered in this process."""


class Poisonous(ForkworkerError):
    """The job was running in several crashes of its process; it is not run again by itself."""


class Drop(ForkworkerError):
    """Raised by a job: end here, as if done."""


class Bury(ForkworkerError):
    """Raised by a job: go to the dead set, without further retries, whatever its options say."""


class RetryIn(ForkworkerError):
    """Raised by a job: try again in so many seconds, or a timedelta.  Counts as a failure, like any other.

    Raises TypeError or ValueError for what is no such time.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.seconds = seconds(delay)
        super().__init__(f"retry in {self.seconds:g} seconds")


class JobInterrupted(BaseException):
    """Raised inside a job whose process has to stop now.

    A BaseException, so that a job's own ``except Exception`` does not swallow it.
    """
