"""Starting a program of ours: a fresh interpreter with one channel to its parent.

By posix_spawn, as the master must not import subprocess (it brings threads along).
"""

from __future__ import annotations

import os
import sys

from forkworker.unix import packets, signals


def module(name: str, *args: str) -> tuple[int, packets.Channel]:
    """Run ``python -m NAME FD ARGS`` in a process group of its own; return its pid and our end of the channel."""
    ours, theirs = packets.pair()
    os.set_inheritable(theirs.fileno(), True)
    argv = [sys.executable, "-m", name, str(theirs.fileno()), *args]
    pid = os.posix_spawn(argv[0], argv, os.environ, setpgroup=0, setsigmask=[], setsigdef=signals.ALL)
    theirs.close()
    return pid, ours
