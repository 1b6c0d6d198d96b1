"""The master's other processes: keeper, forkserver and the leash of an embedded Redis."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from forkworker.unix import board, process, spawn

if TYPE_CHECKING:
    from forkworker.settings import Settings
    from forkworker.supervisor.cradle import Cradle
    from forkworker.unix import packets


class Helper:
    """A process of ours with a channel: alive from the start until ``reap`` has returned its status."""

    def __init__(self, name: str, pid: int, channel: packets.Channel, now: float) -> None:
        self.name = name
        self.pid = pid
        self.channel = channel
        self.born_at = now
        self.pidfd = os.pidfd_open(pid)
        #: its pidfd is readable from its death on, its channel from its end-of-file on
        self.hung_up = False
        #: whether its end was wanted, so that another one takes its place
        self.is_renewed = False
        #: when an app that is being imported must have been; None if none is
        self.load_by: float | None = None
        #: whether it has written its stacks, as the import hangs
        self.is_dumped = False
        #: why it was ended, if that is worth telling
        self.failure = ""

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def reap(self) -> int | None:
        """Return the exit status, once it has ended."""
        return process.reap(self.pidfd)

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it lives."""
        process.send(self.pidfd, number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)

    def close(self) -> None:
        """Let the descriptors go; it reads end-of-file."""
        self.channel.close()
        os.close(self.pidfd)


def start_keeper(now: float) -> Helper:
    """Start a keeper as a program of its own."""
    pid, channel = spawn.module("forkworker.keeper")
    return Helper("keeper", pid, channel, now)


def start_forkserver(settings: Settings, cradle: Cradle | None, now: float) -> Helper:
    """Start a forkserver, and have it fork a keeper into a cradle, before it has any user code, and load the app."""
    pid, channel = spawn.module("forkworker.forkserver")
    forkserver = Helper("forkserver", pid, channel, now)
    forkserver.load_by = now + settings.boot_timeout
    ends = (cradle.far_end.fileno(),) if cradle else ()
    channel.send("load", ends, settings=settings.to_dict(), board=board.VERSION)
    if cradle:
        cradle.far_end.close()
    return forkserver


def start_leash(directory: str, now: float) -> Helper:
    """Start an embedded Redis."""
    pid, channel = spawn.module("forkworker.unix.leash", directory)
    return Helper("embedded Redis", pid, channel, now)
