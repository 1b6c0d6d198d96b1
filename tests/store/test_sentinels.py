"""Connections that follow the master: whom they believe, when they ask again, and when they hang up."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING

import pytest
from support.sentinels import SERVICE, Replica, Sentinel
from support.servers import free_port
from support.waiting import wait_until

from forkworker.errors import PushFailed, PushInDoubt, StoreUnavailable
from forkworker.store import queues, sentinels
from forkworker.store.connection import Link, make_client
from forkworker.store.sentinels import LOOK_SECONDS, Endpoint, Sentinels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy

pytestmark = pytest.mark.store

HOST = "127.0.0.1"
#: long before the connection's own 30 s; one answer of a sentinel that comes late, on a busy machine, costs 5
SOON_SECONDS = 15


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> Callable[..., Replica]:
    """Start servers: ``server()`` is a master, ``server(of=OTHER)`` its replica."""

    def start(*config: str, of: Replica | None = None) -> Replica:
        new = Replica(["--repl-diskless-sync-delay", "0", *config])
        stack.callback(new.close)
        new.master = of
        new.start()
        if of:
            wait_until(lambda: new.client().execute_command("ROLE")[3] == b"connected", 10)
            wait_until(lambda: new.port in online(of), 10)  # before that it confirms nothing
        return new

    return start


def online(master: Replica) -> set[int]:
    """Return the ports of the replicas that a master counts on."""
    told = master.client().info("replication")
    replicas = [told[f"slave{number}"] for number in range(told["connected_slaves"])]
    return {int(replica["port"]) for replica in replicas if replica["state"] == "online"}


@pytest.fixture
def sentinel(stack: ExitStack) -> Callable[..., Sentinel]:
    """Start sentinels that know nothing of each other: ``sentinel(MASTER)``."""

    def start(master: Replica, **options: int) -> Sentinel:
        new = Sentinel(master.port, **options)
        stack.callback(new.close)
        new.start()
        wait_until(new.details, 10, "the sentinel answers")
        return new

    return start


def address(*places: Sentinel | int, options: str = "", service: str = SERVICE) -> str:
    ports = [place.port if isinstance(place, Sentinel) else place for place in places]
    return f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in ports)}/{service}/0{options}"


def until_old() -> None:
    """Let what a sentinel has said grow old."""
    time.sleep(LOOK_SECONDS + 0.05)


def test_the_newest_configuration_is_believed(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    """A sentinel that was cut off still names the old master; which of them is asked first does not matter."""
    old, new = server(), server()
    stale, fresh = sentinel(old, epoch=3), sentinel(new, epoch=4)
    for places in ((stale, fresh), (fresh, stale)):
        assert Sentinels(address(*places)).master() == Endpoint(HOST, new.port)


def test_dead_sentinels_are_passed_over_and_do_not_cost_time_each_time(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    master = server()
    frozen, well = sentinel(master), sentinel(master)
    frozen.send(SIGSTOP)
    asked = Sentinels(address(free_port(), frozen, well))
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert asked.master() == Endpoint(HOST, master.port)
        took.append(time.monotonic() - began)
    assert max(took[1:]) < sentinels._ANSWER_SECONDS <= took[0]
    frozen.send(SIGCONT)


def test_when_no_sentinel_knows_it_is_said_why(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    port, well = free_port(), sentinel(server())
    with pytest.raises(StoreUnavailable) as caught:
        Link(address(port, well, service="nobody")).open()
    told = str(caught.value)
    assert told.startswith("no sentinel names a master 'nobody': ")
    assert f"{HOST}:{port}: Error 111" in told
    assert f"{HOST}:{well.port}: it knows no master 'nobody'" in told


def test_a_replica_is_no_master_whatever_a_sentinel_says(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    replica = server(of=server())
    link = Link(address(sentinel(replica)))
    with pytest.raises(StoreUnavailable, match=f"{HOST}:{replica.port} is no master yet, or no more"):
        link.open()
    assert not link.is_open


def test_a_user_who_may_not_ask_for_the_role_believes_the_sentinels(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    master = server()
    master.client().execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", "-role")
    link = Link(address(sentinel(master)).replace("://", "://few:pw@"))
    assert link.execute("PING") == b"PONG"
    link.close()


def move(sentinel: Sentinel, to: Replica) -> None:
    """Have a sentinel name another master, as it does after a failover."""
    sentinel.client.execute_command("SENTINEL", "REMOVE", SERVICE)
    sentinel.client.execute_command("SENTINEL", "MONITOR", SERVICE, HOST, to.port, 1)


def test_a_link_hangs_up_on_one_that_is_no_longer_named_before_it_sends(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    """A master that was replaced by hand goes on as if nothing had happened, for ten seconds and more."""
    old, new = server(), server()
    told = sentinel(old)
    link = Link(address(told))
    link.execute("SET", "before", 1)
    move(told, new)
    until_old()

    with pytest.raises(StoreUnavailable, match=sentinels.MOVED):
        link.execute("SET", "after", 1)

    link.execute("SET", "later", 1)
    assert (old.client().keys(), new.client().keys()) == ([b"before"], [b"later"])
    link.close()


def test_a_reply_from_a_frozen_master_is_awaited_only_until_another_is_named(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    old, new = server(), server()
    told = sentinel(old)
    link = Link(address(told), timeout_seconds=30)
    link.execute("PING")
    old.pause()
    link.send([("PING",)])
    move(told, new)

    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=sentinels.MOVED):
        link.read()

    assert time.monotonic() - began < SOON_SECONDS
    assert link.execute("PING") == b"PONG"
    link.close()


def test_a_frozen_master_holds_up_no_new_connection_once_another_is_named(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    """The kernel accepts for it, so it is its first answer that does not come."""
    old, new = server(), server()
    told = sentinel(old)
    old.pause()
    link = Link(address(told), timeout_seconds=30)
    moving = [lambda: move(told, new)]
    asked = link._pool.connection_kwargs["sentinels"]
    master = asked.master

    def answer_and_move() -> Endpoint:
        place = master()
        while moving:
            moving.pop()()
        return Endpoint(*place)

    asked.master = answer_and_move
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=sentinels.MOVED):
        link.open()
    assert time.monotonic() - began < SOON_SECONDS
    link.open()
    assert link.execute("PING") == b"PONG"
    link.close()


def test_sentinels_that_are_silent_are_no_reason_to_leave_the_master(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    master = server()
    told = sentinel(master)
    link = Link(address(told))
    number = link.execute("CLIENT", "ID")
    told.send(SIGSTOP)
    until_old()
    assert link.execute("CLIENT", "ID") == number
    told.send(SIGCONT)
    link.close()


def test_a_client_pushes_to_the_master_that_is_named_now(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    """Its connection was idle for long, and nobody has closed it."""
    old, new = server(), server()
    told = sentinel(old)
    client = make_client(address(told))
    queues.push(client, "default", [b"first"])
    move(told, new)
    until_old()
    queues.push(client, "default", [b"second"])
    assert (old.client().lrange("queue:default", 0, -1), new.client().lrange("queue:default", 0, -1)) == (
        [b"first"],
        [b"second"],
    )
    client.close()


def test_after_a_refusal_the_next_push_looks_for_a_master_at_once(
    server: Callable[..., Replica], sentinel: Callable[..., Sentinel]
) -> None:
    old, new = server(), server()
    told = sentinel(old)
    client = make_client(address(told))
    queues.push(client, "default", [b"first"])
    move(told, new)
    old.client().replicaof(HOST, new.port)
    with pytest.raises(PushFailed, match="nothing was accepted"):
        queues.push(client, "default", [b"second"])
    queues.push(client, "default", [b"second"])
    assert new.client().lrange("queue:default", 0, -1) == [b"second"]
    client.close()


# Replicas that confirm


def push_one(client: redispy.Redis) -> None:
    queues.push(client, "default", [b"job"])


def schedule_one(client: redispy.Redis) -> None:
    queues.schedule(client, [(secrets.token_bytes(8), 1.0)])


@pytest.mark.parametrize("push", [push_one, schedule_one])
def test_a_push_is_in_doubt_until_so_many_replicas_have_it(
    server: Callable[..., Replica], push: Callable[[redispy.Redis], None]
) -> None:
    master = server()
    replica = server(of=master)
    one, two = (make_client(f"redis://{HOST}:{master.port}/0?wait_replicas={number}") for number in (1, 2))
    push(one)
    with pytest.raises(PushInDoubt, match="1 of 2 replicas confirmed it within 1 s"):
        push(two)
    replica.pause()
    with pytest.raises(PushInDoubt, match="0 of 1 replicas confirmed it within 1 s"):
        push(one)
    replica.resume()
    push(one)
    for client in (one, two):
        client.close()


def test_a_push_that_is_refused_is_not_in_doubt(server: Callable[..., Replica]) -> None:
    """Nothing was written, so nothing had to be confirmed."""
    master = server("--min-replicas-to-write", "1")
    client = make_client(f"redis://{HOST}:{master.port}/0?wait_replicas=1")
    with pytest.raises(PushFailed, match="NOREPLICAS"):
        push_one(client)
    client.close()
