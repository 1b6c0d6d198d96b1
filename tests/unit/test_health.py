"""Health: where it is served, what is judged, and who is shown out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from support.knocking import ask, knock, read
from support.servers import free_port
from support.waiting import wait_until

from forkworker.clock import SystemClock
from forkworker.errors import ConfigurationError
from forkworker.keeper import porter
from forkworker.keeper.porter import Answer, Porter
from forkworker.keeper.sight import ChildSight, Sight
from forkworker.keeper.verdict import why_not_alive, why_not_ready
from forkworker.unix import door, process
from forkworker.values import Place, split_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

NOW = 1000.0


def child(state: str = "ready", *, lease_until: float = NOW + 30) -> ChildSight:
    return ChildSight(slot=0, state=state, busy=0, beat_at=NOW - 1, lease_until=lease_until)


# The verdict


@pytest.mark.parametrize(
    ("sight", "pulse_at", "words"),
    [
        (Sight(children=(child(),), answered_at=NOW), NOW, ""),
        (Sight(children=(child("quiet"), child()), answered_at=NOW - 5), NOW - 9, ""),
        (Sight(answered_at=NOW), NOW, "no child takes jobs: there is none yet"),
        (Sight(children=(child("booting"),)), NOW, "booting: Redis has not answered yet"),
        (Sight(children=(child("quiet"), child("quiet")), answered_at=NOW), NOW, "no child takes jobs: 2 quiet"),
        (
            Sight(children=(child("stuck"), child("booting")), answered_at=NOW),
            NOW,
            "no child takes jobs: 1 booting, 1 stuck",
        ),
        (Sight(children=(child(lease_until=NOW),), answered_at=NOW), NOW, "no child takes jobs: 1 ready"),
        (Sight(children=(child(),), answered_at=NOW, redis_trouble="gone"), NOW, "Redis is away: gone"),
        (Sight(children=(child(),), answered_at=NOW - 7), NOW, "Redis has not answered for 7 s"),
        (Sight(children=(child(),), answered_at=NOW), NOW - 11, "the master has not moved for 11 s"),
    ],
)
def test_a_tree_is_ready_or_it_is_said_why_not(sight: Sight, pulse_at: float, words: str) -> None:
    assert why_not_ready(sight, pulse_at, NOW) == words


@pytest.mark.parametrize(("pulse_at", "words"), [(NOW - 9, ""), (NOW - 12, "the master has not moved for 12 s")])
def test_a_tree_lives_for_as_long_as_its_master_moves(pulse_at: float, words: str) -> None:
    assert why_not_alive(pulse_at, NOW) == words


# The address


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("localhost:80", Place("localhost", 80)),
        (":9100", Place("", 9100)),
        ("[::1]:65535", Place("::1", 65535)),
        ("unix:/run/x", Place("", 0, "/run/x")),
        ("unix:///run/x", Place("", 0, "/run/x")),
        ("unix:x.sock", Place("", 0, "x.sock")),
    ],
)
def test_an_address_is_a_port_or_a_socket(text: str, place: Place) -> None:
    assert split_place(text) == place


@pytest.mark.parametrize("text", ["", "9100", "host", "host:", ":0", ":65536", "a:b:1", "unix:", "unix:/", ":-1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is needed"):
        split_place(text)


@pytest.mark.parametrize("form", [":{}", "127.0.0.1:{}", "localhost:{}"])
def test_an_address_in_use_is_refused_and_then_free_again(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_TRIES", 1)
    address = form.format(free_port())
    with door.listen(address), pytest.raises(ConfigurationError, match="something listens there already"):
        door.listen(address)
    door.listen(address).close()


def test_a_socket_that_a_dead_master_left_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'health'}"
    door.listen(address).close()
    with door.listen(address):
        assert (tmp_path / "health").stat().st_mode & 0o777 == 0o660
    door.remove(address)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "health").write_text("mine")
    with pytest.raises(ConfigurationError, match="is not a socket"):
        door.listen(address)
    assert (tmp_path / "health").read_text() == "mine"


@pytest.mark.parametrize(
    "address", ["192.0.2.1:9000", "no-such-host.invalid:9000", "unix:/nonexistent/x", "unix:" + "x" * 200]
)
def test_an_address_that_cannot_be_had_is_said_in_a_line(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^health address .*: .+: give another address with --health$"):
        door.listen(address)


# The porter


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """An address at which a porter answers, until its "master" is killed at the end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as master:
        address = f"unix:{tmp_path / 'door'}"
        long = Answer(200, "x" * 3_000_000)
        known = {"/live": Answer(200, "yes\n"), "/ready": Answer(503, "no\n"), "/long": long}
        listener = door.listen(address)
        pidfd = process.open_pidfd(master.pid)
        Porter(listener, pidfd, known.get, threading.Event(), SystemClock()).start()
        yield address
        master.kill()
        master.wait()
        wait_until(lambda: listener.fileno() == -1, 5, "the porter has let go of the door")
        assert pidfd is not None
        os.close(pidfd)


@pytest.mark.parametrize(
    ("path", "method", "status", "body"),
    [
        ("/live", "GET", 200, "yes\n"),
        ("/live?verbose=1", "GET", 200, "yes\n"),
        ("/ready", "GET", 503, "no\n"),
        ("/ready", "HEAD", 503, ""),
        ("/nothing", "GET", 404, "there are /live, /ready and /metrics\n"),
        ("/live", "POST", 405, "only GET and HEAD are known here\n"),
        ("live", "GET", 400, "this is no request\n"),
        ("/long", "GET", 200, "x" * 3_000_000),
    ],
)
def test_the_porter_answers(served: str, path: str, method: str, status: int, body: str) -> None:
    assert ask(served, path, method) == (status, body)


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 20_000, b"\r\n\r\n", b"GET\r\n\r\n", b"GET  \n\n", b"\xff\xfe /live\r\n\r\n"]
)
def test_rubbish_is_answered_in_order(served: str, rubbish: bytes) -> None:
    with knock(served) as end:
        end.sendall(rubbish)
        assert read(end).startswith(b"HTTP/1.1 40")
    assert ask(served, "/live") == (200, "yes\n")


def test_visitors_who_say_nothing_or_do_not_listen_hold_nobody_up(served: str) -> None:
    silent = [knock(served) for _ in range(porter.MOST_VISITORS)]
    deaf = [knock(served) for _ in range(5)]
    for end in deaf:
        end.sendall(b"GET /long HTTP/1.1\r\n\r\n")
    assert ask(served, "/live") == (200, "yes\n")
    with knock(served) as hurried:
        hurried.sendall(b"GET /live HT")
        hurried.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(served, "/live") == (200, "yes\n")
    for end in (*silent, *deaf):
        end.close()


def test_a_visitor_is_shown_out_when_his_time_is_over(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porter, "VISIT_SECONDS", 0.1)
    with knock(served) as end:
        assert end.recv(1) == b""
