"""Lifecycle events: who is called, in which order, and what a failure does."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, get_args

import pytest

import forkworker
from forkworker import hooks
from forkworker.hooks import Event, Hooks

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit

EVENTS: tuple[Event, ...] = get_args(Event)
REVERSED = ("quiet", "shutdown", "exit")


@pytest.fixture
def calls() -> list[str]:
    return []


def recorder(calls: list[str], name: str) -> Callable[[], None]:
    return lambda: calls.append(name)


def test_the_events_are_those_of_the_contract() -> None:
    assert set(EVENTS) == {"startup", "quiet", "resume", "shutdown", "exit", "before_fork", "after_fork"}


@pytest.mark.parametrize("event", EVENTS)
def test_callbacks_come_in_order_of_registration_or_reversed_when_things_end(event: Event, calls: list[str]) -> None:
    events = Hooks()
    for name in ("first", "second", "third"):
        events.on(event)(recorder(calls, name))

    events.fire(event)
    events.fire_or_fail(event)

    once = ["third", "second", "first"] if event in REVERSED else ["first", "second", "third"]
    assert calls == once + once


@pytest.mark.parametrize("event", EVENTS)
def test_only_the_callbacks_of_the_event_are_called(event: Event, calls: list[str]) -> None:
    events = Hooks()
    for other in EVENTS:
        events.on(other)(recorder(calls, other))

    events.fire(event)

    assert calls == [event]


def test_a_callback_is_still_a_function_and_may_serve_several_events(calls: list[str]) -> None:
    events = Hooks()

    @events.on("quiet")
    @events.on("resume")
    def note() -> None:
        calls.append("called")

    note()
    events.fire("quiet")
    events.fire("resume")

    assert calls == ["called"] * 3


@pytest.mark.parametrize(
    "failure",
    [
        lambda: 1 / 0,
        lambda: (_ for _ in ()).throw(RecursionError("deep")),
        lambda missing: missing,
        lambda: sys.exit(3),
        lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    ],
    ids=["error", "RecursionError", "wants a parameter", "sys.exit", "KeyboardInterrupt"],
)
def test_a_failing_callback_is_logged_and_the_others_are_called(
    failure: Callable[[], object], calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    events = Hooks()
    events.on("resume")(recorder(calls, "before"))
    events.on("resume")(failure)
    events.on("resume")(recorder(calls, "after"))

    with caplog.at_level(logging.ERROR, "forkworker"):
        events.fire("resume")

    assert calls == ["before", "after"]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "resume" in record.getMessage()
    assert __name__ in record.getMessage()
    assert record.exc_info


def test_a_failing_startup_is_the_callers(calls: list[str]) -> None:
    events = Hooks()
    events.on("startup")(recorder(calls, "before"))
    events.on("startup")(lambda: 1 / 0)
    events.on("startup")(recorder(calls, "after"))

    with pytest.raises(ZeroDivisionError):
        events.fire_or_fail("startup")

    assert calls == ["before"]


def test_a_callback_without_a_name_can_fail_too(caplog: pytest.LogCaptureFixture) -> None:
    class Nameless:
        def __call__(self) -> None:
            raise ValueError("boom")

    events = Hooks()
    events.on("exit")(Nameless())
    with caplog.at_level(logging.ERROR, "forkworker"):
        events.fire("exit")

    assert "Nameless" in caplog.text


def test_an_event_that_there_is_not_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(ValueError, match="no event 'start'") as caught:
        Hooks().on("start")  # type: ignore[call-overload]

    assert all(event in str(caught.value) for event in EVENTS)


def test_a_callback_registered_by_a_callback_comes_the_next_time(calls: list[str]) -> None:
    events = Hooks()

    @events.on("resume")
    def register() -> None:
        events.on("resume")(recorder(calls, "new"))

    events.fire("resume")
    assert calls == []
    events.fire("resume")
    assert calls == ["new"]


def test_callbacks_of_a_last_failure_get_job_and_error_in_order_of_registration(calls: list[str]) -> None:
    events = Hooks()
    error = ValueError("boom")
    for name in ("first", "second"):
        events.on("exhausted")(lambda job, error, name=name: calls.append(f"{name} {job['jid']} {error}"))

    events.fire("exhausted", {"jid": "a"}, error)

    assert calls == ["first a boom", "second a boom"]


def test_what_is_no_function_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="registers a function"):
        Hooks().on("quiet")(None)  # type: ignore[type-var]


def test_forkworker_on_registers_with_the_hooks_of_the_process() -> None:
    assert forkworker.on.__self__ is hooks.hooks  # type: ignore[attr-defined]
