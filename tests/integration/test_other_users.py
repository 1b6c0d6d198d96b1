"""Another user of the same host: can use nothing that a tree makes, and cannot lead it astray beforehand."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.shell import shell

from forkworker.errors import ConfigurationError
from forkworker.unix import control, door
from forkworker.unix.control import ControlError
from forkworker.unix.pidfile import Pidfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon

    MakeDaemon = Callable[..., Daemon]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="to be another user as well takes root"),
]

NOBODY = 65534
#: one that anybody may run: that of the tests may be in root's home
PYTHON = "/usr/bin/python3"
CONFIGURATION = 78
#: the first word is what to do, the others are paths; prints what it was refused with
STRANGER = """
import os, socket, sys
def connect(path): socket.socket(socket.AF_UNIX).connect(path)
def write(path): open(path, "a").close()
def read(path): open(path, "rb").read(1)
def enter(path): os.listdir(path)
def make(path): os.mkdir(path); os.chmod(path, 0o777)
def link(path, target): os.symlink(target, path)
def pipe(path): os.mkfifo(path); os.chmod(path, 0o666)
def listen(path):
    end = socket.socket(socket.AF_UNIX)
    end.bind(path), end.listen(), print("listens", flush=True), sys.stdin.read()
try:
    globals()[sys.argv[1]](*sys.argv[2:])
except OSError as error:
    print(type(error).__name__)
"""


def stranger(*words: object) -> str:
    """Do something as another user; return what came of it, '' if it could be done."""
    line = [PYTHON, "-c", STRANGER, *map(str, words)]
    done = subprocess.run(
        line,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like /tmp: everybody may make files in it, and nobody may remove those of others."""
    folder = Path(tempfile.mkdtemp(prefix="fw-shared-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def precious(shared: Path) -> Path:
    """A file of root's that must stay as it is."""
    file = shared / "precious"
    file.write_text("precious")
    file.chmod(0o644)
    return file


def is_untouched(file: Path) -> bool:
    return file.read_text() == "precious" and stat.S_IMODE(file.stat().st_mode) == 0o644 and not file.stat().st_uid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_nobody_else_can_use_what_a_tree_makes_whatever_the_umask(daemon: MakeDaemon) -> None:
    tree = daemon(
        url="embedded://below/this/store",
        client=None,
        children=1,
        named_socket=False,
        arguments=["--health", "unix:health.sock"],
        prefix=["sh", "-c", 'umask 0; exec "$0" "$@"'],
        start=False,
    )
    tree.directory.chmod(0o755)
    (tree.directory / "app.py").write_text("from support.jobs import *\n")
    mine = {"app.py", "daemon.log"}
    tree.start()
    tree.wait_until(lambda: tree.control("status").returncode == 0, 20)
    tree.wait_until((tree.directory / "below/this/store/redis.log").exists, 10)
    made = {p.relative_to(tree.directory): p for p in tree.directory.rglob("*") if p.name not in mine}
    (ours,) = (path for path in made.values() if path.name == f"{tree.master()}.sock")

    assert mode(ours) == 0o600
    assert mode(ours.parent) == 0o700
    assert mode(tree.pidfile) == 0o644
    assert mode(tree.directory / "health.sock") == 0o660
    store = tree.directory / "below/this/store"
    assert {mode(path) for path in (store, store.parent, store.parent.parent)} == {0o700}
    assert {str(name): oct(mode(path)) for name, path in made.items() if mode(path) & 0o022 and path.is_socket()} == {
        "health.sock": "0o660"
    }
    assert [str(name) for name, path in made.items() if mode(path) & 0o022 and not path.is_socket()] == []
    assert [p.name for p in store.rglob("*") if mode(p) & 0o077] == []

    for path in (ours, store / "redis.sock", tree.directory / "health.sock"):
        assert stranger("connect", path) == "PermissionError", path
    for path in (tree.pidfile, tree.directory / "health.sock"):
        assert stranger("write", path) == "PermissionError", path
    for path in (store, ours.parent):
        assert stranger("enter", path) == "PermissionError", path
    for pid in tree.pids().values():
        for name in ("environ", "fd/0", "mem"):
            assert stranger("read", f"/proc/{pid}/{name}") == "PermissionError"
    assert tree.control("stop").returncode == 0
    tree.assert_clean_exit(0)


# What another user has put where the tree will look


@pytest.mark.parametrize(
    ("trap", "flag", "complaint"),
    [
        ("make forkworker-0", "", "belongs to user 65534, so the control socket would not be safe"),
        ("link forkworker-0 {shared}/own", "", "is not a directory, so the control socket would not be safe"),
        ("link c.sock {precious}", "--control={shared}/c.sock", "is there and is not a socket"),
        ("link c.sock {shared}/nothing", "--control={shared}/c.sock", "is there and is not a socket"),
        ("link h.sock {precious}", "--health=unix:{shared}/h.sock", "is there and is not a socket"),
        ("link h.sock {shared}/nothing", "--health=unix:{shared}/h.sock", "is there and is not a socket"),
        ("make store", "--redis=embedded://{shared}/store", "belongs to user 65534: use one that is yours alone"),
        ("link store {shared}/own", "--redis=embedded://{shared}/store", "is not a directory: use one that is"),
        ("", "--redis=embedded://{shared}", "can be written to by others: use one that is yours alone"),
    ],
    ids=lambda value: str(value).partition("{")[0] or "none",
)
def test_a_trap_is_told_of_and_nothing_is_started(
    shared: Path, precious: Path, trap: str, flag: str, complaint: str
) -> None:
    (shared / "own").mkdir(0o700)
    if trap:
        what, name, *target = trap.format(shared=shared, precious=precious).split()
        assert stranger(what, shared / name, *target) == ""
    words = [word.format(shared=shared) for word in (flag,) if word]
    before = {path: path.lstat().st_mtime_ns for path in shared.rglob("*")}

    for command in (["run", "support.jobs", "-P", "1"], ["check", "support.jobs"])[: 2 if "store" in flag else 1]:
        done = shell(shared, *command, *words)
        assert done.returncode == CONFIGURATION, done.stderr
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr

    assert is_untouched(precious)
    assert {path: path.lstat().st_mtime_ns for path in shared.rglob("*")} == before


@pytest.mark.parametrize("trap", ["link {precious}", "link /dev/zero", "link {shared}/nothing", "pipe", "make"])
def test_a_trap_in_the_place_of_the_pidfile_does_no_harm(shared: Path, precious: Path, trap: str) -> None:
    what, *target = trap.format(precious=precious, shared=shared).split()
    path = shared / "x.pid"
    assert stranger(what, path, *target) == ""

    told = shell(shared, "quiet", "--pidfile", str(path))
    assert told.returncode == 1, "it does not hang, and takes nothing for a pid"
    assert "Traceback" not in told.stderr
    if trap == "make":
        with pytest.raises(ConfigurationError, match="cannot be written: Is a directory"):
            Pidfile(str(path)).write()
    else:
        Pidfile(str(path)).write()
        assert path.is_file()
        assert not path.is_symlink()
        assert (mode(path), path.read_text()) == (0o644, f"{os.getpid()}\n")
    assert is_untouched(precious)
    assert not (shared / "nothing").exists()


def test_a_socket_that_another_user_listens_on_is_not_taken_over(shared: Path) -> None:
    line = [PYTHON, "-c", STRANGER, "listen", str(shared / "c.sock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", stdin=pipe, stdout=pipe) as other:
        assert other.stdout
        assert other.stdout.readline() == b"listens\n"
        with pytest.raises(ControlError, match="another program listens on"):
            control.listen(str(shared / "c.sock"), None)
        other.communicate()


# Races

ATTACK = """
import itertools, os, sys
shared, precious = sys.argv[1:]
print("begins", flush=True)
for turn in itertools.count():
    for name in ("x.pid", "c.sock", "h.sock", "private", f".x.pid.{turn % 3 + int(sys.argv[0] or 0)}"):
        path = f"{shared}/{name}"
        try:
            if turn % 3 == 2:
                os.mkdir(path), os.rmdir(path)
            else:
                os.symlink(precious if turn % 3 else f"{shared}/nothing", path)
                os.unlink(path)
        except OSError:
            pass
"""


def test_a_race_for_every_name_gains_nothing(shared: Path, precious: Path) -> None:
    """What is made is ours, of its own mode, at its own place, or it is refused; nothing of others is written to."""
    attack = [PYTHON, "-c", ATTACK, str(shared), str(precious)]
    with subprocess.Popen(
        attack, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", stdout=subprocess.PIPE
    ) as attacker:
        assert attacker.stdout
        attacker.stdout.readline()
        made = [sum(make(shared) for _ in range(300)) for make in (make_pidfile, make_control, make_door, make_private)]
        attacker.kill()
    assert is_untouched(precious)
    assert not (shared / "nothing").exists()
    assert all(count > 0 for count in made), made


def make_pidfile(shared: Path) -> bool:
    path = shared / "x.pid"
    try:
        file = Pidfile(str(path))
        file.write()
    except ConfigurationError:
        return False
    assert (mode(path), path.lstat().st_uid, path.is_symlink()) == (0o644, 0, False)
    file.remove()
    return True


def make_control(shared: Path) -> bool:
    return make_socket(shared / "c.sock", lambda path: control.listen(path, None), 0o600)


def make_door(shared: Path) -> bool:
    return make_socket(shared / "h.sock", lambda path: door.listen(f"unix:{path}"), 0o660)


def make_private(shared: Path) -> bool:
    folder = shared / "private"
    done = make_socket(folder / "c.sock", lambda path: control.listen(path, str(folder)), 0o600)
    if done:
        folder.rmdir()
    return done


def make_socket(path: Path, listen: Callable[[str], socket.socket], wanted: int) -> bool:
    try:
        listener = listen(str(path))
    except (ControlError, ConfigurationError):
        return False
    found = path.lstat()
    assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (True, wanted, 0)
    with listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    path.unlink()
    return True
