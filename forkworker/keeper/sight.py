"""What a keeper sees of its tree at one instant: a frozen value, made by the main thread, served by another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.keeper.numbers import NO_FIGURES, Figures
from forkworker.unix.board import STUCK_SECONDS, Gate, Phase

if TYPE_CHECKING:
    from forkworker.keeper.charge import Charge
    from forkworker.keeper.measures import Holdings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSight:
    """One child."""

    slot: int
    #: booting, ready, quiet, stopping, or stuck: ready, but a job keeps the GIL
    state: str
    busy: int
    #: the instants, monotonic, of its last beat in Redis (0 for none yet) and of the end of its lease
    beat_at: float
    lease_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The tree, as far as health is concerned; instants are monotonic."""

    children: tuple[ChildSight, ...] = ()
    #: why Redis is away, '' if it is not
    redis_trouble: str = ""
    #: when Redis had last answered all that was asked
    answered_at: float = 0.0
    figures: Figures = NO_FIGURES
    #: None until they were read, and while that cannot be done
    holdings: Holdings | None = None


def look_at(charge: Charge, now: float) -> ChildSight:
    """Look at the board of a child."""
    board = charge.board
    return ChildSight(
        slot=charge.slot,
        state=_state(charge, now),
        busy=board.busy,
        beat_at=charge.beat_at,
        lease_until=board.lease_until,
    )


def _state(charge: Charge, now: float) -> str:
    board = charge.board
    if board.phase == Phase.BOOTING:
        return "booting"
    if board.phase == Phase.STOPPING or board.gate == Gate.STOP:
        return "stopping"
    if board.gate == Gate.QUIET:
        return "quiet"
    return "ready" if now - board.tick <= STUCK_SECONDS else "stuck"
