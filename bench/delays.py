"""A Redis farther away: the proxy of ``proxy.c``, compiled when it is first needed."""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import TYPE_CHECKING

import redis

from bench import places, readings

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

_SOURCE = places.HERE / "proxy.c"
_PINGS = 200


def _compiled() -> Path:
    program = places.MADE / "proxy"
    if not program.exists() or program.stat().st_mtime < _SOURCE.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-o", program, _SOURCE], check=True)
    return program


class Delay:
    """A context manager: whatever goes to ``port`` and comes from there takes so long more for both ways together."""

    def __init__(self, server_port: int, round_trip_seconds: float) -> None:
        self._line = [str(_compiled()), str(server_port), str(round(1e6 * round_trip_seconds / 2))]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def cpu_seconds(self) -> float:
        """Return what the proxy has used of the processors."""
        return readings.cpu_seconds(self._process.pid)

    def round_trip_seconds(self) -> float:
        """Return the median of the time that a PING takes."""
        with redis.Redis(port=self.port) as client:
            return statistics.median(_timed(client) for _ in range(_PINGS))


def _timed(client: redis.Redis) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began
