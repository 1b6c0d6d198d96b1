"""The signal inbox: every signal is noted once, in the order of arrival, and nothing else happens."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from forkworker.unix import signals
from forkworker.unix.signals import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

WANTED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    before = {number: signal.getsignal(number) for number in WANTED}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    new = Inbox(WANTED)
    yield new
    for number in WANTED:
        signal.signal(number, signal.SIG_IGN)  # nothing that is still under way ends the tests
    new.close()
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def kill_myself(*numbers: signal.Signals) -> None:
    for number in numbers:
        signal.raise_signal(number)  # to this thread: one of pytest's would take what is blocked here only


def is_readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox], [], [], 0)[0])


def test_an_inbox_without_signals_is_empty(inbox: Inbox) -> None:
    assert not is_readable(inbox)
    assert inbox.read() == []


@pytest.mark.parametrize("number", WANTED, ids=lambda number: number.name)
def test_a_signal_wakes_the_loop_and_has_no_other_effect(inbox: Inbox, number: signal.Signals) -> None:
    kill_myself(number)

    assert is_readable(inbox)
    assert inbox.read() == [number]
    assert not is_readable(inbox)


def test_signals_are_read_in_the_order_in_which_they_came(inbox: Inbox) -> None:
    kill_myself(signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2, signal.SIGUSR1)

    assert inbox.read() == [
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGTERM,
        signal.SIGCONT,
        signal.SIGUSR2,
        signal.SIGUSR1,
    ]
    assert inbox.read() == []


def test_a_signal_for_which_other_code_has_a_handler_is_none_of_ours(inbox: Inbox) -> None:
    """Incident: one without a name, as an app had asked for it, ended the child."""
    taken: list[int] = []
    for number in (signal.SIGRTMIN + 1, signal.SIGWINCH):
        signal.signal(number, lambda number, _frame: taken.append(number))
        signal.raise_signal(number)
        signal.signal(number, signal.SIG_DFL)
    kill_myself(signal.SIGUSR1)

    assert inbox.read() == [signal.SIGUSR1]
    assert taken == [signal.SIGRTMIN + 1, signal.SIGWINCH]


def test_a_flood_of_signals_is_read_to_its_end(inbox: Inbox) -> None:
    for _ in range(5000):
        kill_myself(signal.SIGUSR1)

    read = 0
    while batch := inbox.read():
        assert set(batch) == {signal.SIGUSR1}
        read += len(batch)
    assert read == 5000


def test_blocked_signals_come_when_they_are_let_through(inbox: Inbox) -> None:
    before = signals.block()
    kill_myself(signal.SIGUSR1)
    held_back = inbox.read()
    signals.unblock()

    assert (held_back, inbox.read()) == ([], [signal.SIGUSR1])
    assert signal.SIGUSR1 not in before


def test_block_tells_what_was_blocked_before(inbox: Inbox) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    assert signals.block() == {signal.SIGUSR2}
    signals.unblock()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    assert inbox.read() == []


def test_an_ignored_signal_is_not_noted(inbox: Inbox) -> None:
    signals.ignore(signal.SIGUSR1, signal.SIGUSR2)

    kill_myself(signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)

    assert inbox.read() == [signal.SIGCONT]


def test_every_signal_that_can_be_caught_is_ours() -> None:
    assert signal.SIGKILL not in signals.ALL
    assert signal.SIGSTOP not in signals.ALL
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN} <= signals.ALL


def test_the_inbox_is_not_inherited(inbox: Inbox) -> None:
    assert not os.get_inheritable(inbox.fileno())
