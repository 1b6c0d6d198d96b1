"""The file that tells others the master's pid, and where it can be asked.

Its first line is the pid alone, as service managers and scripts expect.  The others are words that are no number:
``kill $(cat FILE)`` must not hit a stranger.  They prove whose pid it is: pids are used again.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from forkworker.errors import ConfigurationError
from forkworker.unix import control, process

PID = re.compile(r"[1-9][0-9]{0,6}")


class Entry(NamedTuple):
    """What a pidfile says; the control socket and the origin are '' if it was not written by a master."""

    pid: int
    control: str = ""
    #: where and when the process was started: see process.origin
    origin: str = ""


def read(path: str | Path) -> Entry | None:
    """Return what the file says, None if it does not begin with a pid; raises OSError."""
    first, *rest = Path(path).read_text("utf-8", "surrogateescape").split("\n")
    if not PID.fullmatch(first.strip()):
        return None
    told = dict(line.split("=", 1) for line in rest if "=" in line)
    return Entry(int(first), told.get("control", ""), told.get("origin", "").replace("/", " "))


class Pidfile:
    """A pidfile that is ours from ``write`` to ``remove``."""

    def __init__(self, path: str, control_path: str) -> None:
        self._path = Path(path)
        pid = os.getpid()
        self._entry = Entry(pid, os.path.abspath(control_path), process.origin(pid))
        self._written = False

    def write(self) -> None:
        """Write our pid; raises ConfigurationError if a running master stands there, or it cannot be written."""
        try:
            self._refuse_live_owner()
            self._write()
        except OSError as error:
            raise ConfigurationError([f"--pidfile {self._path}: cannot be written: {error.strerror}"]) from error
        self._written = True

    def remove(self) -> None:
        """Remove the file, if it is still ours."""
        if self._written and self._read() == self._entry:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _write(self) -> None:
        pid, control_path, origin = self._entry
        text = f"{pid}\ncontrol={control_path}\norigin={origin.replace(' ', '/')}\n"
        temporary = self._path.with_name(f".{self._path.name}.{pid}")
        temporary.unlink(missing_ok=True)
        # exclusively: in a folder where all may write, somebody may have put a link there
        with temporary.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        try:
            temporary.replace(self._path)
        except OSError:
            temporary.unlink()
            raise

    def _refuse_live_owner(self) -> None:
        owner = self._read()
        if owner and owner.pid != os.getpid() and _is_running(owner):
            what = f"process {owner.pid} named there is a running forkworker"
            raise ConfigurationError([f"--pidfile {self._path}: {what}; stop it, or use another file"])

    def _read(self) -> Entry | None:
        try:
            return read(self._path)
        except FileNotFoundError:
            return None


def _is_running(owner: Entry) -> bool:
    """Tell whether the writer of a file lives: by its start time, or its socket if it ran where pids are others."""
    if not owner.origin:
        return _is_forkworker(owner.pid)
    if process.ran_here(owner.origin):
        return not process.is_provably_dead(owner.pid, owner.origin)
    with contextlib.suppress(OSError):
        return control.is_listened_to(owner.control)
    return False


def _is_forkworker(pid: int) -> bool:
    try:
        return b"forkworker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
