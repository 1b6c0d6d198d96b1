"""Runs one job: payload in, outcome out.  Every way a job can end is a value; nothing escapes.

Runs in job threads.  Here is one of the two places that catch everything: a user's function may
raise anything, SystemExit and KeyboardInterrupt included, and that concerns this job alone.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING, Any

from forkworker import context, middleware
from forkworker.errors import Drop, JobInterrupted, MalformedPayload, UnknownJob
from forkworker.runtime import retry
from forkworker.runtime.outcome import Interrupted, Outcome
from forkworker.runtime.retry import Verdict
from forkworker.wire import payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.jobs import Job, Options, Registry
    from forkworker.runtime.hand import Unit
    from forkworker.runtime.shield import Shield

_MOST_NAMES_TOLD = 20
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

    def run(self, unit: Unit, shield: Shield) -> Outcome | Interrupted:
        """Run a unit to its end."""
        began = self._clock.monotonic()
        try:
            job = payload.decode(unit.payload)
        except MalformedPayload as error:
            return Outcome(unit, "reject", error=str(error), new_payload=unit.payload, score=self._clock.now())
        name = job["class"]
        found = self._registry.find(name)
        try:
            self._call(found or self._unknown(name), job, unit, shield)
        except JobInterrupted:
            return Interrupted(unit)
        except Drop:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever a job raises is that job's failure
            return self._failed(unit, job, error, found, self._clock.monotonic() - began)
        return Outcome(unit, "done", name, str(job.get("jid", "")), self._clock.monotonic() - began)

    def _call(self, found: Job[..., Any], job: dict[str, Any], unit: Unit, shield: Shield) -> None:
        args, kwargs = job.get("args") or (), job.get("kwargs") or {}
        current = context.CurrentJob(job, unit.payload, unit.queue, self._is_stopping, self._count_recoveries)
        token = context.set_current(current)
        try:
            with shield:
                middleware.server.run(job, functools.partial(found.function, *args, **kwargs))
        finally:
            context.reset_current(token)

    def _unknown(self, name: str) -> Job[..., Any]:
        known = self._registry.names()
        more = f" and {len(known) - _MOST_NAMES_TOLD} more" if len(known) > _MOST_NAMES_TOLD else ""
        raise UnknownJob(
            f"no job is named {name!r} here; known are: {', '.join(known[:_MOST_NAMES_TOLD]) or 'none'}{more}; "
            f"imported was: {', '.join(self._apps) or 'nothing'}"
        )

    def _failed(
        self, unit: Unit, job: dict[str, Any], error: BaseException, found: Job[..., Any] | None, seconds: float
    ) -> Outcome:
        options = found.default_options if found else None
        now = self._clock.now()
        try:
            verdict = retry.decide(job, error, queue=unit.queue, now=now, options=options)
        except BaseException:  # noqa: BLE001 - users' code, too
            _log.exception("jid=%s %s: its retry_in failed; the ordinary delay is taken", job.get("jid"), job["class"])
            verdict = self._decide_without_hook(unit, job, error, options, now)
        name, message = payload.describe_error(error)
        return Outcome(
            unit,
            verdict.kind,
            job["class"],
            str(job.get("jid", "")),
            seconds,
            f"{name}: {message}",
            verdict.new_payload,
            verdict.score,
        )

    @staticmethod
    def _decide_without_hook(
        unit: Unit, job: dict[str, Any], error: BaseException, options: Options | None, now: float
    ) -> Verdict:
        ordinary = dataclasses.replace(options, retry_in=None) if options else None
        try:
            return retry.decide(job, error, queue=unit.queue, now=now, options=ordinary)
        except (ValueError, RecursionError):  # it holds what JSON cannot carry: kept as it is
            return Verdict("bury", unit.payload, now)
