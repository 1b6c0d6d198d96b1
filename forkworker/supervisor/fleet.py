"""The slots and the children in them.  Knows which child is where; makes no decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.supervisor import policy
from forkworker.supervisor.policy import BesideView, SlotView
from forkworker.supervisor.states import ChildState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forkworker.supervisor.handle import ChildHandle


class Fleet:
    """A fixed number of slots, each with one child or none; and, beside them, those that come and go."""

    def __init__(self, size: int, jitter: Callable[[], float] = lambda: 1.0) -> None:
        #: what pauses are multiplied by, so that the children of many masters do not boot together
        self._jitter = jitter
        self._children: list[ChildHandle | None] = [None] * size
        self._free_since = [0.0] * size
        self._boot_failures = [0] * size
        #: the child that is to take over the slot of another one, when it is ready
        self.incoming: ChildHandle | None = None
        #: children that have lost their slot and finish what they run
        self.leaving: list[ChildHandle] = []
        #: of the app's code; children of an older one are outdated
        self.generation = 1
        #: when an outdated child may be replaced; later after one that was to do it has failed
        self.replace_from = 0.0
        self._incoming_failures = 0
        #: children that have ended, whose jobs are not back yet, by pid
        self.unrestored: dict[int, ChildHandle] = {}
        #: all slots were ready once
        self.was_ready = False

    def __iter__(self) -> Iterator[ChildHandle]:
        """Yield all children: those in slots in order, then those beside."""
        return iter([child for child in (*self._children, self.incoming, *self.leaving) if child])

    def __len__(self) -> int:
        """Count all children."""
        return sum(1 for _ in self)

    @property
    def views(self) -> list[SlotView]:
        """All slots, as decisions need them."""
        return [self._view(number, child) for number, child in enumerate(self._children)]

    @property
    def beside(self) -> list[BesideView]:
        """The children in no slot, as decisions need them."""
        incoming = [self.incoming] if self.incoming else []
        return [
            BesideView(child=child.state, is_incoming=child is self.incoming) for child in (*incoming, *self.leaving)
        ]

    @property
    def outdated(self) -> int:
        """In how many slots another child is wanted."""
        return sum(view.is_outdated for view in self.views)

    def find(self, pid: int) -> ChildHandle | None:
        """Return the living child of a pid."""
        return next((child for child in self if child.pid == pid), None)

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
        if child is not self.incoming:
            self._boot_failures[child.slot] = 0
        if all(c and c.state is ChildState.READY for c in self._children):
            self.was_ready = True

    def take_over(self) -> ChildHandle | None:
        """Give the incoming child its slot; return the one that was there, which is leaving now."""
        assert self.incoming
        slot = self.incoming.slot
        old, self._children[slot], self.incoming = self._children[slot], self.incoming, None
        self._incoming_failures = self._boot_failures[slot] = 0
        if old:
            self.leaving.append(old)
        return old

    def let_incoming_go(self) -> ChildHandle | None:
        """Want the incoming child no more; return it, if there is one: it is leaving now."""
        old, self.incoming = self.incoming, None
        if old:
            self.leaving.append(old)
        return old

    def remove(self, child: ChildHandle, now: float) -> float:
        """Forget a child that has ended; return the pause that failures cost its place."""
        child.move(ChildState.GONE)
        if child in self.leaving:
            self.leaving.remove(child)
            return 0.0
        if child is self.incoming:
            self.incoming = None
            self._incoming_failures += 1
            pause = policy.respawn_pause(self._incoming_failures) * self._jitter()
            self.replace_from = now + pause
            return pause
        return self._empty(child, now)

    def _empty(self, child: ChildHandle, now: float) -> float:
        if not child.has_booted:
            self._boot_failures[child.slot] += 1
        self._children[child.slot] = None
        pause = policy.respawn_pause(self._boot_failures[child.slot]) * self._jitter()
        self._free_since[child.slot] = now + max(pause, policy.RESTORE_SECONDS)
        return pause

    def _view(self, number: int, child: ChildHandle | None) -> SlotView:
        return SlotView(
            number=number,
            child=child.state if child else None,
            since=self._free_since[number],
            boot_failures=self._boot_failures[number],
            is_outdated=child is not None and (child.is_worn or child.generation < self.generation),
        )
