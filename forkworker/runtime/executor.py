"""Runs one job: payload in, outcome out.  Every way a job can end is a value; nothing escapes.

Runs in job threads.  Here is one of the two places that catch everything: a user's function may
raise anything, SystemExit and KeyboardInterrupt included, and that concerns this job alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from forkworker import context, middleware
from forkworker.errors import Drop, JobInterrupted, MalformedPayload, UnknownJob
from forkworker.hooks import hooks
from forkworker.runtime import retry
from forkworker.runtime.outcome import Interrupted, Outcome
from forkworker.runtime.retry import Verdict
from forkworker.wire import failure, payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.context import CurrentJob
    from forkworker.jobs import Job, Registry
    from forkworker.runtime.hand import Unit
    from forkworker.runtime.shield import Shield

_MOST_NAMES_TOLD = 20
_NO_DELAY = "its retry_in failed; the ordinary delay is taken"
_UNDECIDED = "its failure cannot be noted in it; it goes to the dead set as it is"
_log = logging.getLogger(__name__)


class Executor:
    """Finds the function of a payload and runs it."""

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        *,
        apps: tuple[str, ...],
        is_stopping: Callable[[], bool],
        count_recoveries: Callable[[bytes], int],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._apps = apps
        self._is_stopping = is_stopping
        self._count_recoveries = count_recoveries
        self._pid = os.getpid()

    def run(self, unit: Unit, shield: Shield) -> Outcome | Interrupted:
        """Run a unit to its end."""
        began = self._clock.monotonic()
        try:
            job = payload.decode(unit.payload)
        except MalformedPayload as error:
            return Outcome(unit, "reject", error=str(error), new_payload=unit.payload, score=self._clock.now())
        name, jid = job["class"], payload.jid_of(job)
        found = self._registry.find(name)
        try:
            self._call(found or self._unknown(name), job, unit, shield)
        except Drop:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever a job raises is that job's failure
            if isinstance(error, JobInterrupted) and self._is_stopping():
                return Interrupted(unit)
            return self._failed(unit, name, jid, error, found, self._clock.monotonic() - began)
        return Outcome(unit, "done", name, jid, self._clock.monotonic() - began)

    def _call(self, found: Job[..., Any], job: dict[str, Any], unit: Unit, shield: Shield) -> None:
        current = context.CurrentJob(job, unit.payload, unit.queue, self._is_stopping, self._count_recoveries)
        try:
            perform(found, job, current, shield)
        finally:
            if os.getpid() != self._pid:
                # the job has forked and this is the copy: what it would settle, or tell, is the other one's
                os._exit(1 if sys.exc_info()[0] else 0)

    def _unknown(self, name: str) -> Job[..., Any]:
        raise unknown_job(name, self._registry, f"imported was: {', '.join(self._apps) or 'nothing'}")

    def _failed(
        self,
        unit: Unit,
        name: str,
        jid: str,
        error: BaseException,
        found: Job[..., Any] | None,
        seconds: float,
    ) -> Outcome:
        verdict = self._verdict(unit, name, error, found)
        if verdict.exhausted is not None:
            _tell_exhausted(found, verdict.exhausted, error)
        told = ": ".join(failure.describe_error(error))
        return Outcome(unit, verdict.kind, name, jid, seconds, told, verdict.new_payload, verdict.score)

    def _verdict(self, unit: Unit, name: str, error: BaseException, found: Job[..., Any] | None) -> Verdict:
        """Decide on the payload as it was taken: the job and its middleware may have changed what they were given."""
        now = self._clock.now()
        options = found.default_options if found else None
        ways = [options]
        if options and options.retry_in is not None:
            ways.append(dataclasses.replace(options, retry_in=None))
        for way in ways:
            try:
                return retry.decide(payload.decode(unit.payload), error, queue=unit.queue, now=now, options=way)
            except BaseException:  # noqa: BLE001 - users' code, too
                _log.exception("%.200s: %s", name, _UNDECIDED if way is ways[-1] else _NO_DELAY)
        return Verdict("bury", unit.payload, now)


def perform(found: Job[..., Any], job: dict[str, Any], current: CurrentJob, shield: Shield | None = None) -> Any:
    """Run a job with its arguments, through the middleware; what it raises is the caller's."""
    args, kwargs = job.get("args") or (), job.get("kwargs") or {}
    token = context.set_current(current)
    try:
        with shield or contextlib.nullcontext():
            value = middleware.server.run(job, found.function, *args, **kwargs)
            if isinstance(value, CoroutineType):
                value.close()
                raise TypeError(f"{found.name} returned a coroutine, which nobody runs: call asyncio.run() in the job")
            return value
    finally:
        context.reset_current(token)


def unknown_job(name: str, registry: Registry, where: str) -> UnknownJob:
    """Return the error for a name that is not registered; ``where`` says what else could be wrong."""
    known = registry.names()
    more = f" and {len(known) - _MOST_NAMES_TOLD} more" if len(known) > _MOST_NAMES_TOLD else ""
    told = ", ".join(known[:_MOST_NAMES_TOLD]) or "none"
    return UnknownJob(f"no job is named {name[:200]!r} here; known are: {told}{more}; {where}")


def _tell_exhausted(found: Job[..., Any] | None, job: dict[str, Any], error: BaseException) -> None:
    """Call the job's own function first, then everybody's."""
    own = found.default_options.on_exhausted if found else None
    if own:
        try:
            own(job, error)
        except BaseException:  # noqa: BLE001 - users' code may raise anything
            _log.exception("on_exhausted of %.200s failed", job["class"])
    hooks.fire("exhausted", job, error)
