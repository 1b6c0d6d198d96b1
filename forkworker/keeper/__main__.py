"""``python -m forkworker.keeper FD``: how the master starts the keeper."""

from __future__ import annotations

import os
import signal
import sys

from forkworker import logs
from forkworker.keeper.keeper import Keeper
from forkworker.settings import Settings
from forkworker.unix import packets, signals


def main(descriptor: int) -> None:
    """Be the keeper of the master at the other end of a descriptor."""
    signals.ignore(
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGTTIN
    )
    os.set_inheritable(descriptor, False)
    channel = packets.adopt(descriptor)
    first = channel.wait()
    if first is None:
        return
    settings = Settings.from_dict(first.fields["settings"])
    logs.configure(settings.log_level, settings.log_format, "keeper")
    Keeper(channel, settings, first.descriptors).run()


main(int(sys.argv[1]))
