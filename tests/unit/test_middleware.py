"""Middleware: around each push and each run, the first added outermost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import forkworker
from forkworker import middleware
from forkworker.middleware import Chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.middleware import Middleware

pytestmark = pytest.mark.unit


def tracer(steps: list[str], name: str) -> Middleware:
    def trace(_job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        steps.append(f"{name} in")
        value = call_next()
        steps.append(f"{name} out")
        return value

    return trace


def test_an_empty_chain_is_the_innermost_alone() -> None:
    assert Chain().run({}, lambda: "value") == "value"


def test_the_first_added_is_the_outermost() -> None:
    chain, steps = Chain(), list[str]()
    for name in ("first", "second"):
        chain.add(tracer(steps, name))

    def innermost() -> str:
        steps.append("job")
        return "value"

    value = chain.run({}, innermost)

    assert value == "value"
    assert steps == ["first in", "second in", "job", "second out", "first out"]


def test_every_link_gets_the_same_job_and_may_change_it() -> None:
    chain = Chain()
    job = {"class": "a"}

    @chain.add
    def add(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        job["tenant"] = 7
        return call_next()

    assert chain.run(job, lambda: job["tenant"]) == 7


def test_a_link_that_does_not_call_the_next_ends_the_way() -> None:
    chain, steps = Chain(), list[str]()
    chain.add(tracer(steps, "outer"))
    chain.add(lambda _job, _call_next: "refused")
    chain.add(tracer(steps, "inner"))

    assert chain.run({}, lambda: steps.append("job")) == "refused"
    assert steps == ["outer in", "outer out"]


def test_a_link_may_change_the_value_or_deal_with_the_error() -> None:
    chain = Chain()

    @chain.add
    def rescue(_job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        try:
            return call_next()
        except ZeroDivisionError:
            return "rescued"

    assert chain.run({}, lambda: 1 / 0) == "rescued"


def test_an_error_goes_through_all_links() -> None:
    chain, steps = Chain(), list[str]()
    chain.add(tracer(steps, "outer"))

    with pytest.raises(ZeroDivisionError):
        chain.run({}, lambda: 1 / 0)
    assert steps == ["outer in"]


def test_a_link_can_be_taken_out_again() -> None:
    chain, steps = Chain(), list[str]()
    link = chain.add(tracer(steps, "x"))
    chain.remove(link)

    chain.run({}, lambda: None)

    assert steps == []
    with pytest.raises(ValueError, match="not in list"):
        chain.remove(link)


def test_add_is_a_decorator_that_leaves_the_function_as_it_is() -> None:
    def link(_job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        return call_next()

    assert Chain().add(link) is link


def test_the_two_chains_are_public_and_apart() -> None:
    assert forkworker.middleware is middleware
    assert middleware.client is not middleware.server
