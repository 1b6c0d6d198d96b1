"""What the master should do now.  Pure: the fleet and the time in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.supervisor.states import ChildState

if TYPE_CHECKING:
    from collections.abc import Sequence

#: a child that is not ready by then hangs in its boot
BOOT_SECONDS = 60.0
#: when every slot has failed so often before any child was ever ready, it is no use
BOOT_FAILURES_THAT_END = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """A slot, as far as decisions need it."""

    number: int
    #: None: empty
    child: ChildState | None
    #: when the child was spawned, or the slot may be filled again
    since: float
    #: children that died before they were ready, since the last that was
    boot_failures: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fill a slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End the child in a slot, by SIGKILL."""

    slot: int
    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the master: a crash loop."""


Action = Spawn | Kill | GiveUp


def plan(
    slots: Sequence[SlotView], *, can_spawn: bool, kill_at: float | None, was_ready: bool, now: float
) -> list[Action]:
    """Decide.

    ``can_spawn``: the forkserver is ready.  ``kill_at``: when what has not stopped is killed; None unless
    stopping.  ``was_ready``: all slots were ready once.
    """
    if kill_at is not None:
        return [Kill(s.number, "it did not stop in time") for s in slots if _lives(s) and now >= kill_at]
    if not was_ready and all(slot.boot_failures >= BOOT_FAILURES_THAT_END for slot in slots):
        return [GiveUp()]
    actions: list[Action] = [Spawn(s.number) for s in slots if s.child is None and can_spawn and now >= s.since]
    hung = [s for s in slots if s.child is ChildState.SPAWNED and now >= s.since + BOOT_SECONDS]
    return actions + [Kill(s.number, f"it was not ready after {BOOT_SECONDS:g} s") for s in hung]


def next_deadline(slots: Sequence[SlotView], *, can_spawn: bool, kill_at: float | None) -> float | None:
    """Return the instant at which ``plan`` may have something new, if nothing happens before."""
    if kill_at is not None:
        return kill_at if any(_lives(slot) for slot in slots) else None
    instants = [s.since + BOOT_SECONDS for s in slots if s.child is ChildState.SPAWNED]
    instants += [s.since for s in slots if s.child is None and can_spawn]
    return min(instants, default=None)


def respawn_pause(boot_failures: int) -> float:
    """Return the seconds before a slot is filled again: none after a child that had been ready."""
    if boot_failures == 0:
        return 0.0
    doublings = min(boot_failures - 1, 10)  # enough to reach the longest pause, and never to overflow
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**doublings)


def _lives(slot: SlotView) -> bool:
    return slot.child in (ChildState.SPAWNED, ChildState.READY)
