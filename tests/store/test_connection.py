"""Link: one connection that sends a command once, and says so when the answer does not come."""

from __future__ import annotations

import os
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
import redis as redispy
from support.servers import RedisServer, free_port
from support.waiting import wait_until

from forkworker.errors import IdentityTaken, StoreUnavailable
from forkworker.settings import EMBEDDED_SOCKET
from forkworker.store import connection, queues, scripts, working
from forkworker.store.connection import Link
from store.scene import ALICE, job, jobs, listed, put, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.proxy import Proxy

pytestmark = pytest.mark.store

SOON = 5.0


@pytest.fixture
def behind(proxy: Proxy, redis: redispy.Redis) -> Iterator[Link]:  # noqa: ARG001 - it empties
    """A link through the proxy."""
    link = Link(proxy.url, preload=working.SCRIPTS, timeout_seconds=0.3)
    yield link
    link.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("rediss://u:p@h/0", "rediss://u:p@h/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("embedded:///var/lib/jobs", f"unix:///var/lib/jobs/{EMBEDDED_SOCKET}"),
        ("embedded://tmp/jobs", f"unix://{os.getcwd()}/tmp/jobs/{EMBEDDED_SOCKET}"),
    ],
)
def test_only_embedded_addresses_are_translated(url: str, address: str) -> None:
    assert connection.real_url(url) == address


def test_without_descriptors_a_link_is_away_and_comes_back(redis: redispy.Redis, link: Link) -> None:
    """Incident: redis-py reads a file of its own for each connection; that failed, and the child ended."""
    redis.ping()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StoreUnavailable, match="Too many open files"):
            link.execute("PING")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert link.execute("PING") == b"PONG"


def test_the_first_command_opens_the_link_and_loads_its_scripts(redis: redispy.Redis, link: Link) -> None:
    redis.script_flush()
    put(redis, "queue:default", jobs(1))
    was_open = link.is_open

    assert link.execute(*working.fetch(ALICE, ["default"], 1)) == [jobs(1)]
    assert (was_open, link.is_open) == (False, True)
    assert redis.script_exists(*(scripts.get(name).sha1 for name in working.SCRIPTS)) == [True, True]


def test_a_pipeline_returns_a_reply_for_each_command(link: Link) -> None:
    assert link.pipeline([("SET", "a", 1), ("GET", "a"), ("GET", "b"), ("LPUSH", "c", "x", b"\xff")]) == [
        b"OK",
        b"1",
        None,
        2,
    ]


class Noting:
    """A socket that notes what is written, piece by piece."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)
        self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_a_pipeline_is_one_write(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: beside 25 spinning threads, a fetch went out 150 ms after the gate was shut, behind a settle."""
    link.open()
    noting = Noting(link._connection._sock)
    monkeypatch.setattr(link._connection, "_sock", noting)

    assert link.pipeline([("SET", "a", "x" * 100_000), ("STRLEN", "a"), ("PING",)]) == [b"OK", 100_000, b"PONG"]

    assert len(noting.pieces) == 1


def test_a_lost_reply_is_told_and_the_command_is_not_sent_again(
    proxy: Proxy, behind: Link, redis: redispy.Redis
) -> None:
    """Sent twice, the fetch would leave a job in the working list with nobody running it."""
    put(redis, "queue:default", jobs(1, 2))
    cut = proxy.cut_after(lambda command, _: command[0] == b"EVALSHA", times=5)

    with pytest.raises(StoreUnavailable):
        behind.execute(*working.fetch(ALICE, ["default"], 1))

    assert not behind.is_open
    assert len(cut.seen) == 1
    assert world(redis) == {listed(): jobs(1), "queue:default": jobs(2)}


def test_a_link_is_open_again_with_the_next_command(proxy: Proxy, behind: Link) -> None:
    behind.execute("PING")
    proxy.refuse()
    with pytest.raises(StoreUnavailable):
        behind.execute("PING")
    with pytest.raises(StoreUnavailable):
        behind.execute("PING")

    proxy.allow()

    assert behind.execute("PING") == b"PONG"


def test_no_answer_in_time_closes_the_link(proxy: Proxy, behind: Link) -> None:
    behind.execute("PING")
    proxy.black_hole()

    with pytest.raises(StoreUnavailable, match="Timeout"):
        behind.execute("PING")

    assert not behind.is_open
    proxy.restore_flow()
    assert behind.execute("PING") == b"PONG"


def test_a_refused_command_closes_the_link_lest_replies_be_mixed_up(link: Link, redis: redispy.Redis) -> None:
    redis.set("text", "x")

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        link.pipeline([("LPUSH", "text", "y"), ("SET", "other", "z")])

    assert not link.is_open
    assert link.execute("PING") == b"PONG"


def test_one_declared_dead_is_told_so_and_not_that_redis_is_away(link: Link, redis: redispy.Redis) -> None:
    redis.set(f"taken:{ALICE}", 1)

    with pytest.raises(IdentityTaken):
        link.pipeline([working.settle(ALICE, 1, [], 0.0), working.fetch(ALICE, ["default"], 1)])

    assert not link.is_open


def test_a_server_that_has_forgotten_the_scripts_learns_them_again(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1))
    link.open()
    redis.script_flush()

    with pytest.raises(StoreUnavailable, match="NoScript"):
        link.execute(*working.fetch(ALICE, ["default"], 1))

    assert link.execute(*working.fetch(ALICE, ["default"], 1)) == [[job(1)]]


def test_a_restarted_server_is_found_again() -> None:
    with RedisServer(durable=True) as server:
        link = Link(server.url, preload=working.SCRIPTS)
        link.execute("SET", "a", 1)
        server.restart()

        with pytest.raises(StoreUnavailable):
            link.execute("GET", "a")

        assert link.execute("GET", "a") == b"1"
        assert link.execute(*working.fetch(ALICE, ["default"], 1)) == [[]]
        link.close()


def test_where_nobody_listens_a_link_cannot_be_opened() -> None:
    link = Link(f"redis://127.0.0.1:{free_port()}/0")

    with pytest.raises(StoreUnavailable):
        link.open()

    assert not link.is_open


def test_a_closed_link_has_no_more_replies(link: Link) -> None:
    link.send([("PING",)])
    link.close()

    with pytest.raises(StoreUnavailable):
        link.read()


def test_a_reply_can_be_awaited(link: Link, redis: redispy.Redis) -> None:
    link.send([("BLPOP", "list", 10)])

    assert not link.readable(0.01)
    assert link.fileno() > 2
    redis.lpush("list", "x")
    assert link.readable(5)
    assert link.read() == [b"list", b"x"]
    assert not link.readable(0)


def test_waiting_at_a_connection_that_ends_is_told(proxy: Proxy, behind: Link) -> None:
    behind.send([("BLPOP", "list", 10)])
    proxy.cut_all()

    with pytest.raises(StoreUnavailable):
        assert behind.readable(SOON) is behind.read()  # the first or the second of them, by redis-py's version

    assert not behind.is_open


def test_a_client_can_be_shared_by_forked_processes(redis_server: RedisServer, redis: redispy.Redis) -> None:
    client = connection.make_client(redis_server.url)
    queues.push(client, "default", [b"before"])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            queues.push(client, "default", [b"child"])
            status = 0
        finally:
            os._exit(status)
    queues.push(client, "default", [b"parent"])

    assert os.waitpid(pid, 0)[1] == 0
    assert set(world(redis)["queue:default"]) == {b"before", b"child", b"parent"}
    client.close()


def test_a_connection_is_lent_again_and_again(redis_server: RedisServer) -> None:
    pool = connection.make_pool(redis_server.url)
    first, second = pool.lend(), pool.lend()

    pool.take_back(first)
    assert pool.lend() is first is not second
    pool.take_back(first)
    pool.take_back(second)


def test_a_connection_that_the_server_has_closed_is_opened_again(
    redis_server: RedisServer, redis: redispy.Redis
) -> None:
    pool = connection.make_pool(redis_server.url)
    idle = pool.lend()
    pool.take_back(idle)
    redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    assert pool.lend() is idle
    assert _ask(idle, "PING") == b"PONG"
    pool.take_back(idle)


def test_a_reply_that_nobody_has_read_is_not_the_next_ones(redis_server: RedisServer) -> None:
    pool = connection.make_pool(redis_server.url)
    idle = pool.lend()
    idle.send_command("PING")
    wait_until(idle.can_read, SOON, "the reply is there")
    pool.take_back(idle)

    assert _ask(pool.lend(), "ECHO", "mine") == b"mine"
    pool.take_back(idle)


def test_connections_that_could_not_be_opened_are_not_counted_as_there() -> None:
    pool = connection.make_pool(f"redis://127.0.0.1:{free_port()}/0?max_connections=1")

    for _ in range(3):
        with pytest.raises(redispy.ConnectionError, match="refused"):
            pool.lend()


def _ask(lent: Any, *command: str) -> Any:
    lent.send_command(*command)
    return lent.read_response()


def test_what_was_not_sent_when_a_link_is_closed_is_never_sent(behind: Link) -> None:
    """Over TCP, where it might linger in the kernel: a fetch that arrives late takes a job for nobody."""
    behind.open()
    sock = socket.socket(fileno=os.dup(behind.fileno()))

    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
    assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
    sock.close()
