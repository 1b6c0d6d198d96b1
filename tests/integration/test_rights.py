"""The rights that docs/access.md gives to each kind of program are enough, and what lacks one says so."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import NoPermissionError
from support.documents import ROOT, blocks
from support.payloads import push, push_at
from support.shell import shell
from support.snapshot import homes
from support.tour import QUEUES, Tour

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

HEALTH = ["--health", "unix:health.sock"]


@pytest.fixture
def users(redis: redispy.Redis) -> dict[str, str]:
    """Make the users of the document in this Redis; return the login of each, as an address has it."""
    (block,) = blocks(ROOT / "docs/access.md", "acl")
    logins = {}
    for line in block.text.splitlines():
        _, name, *rules = line.replace("web*", socket.gethostname()).split()
        redis.execute_command("ACL", "SETUSER", name, *rules)
        logins[name] = f"{name}:SECRET"
    return logins


@pytest.fixture
def url(redis_server: RedisServer, users: dict[str, str]) -> Callable[[str], str]:
    """Make the address of a user."""
    return lambda name: redis_server.url.replace("unix://", f"unix://{users[name]}@")


def denied(redis: redispy.Redis) -> set[str]:
    """Return what Redis has refused to anybody; redis-py asks without need for a version to be noted."""
    found = {entry["object"] for entry in redis.acl_log()}
    return {name if isinstance(name, str) else name.decode() for name in found} - {"client|setinfo"}


def test_everything_works_with_the_rights_of_the_document(
    daemon: MakeDaemon, url: Callable[[str], str], redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(url=url("worker"), queues=QUEUES, lease=5, arguments=HEALTH)
    Tour(tree, redis, records, clients=url("shop"), operators=url("operator")).go()
    assert denied(redis) == set()
    assert "refuses" not in tree.log()
    assert "SECRET" not in tree.log()


def test_a_program_that_enqueues_can_neither_read_nor_take_a_job(
    url: Callable[[str], str], redis: redispy.Redis, redis_server: RedisServer
) -> None:
    forkworker.Client(url("shop")).push("record", ["secret"])
    shop = redis_server.client()
    shop.execute_command("AUTH", "shop", "SECRET")
    for command in ("LRANGE queue:default 0 -1", "RPOP queue:default", "DEL queue:default", "KEYS *", "CONFIG GET *"):
        with pytest.raises(NoPermissionError, match="no permissions"):
            shop.execute_command(*command.split())
    assert redis.llen("queue:default") == 1


# A right that is missing


@pytest.mark.parametrize(
    ("right", "named"), [("+evalsha", "'evalsha'"), ("+ltrim +zrem", "may not run LTRIM, ZREM"), ("~dead", "access")]
)
def test_a_tree_that_lacks_a_right_names_it_touches_no_job_and_goes_on_when_it_is_there(
    daemon: MakeDaemon, url: Callable[[str], str], redis: redispy.Redis, right: str, named: str, records: Records
) -> None:
    """A script that is refused something halfway would leave a job in two places, again and again."""
    rules = redis.acl_getuser("worker")
    without = [f"-{word[1:]}" for word in right.split() if word[0] == "+"]
    kept = [key for key in rules["keys"] if key != right]
    redis.execute_command("ACL", "SETUSER", "worker", "resetkeys", *kept, *without)
    jids = [push(redis, "record", [1]), push_at(redis, 1, "record", [2])]
    tree = daemon(url=url("worker"), children=1, ready=False)
    tree.wait_until(lambda: "Redis is away: " in tree.log(), 10)
    assert re.search(f"Redis is away: .*{named}", tree.log())
    assert homes(redis) == {jids[0]: ["queue:default"], jids[1]: ["schedule"]}
    redis.execute_command("ACL", "SETUSER", "worker", *right.split())
    tree.wait_ready()
    tree.wait_until(lambda: records.ended() == dict.fromkeys(jids, 1), 10)
    tree.stop()


@pytest.mark.parametrize(("right", "named"), [("blmove", "'blmove'"), ("zadd", "NOPERM")])
def test_a_child_that_loses_a_right_names_it_once_and_loses_no_job(
    daemon: MakeDaemon, url: Callable[[str], str], redis: redispy.Redis, right: str, named: str, records: Records
) -> None:
    """The keeper may be well served meanwhile, so that nobody else would say it."""
    tree = daemon(url=url("worker"), children=1, concurrency=1)
    redis.execute_command("ACL", "SETUSER", "worker", f"-{right}")
    jid = push(redis, "fail", ["x"])
    tree.wait_until(lambda: "Redis refuses what this process needs: " in tree.log(), 10)
    assert named in tree.log()
    redis.execute_command("ACL", "SETUSER", "worker", f"+{right}")
    tree.wait_until(lambda: homes(redis) == {jid: ["retry"]}, 10)
    assert records.started() == {jid: 1}
    assert len(tree.log_lines("Redis refuses")) == 1
    tree.stop()


def test_clients_and_commands_that_lack_a_right_say_so(
    url: Callable[[str], str], redis: redispy.Redis, daemon: MakeDaemon
) -> None:
    redis.execute_command("ACL", "SETUSER", "shop", "resetkeys", "~queue:mail", "~queues")
    with pytest.raises(forkworker.PushFailed, match=r"nothing was accepted: .*permissions to access"):
        forkworker.Client(url("shop")).push("record", [1])
    folder = daemon(start=False).directory
    for words in (("jobs", "list", "dead"), ("pause", "mail"), ("queues",), ("doctor",)):
        done = shell(folder, *words, "--redis", url("shop"))
        assert done.returncode in (1, 2)
        assert "permission" in done.stderr
        assert "Traceback" not in done.stderr
        assert "SECRET" not in done.stderr
