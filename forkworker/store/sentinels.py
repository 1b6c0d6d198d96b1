"""Redis Sentinel: asks where the master is, and connects there.

A connection is made to the server that the newest configuration names, if that says that it is a master.  The
sentinels are asked again while the connection is used or waits for a reply, as a master that is frozen, cut off or
replaced by hand hangs up on nobody.  What has been sent is never sent again elsewhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from forkworker import address
from forkworker.clock import SystemClock

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

#: how old an answer may be before a connection that stands is used
LOOK_SECONDS = 0.5
#: to connect to a master; to get an answer from a sentinel
CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 0.5
#: a sentinel that did not answer is left out for so long, as long as others answer
_LEAVE_OUT_SECONDS = 5.0
MOVED = "the sentinels name another master by now"
_clock = SystemClock()


class Endpoint(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Answer(NamedTuple):
    """What one sentinel says; the newest configuration has the highest version (Redis' config-epoch)."""

    version: int
    master: Endpoint


class Sentinels:
    """The sentinels of one address; safe to share between threads and across forks."""

    def __init__(self, url: str) -> None:
        self._service = address.group(url).service
        self._url = url
        #: with the process they are for: what a fork has copied may be locked for ever
        self._clients: tuple[int, dict[Endpoint, redis.Redis]] = 0, {}
        self._left_out_until: dict[Endpoint, float] = {}
        #: the last answer, and when it came
        self._known = 0.0, Endpoint("", 0)
        self._silent_until = 0.0

    def master(self) -> Endpoint:
        """Ask where the master is; raises redis.ConnectionError if no sentinel knows."""
        troubles: dict[str, list[str]] = {}
        answers = list(self._ask_all(troubles))
        if not answers:
            self._silent_until = _clock.monotonic() + _LEAVE_OUT_SECONDS
            told = "; ".join(f"{', '.join(endpoints)}: {trouble}" for trouble, endpoints in troubles.items())
            raise redis.ConnectionError(f"no sentinel names a master {self._service!r}: {told}")
        master = max(answers, key=lambda answer: answer.version).master
        self._known = _clock.monotonic(), master
        return master

    def name_another(self, than: Endpoint) -> bool:
        """Whether the master is known to be another one, by an answer that is not old; nobody answers: it is not."""
        now = _clock.monotonic()
        try:
            if now > max(self._known[0] + LOOK_SECONDS, self._silent_until):
                return self.master() != than
        except redis.ConnectionError:
            return False
        return self._known[1] != than

    def close(self) -> None:
        """Hang up; the next question connects again."""
        for client in self._clients[1].values():
            client.connection_pool.disconnect()

    def _ask_all(self, troubles: dict[str, list[str]]) -> Iterator[_Answer]:
        now = _clock.monotonic()
        clients = self._own_clients()
        willing = [endpoint for endpoint in clients if now >= self._left_out_until.get(endpoint, 0.0)]
        for endpoint in willing or clients:
            try:
                yield self._ask(clients[endpoint])
            except (redis.RedisError, OSError, ValueError) as error:
                troubles.setdefault(str(error), []).append(str(endpoint))
                self._left_out_until[endpoint] = now + _LEAVE_OUT_SECONDS

    def _own_clients(self) -> dict[Endpoint, redis.Redis]:
        me = os.getpid()
        if self._clients[0] != me:
            self._clients = me, dict(_clients(self._url))
        return self._clients[1]

    def _ask(self, client: redis.Redis) -> _Answer:
        with client.pipeline(transaction=False) as pipe:
            pipe.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            pipe.execute_command("SENTINEL", "MASTER", self._service)
            named, told = pipe.execute(raise_on_error=False)
        if isinstance(named, Exception):
            raise named
        if named is None:
            raise ValueError(f"it knows no master {self._service!r}")
        host, port = named
        return _Answer(_version(told), Endpoint(host.decode(), int(port)))


def _version(told: Any) -> int:
    """Read the version; 0 where it is not told, to a user with few rights."""
    pairs = dict(zip(told[::2], told[1::2], strict=True)) if isinstance(told, list) else {}
    return int(pairs.get(b"config-epoch", 0))


def _clients(url: str) -> Iterator[tuple[Endpoint, redis.Redis]]:
    """Return a client of each sentinel, with the TLS of the master and a login of their own."""
    group, told = address.group(url), address.options(url)
    of_master = parse_url(group.master)
    options = {
        **{name.partition("_")[2]: told[name] for name in address.SENTINEL_LOGIN if name in told},
        **{name: value for name, value in of_master.items() if name.startswith("ssl_")},
        "connection_class": of_master.get("connection_class", Connection),
        "socket_timeout": _ANSWER_SECONDS,
        "socket_connect_timeout": _ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    for endpoint in group.sentinels:
        pool = ConnectionPool(protocol=2, host=endpoint[0], port=endpoint[1], **options)
        yield Endpoint(*endpoint), redis.Redis(connection_pool=pool)


#: all connections of a process to one address share what they are told, and so lead to one master
_shared: dict[str, Sentinels] = {}


def hang_up() -> None:
    """Close all connections to sentinels, before a fork; they are opened again when they are needed."""
    for asked in _shared.values():
        asked.close()


def options(url: str) -> dict[str, Any]:
    """Return what makes a connection pool of redis-py lead to the master."""
    found = parse_url(address.group(url).master)
    is_secure = found.get("connection_class") is SSLConnection
    return {
        **found,
        "connection_class": SecureMasterConnection if is_secure else MasterConnection,
        "socket_connect_timeout": CONNECT_SECONDS,
        "sentinels": _shared.setdefault(url, Sentinels(url)),
    }


class MasterConnection(Connection):
    """A connection to whatever server is the master when it is opened."""

    _sock: Any

    def __init__(self, *, sentinels: Sentinels, **kwargs: Any) -> None:
        self._sentinels = sentinels
        super().__init__(redis_connect_func=_greet, **kwargs)

    def has_moved(self) -> bool:
        """Whether this connection stands, and the master is another server by now."""
        return self._sock is not None and self._sentinels.name_another(Endpoint(self.host, self.port))

    def connect(self) -> None:
        """Connect to the master; again if it has moved."""
        if self.has_moved():
            self.disconnect()
        super().connect()

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next reply, for which nobody waits longer than there is hope of it."""
        if self._sock is not None:
            self._await_reply()
        return super().read_response(*args, **kwargs)

    def _connect(self) -> socket.socket:
        self.host, self.port = self._sentinels.master()
        sock: socket.socket = super()._connect()
        sock.settimeout(CONNECT_SECONDS)  # what TLS needs is still to come
        return sock

    def _await_reply(self) -> None:
        until = _clock.monotonic() + (self.socket_timeout or 0.0)
        while not self.can_read(LOOK_SECONDS):
            if self.has_moved():
                self.disconnect()
                raise redis.ConnectionError(MOVED)
            if _clock.monotonic() > until:
                self.disconnect()
                raise redis.TimeoutError(f"Timeout reading from {self.host}:{self.port}")


class SecureMasterConnection(SSLConnection, MasterConnection):
    """The same with TLS."""


def _greet(connection: MasterConnection) -> None:
    """Begin to talk to a server, which must be a master; one that may not be asked is believed."""
    connection._sock.settimeout(connection.socket_timeout)  # noqa: SLF001 - ours
    connection.on_connect()
    connection.send_command("ROLE")
    try:
        role = connection.read_response()[0]
    except NoPermissionError:
        return
    if role != b"master":
        raise redis.ConnectionError(f"{connection.host}:{connection.port} is no master yet, or no more")
