"""The slots and the children in them.  Knows which child is where; makes no decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.supervisor import policy
from forkworker.supervisor.policy import SlotView
from forkworker.supervisor.states import ChildState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forkworker.supervisor.handle import ChildHandle


class Fleet:
    """A fixed number of slots, each with one child or none."""

    def __init__(self, size: int) -> None:
        self._children: list[ChildHandle | None] = [None] * size
        self._free_since = [0.0] * size
        self._boot_failures = [0] * size
        #: children that have ended, whose jobs are not back yet, by pid
        self.unrestored: dict[int, ChildHandle] = {}
        #: exit statuses of the unrestored
        self.statuses: dict[int, int] = {}
        #: all slots were ready once
        self.was_ready = False

    def __iter__(self) -> Iterator[ChildHandle]:
        """Yield the children in order of their slots."""
        return iter([child for child in self._children if child])

    def __len__(self) -> int:
        """Count the children."""
        return sum(child is not None for child in self._children)

    @property
    def views(self) -> list[SlotView]:
        """All slots, as decisions need them."""
        return [self._view(number, child) for number, child in enumerate(self._children)]

    def find(self, pid: int) -> ChildHandle | None:
        """Return the living child of a pid."""
        return next((child for child in self if child.pid == pid), None)

    def in_slot(self, number: int) -> ChildHandle | None:
        """Return the child in a slot."""
        return self._children[number]

    def put(self, child: ChildHandle) -> None:
        """Fill a slot."""
        self._children[child.slot] = child

    def postpone(self, slot: int, instant: float) -> None:
        """Leave an empty slot empty until then."""
        self._free_since[slot] = instant

    def note_ready(self, child: ChildHandle) -> None:
        """A child has booted."""
        child.move(ChildState.READY)
        child.has_booted = True
        self._boot_failures[child.slot] = 0
        if all(c and c.state is ChildState.READY for c in self._children):
            self.was_ready = True

    def remove(self, child: ChildHandle, now: float) -> float:
        """Empty a slot; return the pause before it may be filled again."""
        if not child.has_booted:
            self._boot_failures[child.slot] += 1
        child.move(ChildState.GONE)
        self._children[child.slot] = None
        pause = policy.respawn_pause(self._boot_failures[child.slot])
        self._free_since[child.slot] = now + pause
        return pause

    def _view(self, number: int, child: ChildHandle | None) -> SlotView:
        return SlotView(
            number=number,
            child=child.state if child else None,
            since=child.born_at if child else self._free_since[number],
            boot_failures=self._boot_failures[number],
        )
