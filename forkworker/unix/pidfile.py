"""The file that tells others the master's pid.  Used in the master."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from forkworker.errors import ConfigurationError


class Pidfile:
    """A pidfile that is ours from ``write`` to ``remove``."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._written = False

    def write(self) -> None:
        """Write our pid; raises ConfigurationError if a live process stands in the file, or it cannot be written."""
        try:
            self._refuse_live_owner()
            temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            temporary.write_text(f"{os.getpid()}\n", "ascii")
            temporary.replace(self._path)
        except OSError as error:
            raise ConfigurationError([f"--pidfile {self._path}: cannot be written: {error.strerror}"]) from error
        self._written = True

    def remove(self) -> None:
        """Remove the file, if it is still ours."""
        if self._written and self._read() == os.getpid():
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _refuse_live_owner(self) -> None:
        pid = self._read()
        if pid and pid != os.getpid() and _is_forkworker(pid):
            what = f"process {pid} named there is a running forkworker"
            raise ConfigurationError([f"--pidfile {self._path}: {what}; stop it, or use another file"])

    def _read(self) -> int | None:
        try:
            return int(self._path.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return None


def _is_forkworker(pid: int) -> bool:
    try:
        return b"forkworker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
