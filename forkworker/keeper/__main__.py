"""Being the keeper: forked by a fresh forkserver, or, when there is no such, as ``python -m forkworker.keeper FD``."""

from __future__ import annotations

import logging
import os
import signal
import sys

from forkworker import logs
from forkworker.errors import ExitCode
from forkworker.keeper.keeper import Keeper
from forkworker.settings import Settings
from forkworker.unix import board, packets, signals
from forkworker.version import VERSION

_log = logging.getLogger("forkworker.keeper")


def main(channel: packets.Channel) -> int:
    """Be the keeper of the master at the other end of a channel, once it says anything; return the exit code."""
    signals.ignore(
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGTTIN
    )
    signals.unblock()  # which a forkserver has held back
    first = channel.wait()
    if first is None:
        return ExitCode.OK
    settings = Settings.from_dict(first.fields["settings"])
    logs.configure(settings.log_level, settings.log_format, "keeper")
    if first.fields["board"] != board.VERSION:  # it was replaced on the disk, and the old keeper has died
        _log.error("forkworker %s cannot serve under a master of another version: restart the whole of it", VERSION)
        return ExitCode.CONFIGURATION
    Keeper(channel, settings, first.descriptors).run()
    return ExitCode.OK


if __name__ == "__main__":
    handed_down = int(sys.argv[1])
    os.set_inheritable(handed_down, False)
    sys.exit(main(packets.adopt(handed_down)))
