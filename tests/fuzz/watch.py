"""Sees whether hostile input becomes code: what Python's audit events tell of imports, programs, files.

Used in the test process, and by the app of the trees under test.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: what no payload may bring about
EVENTS = frozenset(
    (
        "code.__new__", "compile", "ctypes.dlopen", "exec", "import", "os.chmod", "os.exec", "os.fork", "os.forkpty",
        "os.link", "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.spawn",
        "os.symlink", "os.system", "pickle.find_class", "pty.spawn", "shutil.rmtree", "socket.bind", "subprocess.Popen",
        "urllib.Request", "webbrowser.open",
    )
)  # fmt: skip
_listeners: list[Callable[[str], None]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    # a traceback has the sources of its lines parsed, to nothing that could run
    if _listeners and event in EVENTS and not (event == "compile" and arguments[1] == "<unknown>"):
        told = f"{event} {arguments!r:.200}"
        for listener in _listeners:
            listener(told)


def listen(listener: Callable[[str], None]) -> None:
    """Have a function called for each of these events, for as long as this process lives."""
    if not _listeners:
        sys.addaudithook(_hear)
    _listeners.append(listener)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what happens in the with block."""
    heard: list[str] = []
    listen(heard.append)
    try:
        yield heard
    finally:
        _listeners.remove(heard.append)
