"""A child says what Redis refuses it alone, once a minute, and leaves outages to the keeper."""

from __future__ import annotations

import logging

import pytest

from forkworker.runtime.refusals import AGAIN_SECONDS, Refusals, is_refusal

pytestmark = pytest.mark.unit


class Hand:
    """A clock that stands still."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "why",
    [
        "NoPermissionError: this user has no permissions to run the 'blmove' command",
        "NoPermissionError: No permissions to access a key",
        "ResponseError: The user executing the script can't run this command or subcommand script: 4a",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOPERM this user may not run LTRIM: see docs/access.md",
    ],
)
def test_a_refusal_is_told(why: str, caplog: pytest.LogCaptureFixture) -> None:
    Refusals(Hand()).note(why)  # type: ignore[arg-type]

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert why in caplog.text


@pytest.mark.parametrize(
    "why",
    [
        "",
        "ConnectionError: Connection closed by server.",
        "TimeoutError: Timeout reading from socket",
        "ReadOnlyError: You can't write against a read only replica.",
        "OutOfMemoryError: command not allowed when used memory > 'maxmemory'.",
        "BusyLoadingError: Redis is loading the dataset in memory",
        "NoScriptError: No matching script. Please use EVAL.",
    ],
)
def test_what_all_of_a_tree_suffer_from_is_the_keepers_to_tell(why: str) -> None:
    assert not is_refusal(why)


def test_it_is_told_once_a_minute_and_not_at_length(caplog: pytest.LogCaptureFixture) -> None:
    clock = Hand()
    refusals = Refusals(clock)  # type: ignore[arg-type]
    for _ in range(100):
        refusals.note("NOPERM " + "x" * 100_000)
    clock.now += AGAIN_SECONDS
    refusals.note("NOPERM again")

    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2
    assert max(map(len, told)) < 1000
