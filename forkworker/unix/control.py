"""The master's control socket: where it is, how it is opened, and how other programs ask a master something.

The master uses ``listen``, the command line the rest.  A question is one line of JSON, and so is its answer.
Who may open the socket, by its mode its owner and root alone, may ask anything.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from forkworker.errors import ForkworkerError
from forkworker.unix import folders

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
#: the kernel's sun_path, less the final NUL
LONGEST_PATH = 107
PROBE_SECONDS = 2.0

#: of /proc/net/unix: its columns, the last being the path; __SO_ACCEPTCON in the one of flags
_COLUMNS, _ACCEPTS = 8, 0x10000
#: what readers of a status count on
_NUMBER = (int, float)
_THREAD = {"seconds": _NUMBER}
_CHILD = {"stuck_seconds": _NUMBER, "threads": [_THREAD]}
_STATUS = {"pid": int, "started_at": _NUMBER, "queues": [str], "children": [_CHILD]}
_ANSWER_LIMIT = 16 * 1024 * 1024
_BACKLOG = 16


class ControlError(ForkworkerError):
    """The control socket cannot be opened, or no master gave an answer on it."""


def path_for(pid: int, folder: str) -> str:
    """Return where the master of this pid has its socket, if it was told no path."""
    return os.path.join(folder, f"{pid}.sock")


def listen(path: str, private_folder: str | None) -> socket.socket:
    """Open the master's end, non-blocking; raises ControlError where that is not safe or not possible."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ControlError(
            f"the control socket's path has more than {LONGEST_PATH} bytes, which Unix does not allow: "
            f"give a shorter one with --control ({path})"
        )
    try:
        if private_folder is not None:
            _make_private(private_folder)
        _remove_stale(path)
        return _bind(path)
    except OSError as error:
        raise ControlError(
            f"the control socket {path} cannot be opened: {error.strerror}: give another path with --control"
        ) from error


def _make_private(folder: str) -> None:
    """Make the folder, or make sure that it is ours alone: in /tmp anybody may have made it."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if trouble := folders.why_not_private(folder):
            raise ControlError(
                f"the folder {folder} {trouble}, so the control socket would not be safe there: "
                "remove it, or give a path with --control"
            ) from None


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is there and is not a socket: remove it, or give another path with --control")
    if is_listened_to(path):
        raise ControlError(f"another program listens on {path}: stop it, or give another path with --control")
    os.unlink(path)


def sockets_of(pid: int) -> list[str]:
    """Return the paths of the Unix sockets on which a process listens, as far as we may see them."""
    try:
        held = _held_by(pid)
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:
            rows = [line.split(maxsplit=7) for line in table][1:]
    except OSError:
        return []
    listening = [row for row in rows if len(row) == _COLUMNS and int(row[3], 16) & _ACCEPTS]
    paths = [row[7].rstrip("\n") for row in listening if f"socket:[{row[6]}]" in held]
    return [os.path.join(f"/proc/{pid}/cwd", path) for path in paths]  # which matters to relative ones only


def _held_by(pid: int) -> set[str]:
    """Return what the descriptors of a process lead to."""
    held = set()
    with os.scandir(f"/proc/{pid}/fd") as links:
        for link in links:
            with suppress(FileNotFoundError):  # it is closed just now; the others are what we look for
                held.add(os.readlink(link))
    return held


def is_listened_to(path: str) -> bool:
    """Tell whether the kernel takes connections for anybody there; a stopped or busy master is alive, too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(path)
    if code in (0, errno.EAGAIN):  # EAGAIN: its queue of connections is full
        return True
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    raise OSError(code, os.strerror(code))


def _bind(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _umask(0o177):  # a chmod afterwards would leave a moment in which others can connect
            listener.bind(path)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


class Connection:
    """A client's connection to one master."""

    def __init__(self, path: str, seconds: float | None = PROBE_SECONDS) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(seconds)
        self._buffer = bytearray()
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ControlError(f"no master answers on {path}: {_why(error)}") from error

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        """Send a request and return the answer; None waits for ever.  A refusal is a ControlError."""
        self._socket.settimeout(seconds)
        try:
            self._socket.sendall(json.dumps({"version": VERSION, **request}).encode() + b"\n")
            line = self._read_line()
        except TimeoutError as error:
            raise ControlError(f"the master on {self._path} does not answer within {seconds:g} seconds") from error
        except OSError as error:
            raise ControlError(f"the connection to the master on {self._path} broke: {_why(error)}") from error
        return self._accepted(line)

    def wait_closed(self, seconds: float | None = None) -> bool:
        """Wait until the master has closed the connection, by leaving; False if the time was not enough."""
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass  # it left without reading all of ours
        return True

    def _read_line(self) -> bytes:
        while b"\n" not in self._buffer:
            received = self._socket.recv(65536)
            if not received:
                raise ControlError(f"the master on {self._path} ended without an answer")
            self._buffer += received
            if len(self._buffer) > _ANSWER_LIMIT:
                raise ControlError(f"what {self._path} answers does not end: this is no master")
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def _accepted(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ControlError(f"what {self._path} answers is not understood: this is no master of this version")
        if answer.get("ok") is not True:
            raise ControlError(f"the master on {self._path} refused: {answer.get('error', 'it gave no reason')}")
        return answer


def ask(path: str, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    """Ask the master on this socket one thing."""
    with Connection(path) as connection:
        return connection.ask(request, seconds)


def status_of(path: str, seconds: float) -> dict[str, Any]:
    """Return what the master on this socket says of itself; raises ControlError if that is none of ours."""
    status: Any = ask(path, {"command": "status"}, seconds).get("status")
    if not _fits(status, _STATUS):
        raise ControlError(f"what {path} answers is not understood: this is no master of this version")
    return dict(status)


def _fits(value: object, shape: Any) -> bool:
    """Whether a value that may be anybody's has this shape; what is absent, or null, does not matter."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(value.get(n) is None or _fits(value[n], s) for n, s in shape.items())
    return isinstance(value, shape)


def find(folder: str) -> list[str]:
    """Return the sockets of a folder on which a live master answers; what dead ones left is passed over."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".sock"))
    except OSError:
        return []
    return [path for path in (os.path.join(folder, name) for name in names) if _answers(path)]


def _answers(path: str) -> bool:
    try:
        ask(path, {"command": "status"}, PROBE_SECONDS)
    except ControlError:
        return False
    return True


def _why(error: OSError) -> str:
    return error.strerror or "it takes no connections"
