"""The file that tells others the master's pid: that alone, as service managers and scripts expect.

Pids are used again: whose it is now is asked of the process itself, on its control socket.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from forkworker.errors import ConfigurationError
from forkworker.unix import control
from forkworker.unix.control import ControlError

PID = re.compile(r"[1-9][0-9]{0,6}")
_MOST_BYTES = 100
_MASTER = re.compile(rb"forkworker: master|forkworker\0(?:.*\0)?run\0")


def read(path: str | Path) -> int | None:
    """Return the pid that a file holds, None if it does not; raises OSError."""
    # another user may have put a pipe there, or a link to what has no end
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, _MOST_BYTES).decode("utf-8", "surrogateescape").strip()
    except BlockingIOError:
        text = ""
    finally:
        os.close(descriptor)
    return int(text) if PID.fullmatch(text) else None


class Pidfile:
    """A pidfile that is ours from ``write`` to ``remove``."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
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
        if self._written and self._read() == os.getpid():
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _write(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        # exclusively: in a folder where all may write, somebody may have put a link there; and whatever the umask,
        # nobody else may write to it: who does says whom `kill $(cat …)` ends
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        try:
            temporary.replace(self._path)
        except OSError:
            temporary.unlink()
            raise

    def _refuse_live_owner(self) -> None:
        pid = self._read()
        if pid and pid != os.getpid() and self._is_owners(pid):
            what = f"process {pid} named there is a running forkworker"
            raise ConfigurationError([f"--pidfile {self._path}: {what}; stop it, or use another file"])

    def _is_owners(self, pid: int) -> bool:
        """Whether the pid is a master's, and that one does not say that its pidfile is another."""
        if not _is_master(pid):
            return False
        told = [_pidfile_of(path) for path in control.sockets_of(pid)]
        return not any(told) or str(self._path.absolute()) in told

    def _read(self) -> int | None:
        try:
            return read(self._path)
        except FileNotFoundError:
            return None


def _is_master(pid: int) -> bool:
    try:
        return bool(_MASTER.search(Path(f"/proc/{pid}/cmdline").read_bytes()))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _pidfile_of(socket_path: str) -> str:
    """Return what a master says its pidfile is; '' if it says nothing."""
    try:
        status = control.status_of(socket_path, control.PROBE_SECONDS)
    except ControlError:
        return ""
    return str(status.get("pidfile") or "")
