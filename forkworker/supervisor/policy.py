"""What the master should do now.  Pure: the fleet and the time in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.supervisor.states import ChildState

if TYPE_CHECKING:
    from collections.abc import Sequence

#: when every slot has failed so often before any child was ever ready, it is no use
BOOT_FAILURES_THAT_END = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
#: what a child gets beyond the deadline of its stop, to unwind, before it is killed
UNWIND_SECONDS = 0.6
#: a slot stays empty for so long: the boot of the next child would take the cores from those who put jobs back
RESTORE_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """A slot, as far as decisions need it."""

    number: int
    #: None: empty
    child: ChildState | None
    #: when the slot may be filled, if it is empty
    since: float
    #: children that died before they were ready, since the last that was
    boot_failures: int
    #: whether another child should take its place
    is_outdated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideView:
    """A child in no slot: the one that is to take over a slot, or one that leaves."""

    child: ChildState
    is_incoming: bool


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fill a slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Spawn a child beside the one in a slot, to take the slot over."""

    slot: int


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The incoming child is ready: it gets its slot, and the one there leaves."""


@dataclass(frozen=True, slots=True)
class KillAll:
    """End all that live."""

    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the master: a crash loop."""


Action = Spawn | Replace | TakeOver | KillAll | GiveUp


def plan(
    slots: Sequence[SlotView],
    *,
    can_spawn: bool,
    kill_at: float | None,
    was_ready: bool,
    now: float,
    beside: Sequence[BesideView] = (),
    replace_from: float | None = None,
) -> list[Action]:
    """Decide.

    ``can_spawn``: the forkserver is ready.  ``kill_at``: when what has not stopped is killed; None unless
    stopping.  ``was_ready``: all slots were ready once.  ``replace_from``: from when on outdated children
    may be replaced; None: not now.
    """
    if kill_at is not None:
        return [KillAll("it did not stop in time")] if now >= kill_at and _any_lives(slots, beside) else []
    if not was_ready and all(slot.boot_failures >= BOOT_FAILURES_THAT_END for slot in slots):
        return [GiveUp()]
    actions: list[Action] = [Spawn(s.number) for s in slots if s.child is None and can_spawn and now >= s.since]
    if replace_from is not None and can_spawn and now >= replace_from:
        actions += _replace(slots, beside)
    return actions


def _replace(slots: Sequence[SlotView], beside: Sequence[BesideView]) -> Sequence[Action]:
    """One slot at a time, and only while all others are full."""
    incoming = next((view for view in beside if view.is_incoming), None)
    if incoming:
        return [TakeOver()] if incoming.child is ChildState.READY else []
    if any(slot.child is not ChildState.READY for slot in slots):
        return []
    return [Replace(slot.number) for slot in slots if slot.is_outdated][:1]


def next_deadline(
    slots: Sequence[SlotView],
    *,
    can_spawn: bool,
    kill_at: float | None,
    beside: Sequence[BesideView] = (),
    replace_from: float | None = None,
) -> float | None:
    """Return the instant at which ``plan`` may have something new, if nothing happens before."""
    if kill_at is not None:
        return kill_at if _any_lives(slots, beside) else None
    instants = [s.since for s in slots if s.child is None and can_spawn]
    if replace_from is not None and can_spawn and _replace(slots, beside):
        instants.append(replace_from)
    return min(instants, default=None)


def respawn_pause(boot_failures: int) -> float:
    """Return the seconds before a slot is filled again: none after a child that had been ready."""
    if boot_failures == 0:
        return 0.0
    doublings = min(boot_failures - 1, 10)  # enough to reach the longest pause, and never to overflow
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**doublings)


def _any_lives(slots: Sequence[SlotView], beside: Sequence[BesideView]) -> bool:
    states = [slot.child for slot in slots] + [view.child for view in beside]
    return ChildState.SPAWNED in states or ChildState.READY in states
