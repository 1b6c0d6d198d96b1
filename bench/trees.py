"""The worker processes of one configuration: started, watched, ended."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bench import places, readings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from bench.contestants import Variant
    from bench.marks import Marks

STOP_SECONDS = 4.0


class Tree:
    """A context manager; what is left at the end, also of what has lost its parent, is killed."""

    def __init__(
        self, variant: Variant, port: int, marks: Marks | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._commands = [[word.replace("{url}", url(port)) for word in line] for line in variant.commands]
        self._mark = secrets.token_hex(8)
        self._environment = {
            **os.environ,
            **variant.environment,
            **(environment or {}),
            "BENCH_PORT": str(port),
            "BENCH_TAG": self._mark,
            "PYTHONPATH": str(places.HERE),
        }
        if marks:
            self._environment["BENCH_MARKS"] = marks.path
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        places.MADE.mkdir(exist_ok=True)
        with places.LOG.open("wb") as log:
            for line in self._commands:
                self._processes.append(self._start(line, log.fileno()))
        return self

    def _start(self, line: list[str], log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            line,
            cwd=places.HERE,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.01, deadline - time.monotonic()))
        self._kill()

    def _kill(self) -> None:
        for pid in {*self.pids(), *readings.bearing(f"BENCH_TAG={self._mark}")}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    @property
    def is_alive(self) -> bool:
        """Whether any of the first processes still is."""
        return any(process.poll() is None for process in self._processes)

    def pids(self) -> list[int]:
        """Return every process of the tree."""
        return readings.tree([process.pid for process in self._processes if process.poll() is None])

    def cpu_seconds(self) -> float:
        """Return what the whole tree has used of the processors."""
        return sum(readings.cpu_seconds(pid, reaped=True) for pid in self.pids())

    def pss_megabytes(self) -> float:
        """Return the memory of the whole tree."""
        return sum(readings.pss_megabytes(pid) for pid in self.pids())

    def titled(self, words: str) -> list[int]:
        """Return the processes of the tree with these words in their title."""
        found = []
        for pid in self.pids():
            with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if words.encode() in file.read():
                    found.append(pid)
        return found


def url(port: int) -> str:
    """Return the address of a server here."""
    return f"redis://127.0.0.1:{port}/0"
