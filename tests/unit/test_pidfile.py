"""The pidfile: ours while we run, never another's."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forkworker.errors import ConfigurationError
from forkworker.unix.pidfile import Pidfile

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
    return Pidfile(str(path))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(path).write()
    (problem,) = caught.value.problems
    return problem


def test_the_file_has_our_pid_from_write_to_remove(path: Path) -> None:
    file = make(path)

    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert list(path.parent.iterdir()) == [path]
    file.remove()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n", "hello", "-1", "0", "99999999999999999999", "1 2", "\x00", "é"])
def test_a_file_without_the_pid_of_a_process_is_replaced(path: Path, content: str) -> None:
    path.write_text(content)

    make(path).write()

    assert path.read_text() == f"{os.getpid()}\n"


def test_the_file_of_one_that_has_died_is_replaced(path: Path) -> None:
    pid = os.posix_spawn("/bin/sleep", ["forkworker", "0"], {})
    os.waitpid(pid, 0)
    path.write_text(f"{pid}\n")

    make(path).write()

    assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_that_now_is_another_programs_is_replaced(path: Path, start: Callable[[str], int]) -> None:
    path.write_text(f"{start('unrelated')}\n")

    make(path).write()

    assert path.read_text() == f"{os.getpid()}\n"


def test_a_running_forkworker_keeps_its_file(path: Path, start: Callable[[str], int]) -> None:
    pid = start("forkworker: master [shop] 4 children")
    path.write_text(f"{pid}\n")

    problem = refusal(path)

    assert str(pid) in problem
    assert str(path) in problem
    assert path.read_text() == f"{pid}\n"


def test_a_link_put_there_by_others_is_not_followed(path: Path) -> None:
    victim = path.parent / "victim"
    (path.parent / f".{path.name}.{os.getpid()}").symlink_to(victim)

    make(path).write()

    assert not victim.exists()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_that_now_is_another_process_of_a_forkworker_is_replaced(path: Path, start: Callable[[str], int]) -> None:
    """As in a container, where the same few pids are used again and again."""
    path.write_text(f"{start('forkworker: child 0 [mail] 1 of 25 busy')}\n")

    make(path).write()

    assert path.read_text() == f"{os.getpid()}\n"


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
