"""What the master should do: a table of situations and actions."""

from __future__ import annotations

import pytest

from forkworker.supervisor.policy import (
    BOOT_FAILURES_THAT_END,
    LONGEST_PAUSE_SECONDS,
    Action,
    BesideView,
    GiveUp,
    KillAll,
    Replace,
    SlotView,
    Spawn,
    TakeOver,
    next_deadline,
    plan,
    respawn_pause,
)
from forkworker.supervisor.states import ChildState

pytestmark = pytest.mark.unit

NOW = 1000.0
SPAWNED, READY, KILLED = ChildState.SPAWNED, ChildState.READY, ChildState.KILLED
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
        (slots((SPAWNED, 1e6)), True, []),
        (slots((SPAWNED, 50), (None, 1), (KILLED, 1e6)), True, [Spawn(1)]),
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
        *("boots", "all at once", "killed, dying", "no slots"),
    ],
)
def test_while_it_runs_empty_slots_are_filled(views: list[SlotView], can_spawn: bool, actions: list[Action]) -> None:
    assert plan(views, can_spawn=can_spawn, kill_at=None, was_ready=True, now=NOW) == actions


@pytest.mark.parametrize(
    ("views", "kill_at", "actions"),
    [
        (slots((READY, 5), (SPAWNED, 5)), NOW + 0.1, []),
        (slots((READY, 5), (SPAWNED, 5)), NOW, [KillAll(LATE)]),
        (slots((None, 5), (KILLED, 5), (READY, 5)), NOW - 1, [KillAll(LATE)]),
        (slots((None, 1e6), (None, 1e6)), NOW - 1, []),
        (slots((SPAWNED, 1e6)), NOW + 5, []),
        (slots((None, 1, 99)), NOW + 5, []),
    ],
    ids=[
        "in time",
        "late",
        "one lives",
        "all gone",
        "boots wait for the same end",
        "no crash loop now",
    ],
)
def test_while_it_stops_nothing_is_spawned_and_what_is_late_is_killed(
    views: list[SlotView], kill_at: float, actions: list[Action]
) -> None:
    assert plan(views, can_spawn=True, kill_at=kill_at, was_ready=False, now=NOW) == actions


def outdated(*kinds: tuple[ChildState | None, bool]) -> list[SlotView]:
    """Slots of (child, is outdated)."""
    return [
        SlotView(number=number, child=child, since=NOW - 5, boot_failures=0, is_outdated=is_outdated)
        for number, (child, is_outdated) in enumerate(kinds)
    ]


def incoming(child: ChildState) -> list[BesideView]:
    return [BesideView(child=child, is_incoming=True)]


LEAVING = [BesideView(child=READY, is_incoming=False)]
OLD, NEW = (READY, True), (READY, False)


@pytest.mark.parametrize(
    ("views", "beside", "replace_from", "actions"),
    [
        (outdated(OLD, OLD), [], NOW, [Replace(0)]),
        (outdated(NEW, OLD), LEAVING, NOW, [Replace(1)]),
        (outdated(NEW, NEW), LEAVING, NOW, []),
        (outdated(OLD, OLD), [], None, []),
        (outdated(OLD, OLD), [], NOW + 1, []),
        (outdated((SPAWNED, False), OLD), [], NOW, []),
        (outdated(OLD, (None, False)), [], NOW, [Spawn(1)]),
        (outdated(OLD, OLD), incoming(SPAWNED), NOW, []),
        (outdated(OLD, OLD), incoming(READY), NOW, [TakeOver()]),
        (outdated(OLD, OLD), incoming(READY), None, []),
        (outdated(OLD, OLD), incoming(KILLED), NOW, []),
    ],
    ids=[
        *("the first", "the next", "none is outdated", "not now", "after a pause"),
        *("another boots", "another is gone", "one is on its way", "it is ready", "it is on trial"),
        "it is dying",
    ],
)
def test_outdated_children_are_replaced_one_at_a_time(
    views: list[SlotView], beside: list[BesideView], replace_from: float | None, actions: list[Action]
) -> None:
    where = {"beside": beside, "replace_from": replace_from}
    assert plan(views, can_spawn=True, kill_at=None, was_ready=True, now=NOW, **where) == actions  # type: ignore[arg-type]
    assert not any(
        isinstance(action, Replace)
        for action in plan(views, can_spawn=False, kill_at=None, was_ready=True, now=NOW, **where)  # type: ignore[arg-type]
    )


def test_a_stop_ends_those_beside_the_slots_too() -> None:
    gone = slots((None, 5))

    for beside in (LEAVING, incoming(SPAWNED)):
        assert plan(gone, can_spawn=True, kill_at=NOW, was_ready=True, now=NOW, beside=beside) == [KillAll(LATE)]
        assert next_deadline(gone, can_spawn=True, kill_at=NOW + 1, beside=beside) == NOW + 1


@pytest.mark.parametrize(
    ("views", "beside", "deadline"),
    [
        (outdated(OLD), [], NOW + 3),
        (outdated(NEW), [], None),
        (outdated(OLD), incoming(SPAWNED), None),
        (outdated(OLD, (KILLED, False)), [], None),
    ],
    ids=["to be replaced", "nothing to do", "one is on its way", "another is dying"],
)
def test_the_next_deadline_knows_of_replacements(
    views: list[SlotView], beside: list[BesideView], deadline: float | None
) -> None:
    assert next_deadline(views, can_spawn=True, kill_at=None, beside=beside, replace_from=NOW + 3) == deadline


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
        (slots((SPAWNED, 5)), True, None, None),
        (slots((None, -3), (None, -2)), True, None, NOW + 2),
        (slots((None, -3)), False, None, None),
        (slots((None, -3), (SPAWNED, 59)), True, None, NOW + 3),
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
    for views in (slots((None, -3)), slots((None, -2, 2), (SPAWNED, 30))):
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
