"""The signal inbox of a main thread: handlers only note and wake, a loop acts.

Python's own wake-up descriptor receives the number of each signal, in the order of arrival.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: to a child whose interpreter is not free: it writes its stacks in C.  Beside threads that run that can crash it, as
#: their frames change meanwhile, so one that is free is asked by SIGTTIN and writes them itself
STACKS_AT_ONCE = signal.SIGRTMIN
#: what every process of ours leaves to the loop of its main thread
ALL = frozenset(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}


class Inbox:
    """Signals that have come and not been dealt with; a descriptor that is readable when there are some."""

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wanted = frozenset(wanted)
        for number in self._wanted:
            signal.signal(number, _noted)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._reader

    def read(self) -> list[signal.Signals]:
        """Return what has come since the last time; Python notes here, too, what other code has handlers for."""
        try:
            return [signal.Signals(number) for number in os.read(self._reader, 4096) if number in self._wanted]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Let the descriptors go; ``let_go`` comes first."""
        os.close(self._reader)
        os.close(self._writer)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the wake-up descriptor has it."""


def let_go() -> None:
    """Take no more notice of signals: all of ours have their default effect again."""
    signal.set_wakeup_fd(-1)
    for number in ALL:
        if signal.getsignal(number) is _noted:
            signal.signal(number, signal.SIG_DFL)


def ignore(*numbers: signal.Signals) -> None:
    """Ignore signals."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def reset() -> None:
    """Undo what a forkserver ignores; what its child wants is set next."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTSTP, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


def block() -> set[signal.Signals]:
    """Hold all signals back; return the mask to restore."""
    return {signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ALL)}


def unblock() -> None:
    """Let all signals through."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)
