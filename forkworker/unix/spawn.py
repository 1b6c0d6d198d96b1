"""Starting a program of ours: a fresh interpreter with one channel to its parent.

By posix_spawn, as the master must not import subprocess (it brings threads along).
"""

from __future__ import annotations

import os
import sys

from forkworker.unix import packets, signals


def _interpreter() -> str:
    """Return the path of the Python we run on, by the name of the folder that our command was started from.

    A link in that name may lead to a new environment by the time another process is started.
    """
    folder, name = os.path.split(sys.executable)
    named = os.path.dirname(sys.argv[0])
    try:
        return os.path.join(named, name) if os.path.isabs(named) and os.path.samefile(named, folder) else sys.executable
    except OSError:
        return sys.executable


INTERPRETER = _interpreter()


def module(name: str, *args: str) -> tuple[int, packets.Channel]:
    """Run ``python -m NAME FD ARGS`` in a process group of its own; return its pid and our end of the channel."""
    ours, theirs = packets.pair()
    os.set_inheritable(theirs.fileno(), True)
    argv = [INTERPRETER, "-m", name, str(theirs.fileno()), *args]
    try:
        pid = os.posix_spawn(argv[0], argv, os.environ, setpgroup=0, setsigmask=[], setsigdef=signals.ALL)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours
