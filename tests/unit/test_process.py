"""Processes as the kernel has them: real ones, that live for a moment."""

from __future__ import annotations

import os
import select
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forkworker.unix import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.unit

PATIENCE_SECONDS = 5.0
SLEEP, SHELL = "/bin/sleep", "/bin/sh"


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Start programs; whatever of them is left at the end is ended."""
    pids: list[int] = []

    def starter(*argv: str) -> int:
        pids.append(os.posix_spawn(argv[0], list(argv), {}))
        return pids[-1]

    yield starter
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has been buried


def wait_for_end(pid: int) -> None:
    """Wait until a process of ours has ended, and leave it unburied."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def gone_pid(start: Callable[..., int]) -> int:
    """Return the pid of a process that has ended and was buried."""
    pid = start(SHELL, "-c", "exit 0")
    os.waitpid(pid, 0)
    return pid


# Reaping


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 78", 78), ("kill -9 $$", -signal.SIGKILL), ("kill -TERM $$", -signal.SIGTERM)],
)
def test_the_status_tells_code_or_signal(start: Callable[..., int], script: str, status: int) -> None:
    pid = start(SHELL, "-c", script)
    pidfd = process.open_pidfd(pid)
    assert pidfd is not None

    assert select.select([pidfd], [], [], PATIENCE_SECONDS)[0] == [pidfd]
    assert process.reap(pidfd) == status
    os.close(pidfd)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_living_child_is_not_reaped(start: Callable[..., int]) -> None:
    pidfd = process.open_pidfd(start(SLEEP, "30"))
    assert pidfd is not None

    assert process.reap(pidfd) is None
    assert select.select([pidfd], [], [], 0)[0] == []
    process.send(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE_SECONDS)[0] == [pidfd]
    assert process.reap(pidfd) == -signal.SIGKILL
    os.close(pidfd)


def test_a_signal_to_one_that_has_ended_does_not_matter(start: Callable[..., int]) -> None:
    pid = start(SHELL, "-c", "exit 0")
    pidfd = process.open_pidfd(pid)
    assert pidfd is not None
    os.waitpid(pid, 0)

    process.send(pidfd, signal.SIGKILL)

    os.close(pidfd)


def test_a_process_that_is_gone_has_no_pidfd(start: Callable[..., int]) -> None:
    assert process.open_pidfd(gone_pid(start)) is None


def test_strangers_are_buried(start: Callable[..., int]) -> None:
    strangers = [start(SHELL, "-c", "exit 1") for _ in range(3)]
    for pid in strangers:
        wait_for_end(pid)

    process.reap_strangers(set())

    assert not any(Path(f"/proc/{pid}").exists() for pid in strangers)


def test_ours_are_not_buried_as_strangers(start: Callable[..., int]) -> None:
    ours = start(SHELL, "-c", "exit 7")
    wait_for_end(ours)

    process.reap_strangers({ours})

    assert os.waitstatus_to_exitcode(os.waitpid(ours, 0)[1]) == 7


def test_burying_strangers_needs_none_and_waits_for_none(start: Callable[..., int]) -> None:
    process.reap_strangers(set())
    living = start(SLEEP, "30")

    process.reap_strangers(set())

    assert process.start_ticks(living) is not None


# Proof of death


def test_start_ticks_are_those_of_proc(start: Callable[..., int]) -> None:
    pid = start(SLEEP, "30")

    ticks = process.start_ticks(pid)

    # the 22nd field; no blank in the name of this program
    assert ticks == int(Path(f"/proc/{pid}/stat").read_text("ascii").split()[21])
    assert process.start_ticks(os.getpid()) != ticks


def test_the_name_of_a_program_does_not_confuse_the_reader(start: Callable[..., int], tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    shutil.copy(os.path.realpath(SLEEP), odd)
    pid = start(str(odd), "30")

    ticks = process.start_ticks(pid)

    assert ticks is not None
    assert 0 <= ticks - (process.start_ticks(os.getpid()) or 0) < 1_000_000


def test_one_that_is_gone_has_no_start(start: Callable[..., int]) -> None:
    assert process.start_ticks(gone_pid(start)) is None


def test_one_that_proc_hides_is_not_provably_dead(start: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid=2, or ProtectProc=invisible, and another user's process."""
    pid = start(SLEEP, "30")
    origin = process.origin(pid)
    monkeypatch.setattr(process, "_stat", lambda _pid: (b"", None))

    assert not process.is_provably_dead(pid, origin)


def test_a_living_process_is_not_provably_dead(start: Callable[..., int]) -> None:
    pid = start(SLEEP, "30")

    assert not process.is_provably_dead(pid, process.origin(pid))
    assert not process.is_provably_dead(os.getpid(), process.origin(os.getpid()))


def test_one_that_has_ended_is_provably_dead_before_and_after_its_burial(start: Callable[..., int]) -> None:
    pid = start(SLEEP, "30")
    origin = process.origin(pid)

    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    assert process.is_provably_dead(pid, origin)
    os.waitpid(pid, 0)
    assert process.is_provably_dead(pid, origin)


def test_another_process_under_the_same_pid_proves_the_first_dead(start: Callable[..., int]) -> None:
    place, _, ticks = process.origin(start(SLEEP, "30")).rpartition(" ")

    assert process.is_provably_dead(os.getpid(), f"{place} {int(ticks) - 1}")


def test_what_is_too_large_for_a_pid_is_no_process() -> None:
    assert process.is_provably_dead(2**33, process.origin(os.getpid()))


@pytest.mark.parametrize(
    "change",
    [
        lambda _boot, place, ticks: f"another-boot {place} {ticks}",
        lambda boot, _place, ticks: f"{boot} 1 {ticks}",
        lambda boot, place, _ticks: f"{boot} {place} x",
        lambda boot, place, _ticks: f"{boot} {place} \u00b2",
        lambda boot, place, _ticks: f"{boot} {place} {'9' * 5000}",
        lambda boot, place, _ticks: f"{boot} {place} ",
        lambda boot, place, _ticks: f"{boot} {place}",
        lambda _boot, _place, _ticks: "",
    ],
    ids=[
        "another boot",
        "another PID namespace",
        "no ticks",
        "a letter that is a digit",
        "too many digits",
        "empty ticks",
        "cut",
        "nothing",
    ],
)
def test_of_one_that_ran_elsewhere_nothing_can_be_proved(
    start: Callable[..., int], change: Callable[[str, str, str], str]
) -> None:
    pid = start(SLEEP, "30")
    origin = process.origin(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    boot, place, ticks = origin.split(" ")

    assert process.is_provably_dead(pid, origin)
    assert not process.is_provably_dead(pid, change(boot, place, ticks))
