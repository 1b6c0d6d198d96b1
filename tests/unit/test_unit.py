"""What can be known of the systemd unit that we run in, and the unit that is printed for others to run in."""

from __future__ import annotations

import math
import os
import pwd
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forkworker import config
from forkworker.cli.main import main
from forkworker.cli.systemd_unit import quoted
from forkworker.settings import Settings
from forkworker.supervisor.display import Display
from forkworker.supervisor.fleet import Fleet
from forkworker.supervisor.states import MasterState
from forkworker.unix import unit
from forkworker.unix.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.unit


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


# The unit that we are in


@pytest.mark.parametrize(
    ("cgroups", "expected"),
    {
        "version 2": ("0::/system.slice/shop.service\n", ("shop.service", False)),
        "version 1": ("3:memory:/x\n1:name=systemd:/system.slice/shop@1.service\n", ("shop@1.service", False)),
        "a folder of its own": ("0::/system.slice/shop.service/payload\n", ("shop.service", False)),
        "of a user": (
            "0::/user.slice/user-1.slice/user@1.service/app.slice/shop.service\n",
            ("shop.service", True),
        ),
        "a terminal": ("0::/user.slice/user-1.slice/session-1.scope\n", None),
        "a container": ("3:memory:/docker/shop.service\n0::/\n", None),
    }.values(),
)
def test_unit_is_found_among_the_control_groups(cgroups: str, expected: tuple[str, bool] | None) -> None:
    assert unit.find(cgroups) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s\n", 15), ("1min 30s", 90), ("500ms", 0.5), ("1h 1min 1s", 3661), ("1d", 86400), ("infinity", math.inf),
     ("", None), ("soon", None), ("3 turns", None)],
)  # fmt: skip
def test_spans_of_time_are_read_as_systemd_prints_them(text: str, seconds: float | None) -> None:
    assert unit.read_span(text) == seconds


def test_without_systemctl_nothing_is_known(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert unit._ask("shop.service", "TimeoutStopUSec", is_users=False) == ""


def test_a_systemctl_that_does_not_answer_is_not_waited_for(monkeypatch: Patch, tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(unit, "PATIENCE_SECONDS", 0.1)

    assert unit._ask("shop.service", "TimeoutStopUSec", is_users=False) == ""


# The watchdog


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_watchdog_is_known_by_its_variables(environ: dict[str, str], seconds: float | None) -> None:
    assert config.watchdog_seconds(environ) == seconds


@pytest.fixture
def heard(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Patch) -> Iterator[socket.socket]:
    """The end at which systemd listens."""
    monkeypatch.setattr("forkworker.supervisor.display.setproctitle", lambda _: None)
    name = f"\0fw-{os.getpid()}-{threading.get_ident()}-{tmp_path_factory.getbasetemp()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name[:100])
        end.setblocking(False)
        yield end


def told(heard: socket.socket) -> list[str]:
    lines = []
    while True:
        try:
            lines += heard.recv(1000).decode().splitlines()
        except BlockingIOError:
            return lines


def display(heard: socket.socket, clock: Hand, watchdog: float | None) -> Display:
    address = "@" + heard.getsockname()[1:].decode()
    settings = Settings(processes=1, timeout=8)
    return Display(settings, Fleet(1, lambda: 1.0), Notifier(address, watchdog), clock)


def test_watchdog_is_fed_at_least_every_second_or_quarter_of_it(heard: socket.socket) -> None:
    clock = Hand()
    shown = display(heard, clock, watchdog=2.0)
    assert shown.pace_seconds == 0.5
    assert display(heard, clock, watchdog=30.0).pace_seconds == 1.0
    assert display(heard, clock, watchdog=None).pace_seconds == 1.0

    fed = []
    for _ in range(6):
        shown.show(MasterState.RUNNING, "")
        fed.append(told(heard).count("WATCHDOG=1"))
        clock.time += 0.25
    assert fed == [1, 0, 1, 0, 1, 0]


def test_boot_and_stop_ask_for_the_time_they_need(heard: socket.socket) -> None:
    clock = Hand()
    shown = display(heard, clock, watchdog=None)

    shown.show(MasterState.BOOTING, "")
    assert "EXTEND_TIMEOUT_USEC=20000000" in told(heard)
    clock.time += 149
    shown.show(MasterState.BOOTING, "")
    assert told(heard) == ["EXTEND_TIMEOUT_USEC=20000000"]
    clock.time += 2
    shown.show(MasterState.BOOTING, "")
    assert told(heard) == [], "an import that hangs is not waited for"
    shown.show(MasterState.RUNNING, "")
    assert told(heard) == ["STATUS=running: 0 children, 0 of 0 threads busy"]
    shown.show(MasterState.STOPPING, "")
    assert told(heard)[1:] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=13000000"]


# The unit that is printed


@pytest.mark.parametrize(
    ("word", "expected"),
    [("-P", "-P"), ("a b", '"a b"'), ("50%", '"50%%"'), ("$HOME", '"$$HOME"'), ('say "x"', '"say \\"x\\""'),
     ("c\\d", '"c\\\\d"'), ("", '""'), ("two\nlines", '"two\\nlines"')],
)  # fmt: skip
def test_words_are_quoted_as_systemd_reads_them(word: str, expected: str) -> None:
    assert quoted(word) == expected


def printed(capsys: Capture, *words: str) -> dict[str, str]:
    assert main(["systemd-unit", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_unit_is_filled_in_for_this_environment_app_and_user(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.chdir("/usr")
    user = pwd.getpwuid(os.getuid()).pw_name
    unit_file = printed(capsys, "--user", user, "-P", "2", "shop.jobs", "-q", "high,2", "-q", "low", "--timeout", "30")

    folder = Path(sys.executable).parent
    assert unit_file["WorkingDirectory"] == "/usr"
    assert unit_file["User"] == user
    assert unit_file["ExecStart"] == f"{folder}/forkworker run -P 2 -q high,2 -q low -t 30 shop.jobs"
    assert unit_file["ExecReload"] == f"{folder}/forkworker quiet --wait"
    assert unit_file["TimeoutStopSec"] == "37"


def test_printed_files_hold_no_word_to_whoever_copies_them(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.chdir("/usr")
    for words in ([], ["--template"], ["--target"]):
        assert main(["systemd-unit", "--user", "root", *words]) == 0
        out = capsys.readouterr().out
        assert "EDIT" not in out
        assert "/srv/shop" not in "".join(line for line in out.splitlines() if not line.startswith("#"))


def test_what_is_wrong_is_said_and_nothing_is_printed(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.chdir("/usr")
    for words, what in (["--user", "no-such-user"], "no-such-user"), (["--user", "root", "-t", "soon"], "-t: "):
        assert main(["systemd-unit", *words]) == 78
        captured = capsys.readouterr()
        assert captured.out == ""
        assert what in captured.err


def test_root_is_nobodys_default(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.chdir("/usr")
    monkeypatch.setattr(os, "getuid", lambda: 0)

    assert main(["systemd-unit"]) == 78
    assert "--user" in capsys.readouterr().err


def test_folder_that_a_service_does_not_see_is_named(capsys: Capture, monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("forkworker.cli.systemd_unit._TEMPORARY", (str(tmp_path.parent),))
    printed_to = pwd.getpwuid(os.getuid()).pw_name

    assert main(["systemd-unit", "--user", printed_to]) == 0
    assert f"will not see {tmp_path}" in capsys.readouterr().err
