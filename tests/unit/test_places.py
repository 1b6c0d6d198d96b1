"""Files and folders that settings name: what a master could not use is found before it starts."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from forkworker.cli import places
from forkworker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("here")
    (tmp_path / "folder").mkdir()
    return tmp_path


def problems(**fields: str) -> list[tuple[str, str]]:
    return list(places.problems(Settings(**{"control_folder": "/run/fw", **fields})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"pidfile": "new.pid"},
        {"pidfile": "file"},
        {"pidfile": "folder/new.pid"},
        {"control": "folder/new.sock"},
        {"health": "unix:folder/new.sock"},
        {"health": ":8080"},
        {"redis_url": "embedded://folder"},
        {"redis_url": "embedded://folder/new/and/newer"},
        {"redis_url": "rediss://h?ssl_ca_certs=file&ssl_cert_reqs=none"},
        {"redis_url": "redis://nowhere"},
    ],
    ids=str,
)
def test_what_can_be_used_is_no_problem(fields: dict[str, str]) -> None:
    assert problems(**fields) == []


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("pidfile", "folder", "folder is a folder: name a file"),
        ("pidfile", "missing/new.pid", "there is no folder {home}/missing: make it, or name another"),
        ("pidfile", "file/new.pid", "{home}/file is not a folder"),
        ("control", "missing/new.sock", "there is no folder {home}/missing: make it, or name another"),
        ("control", "file", "file is there and is not a socket: name another"),
        ("control", "folder", "folder is there and is not a socket: name another"),
        ("control", "x" * 108, "the socket's path has more than 107 bytes, which Unix does not allow"),
        ("control", "ä" * 60, "the socket's path has more than 107 bytes"),
        ("health", "unix:missing/health.sock", "there is no folder {home}/missing"),
        ("health", "unix:file", "file is there and is not a socket"),
        ("redis_url", "embedded://file", "{home}/file is not a folder"),
        ("redis_url", "embedded://file/data", "{home}/file is not a folder"),
        ("redis_url", f"embedded://{'x' * 108}", "is too long for a Unix socket: use a shorter one"),
        ("redis_url", "rediss://h?ssl_keyfile=no.pem", "ssl_keyfile of the Redis address: the file no.pem cannot be"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_field(home: Path, field: str, value: str, complaint: str) -> None:
    ((told, line),) = problems(**{field: value})

    assert told == field
    assert complaint.format(home=home) in line


def test_pidfile_and_socket_cannot_be_one_file(home: Path) -> None:
    assert problems(pidfile=f"{home}/x", control="x") == [("control", "x is to be the pidfile: name another")]


def test_the_folder_for_sockets_may_be_too_deep(home: Path) -> None:
    ((field, line),) = problems(control_folder=f"/run/{'x' * 100}")

    assert field == "control"
    assert "give a shorter one with --control" in line
    assert problems(control_folder=f"/run/{'x' * 100}", control=f"{home}/s") == []


def test_a_folder_that_one_may_not_write_to_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To root every folder is open: the answer of the system is put here in its place."""
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) != f"{home}/folder")

    assert problems(pidfile="folder/new.pid", control="folder/s", redis_url="embedded://folder/data") == [
        (field, f"the folder {home}/folder cannot be written to by this user")
        for field in ("pidfile", "control", "redis_url")
    ]


def test_what_a_running_master_holds_is_no_problem(home: Path) -> None:
    """A check beside it, before a deploy, must not fail because of it."""
    (home / "pid").write_text(f"{os.getpid()}\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        listener.listen()
        assert problems(pidfile="pid", control="s") == []
