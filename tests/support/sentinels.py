"""A master, two replicas and three sentinels, for tests; failovers of them.  Runs in the test process."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from support.servers import RedisServer, connect, free_port, server_binary
from support.waiting import wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from faults.machine import Network
    from typing_extensions import Self

SERVICE = "shop"
#: how long a master must be silent to be thought dead
DOWN_SECONDS = 1.0
HOST = "127.0.0.1"


#: host and port: on an island another server may have the same port
Place = tuple[str, int]
NOWHERE: Place = ("", 0)


class Replica(RedisServer):
    """A server of the group; whether it is the master is decided by the sentinels."""

    def __init__(self, config: Sequence[str], host: str = HOST, prefix: Sequence[str] = ()) -> None:
        super().__init__(tcp=True, config=config)
        self.host = host
        self._prefix = prefix
        #: whom it follows from its start on
        self.master: Replica | None = None

    @property
    def url(self) -> str:
        """The address of this server alone."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def place(self) -> Place:
        """Where it listens."""
        return self.host, self.port

    def command(self) -> list[str]:
        """Return the command line, which names the master for a replica."""
        follow = ["--replicaof", self.master.host, str(self.master.port)] if self.master else []
        listen = ["--bind", self.host, "--protected-mode", "no"] if self.host != HOST else []
        return [*self._prefix, *super().command(), *listen, *follow]

    def _connect(self) -> redis.Redis:
        return connect(host=self.host, port=self.port, password=self._option("--requirepass"))

    def _option(self, name: str) -> str | None:
        return self.config[self.config.index(name) + 1] if name in self.config else None


class Sentinel:
    """One sentinel process."""

    def __init__(
        self,
        master: int,
        password: str | None = None,
        own_password: str | None = None,
        *,
        epoch: int = 0,
        config: Sequence[str] = (),
        host: str = HOST,
        master_host: str = HOST,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fw-sentinel-"))
        self.port = free_port()
        lines = [
            f"port {self.port}",
            f"bind {host}",
            "protected-mode no",
            f"dir {self.directory}",
            f"logfile {self.directory}/sentinel.log",
            f"sentinel monitor {SERVICE} {master_host} {master} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_SECONDS * 1000:.0f}",
            f"sentinel failover-timeout {SERVICE} 6000",
            f"sentinel parallel-syncs {SERVICE} 2",
            *config,
        ]
        lines += [f"sentinel config-epoch {SERVICE} {epoch}", f"sentinel current-epoch {epoch}"] if epoch else []
        lines += [f"sentinel auth-pass {SERVICE} {password}"] if password else []
        lines += [f"requirepass {own_password}", f"sentinel sentinel-pass {own_password}"] if own_password else []
        (self.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
        self.client = connect(host=host, port=self.port, password=own_password)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it does not know the others yet."""
        line = [server_binary(), str(self.directory / "sentinel.conf"), "--sentinel"]
        self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ask(self, *command: str) -> Any:
        """Return its answer, None if it does not answer."""
        try:
            return self.client.execute_command(*command)
        except redis.RedisError:
            return None

    def details(self) -> dict[bytes, bytes]:
        """Return what it knows of the master."""
        return _fields(self.ask("SENTINEL", "MASTER", SERVICE) or [])

    def names(self) -> tuple[int, Place]:
        """Return the version of its configuration, and where the master is by that."""
        host, port = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE) or (b"", 0)
        return int(self.details().get(b"config-epoch", -1)), (host.decode(), int(port))

    def prefers(self) -> Place:
        """Return where the replica is that it would choose by priority."""
        told = [_fields(replica) for replica in self.ask("SENTINEL", "REPLICAS", SERVICE) or []]
        return min(((int(each[b"slave-priority"]), _place(each)) for each in told), default=(0, NOWHERE))[1]

    def close(self) -> None:
        """End it and delete its folder."""
        self.client.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


def _fields(told: Any) -> dict[bytes, bytes]:
    return told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))


def _place(told: dict[bytes, bytes]) -> Place:
    return told.get(b"ip", b"").decode(), int(told.get(b"port", 0))


class SentinelGroup:
    """All six processes; a context manager.  ``config`` is for the servers, ``password`` and the other for logins.

    On an ``island`` lives the first server alone.
    """

    def __init__(
        self,
        *,
        config: Sequence[str] = (),
        password: str | None = None,
        sentinel_password: str | None = None,
        island: Network | None = None,
    ) -> None:
        self._host = island.near if island else HOST
        self._island = island
        self._config = list(config)
        self._password = password
        self._sentinel_password = sentinel_password
        self.servers: list[Replica] = []
        self.sentinels: list[Sentinel] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        secret = ["--requirepass", self._password, "--masterauth", self._password] if self._password else []
        config = [*self._config, "--repl-diskless-sync-delay", "0", *secret]
        for number in range(3):
            server = self._make(number, config)
            self.servers.append(server)
            self._stack.callback(server.close)
            server.master = self.servers[0] if number else None
            server.start()
        first = self.servers[0]
        for _ in range(3):
            sentinel = Sentinel(
                first.port, self._password, self._sentinel_password, host=self._host, master_host=first.host
            )
            self.sentinels.append(sentinel)
            self._stack.callback(sentinel.close)
            sentinel.start()
        self.wait_whole()

    def _make(self, number: int, config: Sequence[str]) -> Replica:
        if self._island is None or number:
            return Replica(config, self._host)
        return Replica(config, self._island.far, self._island.prefix)

    @property
    def url(self) -> str:
        """The address, as forkworker takes it."""
        places = ",".join(f"{self._host}:{sentinel.port}" for sentinel in self.sentinels)
        user = f":{self._password}@" if self._password else ""
        query = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"redis+sentinel://{user}{places}/{SERVICE}/0{query}"

    def wait_whole(self, seconds: float = 40) -> None:
        """Return when one server is the master, the others follow it, and every sentinel knows all of this."""
        wait_until(self._is_whole, seconds, "the group is whole", self.describe)

    def _is_whole(self) -> bool:
        master = self.named()
        return all(
            details.get(b"flags") == b"master"
            and int(details[b"num-slaves"]) == int(details[b"num-other-sentinels"]) == 2
            and _place(details) == master
            for details in (sentinel.details() for sentinel in self.sentinels)
        ) and sorted(role for role, _ in self._roles()) == [b"master", b"slave", b"slave"]

    def _roles(self) -> list[tuple[bytes, Any]]:
        """Return the role of each server, with a replica's state of its link where that is not well."""
        return [_role(server) for server in self.servers]

    def describe(self) -> str:
        """Return what everyone says of the group."""
        return f"{self._roles()}\n" + "\n".join(str(sentinel.details()) for sentinel in self.sentinels)

    def named(self) -> Place:
        """Return where the master is by what the sentinels say that know the newest configuration."""
        return max(sentinel.names() for sentinel in self.sentinels)[1]

    @property
    def master(self) -> Replica:
        """The server that the sentinels name."""
        named = self.named()
        return next(server for server in self.servers if server.place == named)

    def writable(self, but: Replica) -> Replica | None:
        """Return a server that accepts a write, and is not this one; None if there is none."""
        for server in self.servers:
            if server is not but and server.process is not None:
                with server._connect() as client:
                    try:
                        client.set("tried", 1)
                    except redis.RedisError:
                        continue
                    return server
        return None

    def fail_over_by_hand(self) -> None:
        """Have a sentinel replace the master, which is well and goes on as if nothing had happened."""
        for sentinel in self.sentinels:
            if sentinel.ask("SENTINEL", "FAILOVER", SERVICE):
                return
        raise AssertionError(f"no sentinel would do it\n{self.describe()}")

    def prefer(self, chosen: Replica | None) -> None:
        """Let the next master be this replica, or any; return when all sentinels know that, within ten seconds."""
        for server in self.servers:
            server.client().config_set("replica-priority", 1 if server is chosen else 100)
        if chosen:
            wait_until(lambda: all(s.prefers() == chosen.place for s in self.sentinels), 20, "it is preferred")

    def rejoin(self, server: Replica) -> None:
        """Make an old master a replica of the new one, sooner than the sentinels do; started again if it was killed."""
        server.master = self.master
        if server.process is None:
            server.start()
        else:
            server.resume()
            server.client().replicaof(server.master.host, server.master.port)


def _role(server: Replica) -> tuple[bytes, Any]:
    if server.process is None:
        return b"gone", None
    with server._connect() as client:
        try:
            role = client.execute_command("ROLE")
        except redis.RedisError as error:
            return b"silent", error
    return role[0], None if role[0] == b"master" or role[3] == b"connected" else role[3]
