"""The doctor finds nothing in a healthy system, and each of the things that are broken on purpose, one at a time."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support import payloads
from support.payloads import push, push_many
from support.proxy import Proxy
from support.servers import RedisServer, free_port

from forkworker.cli.main import main
from forkworker.doctor import checks, facts
from forkworker.doctor.facts import Facts
from forkworker.store.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

WELL = "web-1:4711:0123456789ab"
OTHER = "web-2:4712:ba9876543210"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(durable=True) as server:
        yield server


@pytest.fixture
def patient(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> redispy.Redis:
    """A system that is well: one process that beats and serves ``default``, some jobs, a clean set of everything."""
    monkeypatch.setattr(facts, "LOOK_SECONDS", 1.5)
    client = server.client()
    client.flushall()
    beat(client, WELL)
    push_many(client, "record", [[n] for n in range(3)])
    payloads.push_at(client, time.time() + 60, "record")
    payloads.push_at(client, time.time() + 60, "fail", key="retry", error_class="ValueError", error_message="no")
    client.incr("stat:processed")
    return client


def beat(client: redispy.Redis, identity: str, *, ahead: float = 0.0, quiet: str = "false") -> None:
    """Show a process as its keeper would."""
    info = {"hostname": identity.split(":", maxsplit=1)[0], "pid": 1, "queues": ["default"], "concurrency": 5}
    client.sadd("processes", identity)
    fields: dict[Any, Any] = {"info": json.dumps(info), "beat": time.time() + ahead, "quiet": quiet, "busy": 0}
    client.hset(identity, mapping=fields)


@contextmanager
def beating(client: redispy.Redis, identity: str, ahead: float) -> Iterator[None]:
    """Have a process beat by a wrong clock."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.3):
            beat(client, identity, ahead=ahead)

    beat(client, identity, ahead=ahead)
    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


def examine(capsys: pytest.CaptureFixture[str], url: str, units: Path) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and what it told."""
    code = main(["doctor", "--json", "--redis", url, "--units", str(units)])
    return code, json.loads(capsys.readouterr().out)


def write_unit(directory: Path, *lines: str, start: str = "/srv/.venv/bin/forkworker run shop") -> None:
    told = {"ExecStart": start, "Restart": "always"} | dict(line.split("=", 1) for line in lines)
    text = "\n".join(f"{key}={value}" for key, value in told.items())
    (directory / "shop.service").write_text(f"[Unit]\nDescription=Jobs\n[Service]\n{text}\n[Install]\nWantedBy=x\n")


def test_a_system_that_is_well_gives_no_finding(
    patient: redispy.Redis, server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_unit(tmp_path, "TimeoutStopSec=15")
    beat(patient, OTHER, quiet="true")
    code, told = examine(capsys, server.url, tmp_path)
    assert told["findings"] == []
    assert (code, told["healthy"]) == (0, True)
    assert len(told["checked"]) >= 12
    assert main(["doctor", "--redis", server.url, "--units", str(tmp_path)]) == 0
    assert "nothing found wrong by" in capsys.readouterr().out


def unknown_job(client: redispy.Redis) -> None:
    error = {"error_class": "forkworker.errors.UnknownJob", "error_message": "no job is named 'gone.away' here"}
    for _ in range(2):
        payloads.push_at(client, time.time() + 60, "gone.away", key="retry", **error)


def orphan(client: redispy.Redis) -> None:
    client.sadd("working", f"working:{OTHER}:default")
    client.lpush(f"working:{OTHER}:default", payloads.encode(payloads.payload("record")))


def strange_queue(client: redispy.Redis) -> None:
    client.sadd("queues", "mail")
    client.set("queue:mail", "text")


def paused_for_long(client: redispy.Redis) -> None:
    client.sadd("paused", "default")
    client.delete("queue:default")
    push(client, "record", enqueued_at=time.time() - 7200)


def full(client: redispy.Redis) -> None:
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.05))


def nobody(client: redispy.Redis) -> None:
    client.srem("processes", WELL)
    client.delete(WELL, "queue:default")


BROKEN: dict[str, tuple[Callable[[redispy.Redis], object], str, str]] = {
    "eviction": (lambda c: c.config_set("maxmemory-policy", "allkeys-lru"), "eviction", "allkeys-lru"),
    "no persistence": (lambda c: c.config_set("appendonly", "no"), "persistence", "writes nothing to disk"),
    "full": (full, "memory", "of its maxmemory"),
    "replica": (lambda c: c.replicaof("127.0.0.1", free_port()), "replica", "is a replica"),
    "silent process": (lambda c: beat(c, OTHER, ahead=-40), "silence", f"{OTHER} has shown no sign of life for 4"),
    "clock ahead": (lambda c: beat(c, OTHER, ahead=30), "clock", "the clock of the host web-2 is "),
    "ghost": (lambda c: c.sadd("processes", OTHER), "ghosts", f"names 1 that are not there: {OTHER}"),
    "orphan": (orphan, "orphans", f"{OTHER} shows no sign of life, and has 1 job in"),
    "nobody": (nobody, "nobody", "no process takes jobs"),
    "all quiet": (lambda c: beat(c, WELL, quiet="true"), "quiet", "every process is quiet (1)"),
    "unserved queue": (
        lambda c: push(c, "record", queue="mail"),
        "unserved queue",
        "no process serves the queue mail, which has 1",
    ),
    "paused queue": (paused_for_long, "paused queue", "the queue default is paused, and has 1 job, one"),
    "unknown job": (unknown_job, "unknown job", "no process knew the name gone.away: 2 jobs failed"),
    "strange set": (lambda c: c.set("dead", "text"), "strange key", "the key dead is a string, and should be a zset"),
    "strange queue": (strange_queue, "strange key", "the key queue:mail is a string, and should be a list"),
}


@pytest.mark.parametrize("broken", list(BROKEN))
def test_each_thing_that_is_broken_is_found_alone_and_it_is_said_what_to_do(
    patient: redispy.Redis, server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    hurt, check, words = BROKEN[broken]
    hurt(patient)
    try:
        code, told = examine(capsys, server.url, tmp_path)
        assert main(["doctor", "--redis", server.url, "--units", str(tmp_path)]) == 1
    finally:
        patient.replicaof("no", "one")
        patient.config_set("maxmemory", 0)
        patient.config_set("maxmemory-policy", "noeviction")
        patient.config_set("appendonly", "yes")
    assert (code, told["healthy"]) == (1, False)
    (finding,) = told["findings"]
    assert finding["check"] == check
    assert words in finding["what"]
    shown = capsys.readouterr().out
    flat = " ".join(shown.split())
    assert flat.startswith(f"{check}: ")
    assert words in flat
    assert finding["todo"]
    assert f" -> {finding['todo']} forkworker: 1 found wrong by" in flat
    assert max(map(len, shown.splitlines()[:-1])) <= 80


def test_a_slow_clock_is_told_from_a_dead_process(
    patient: redispy.Redis, server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with beating(patient, OTHER, ahead=-40):
        code, told = examine(capsys, server.url, tmp_path)
    (finding,) = told["findings"]
    assert (code, finding["check"]) == (1, "clock")
    assert "the host web-2 is 4" in finding["what"]
    assert "behind Redis'" in finding["what"]


def test_a_long_way_to_redis_is_found(
    patient: redispy.Redis,  # noqa: ARG001 - it is well
    server: RedisServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Proxy(server) as between:
        between.delay_seconds = 0.02
        code, told = examine(capsys, between.url, tmp_path)
    assert (code, [finding["check"] for finding in told["findings"]]) == (1, ["round trip"])


UNITS = {
    "too short": (["TimeoutStopSec=5"], {}, "gives forkworker 5 s to stop, which may need 10 (its timeout is 8 s)"),
    "too short for its flag": (
        ["ExecStart=/venv/bin/python -m forkworker run -t 30 shop", "TimeoutStopSec=15s"], {}, "which may need 32"
    ),
    "too short for its variable": (
        ["Environment=A=1 FORKWORKER_TIMEOUT=60", "TimeoutStopSec=1min 1s"], {}, "may need 62"
    ),
    "too short for its file": (["TimeoutStopSec=1min"], {"forkworker.toml": "timeout = 120"}, "may need 122"),
    "too short for its variables' file": (
        ["EnvironmentFile=-{}/env", "TimeoutStopSec=15"], {"env": "# a\nFORKWORKER_TIMEOUT='20'\n"}, "may need 22"
    ),
    "too short by a drop-in": (
        ["TimeoutStopSec=15"], {"shop.service.d/a.conf": "[Service]\nTimeoutStopSec=3\n"}, "gives forkworker 3 s"
    ),
    "too short by default": (["Environment=FORKWORKER_TIMEOUT=120"], {}, "gives forkworker 90 s to stop"),
    "not started again": (["Restart=no"], {}, "does not start a master again"),
}  # fmt: skip


@pytest.mark.parametrize("broken", list(UNITS))
def test_a_unit_that_does_not_fit_is_found(
    patient: redispy.Redis,  # noqa: ARG001 - it is well
    server: RedisServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    lines, files, words = UNITS[broken]
    write_unit(tmp_path, f"WorkingDirectory={tmp_path}", *(line.format(tmp_path) for line in lines))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code, told = examine(capsys, server.url, tmp_path)
    (finding,) = told["findings"]
    assert (code, finding["check"]) == (1, "unit")
    assert words in finding["what"]
    assert "in the unit" in finding["todo"]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"server": Server(version=(6, 0, 16), eviction=None, is_persistent=None)}, "redis version"),
        ({"info": {"aof_last_write_status": "err"}}, "writing"),
        ({"server": Server(version=None, eviction=None, is_persistent=None, is_cluster=True)}, "cluster"),
        ({"ahead_seconds": -3.0}, "clock"),
    ],
)
def test_what_cannot_be_broken_here_is_judged_all_the_same(changes: dict[str, Any], check: str) -> None:
    seen = facts.Seen(identity=WELL, queues=(), is_quiet=False, beat=1.0, looked_at=2.0)
    server = Server(version=None, eviction=None, is_persistent=None)
    assert checks.examine(Facts(server=server, processes=(seen,))) == []
    (finding,) = checks.examine(Facts(**{"server": server, "processes": (seen,), **changes}))
    assert finding.check == check


def test_a_redis_that_cannot_be_asked_is_no_finding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, told = examine(capsys, f"redis://:secret@127.0.0.1:{free_port()}/0", tmp_path)
    assert (code, told["healthy"]) == (2, False)
    assert "efused" in told["error"]
    assert main(["doctor", "--redis", "nonsense"]) == 2
    assert "secret" not in str(told) + capsys.readouterr().err


def test_a_real_tree_is_well_and_a_killed_one_is_not(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, tmp_path: Path
) -> None:
    tree = daemon(children=2)
    jid = push(redis, "record", ["long", 60])
    tree.wait_until(lambda: records.running() == {jid}, 5)
    healthy = tree_doctor(tree, tmp_path)
    assert healthy.returncode == 0, healthy.stdout
    tree.kill_all()
    tree.clear()
    for identity in [member for member in redis.smembers("processes") if isinstance(member, bytes)]:
        redis.delete(identity)  # as a minute later
    sick = tree_doctor(tree, tmp_path)
    assert sick.returncode == 1
    assert [line.split(":")[0] for line in sick.stdout.splitlines() if line[0] not in " f"] == [
        "ghosts", "orphans", "nobody"
    ]  # fmt: skip


def tree_doctor(tree: Daemon, units: Path) -> Any:
    words = ("doctor", "--units", str(units))
    named, tree.options = tree.options, type(tree.options)(**{**vars(tree.options), "named_socket": False})
    try:
        return tree.control(*words)
    finally:
        tree.options = named
