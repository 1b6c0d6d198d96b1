"""The control socket: safe to open, one question and one answer, and nobody mistaken for a master."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.masters import STATUS, CannedMaster

from forkworker.unix import control
from forkworker.unix.control import Connection, ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: pytest's own are near the limit of Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="fw-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def path(folder: Path) -> str:
    return str(folder / "c.sock")


def leave_stale_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(path)


# The master's side


def test_the_path_is_named_after_the_pid() -> None:
    assert control.path_for(4711, "/run/fw") == "/run/fw/4711.sock"


def test_only_the_owner_may_open_the_socket_whatever_the_umask(path: str) -> None:
    before = os.umask(0)
    try:
        with control.listen(path, None):
            mode = stat.S_IMODE(os.stat(path).st_mode)
        after = os.umask(0)
    finally:
        os.umask(before)

    assert mode == 0o600
    assert after == 0


def test_the_listener_does_not_block_and_is_not_inherited(path: str) -> None:
    with control.listen(path, None) as listener:
        assert not listener.getblocking()
        assert not listener.get_inheritable()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_private_folder_is_made_for_its_owner_alone(folder: Path) -> None:
    private = folder / "private"

    control.listen(str(private / "1.sock"), str(private)).close()

    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_private_folder_of_our_own_is_used_again(folder: Path, mode: int) -> None:
    folder.chmod(mode)

    control.listen(str(folder / "1.sock"), str(folder)).close()

    assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)

    with pytest.raises(ControlError, match=f"the folder {folder} can be written to by others.*--control"):
        control.listen(str(folder / "1.sock"), str(folder))


def test_a_folder_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(ControlError, match=f"belongs to user {owner}, so the control socket would not be safe"):
        control.listen(str(folder / "1.sock"), str(folder))


def test_a_link_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "real").mkdir(0o700)
    (folder / "link").symlink_to(folder / "real")

    with pytest.raises(ControlError, match="is not a directory"):
        control.listen(str(folder / "link" / "1.sock"), str(folder / "link"))


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    with pytest.raises(ControlError, match="cannot be opened: No such file or directory: give another path"):
        control.listen(str(folder / "a" / "b" / "1.sock"), str(folder / "a" / "b"))


def test_a_path_that_leads_nowhere_is_told(folder: Path) -> None:
    with pytest.raises(ControlError, match=r"c\.sock cannot be opened: No such file or directory: give another"):
        control.listen(str(folder / "none" / "c.sock"), None)


def test_a_stale_socket_is_replaced(path: str) -> None:
    leave_stale_socket(path)

    with control.listen(path, None), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_live_socket_is_left_alone_even_if_nobody_accepts(path: str) -> None:
    with control.listen(path, None), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(ControlError, match=f"another program listens on {path}: stop it"):
            control.listen(path, None)
        client.connect(path)


def test_a_socket_with_a_full_queue_of_connections_is_alive(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(path)
        busy.listen(0)
        client.connect(path)

        with pytest.raises(ControlError, match="another program listens"):
            control.listen(path, None)


def test_a_file_in_the_place_of_the_socket_is_not_removed(folder: Path) -> None:
    file = folder / "notes"
    file.write_text("precious")

    with pytest.raises(ControlError, match="is there and is not a socket: remove it"):
        control.listen(str(file), None)
    assert file.read_text() == "precious"


def test_the_longest_path_works_and_one_byte_more_is_explained(folder: Path) -> None:
    longest = str(folder / ("x" * (control.LONGEST_PATH - len(str(folder)) - 1)))

    control.listen(longest, None).close()
    with pytest.raises(ControlError, match=r"more than 107 bytes.*shorter one with --control"):
        control.listen(longest + "x", None)


def test_bytes_count_not_letters(folder: Path) -> None:
    with pytest.raises(ControlError, match="more than 107 bytes"):
        control.listen(str(folder / ("ä" * 50)), None)


# The client's side


def test_a_question_carries_the_version_and_gets_its_answer(path: str) -> None:
    with CannedMaster(path) as master:
        answer = control.ask(path, {"command": "status"}, 5)

    assert answer == {"ok": True, "status": STATUS}
    assert master.asked == [{"version": 1, "command": "status"}]


def test_a_long_answer_arrives_whole(path: str) -> None:
    with CannedMaster(path, status={"ok": True, "status": "x" * 1_000_000}):
        assert len(control.ask(path, {"command": "status"}, 5)["status"]) == 1_000_000


def test_a_refusal_is_an_error_with_its_reason(path: str) -> None:
    refusing = CannedMaster(path, resume={"ok": False, "error": "it is stopping"})

    with refusing, pytest.raises(ControlError, match="refused: it is stopping"):
        control.ask(path, {"command": "resume"}, 5)


@pytest.mark.parametrize("answer", [b"hello\n", b"[]\n", b"\xff\n", b"5\n"])
def test_an_answer_of_another_program_is_not_understood(path: str, answer: bytes) -> None:
    with CannedMaster(path, status=answer), pytest.raises(ControlError, match="is not understood: this"):
        control.ask(path, {"command": "status"}, 5)


def test_an_answer_without_ok_is_a_refusal(path: str) -> None:
    with CannedMaster(path, status={"pid": 1}), pytest.raises(ControlError, match="it gave no reason"):
        control.ask(path, {"command": "status"}, 5)


def test_a_master_that_ends_instead_of_answering_is_told(path: str) -> None:
    with (
        CannedMaster(path, status=b'{"ok": tr'),
        pytest.raises(ControlError, match="ended without an answer"),
    ):
        control.ask(path, {"command": "status"}, 5)


def test_an_endless_answer_is_cut_off(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_ANSWER_LIMIT", 100)

    with CannedMaster(path, status=b"x" * 200), pytest.raises(ControlError, match="does not end"):
        control.ask(path, {"command": "status"}, 5)


def test_a_master_that_does_not_answer_in_time_is_told(path: str) -> None:
    with control.listen(path, None), pytest.raises(ControlError, match=r"not answer within 0\.01 seconds"):
        control.ask(path, {"command": "status"}, 0.01)


def test_a_master_that_is_killed_before_it_answers_is_told(path: str) -> None:
    with control.listen(path, None) as listener, Connection(path) as client:
        listener.accept()[0].close()

        with pytest.raises(ControlError, match="broke: Broken pipe"):
            client.ask({"command": "stop"}, 5)


@pytest.mark.parametrize("stale", [True, False])
def test_no_master_is_told_with_the_path(path: str, stale: bool) -> None:
    if stale:
        leave_stale_socket(path)
    why = "Connection refused" if stale else "No such file or directory"

    with pytest.raises(ControlError, match=f"no master answers on {path}: {why}"):
        Connection(path)


def test_who_stops_a_master_sees_its_end(path: str) -> None:
    with control.listen(path, None) as listener, Connection(path) as client:
        served, _ = listener.accept()
        with served:
            served.sendall(b'{"ok": true, "pid": 1}\n')
            assert client.ask({"command": "stop"}, 5)["pid"] == 1
            assert not client.wait_closed(0.01)
        assert client.wait_closed(5)


def test_a_master_that_was_killed_counts_as_gone(path: str) -> None:
    """It leaves our request unread, which resets the connection."""
    with control.listen(path, None) as listener, Connection(path) as client:
        served, _ = listener.accept()
        served.sendall(b'{"ok": true}\n')
        client.ask({"command": "stop"}, 5)
        served.close()

        assert client.wait_closed(5)


def test_find_returns_those_who_answer_and_no_others(folder: Path) -> None:
    leave_stale_socket(str(folder / "1.sock"))
    (folder / "2.sock").write_text("")
    (folder / "notes").write_text("")
    third, fourth, fifth = (str(folder / f"{number}.sock") for number in (3, 4, 5))
    with CannedMaster(third), CannedMaster(fourth, status=b"what?\n"), CannedMaster(fifth):
        assert control.find(str(folder)) == [third, fifth]


def test_find_in_a_folder_that_is_not_there_finds_none(folder: Path) -> None:
    assert control.find(str(folder / "none")) == []


def test_a_socket_is_found_while_other_descriptors_of_its_process_come_and_go(path: str) -> None:
    """Incident: one that was closed while they were looked through hid all the others."""
    over = threading.Event()

    def open_and_close() -> None:
        while not over.is_set():
            os.close(os.open("/dev/null", os.O_RDONLY))

    thread = threading.Thread(target=open_and_close)
    thread.start()
    try:
        with control.listen(path, None):
            found = [control.sockets_of(os.getpid()) for _ in range(50)]
    finally:
        over.set()
        thread.join()

    assert [paths for paths in found if path not in paths] == []
