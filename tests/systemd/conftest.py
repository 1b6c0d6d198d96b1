"""One machine with a real systemd for all tests here; each installs services under names of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import Host
from support.machine import Machine
from support.servers import RedisServer
from support.tools import lack, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy

PACKAGES = {
    "systemd-nspawn": "systemd-container", "systemctl": "systemd", "dbus-daemon": "dbus", "unshare": "util-linux",
}  # fmt: skip


def _missing() -> str:
    """Say why there can be no machine here, '' if there can."""
    if os.getuid() != 0:
        return "it boots a container, which root may do"
    if Path("/run/systemd/system").exists():
        return "this machine runs systemd itself, under which the container was not tried"
    return "" if Path("/lib/systemd/systemd").exists() else "there is no systemd: apt install systemd"


@pytest.fixture(scope="session")
def booted() -> Iterator[Machine]:
    """A machine that is up; some tests turn it off and on again."""
    for program, package in PACKAGES.items():
        tool(program, package)
    if why := _missing():
        lack(why)
    with Machine() as machine:
        yield machine


@pytest.fixture
def redis_server(booted: Machine) -> Iterator[RedisServer]:
    """A Redis outside of the machine, on a socket that the machine sees."""
    with RedisServer(durable=True, folder=booted.shared) as server:
        server.directory.chmod(0o755)
        Path(str(server.socket)).chmod(0o777)
        yield server


@pytest.fixture
def host(booted: Machine, redis_server: RedisServer, request: pytest.FixtureRequest) -> Iterator[Host]:
    """The machine; what the test has started is killed."""
    yield Host(booted, redis_server)
    if request.session.testsfailed:
        print(booted.run("systemctl", "status", "--no-pager", "--lines=30", "shop*", check=False).stdout)
    booted.shell("systemctl kill -s KILL 'shop*' || true; systemctl stop 'shop*'; systemctl reset-failed", check=False)


@pytest.fixture
def redis(redis_server: RedisServer) -> redispy.Redis:
    """A client of that Redis."""
    return redis_server.client()
