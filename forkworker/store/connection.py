"""Connections to Redis: ``Link`` for the daemon's processes, a pooled client for programs that enqueue.

A Link belongs to one thread and never sends a command twice: a repeated fetch whose first reply was
lost would leave a job in the working list with nobody running it.  Whoever uses a Link decides what
to do after ``StoreUnavailable``.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, parse_url
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterDownError, MasterDownError
from redis.retry import Retry

from forkworker import address
from forkworker.errors import IdentityTaken, StoreUnavailable, StoreUnfit
from forkworker.settings import EMBEDDED_SOCKET
from forkworker.store import rights, scripts, sentinels
from forkworker.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Command = tuple[Any, ...]


class Commands(Protocol):
    """Whatever sends commands and returns their replies as they come: a Link, an operator's Access."""

    def execute(self, *command: Any) -> Any:
        """Send one command and return its reply."""
        ...

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and return their replies."""
        ...


TIMEOUT_SECONDS = 5.0
#: for a connection that is only made to have been made
WARM_UP_SECONDS = 0.5
CLUSTER = (
    "this Redis is a Cluster, whose scripts cannot reach all queues; "
    "forkworker needs one server, with or without replicas and Sentinel"
)
#: to redis-py MOVED is an AskError, and a replica without its master a ClusterDownError
_OF_A_CLUSTER = (AskError, ClusterCrossSlotError, ClusterDownError)


def number(counter: bytes | int | None) -> int:
    """Read a counter; 0 for one that is none, as anybody may have written there."""
    try:
        return int(counter or 0)
    except ValueError:
        return 0


def real_url(url: str) -> str:
    """Translate ``embedded://DIR`` into the address of the socket in DIR."""
    scheme, _, path = url.partition("://")
    if scheme != "embedded":
        return url
    return "unix://" + os.path.join(os.path.abspath(path), EMBEDDED_SOCKET)


class Pool(ConnectionPool):
    """Connections for those who share them.

    ``lend`` and ``take_back`` are for pushes, of which redis-py's own way takes a sixth of the time, for statistics.
    """

    def __init__(self, *, replicas: int, **options: Any) -> None:
        super().__init__(**options)
        #: how many replicas must confirm a push
        self.replicas = replicas
        #: by process: those of the one that we were forked from are its own
        self._idle: collections.defaultdict[int, list[Any]] = collections.defaultdict(list)

    def lend(self) -> Any:
        """Return a connection that stands, as far as can be told; raises redis-py's errors, and OSError."""
        try:
            connection = self._idle[os.getpid()].pop()
        except IndexError:
            connection = self.make_connection()
        try:
            connection.connect()
            if _is_stale(connection):
                connection.disconnect()
                connection.connect()
        except BaseException:
            connection.disconnect()  # also what a signal raises while it greets: replies that come later are nobody's
            self.take_back(connection)
            raise
        return connection

    def take_back(self, connection: Any) -> None:
        """Keep a connection for the next who needs one; all that was asked on it must have been read."""
        self._idle[os.getpid()].append(connection)


def _is_stale(connection: Any) -> bool:
    """Whether the server has hung up, or has sent what nobody has read."""
    try:
        return bool(connection.can_read())
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        return True


def make_pool(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Pool:
    """Return a pool for an address, with everything turned off that would repeat a command."""
    options: dict[str, Any] = {"socket_connect_timeout": timeout_seconds, **_options(real_url(url))}
    replicas = int(options.pop("wait_replicas", 0))
    options |= {"protocol": 2, "socket_timeout": timeout_seconds, "retry": Retry(NoBackoff(), 0), **_driver()}
    return Pool(replicas=replicas, **options)


def _options(url: str) -> dict[str, Any]:
    """Return what an address says, in redis-py's words."""
    if url.partition("://")[0] in address.SENTINEL_SCHEMES:
        return {"socket_keepalive": True, **sentinels.options(url)}
    return parse_url(url) if url.startswith("unix") else {"socket_keepalive": True, **parse_url(url)}


@functools.cache
def _driver() -> dict[str, Any]:
    """Return who we are, for ``CLIENT LIST``; redis-py alone would read its version from a file for each connection."""
    try:
        from redis.driver_info import DriverInfo  # older ones read it once
    except ImportError:
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__).add_upstream_driver("forkworker", VERSION)}


def make_client(url: str) -> redis.Redis:
    """Return a client safe to share between threads and across forks."""
    return redis.Redis(connection_pool=make_pool(url))


def _send_nothing_late(sock: socket.socket) -> None:
    """Have a close, or our death, drop what was not sent: a fetch that arrives later takes a job for nobody."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * 2 * TIMEOUT_SECONDS))


class Link:
    """One connection of one thread; opened by the first command, or again after an error."""

    def __init__(self, url: str, *, preload: Iterable[str] = (), timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._pool = make_pool(url, timeout_seconds)
        self._scripts = tuple(preload)
        self._connection: Any = None

    @property
    def is_open(self) -> bool:
        """Whether the connection stood when it was last used."""
        return self._connection is not None

    @property
    def look_seconds(self) -> float:
        """How often to ``look`` while nothing is sent."""
        return sentinels.LOOK_SECONDS if "sentinels" in self._pool.connection_kwargs else math.inf

    def open(self) -> None:
        """Connect, and load the scripts that will be called."""
        self.close()
        connection: Any = None
        try:
            # making it opens a file already (its own version's), which fails where no descriptor is left
            connection = self._pool.connection_class(**self._pool.connection_kwargs)
            connection.connect()
            for name in self._scripts:
                connection.send_command("SCRIPT", "LOAD", scripts.get(name).source)
                connection.read_response()
            if self._scripts:
                rights.check(connection)
        except (redis.RedisError, OSError, StoreUnavailable) as error:
            if connection is not None:
                connection.disconnect()
            raise unavailable(error, str(error)) from error
        self._connection = connection
        _send_nothing_late(connection._sock)  # noqa: SLF001 - redis-py has no public way

    def close(self) -> None:
        """Hang up; a command under way is in doubt then."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def fileno(self) -> int:
        """Return the socket's number, for poll."""
        number: int = self._connection._sock.fileno()  # noqa: SLF001 - redis-py has no public way
        return number

    def look(self) -> None:
        """Hang up on a master that is none any more by what the sentinels say; raises StoreUnavailable then."""
        if isinstance(self._connection, sentinels.MasterConnection) and self._connection.has_moved():
            raise self._lost(redis.ConnectionError(sentinels.MOVED))

    def execute(self, *command: Any) -> Any:
        """Send one command and return its reply."""
        return self.pipeline([command])[0]

    def ask(self, *command: Any) -> Any:
        """Send one command that this user, or this server, may not have; None if it is refused."""
        self.send([command])
        try:
            return self._connection.read_response()
        except redis.ResponseError:
            return None
        except (redis.RedisError, OSError) as error:
            raise self._lost(error) from error

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and return their replies; any error closes the connection."""
        self.send(commands)
        return [self.read() for _ in commands]

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands without reading the replies."""
        self.look()
        if self._connection is None:
            self.open()
        pack = self._connection.pack_command
        try:
            # joined: redis-py makes a system call of each part, which may cost the thread its turn
            self._connection.send_packed_command([b"".join(part for command in commands for part in pack(*command))])
        except (redis.RedisError, OSError) as error:
            raise self._lost(error) from error

    def read(self) -> Any:
        """Return the next reply."""
        if self._connection is None:
            raise StoreUnavailable("the connection was closed")
        try:
            return self._connection.read_response()
        except (redis.RedisError, OSError) as error:
            raise self._lost(error) from error

    def readable(self, seconds: float) -> bool:
        """Wait for a reply to come in; False if none does in time."""
        try:
            return bool(self._connection.can_read(seconds))
        except (redis.RedisError, OSError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> IdentityTaken | StoreUnavailable:
        self.close()
        if str(error).startswith("TAKEN"):
            return IdentityTaken(str(error))
        return unavailable(error, f"{type(error).__name__}: {error}")


def unavailable(error: Exception, told: str) -> StoreUnavailable:
    """Return what to raise for an error of redis-py's; a Cluster's have words of their own."""
    if isinstance(error, _OF_A_CLUSTER) and not isinstance(error, MasterDownError):
        return StoreUnfit(CLUSTER)
    return StoreUnavailable(told)


def warm_up(url: str, preload: Sequence[str]) -> None:
    """Connect once, and hang up: what that loads and builds is then shared by all processes forked from this one."""
    for name in preload:
        scripts.get(name)
    link = Link(url, preload=preload, timeout_seconds=WARM_UP_SECONDS)
    with contextlib.suppress(StoreUnavailable):  # each child connects for itself, and will say so
        link.execute("PING")
    link.close()
    sentinels.hang_up()
