"""Every move between states is either in the table or refused."""

from __future__ import annotations

import itertools

import pytest

from forkworker.errors import ForkworkerError
from forkworker.supervisor.states import ChildState, IllegalTransition, MasterState, move

pytestmark = pytest.mark.unit

M, C = MasterState, ChildState
LEGAL: set[tuple[MasterState, MasterState] | tuple[ChildState, ChildState]] = {
    (M.BOOTING, M.RUNNING),
    (M.BOOTING, M.QUIET),
    (M.BOOTING, M.STOPPING),
    (M.RUNNING, M.QUIET),
    (M.RUNNING, M.STOPPING),
    (M.QUIET, M.RUNNING),
    (M.QUIET, M.STOPPING),
    (C.SPAWNED, C.READY),
    (C.SPAWNED, C.KILLED),
    (C.SPAWNED, C.GONE),
    (C.READY, C.KILLED),
    (C.READY, C.GONE),
    (C.KILLED, C.GONE),
}


def name(state: MasterState | ChildState) -> str:
    return f"{type(state).__name__}.{state.name}"


@pytest.mark.parametrize("after", MasterState, ids=name)
@pytest.mark.parametrize("before", MasterState, ids=name)
def test_a_master_moves_by_the_table_only(before: MasterState, after: MasterState) -> None:
    if (before, after) in LEGAL:
        assert move(before, after) is after
    else:
        with pytest.raises(IllegalTransition, match=f"from {before.value} to {after.value}"):
            move(before, after)


@pytest.mark.parametrize("after", ChildState, ids=name)
@pytest.mark.parametrize("before", ChildState, ids=name)
def test_a_child_moves_by_the_table_only(before: ChildState, after: ChildState) -> None:
    if (before, after) in LEGAL:
        assert move(before, after) is after
    else:
        with pytest.raises(IllegalTransition, match=f"from {before.value} to {after.value}"):
            move(before, after)


def test_an_illegal_move_is_an_error_of_ours() -> None:
    assert issubclass(IllegalTransition, ForkworkerError)


def test_every_state_but_the_last_leads_on_and_every_state_but_the_first_is_reached() -> None:
    for states in (list(MasterState), list(ChildState)):
        pairs = set(itertools.product(states, states)) & LEGAL
        assert {before for before, _ in pairs} == set(states[:-1])
        assert {after for _, after in pairs} == set(states[1:])
