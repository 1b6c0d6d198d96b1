"""What the master should do: a table of situations and actions."""

from __future__ import annotations

import pytest

from forkworker.supervisor.policy import (
    BOOT_FAILURES_THAT_END,
    BOOT_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Action,
    GiveUp,
    Kill,
    SlotView,
    Spawn,
    next_deadline,
    plan,
    respawn_pause,
)
from forkworker.supervisor.states import ChildState

pytestmark = pytest.mark.unit

NOW = 1000.0
SPAWNED, READY, KILLED = ChildState.SPAWNED, ChildState.READY, ChildState.KILLED
HUNG = "it was not ready after 60 s"
LATE = "it did not stop in time"


def slots(*kinds: tuple[ChildState | None, float] | tuple[ChildState | None, float, int]) -> list[SlotView]:
    """Slots of (child, seconds since, boot failures)."""
    return [
        SlotView(number=number, child=kind[0], since=NOW - kind[1], boot_failures=kind[2] if len(kind) > 2 else 0)
        for number, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("views", "can_spawn", "actions"),
    [
        (slots((None, NOW), (None, NOW)), True, [Spawn(0), Spawn(1)]),
        (slots((None, NOW), (None, NOW)), False, []),
        (slots((READY, 5), (None, 0), (SPAWNED, 5)), True, [Spawn(1)]),
        (slots((READY, 1e6), (READY, 0)), True, []),
        (slots((None, -0.1)), True, []),
        (slots((None, 0)), True, [Spawn(0)]),
        (slots((SPAWNED, BOOT_SECONDS - 0.1)), True, []),
        (slots((SPAWNED, BOOT_SECONDS)), True, [Kill(0, HUNG)]),
        (slots((SPAWNED, BOOT_SECONDS), (None, 1), (KILLED, 1e6)), True, [Spawn(1), Kill(0, HUNG)]),
        (slots((SPAWNED, BOOT_SECONDS)), False, [Kill(0, HUNG)]),
        (slots((KILLED, 1e6)), True, []),
        ([], True, []),
    ],
    ids=[
        *(
            "all empty",
            "the forkserver is not ready",
            "one empty",
            "all full",
            "still to pause",
            "pause over",
        ),
        *("boots", "hangs in its boot", "all at once", "hangs, no forkserver", "killed, dying", "no slots"),
    ],
)
def test_while_it_runs_empty_slots_are_filled_and_hung_boots_ended(
    views: list[SlotView], can_spawn: bool, actions: list[Action]
) -> None:
    assert plan(views, can_spawn=can_spawn, kill_at=None, was_ready=True, now=NOW) == actions


@pytest.mark.parametrize(
    ("views", "kill_at", "actions"),
    [
        (slots((READY, 5), (SPAWNED, 5)), NOW + 0.1, []),
        (slots((READY, 5), (SPAWNED, 5)), NOW, [Kill(0, LATE), Kill(1, LATE)]),
        (slots((None, 5), (KILLED, 5), (READY, 5)), NOW - 1, [Kill(2, LATE)]),
        (slots((None, 1e6), (None, 1e6)), NOW - 1, []),
        (slots((SPAWNED, BOOT_SECONDS)), NOW + 5, []),
        (slots((None, 1, 99)), NOW + 5, []),
    ],
    ids=[
        "in time",
        "late",
        "only what lives",
        "all gone",
        "hung boots wait for the same end",
        "no crash loop now",
    ],
)
def test_while_it_stops_nothing_is_spawned_and_what_is_late_is_killed(
    views: list[SlotView], kill_at: float, actions: list[Action]
) -> None:
    assert plan(views, can_spawn=True, kill_at=kill_at, was_ready=False, now=NOW) == actions


N = BOOT_FAILURES_THAT_END


@pytest.mark.parametrize(
    ("views", "was_ready", "actions"),
    [
        (slots((None, -9, N), (None, -9, N)), False, [GiveUp()]),
        (slots((None, -9, N), (None, -9, N + 5)), False, [GiveUp()]),
        (slots((None, -9, N), (None, -9, N - 1)), False, []),
        (slots((None, -9, N), (READY, 9, 0)), False, []),
        (slots((None, -9, N), (None, -9, N)), True, []),
        (slots((None, 1, N), (None, 1, N)), True, [Spawn(0), Spawn(1)]),
    ],
    ids=[
        "all",
        "more than enough",
        "one has a try left",
        "one works",
        "it had worked once",
        "then it goes on",
    ],
)
def test_a_crash_loop_from_the_start_ends_the_master(
    views: list[SlotView], was_ready: bool, actions: list[Action]
) -> None:
    assert plan(views, can_spawn=True, kill_at=None, was_ready=was_ready, now=NOW) == actions


@pytest.mark.parametrize(
    ("views", "can_spawn", "kill_at", "deadline"),
    [
        ([], True, None, None),
        (slots((READY, 5)), True, None, None),
        (slots((SPAWNED, 5)), True, None, NOW - 5 + BOOT_SECONDS),
        (slots((None, -3), (None, -2)), True, None, NOW + 2),
        (slots((None, -3)), False, None, None),
        (slots((None, -3), (SPAWNED, 59)), True, None, NOW + 1),
        (slots((KILLED, 5)), True, None, None),
        (slots((READY, 5), (None, -3)), True, NOW + 8, NOW + 8),
        (slots((KILLED, 5), (None, -3)), True, NOW + 8, None),
    ],
    ids=[
        *("nothing", "all ready", "boots", "first pause ends", "no forkserver", "boot before pause", "dying"),
        *("stopping", "stopping, all dying"),
    ],
)
def test_the_next_deadline_is_when_the_plan_may_change(
    views: list[SlotView], can_spawn: bool, kill_at: float | None, deadline: float | None
) -> None:
    assert next_deadline(views, can_spawn=can_spawn, kill_at=kill_at) == deadline


def test_at_the_next_deadline_there_is_something_to_do() -> None:
    for views in (slots((None, -3)), slots((SPAWNED, 5)), slots((None, -2, 2), (SPAWNED, 30))):
        deadline = next_deadline(views, can_spawn=True, kill_at=None)
        assert deadline is not None
        assert plan(views, can_spawn=True, kill_at=None, was_ready=True, now=deadline)
        assert not plan(views, can_spawn=True, kill_at=None, was_ready=True, now=deadline - 0.001)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (8, 30.0), (1000, 30.0)]
)
def test_the_pause_doubles_with_each_failed_boot_up_to_a_limit(failures: int, seconds: float) -> None:
    assert respawn_pause(failures) == seconds <= LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("hours", [8, 9, 1000])
def test_a_boot_may_fail_for_days(hours: int) -> None:
    failures = int(hours * 3600 / LONGEST_PAUSE_SECONDS)

    assert respawn_pause(failures) == LONGEST_PAUSE_SECONDS
