"""A real PostgreSQL, in a folder of its own, on a Unix socket.  Runs in the test process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.tools import lack
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: where Debian has what it does not put on PATH
DEBIAN = "usr/lib/postgresql/*/bin"
DATABASE = "shop"
FAST = ("-c", "fsync=off", "-c", "listen_addresses=")


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs."""
    found = shutil.which(name) or next(map(str, sorted(Path("/").glob(f"{DEBIAN}/{name}"), reverse=True)), None)
    return found or lack(f"there is no {name}: apt install postgresql")


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Yield the variables by which any client of libpq finds a fresh server with one empty database."""
    folder = Path(tempfile.mkdtemp(prefix="fw-postgres-"))
    owner = _owner(folder)
    variables = {"PGHOST": str(folder), "PGUSER": "shop", "PGDATABASE": DATABASE}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": folder, **owner}
    data = str(folder / "data")
    subprocess.run(
        [program("initdb"), "-D", data, "-U", variables["PGUSER"], "-A", "trust", "--no-sync"], check=True, **quiet
    )
    with (folder / "log").open("wb") as log:
        line = [program("postgres"), "-D", data, "-k", str(folder), *FAST]
        server = subprocess.Popen(line, stderr=log, **quiet)
    try:
        wait_until(
            lambda: _runs("SELECT 1", variables, "postgres"), 30, "PostgreSQL answers", (folder / "log").read_text
        )
        assert _runs(f"CREATE DATABASE {DATABASE}", variables, "postgres")
        yield variables
    finally:
        server.send_signal(signal.SIGINT)  # its fast way to stop
        server.wait(20)
        shutil.rmtree(folder)


def query(sql: str, variables: dict[str, str]) -> str:
    """Return what psql prints for a statement, without any decoration."""
    line = [program("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql]
    done = subprocess.run(line, env={**os.environ, **variables}, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def _runs(sql: str, variables: dict[str, str], database: str) -> bool:
    try:
        query(sql, {**variables, "PGDATABASE": database})
    except subprocess.CalledProcessError:
        return False
    return True


def _owner(folder: Path) -> dict[str, Any]:
    """Give the folder to whom the server may run as: it refuses to run as root."""
    if os.getuid() != 0:
        return {}
    shutil.chown(folder, "postgres", "postgres")
    return {"user": "postgres", "group": "postgres", "extra_groups": []}
