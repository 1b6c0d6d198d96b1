"""The world under attack: one Redis, three masters on two hosts, and what the machine lets us do to them.

Two masters share a host; the third has a host name of its own and, where we may make one, a network
namespace of its own.  Each reaches Redis through a proxy of its own.  Runs in the harness's process.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.daemon import TESTS, Daemon, Options
from support.proxy import Proxy
from support.servers import RedisServer, embedded_binary

from faults import diary
from faults.machine import Cgroup, Disk, HostClock, Network, ServerClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis
    from typing_extensions import Self

MASTERS = 3
LEASE_SECONDS = 5.0
STOP_SECONDS = 1.0
CHILDREN = 2
CONCURRENCY = 4
QUEUES = ("high", "default", "low")
TREE_BYTES = 600_000_000
MOST_JOBS = 4_000_000
FOREVER = float("inf")


@dataclass
class Deed:
    """One fault that was done."""

    kind: str
    #: number of the master it was done to; None: to Redis, and so to all
    host: int | None
    began: float
    over: float = FOREVER
    #: whether it did what it is meant to
    worked: bool = True
    #: why it did not
    missed: str = ""
    #: processes that may have ended by it, or were told to stop
    hit: frozenset[int] = frozenset()
    #: whether the keeper may have been unable to beat meanwhile
    cuts_off: bool = False


class Host:
    """One master with its proxy, started again whenever it has ended."""

    def __init__(self, number: int, daemon: Daemon, proxy: Proxy, network: Network | None, world: World) -> None:
        self.number = number
        self.daemon = daemon
        self.proxy = proxy
        self.network = network
        self.clock: HostClock | None = None
        self.disk: Disk | None = None
        self.pids: Cgroup | None = None
        self.memory: Cgroup | None = None
        self.world = world
        #: exit codes of masters with the instant
        self.exits: list[tuple[float, int]] = []
        self._wanted = True

    @property
    def queue(self) -> str:
        """A queue that this master alone serves."""
        return f"only{self.number}"

    def look(self) -> None:
        """Start the master again if it has ended, as a service manager does."""
        process = self.daemon.process
        if self._wanted and process is not None and (code := process.poll()) is not None:
            self.exits.append((time.monotonic(), code))
            with suppress(OSError):
                self.daemon.start()

    def retire(self) -> None:
        """Do not start it again."""
        self._wanted = False


@dataclass
class World:
    """Everything, from the first start to the last clearing up."""

    folder: Path
    server: RedisServer
    client: redis.Redis = field(init=False)
    hosts: list[Host] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    clock: ServerClock | None = None
    generator: Any = None
    census: Any = None
    #: what this machine does not let us do, and why
    left_out: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self) -> None:
        """Begin to start masters again."""
        thread = threading.Thread(target=self._watch, name="service manager")
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._over.set)

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for host in self.hosts:
                host.look()

    def close(self) -> None:
        """End and delete everything."""
        for host in self.hosts:
            host.retire()
        self._stack.close()

    def attempt(self, what: str, make: Callable[[], Any]) -> Any:
        """Make something that needs rights or kernel features; None, and a note why, if that fails."""
        try:
            return self._stack.enter_context(make())
        except (OSError, subprocess.CalledProcessError) as error:
            self.left_out[what] = str(error)
            return None

    def keep(self, context: Any) -> Any:
        """Enter a context that ends with the world."""
        return self._stack.enter_context(context)

    def later(self, call: Callable[..., object], *args: object) -> None:
        """Have something called at the end."""
        self._stack.callback(call, *args)


def make(package: Path | None = None, *, fsync: str = "always", valkey: bool = False) -> World:
    """Set up a world whose masters run this copy of the package; the clock of Valkey can be set."""
    folder = Path(tempfile.mkdtemp(prefix="fw-faults-"))
    diary.create(folder, MOST_JOBS)
    server = _Server(fsync)
    world = World(folder, server)
    world.later(shutil.rmtree, folder, True)
    if valkey:
        world.clock = server.clock = world.attempt("clock of Redis", lambda: ServerClock(folder / "redis-time"))
    world.keep(server)
    world.client = server.client()
    for number in range(MASTERS):
        world.hosts.append(_make_host(world, number, package))
    return world


class _Server(RedisServer):
    """A durable server.  Its clock can be set where it is Valkey: Debian's Redis does not start under faketime."""

    def __init__(self, fsync: str) -> None:
        super().__init__(tcp=True, durable=True, config=["--appendfsync", fsync])
        self.clock: ServerClock | None = None

    def command(self) -> list[str]:
        line = super().command()
        if self.clock is None:
            return line
        return [
            "env",
            *(f"{name}={value}" for name, value in self.clock.environment.items()),
            embedded_binary(),
            *line[1:],
        ]


def _make_host(world: World, number: int, package: Path | None) -> Host:
    network = world.attempt("partition by network namespace", Network) if number == 2 else None
    proxy = world.keep(Proxy(world.server, network.near if network else "127.0.0.1"))
    environment = {
        "FAULTS_FOLDER": str(world.folder),
        "FAULTS_HOST": str(number),
        "PYTHONPATH": os.pathsep.join(map(str, [*([package] if package else []), TESTS, TESTS.parent])),
    }
    if number == 2:
        environment["DYNO"] = "another-host"
    daemon = Daemon(proxy.url, world.client, Options(
        app="faults.app", children=CHILDREN, concurrency=CONCURRENCY, lease=LEASE_SECONDS, timeout=STOP_SECONDS,
        queues=[f"only{number}", *QUEUES], arguments=["--log-level", "warning"],
    ))  # fmt: skip
    world.later(daemon.remove)
    host = Host(number, daemon, proxy, network, world)
    host.pids = world.attempt("fork fails", lambda: Cgroup("pids"))
    host.memory = world.attempt("out of memory", lambda: Cgroup("memory"))
    if host.memory:
        host.memory.set("memory.limit_in_bytes", TREE_BYTES)
    groups = [group for group in (host.pids, host.memory) if group]
    # joined first: a network namespace comes with a /sys of its own
    prefix = [*_joining(groups), *(network.prefix if network else [])]
    host.clock = HostClock(world.folder / f"time-{number}")
    environment |= host.clock.environment
    environment["PYTHONPATH"] += f"{os.pathsep}{host.clock.folder}"
    host.disk = world.attempt("full disk", lambda: Disk(daemon.directory / "log"))
    daemon.log_path = daemon.directory / "log" / "daemon.log" if host.disk else daemon.log_path
    daemon.options = changed(daemon.options, environment=environment, prefix=prefix)
    world.later(daemon.clear)
    return host


def changed(options: Options, **changes: Any) -> Options:
    """Return options with some of them changed."""
    return dataclasses.replace(options, **changes)


def _joining(groups: Sequence[Cgroup]) -> list[str]:
    """A shell that joins control groups and becomes the command."""
    if not groups:
        return []
    joins = "; ".join(f"echo $$ > {group.path}/cgroup.procs" for group in groups)
    return ["sh", "-c", f'{joins}; exec "$@"', "sh"]
