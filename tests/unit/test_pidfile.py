"""The pidfile: ours while we run, never another's."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forkworker.errors import ConfigurationError
from forkworker.unix import pidfile, process
from forkworker.unix.pidfile import Entry, Pidfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.unit


@pytest.fixture
def start() -> Iterator[Callable[[str], int]]:
    """Start sleeping processes under any name."""
    pids: list[int] = []

    def starter(name: str) -> int:
        pids.append(os.posix_spawn("/bin/sleep", [name, "30"], {}))
        while not Path(f"/proc/{pids[-1]}/cmdline").read_bytes():
            pass  # the kernel sets it up a moment after it lets us go on
        return pids[-1]

    yield starter
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fw.pid"


def make(path: Path) -> Pidfile:
    return Pidfile(str(path), f"{path.parent}/fw.sock")


def ours(path: Path) -> Entry:
    return Entry(os.getpid(), f"{path.parent}/fw.sock", process.origin(os.getpid()))


def leave(path: Path, pid: int, origin: str, control: str = "gone") -> str:
    """Write what a master has left there."""
    path.write_text(f"{pid}\ncontrol={path.parent}/{control}\norigin={origin.replace(' ', '/')}\n")
    return path.read_text()


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(path).write()
    (problem,) = caught.value.problems
    return problem


def test_the_file_has_our_pid_from_write_to_remove(path: Path) -> None:
    file = make(path)

    file.write()
    assert pidfile.read(path) == ours(path)
    assert list(path.parent.iterdir()) == [path]
    file.remove()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n", "hello", "-1", "0", "99999999999999999999", "1 2", "\x00", "é"])
def test_a_file_without_the_pid_of_a_process_is_replaced(path: Path, content: str) -> None:
    path.write_text(content)

    make(path).write()

    assert pidfile.read(path) == ours(path)


def test_the_file_of_one_that_has_died_is_replaced(path: Path) -> None:
    pid = os.posix_spawn("/bin/sleep", ["forkworker", "0"], {})
    os.waitpid(pid, 0)
    path.write_text(f"{pid}\n")

    make(path).write()

    assert pidfile.read(path) == ours(path)


def test_a_pid_that_now_is_another_programs_is_replaced(path: Path, start: Callable[[str], int]) -> None:
    path.write_text(f"{start('unrelated')}\n")

    make(path).write()

    assert pidfile.read(path) == ours(path)


def test_a_running_forkworker_keeps_its_file(path: Path, start: Callable[[str], int]) -> None:
    pid = start("forkworker: master [shop] 4 children")
    path.write_text(f"{pid}\n")

    problem = refusal(path)

    assert str(pid) in problem
    assert str(path) in problem
    assert path.read_text() == f"{pid}\n"


def test_the_first_line_is_the_pid_and_no_other_word_is_a_number(path: Path) -> None:
    """``kill $(cat FILE)`` hits the master alone."""
    make(path).write()

    first, *words = path.read_text().split()
    assert first == str(os.getpid())
    assert path.read_text().startswith(f"{first}\n")
    assert len(words) == 2
    assert not any(re.match(r"[-%]?\d", word) for word in words)


def test_a_pid_that_now_is_another_forkworkers_is_replaced(path: Path, start: Callable[[str], int]) -> None:
    """As in a container, where the same few pids are used again and again."""
    pid = start("forkworker: master [mail] 4 children")
    place, _, ticks = process.origin(pid).rpartition(" ")
    leave(path, pid, f"{place} {int(ticks) - 1}")

    make(path).write()

    assert pidfile.read(path) == ours(path)


def test_a_master_that_lives_keeps_its_file_whatever_it_is_called(path: Path, start: Callable[[str], int]) -> None:
    pid = start("a title")
    text = leave(path, pid, process.origin(pid))

    assert f"process {pid} named there is a running forkworker" in refusal(path)
    assert path.read_text() == text


@pytest.mark.parametrize("origin", ["another-boot 1 5", "garbage"])
def test_a_file_of_another_boot_or_container_is_judged_by_the_socket(
    path: Path, start: Callable[[str], int], origin: str
) -> None:
    pid = start("forkworker: master [mail] 4 children")
    text = leave(path, pid, origin, "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path.parent}/s")
        listener.listen()
        assert f"process {pid} named there" in refusal(path)
        assert path.read_text() == text

    make(path).write()
    assert pidfile.read(path) == ours(path)


def test_a_socket_of_a_name_that_is_none_is_no_proof_of_life(path: Path) -> None:
    leave(path, 4711, "another-boot 1 5", "x" * 200)

    make(path).write()

    assert pidfile.read(path) == ours(path)


def test_a_link_put_there_by_others_is_not_followed(path: Path) -> None:
    victim = path.parent / "victim"
    (path.parent / f".{path.name}.{os.getpid()}").symlink_to(victim)

    make(path).write()

    assert not victim.exists()
    assert pidfile.read(path) == ours(path)


def test_a_refused_file_is_not_removed(path: Path, start: Callable[[str], int]) -> None:
    pid = start("forkworker: master [shop] 4 children")
    path.write_text(f"{pid}\n")
    file = make(path)
    with pytest.raises(ConfigurationError):
        file.write()

    file.remove()

    assert path.read_text() == f"{pid}\n"


def test_a_file_that_another_has_taken_over_is_not_removed(path: Path) -> None:
    file = make(path)
    file.write()
    path.write_text("1\n")

    file.remove()

    assert path.read_text() == "1\n"


def test_a_file_that_is_gone_already_is_no_trouble(path: Path) -> None:
    file = make(path)
    file.write()
    path.unlink()

    file.remove()


def test_a_file_never_written_is_not_removed(path: Path) -> None:
    path.write_text(f"{os.getpid()}\n")

    make(path).remove()

    assert path.exists()


def test_a_folder_that_is_not_there_is_a_plain_problem(tmp_path: Path) -> None:
    problem = refusal(tmp_path / "missing" / "fw.pid")

    assert problem.startswith(f"--pidfile {tmp_path}/missing/fw.pid: cannot be written")
    assert "No such file or directory" in problem


def test_a_folder_in_place_of_the_file_is_a_plain_problem_and_leaves_nothing_behind(path: Path) -> None:
    path.mkdir()

    assert "Is a directory" in refusal(path)
    assert list(path.parent.iterdir()) == [path]
