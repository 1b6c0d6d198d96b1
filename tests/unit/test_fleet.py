"""The slots: which child is where, and since when it may be replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forkworker.supervisor import policy
from forkworker.supervisor.fleet import Fleet
from forkworker.supervisor.states import ChildState, IllegalTransition, move

if TYPE_CHECKING:
    from forkworker.supervisor.handle import ChildHandle

pytestmark = pytest.mark.unit


class FakeChild:
    """A ChildHandle without board, channel and process."""

    def __init__(self, slot: int, pid: int | None = None, born_at: float = 0.0) -> None:
        self.slot = slot
        self.pid = pid
        self.born_at = born_at
        self.state = ChildState.SPAWNED
        self.has_booted = False
        self.generation = 1
        self.is_worn = False

    def move(self, state: ChildState) -> None:
        self.state = move(self.state, state)


def child(slot: int, pid: int | None = None, born_at: float = 0.0) -> ChildHandle:
    return FakeChild(slot, pid, born_at)  # type: ignore[return-value]


def test_a_new_fleet_is_all_empty_slots_that_may_be_filled_at_once() -> None:
    fleet = Fleet(3)

    assert (len(fleet), list(fleet), fleet.was_ready) == (0, [], False)
    assert [(view.number, view.child, view.since, view.boot_failures) for view in fleet.views] == [
        (0, None, 0.0, 0),
        (1, None, 0.0, 0),
        (2, None, 0.0, 0),
    ]


def test_children_stand_in_order_of_their_slots() -> None:
    fleet = Fleet(3)
    late, early = child(2, 12, 5.0), child(0, 10, 7.0)
    fleet.put(late)
    fleet.put(early)

    assert (list(fleet), len(fleet)) == ([early, late], 2)
    assert [view.child for view in fleet.views] == [ChildState.SPAWNED, None, ChildState.SPAWNED]


@pytest.mark.parametrize(("pid", "slot"), [(10, 0), (12, 2), (99, None), (0, None)])
def test_a_child_is_found_by_its_pid(pid: int, slot: int | None) -> None:
    fleet = Fleet(4)
    for number, known in ((0, 10), (1, None), (2, 12)):
        fleet.put(child(number, known))

    found = fleet.find(pid)

    assert (found.slot if found else None) == slot


def test_the_fleet_was_ready_once_every_slot_was_at_the_same_time() -> None:
    fleet = Fleet(2)
    first, second = child(0), child(1)
    fleet.put(first)
    fleet.put(second)

    seen = []
    fleet.note_ready(first)
    seen.append(fleet.was_ready)
    fleet.remove(first, 1.0)
    fleet.note_ready(second)
    seen.append(fleet.was_ready)
    third = child(0)
    fleet.put(third)
    fleet.note_ready(third)
    seen.append(fleet.was_ready)
    fleet.remove(third, 2.0)
    seen.append(fleet.was_ready)

    assert seen == [False, False, True, True]


def test_a_slot_is_filled_again_once_the_jobs_of_a_child_that_had_been_ready_can_be_back() -> None:
    fleet = Fleet(1)
    one = child(0)
    fleet.put(one)
    fleet.note_ready(one)

    assert fleet.remove(one, 50.0) == 0.0
    assert (one.state, fleet.views[0].child, len(fleet)) == (ChildState.GONE, None, 0)
    assert (fleet.views[0].since, fleet.views[0].boot_failures) == (50.0 + policy.RESTORE_SECONDS, 0)


def test_failed_boots_are_counted_for_each_slot_and_make_it_pause() -> None:
    fleet = Fleet(2)
    pauses = []
    for _ in range(3):
        one = child(0)
        fleet.put(one)
        pauses.append(fleet.remove(one, 50.0))

    assert pauses == [0.5, 1.0, 2.0]
    assert [(view.since, view.boot_failures) for view in fleet.views] == [(52.0, 3), (0.0, 0)]


def test_a_child_that_gets_ready_wipes_the_failures_before_it_out() -> None:
    fleet = Fleet(1)
    failed = child(0)
    fleet.put(failed)
    fleet.remove(failed, 50.0)
    good = child(0)
    fleet.put(good)
    fleet.note_ready(good)

    assert fleet.views[0].boot_failures == 0
    assert fleet.remove(good, 60.0) == 0.0


def test_a_child_killed_in_its_boot_is_a_failed_boot() -> None:
    fleet = Fleet(1)
    one = child(0)
    fleet.put(one)
    one.move(ChildState.KILLED)

    assert fleet.remove(one, 50.0) == 0.5


def test_a_child_is_removed_once() -> None:
    fleet = Fleet(1)
    one = child(0)
    fleet.put(one)
    fleet.remove(one, 50.0)

    with pytest.raises(IllegalTransition):
        fleet.remove(one, 51.0)


def test_an_incoming_child_takes_the_slot_over_and_the_old_one_leaves() -> None:
    fleet = Fleet(2)
    old, other, new = child(0, 10), child(1, 11), child(0, 12)
    for one in (old, other):
        fleet.put(one)
    fleet.incoming = new

    assert list(fleet) == [old, other, new]
    assert [view.is_incoming for view in fleet.beside] == [True]
    assert fleet.take_over() is old
    assert (list(fleet), fleet.incoming) == ([new, other, old], None)
    assert [view.is_incoming for view in fleet.beside] == [False]
    assert fleet.remove(old, 50.0) == 0.0
    assert list(fleet) == [new, other]


def test_a_slot_that_is_empty_is_taken_over_all_the_same() -> None:
    fleet = Fleet(1)
    fleet.incoming = child(0)

    assert fleet.take_over() is None
    assert len(fleet) == 1


def test_an_incoming_child_that_fails_makes_the_next_one_wait() -> None:
    fleet = Fleet(1)
    old = child(0)
    fleet.put(old)
    pauses = []
    for _ in range(3):
        fleet.incoming = new = child(0)
        pauses.append(fleet.remove(new, 50.0))

    assert pauses == [0.5, 1.0, 2.0]
    assert fleet.replace_from == 52.0
    assert (list(fleet), fleet.views[0].boot_failures) == ([old], 0)


def test_children_of_older_code_are_outdated() -> None:
    fleet = Fleet(2)
    fleet.put(child(0))
    fleet.generation = 2

    assert fleet.outdated == 1
    assert [view.is_outdated for view in fleet.views] == [True, False]


def test_pauses_are_shaken_so_that_children_of_many_masters_do_not_boot_together() -> None:
    fleet = Fleet(1, jitter=lambda: 0.75)
    one = child(0)
    fleet.put(one)

    assert fleet.remove(one, 50.0) == 0.375
