"""The systemd unit that this process belongs to, and what systemd says of it.  Used where a master is started.

By posix_spawn, as what becomes the master must not import subprocess (it brings threads along).
"""

from __future__ import annotations

import math
import os
import re
import select
import signal
from pathlib import Path

#: systemctl asks over D-Bus, which may be out of order
PATIENCE_SECONDS = 2.0
_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "month": 2629800, "y": 31557600,
}  # fmt: skip
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([a-z]+)")


def stop_seconds() -> tuple[str, float] | None:
    """Return the name of our unit, and how long systemd waits when it stops; None if that cannot be known."""
    found = find(Path("/proc/self/cgroup").read_text("ascii", "replace"))
    if not found:
        return None
    unit, is_users = found
    seconds = read_span(_ask(unit, "TimeoutStopUSec", is_users=is_users))
    return None if seconds is None else (unit, seconds)


def find(cgroups: str) -> tuple[str, bool] | None:
    """Return the service in the text of /proc/PID/cgroup, and whether it is one of a user's own manager."""
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        services = [part for part in path.split("/") if part.endswith(".service")]
        if controllers in ("", "name=systemd") and services:
            is_users = len(services) > 1 and services[0].startswith("user@")
            return (services[1] if is_users else services[0]), is_users
    return None


def read_span(text: str) -> float | None:
    """Return the seconds of what systemd prints for a span of time, such as ``1min 30s``; None if it is none."""
    text = text.strip()
    if text == "infinity":
        return math.inf
    parts = [_SPAN.fullmatch(word) for word in text.split()]
    if not parts or not all(part and part[2] in _UNITS for part in parts):
        return None
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts if part)


def _ask(unit: str, name: str, *, is_users: bool) -> str:
    """Return a property of a unit, '' if nobody answers."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    argv = ["systemctl", *(["--user"] if is_users else []), "show", f"--property={name}", "--value", "--", unit]
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    try:
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    except OSError:  # no systemctl here
        os.close(reader)
        return ""
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as answer:
        if not select.select([answer], [], [], PATIENCE_SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
        text = answer.read(4096)
    os.waitpid(pid, 0)
    return text.decode("ascii", "replace")
