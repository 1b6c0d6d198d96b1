"""What systemd is told, by the protocol of sd_notify(3)."""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forkworker.unix.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: pytest's own are near the limit of Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="fw-"))
    yield path
    shutil.rmtree(path)


def listener(address: str) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.settimeout(5)
    end.bind(address)
    return end


def test_states_go_to_the_socket_that_systemd_named(folder: Path) -> None:
    with listener(str(folder / "notify")) as systemd:
        Notifier(str(folder / "notify")).tell(READY=1, STATUS="4 children, 3 of 100 busy", MAINPID=4711)

        assert systemd.recv(1000) == b"READY=1\nSTATUS=4 children, 3 of 100 busy\nMAINPID=4711"


def test_each_tell_is_one_message(folder: Path) -> None:
    with listener(str(folder / "notify")) as systemd:
        notifier = Notifier(str(folder / "notify"))
        notifier.tell(WATCHDOG=1)
        notifier.tell(STOPPING=1)

        assert [systemd.recv(1000), systemd.recv(1000)] == [b"WATCHDOG=1", b"STOPPING=1"]


def test_an_address_with_an_at_sign_is_abstract() -> None:
    name = f"forkworker-test-{secrets.token_hex(8)}"
    with listener(f"\0{name}") as systemd:
        Notifier(f"@{name}").tell(READY=1)

        assert systemd.recv(1000) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nonexistent/notify", "@nobody-listens-here", "/" + "x" * 200], ids=str)
def test_without_systemd_nothing_happens(address: str) -> None:
    Notifier(address).tell(READY=1)


def test_a_systemd_that_has_gone_is_no_trouble(folder: Path) -> None:
    listener(str(folder / "notify")).close()

    Notifier(str(folder / "notify")).tell(READY=1)


def test_a_systemd_that_reads_nothing_does_not_hold_the_master_up(folder: Path) -> None:
    """While systemd reloads its units, say: the master has children to look after."""

    def tell_often() -> None:
        for _ in range(2000):
            notifier.tell(WATCHDOG=1)

    notifier = Notifier(str(folder / "notify"))
    thread = threading.Thread(target=tell_often)
    with listener(str(folder / "notify")):
        thread.start()
        thread.join(0.5)
        held_up = thread.is_alive()
    thread.join(5)

    assert not held_up


def test_an_apps_words_in_a_status_begin_no_other_state_and_need_be_no_text(folder: Path) -> None:
    with listener(str(folder / "notify")) as systemd:
        Notifier(str(folder / "notify")).tell(STATUS="failed: x\nMAINPID=1\ud800")

        assert systemd.recv(1000) == b"STATUS=failed: x MAINPID=1?"
