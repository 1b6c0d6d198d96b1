"""A Redis of our own for each measurement, on a TCP port as peers expect it, without persistence."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING

from support.servers import RedisServer

from bench import readings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import redis


class Server(RedisServer):
    """A context manager; with a snapshot it begins with what stands in that."""

    def __init__(self, snapshot: Path | None = None, *, config: Sequence[str] = ()) -> None:
        super().__init__(tcp=True, config=config)
        if snapshot:
            shutil.copy(snapshot, self.directory / "dump.rdb")

    def save(self, path: Path) -> None:
        """Keep what stands in it as a snapshot."""
        self.client().save()
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.directory / "dump.rdb", path)

    @functools.cached_property
    def _asking(self) -> redis.Redis:
        return self.client()

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self.process is not None
        return self.process.pid

    def cpu_seconds(self) -> float:
        """Return what the server has used of the processors."""
        return readings.cpu_seconds(self.pid)

    def commands(self) -> dict[str, int]:
        """Return how often each command was executed, by clients and within scripts."""
        stats = self._asking.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(values["calls"]) for name, values in stats.items()}
