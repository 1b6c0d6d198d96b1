"""What the boot says of the Redis it finds: nothing, a warning, or that it cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.payloads import push

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.proxy import Proxy
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

REDIS_UNAVAILABLE = 75
RISK = "jobs may be lost"


def test_risks_are_told_once_also_when_redis_was_away(
    daemon: MakeDaemon, redis_server: RedisServer, redis: redispy.Redis, records: Records
) -> None:
    redis_server.config += ["--maxmemory-policy", "allkeys-lru", "--appendonly", "no", "--save", ""]
    redis_server.restart()
    tree = daemon(children=1)
    assert [line.split(RISK)[1].split(":")[1] for line in tree.log_lines(RISK)] == [
        " this Redis drops keys when its memory is full (maxmemory-policy allkeys-lru)",
        " this Redis writes nothing to disk (no append-only file, no save points), so its restart forgets all",
    ]
    redis_server.restart()
    tree.wait_until(lambda: tree.log_lines("Redis is back"), 10)
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid], 10)
    assert len(tree.log_lines(RISK)) == 2
    tree.stop()


def test_user_who_may_not_ask_boots_without_a_word(
    daemon: MakeDaemon, redis_server: RedisServer, redis: redispy.Redis, records: Records
) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.acl_setuser("guest", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-info", "-config"])
    tree = daemon(children=1, url=redis_server.url.replace("unix://", "unix://guest:pw@"))
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid], 10)
    tree.stop()
    assert not tree.log_lines(RISK) + tree.log_lines("Redis is away"), tree.log()
    assert "guest:pw" not in tree.log()


def test_redis_that_is_too_old_ends_the_boot_at_once(daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy) -> None:
    told = redis.info("server")["redis_version"].encode()
    proxy.lies[b"redis_version:" + told] = b"redis_version:6.0" + told[3:]
    tree = daemon(children=1, url=proxy.url, ready=False)
    assert tree.wait_exit(25) == REDIS_UNAVAILABLE, tree.describe()
    tree.assert_gone()
    (line,) = tree.log_lines("is not usable")
    assert f"this Redis is version 6.0{told.decode()[3:]}; forkworker needs 6.2 or newer" in line
