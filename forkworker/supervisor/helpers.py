"""The master's other processes: keeper, forkserver and the leash of an embedded Redis."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from forkworker.unix import board, process, spawn

if TYPE_CHECKING:
    from forkworker.settings import Settings
    from forkworker.unix import packets


class Helper:
    """A process of ours with a channel: alive from the start until ``reap`` has returned its status."""

    def __init__(self, name: str, pid: int, channel: packets.Channel, now: float) -> None:
        self.name = name
        self.pid = pid
        self.channel = channel
        self.born_at = now
        pidfd = process.open_pidfd(pid)
        assert pidfd is not None, "a child of ours that nobody has reaped"
        self.pidfd = pidfd
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


def start_keeper(settings: Settings, leash: Helper | None, now: float) -> Helper:
    """Start a keeper; it holds the leash of an embedded Redis, too."""
    pid, channel = spawn.module("forkworker.keeper")
    channel.send(
        "settings", (leash.channel.fileno(),) if leash else (), settings=settings.to_dict(), board=board.VERSION
    )
    return Helper("keeper", pid, channel, now)


def start_forkserver(settings: Settings, now: float) -> Helper:
    """Start a forkserver, and have it load the app."""
    pid, channel = spawn.module("forkworker.forkserver")
    channel.send("load", settings=settings.to_dict(), board=board.VERSION)
    forkserver = Helper("forkserver", pid, channel, now)
    forkserver.load_by = now + settings.boot_timeout
    return forkserver


def start_leash(directory: str, now: float) -> Helper:
    """Start an embedded Redis."""
    pid, channel = spawn.module("forkworker.unix.leash", directory)
    return Helper("embedded Redis", pid, channel, now)
