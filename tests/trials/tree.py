"""One Redis and one tree for a trial.  Runs in the trial's process."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.daemon import Daemon, Options
from support.records import Records
from support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@contextmanager
def grown(**options: Any) -> Iterator[tuple[Daemon, redis.Redis, Records]]:
    """Yield a daemon that is not started yet, a client of its Redis, and what its jobs write down."""
    folder = Path(tempfile.mkdtemp(prefix="fw-trial-"))
    with RedisServer() as server:
        environment = {"FORKWORKER_TEST_RECORD": str(folder / "records"), **options.pop("environment", {})}
        client = server.client()
        tree = Daemon(server.url, client, Options(environment=environment, **options))
        try:
            yield tree, client, Records(folder / "records")
        finally:
            tree.clear()
            tree.remove()
            shutil.rmtree(folder)
