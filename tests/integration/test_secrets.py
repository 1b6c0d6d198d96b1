"""The password of Redis is nowhere to be found: whatever forkworker writes, shows, sends or stores is searched."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import urllib.parse
from functools import cached_property
from pathlib import Path
from signal import SIGQUIT
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon, Options
from support.knocking import ask
from support.payloads import push, push_many
from support.sentinels import SERVICE, Sentinel
from support.servers import RedisServer, free_port
from support.snapshot import READ_ALL
from support.waiting import wait_until

from forkworker.cli.main import main
from forkworker.wire.failure import unpack_backtrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

#: what is searched for: whole, or in pieces as a URL splits it
SECRET = "hunter2"
PASSWORD = f"x@{SECRET}/:#?%&y"
QUOTED = urllib.parse.quote(PASSWORD, safe="")
SENTINEL_PASSWORD = f"s-{SECRET}"


class Guarded(RedisServer):
    """A Redis at a Unix socket and at a port; a sentinel with a password watches it, where one is asked for."""

    def __init__(self) -> None:
        port = free_port()
        super().__init__(durable=True, config=["--port", str(port), "--bind", "127.0.0.1"])
        self.port = port

    @cached_property
    def sentinel(self) -> Sentinel:
        sentinel = Sentinel(self.port, own_password=SENTINEL_PASSWORD)
        sentinel.start()
        wait_until(lambda: sentinel.details().get(b"flags") == b"master", 10, "the sentinel sees the master")
        return sentinel

    def close(self) -> None:
        if "sentinel" in self.__dict__:
            self.sentinel.close()
        super().close()


@pytest.fixture
def server() -> Iterator[Guarded]:
    """A Redis that has a user with a password."""
    with Guarded() as server:
        server.client().execute_command("ACL", "SETUSER", "shop", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        yield server


#: the ways to write it
FORMS = {
    "in front of a host": "redis://shop:{password}@127.0.0.1:{port}/0",
    "as an option": "redis://127.0.0.1:{port}/0?username=shop&password={password}",
    "in front of a socket": "unix://shop:{password}@{socket}",
    "as an option of a socket": "unix://{socket}?username=shop&password={password}",
    "for a sentinel, too": "redis+sentinel://shop:{password}@127.0.0.1:{sentinel}/{service}?sentinel_password={other}",
}
#: the ways to tell it: arguments, environment, configuration file
SOURCES: dict[str, Callable[[str], tuple[list[str], dict[str, str], str]]] = {
    "a flag": lambda url: (["--redis", url], {}, ""),
    "a variable": lambda url: ([], {"FORKWORKER_REDIS_URL": url}, ""),
    "a file": lambda url: ([], {}, f"redis.url = '{url}'\n"),
    "a provider": lambda url: ([], {"REDIS_PROVIDER": "REDIS_OF_ELSEWHERE", "REDIS_OF_ELSEWHERE": url}, ""),
}
#: an app whose jobs push to where they cannot, so that errors and backtraces of connections go to Redis
APP = """
import forkworker
from support.jobs import *

URL = {url!r}
WRONG = {{
    "password": URL.replace({quoted!r}, {quoted!r} + "1"),
    "host": f"redis://shop:{quoted}@nowhere.invalid/0",
    "port": f"redis://shop:{quoted}@127.0.0.1:1/0",
    "address": f"redis://shop:{quoted}@h:x/0",
    "TLS": f"rediss://shop:{quoted}@127.0.0.1:{port}/0",
    "sentinel": f"redis+sentinel://shop:{quoted}@127.0.0.1:1/shop?sentinel_password={quoted}",
}}

@forkworker.job(name="push_wrong", retry_in=3600)
def push_wrong(what):
    forkworker.Client(WRONG[what]).push("noop")
"""
WRONG = ("password", "host", "port", "address", "TLS", "sentinel")


class Told(Daemon):
    """A tree that is told its address in one of these ways."""

    source = "a flag"

    def command(self) -> list[str]:
        line = super().command()
        at = line.index("--redis")
        flags, _, text = SOURCES[self.source](self.url)
        (self.directory / "forkworker.toml").write_text(text)
        return [*line[:at], *flags, *line[at + 2 :]]

    def environment(self) -> dict[str, str]:
        return super().environment() | SOURCES[self.source](self.url)[1]


def address(form: str, server: Guarded) -> str:
    told = {"password": QUOTED, "port": server.port, "socket": server.socket}
    if "{sentinel}" in FORMS[form]:
        told |= {"sentinel": server.sentinel.port, "service": SERVICE, "other": SENTINEL_PASSWORD}
    return FORMS[form].format(**told)


def command_lines(tree: Daemon) -> str:
    """Return all that anybody on this host can read of the tree's processes."""
    found = []
    for process in tree.processes():
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
    return "\n".join(found)


def contents(server: Guarded) -> str:
    """Return all that stands in Redis, and what it tells of its clients."""
    redis = server.client()
    return repr([redis.eval(READ_ALL, 0), redis.client_list(), redis.slowlog_get(1000)])


def unpacked(server: Guarded) -> str:
    """Return the backtraces in the retry set as people read them."""
    jobs = [json.loads(text) for text in server.client().zrange("retry", 0, -1)]
    return "\n".join(line for job in jobs for line in unpack_backtrace(job["error_backtrace"]))


def files(folder: Path) -> str:
    """Return what the tree has written; the app and its configuration are ours."""
    ours = ("shop.py", "forkworker.toml")
    return "".join(p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file() and p.name not in ours)


@pytest.fixture
def tree(request: pytest.FixtureRequest, server: Guarded, records: Records) -> Iterator[Told]:
    """A tree that is told this form of the address by this source."""
    form, source = request.param
    health = ["--health", f"127.0.0.1:{free_port()}", "-v"]
    environment = {"FORKWORKER_TEST_RECORD": str(records.path), "PYTHONDONTWRITEBYTECODE": "1"}
    options = Options(app="shop.py", children=1, concurrency=2, lease=5, arguments=health, environment=environment)
    tree = Told(address(form, server), server.client(), options)
    tree.source = source
    (tree.directory / "shop.py").write_text(APP.format(url=tree.url, quoted=QUOTED, port=server.port))
    yield tree
    tree.clear()
    tree.remove()


@pytest.mark.parametrize("tree", list(zip(FORMS, [*SOURCES, "a file"], strict=True)), ids=" by ".join, indirect=True)
def test_a_tree_gives_its_password_to_nobody(tree: Told, server: Guarded, records: Records) -> None:
    redis, health = server.client(), tree.options.arguments[1]
    tree.start().wait_ready()
    push_many(redis, "push_wrong", [[what] for what in WRONG])
    tree.wait_until(lambda: redis.zcard("retry") == len(WRONG), 20)
    held = push(redis, "record", ["held", 30])
    tree.wait_until(lambda: held in records.running(), 10)
    told = [tree.control(*words).stdout for words in (("status",), ("status", "--json"), ("stacks",))]
    told += [ask(health, path)[1] for path in ("/metrics", "/ready", "/live")]
    told += [command_lines(tree), contents(server), unpacked(server)]
    redis.execute_command("ACL", "SETUSER", "shop", "resetpass", ">another")
    redis.execute_command("CLIENT", "KILL", "USER", "shop")
    tree.wait_until(lambda: "Redis is away" in ask(health, "/ready")[1], 10)
    told += [ask(health, "/ready")[1], tree.control("status", "--json").stdout]
    tree.kill("keeper")
    tree.wait_until(lambda: "keeper" in tree.pids(), 10)
    told.append(command_lines(tree))
    tree.signal(SIGQUIT)
    tree.wait_exit(10)
    told += [tree.log(), files(tree.directory), records.path.read_text()]
    everything = "\n".join(told)
    for proof in ("invalid username-password pair", "nowhere.invalid", "shop.py:", "push_wrong", "forkworker: keeper"):
        assert proof in everything
    assert SECRET not in everything, [line for line in everything.splitlines() if SECRET in line][:5]


# Commands


def run(*words: str) -> str:
    """Run a command here; return all that it prints, with its exit code."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main([*words])
    return f"{printed.getvalue()}exit code {code}\n"


COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("queues",),
    ("jobs", "list", "dead", "--json"),
    ("processes",),
    ("doctor",),
    ("doctor", "--json"),
)
SPOILT: dict[str, Callable[[str], str]] = {
    "right": lambda url: url,
    "another password": lambda url: url.replace(QUOTED, QUOTED + "1"),
    "another scheme": lambda url: url.replace("unix", "rediss").replace("redis", "rediss", 1),
    "not quoted": lambda url: url.replace(QUOTED, PASSWORD),
    "something behind it": lambda url: f"{url} &databse=1#",
    "a typing error": lambda url: url.replace("://", ":/"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("form", FORMS)
def test_no_command_tells_the_password_whatever_is_wrong_with_the_address(
    form: str, spoil: Callable[[str], str], server: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = spoil(address(form, server))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    told = [run(*words, "--redis", url) for words in COMMANDS]
    told += [run("check", "--redis", url), run("check", f"--rediss={url}"), run("check", url), run("queues", url)]
    monkeypatch.setenv("REDIS_PROVIDER", url)
    told.append(run("check"))
    (tmp_path / "forkworker.toml").write_text(
        f"redis.url = {json.dumps(url)}\nredis.password = {json.dumps(PASSWORD)}\n"
    )
    monkeypatch.delenv("REDIS_PROVIDER")
    told += [run("check"), run("queues")]
    everything = "".join(told)
    assert everything.count("exit code") == len(told)
    assert SECRET not in everything, [line for line in everything.splitlines() if SECRET in line][:5]


def test_a_password_on_the_command_line_is_taken_away_from_it_at_once(server: Guarded, tmp_path: Path) -> None:
    """A command may run for hours, and every user of the host sees its arguments."""
    line = [sys.executable, "-m", "forkworker", "status", "--watch", "0.1", "--redis", address("as an option", server)]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE) as watching:
        assert watching.stdout
        watching.stdout.readline()
        title = Path(f"/proc/{watching.pid}/cmdline").read_bytes()
        watching.terminate()
        watching.stdout.read()
    assert SECRET.encode() not in title
    assert title.startswith(b"forkworker status")


def test_a_unit_with_a_password_in_it_is_warned_of(server: Guarded, capfd: pytest.CaptureFixture[str]) -> None:
    main(["systemd-unit", "shop", "--user", "root", "--redis", address("in front of a host", server)])
    assert "everybody on this host can read a unit, and so the password in it" in capfd.readouterr().err
    main(["systemd-unit", "shop", "--user", "root", "--redis", "redis://localhost"])
    assert "password" not in capfd.readouterr().err
