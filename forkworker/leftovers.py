"""What the import of an app leaves behind that does not survive a fork, with the module that made it.

Used in the forkserver and in ``forkworker check``, around the import.  Threads, sockets and selectors are noted as
they are made, from Python; of those that C code makes, what the kernel tells is told.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_REMEDY = "in the event 'startup', or use --no-preload"
_ENDING_SECONDS = 0.05
_SELECTOR = "anon_inode:[eventpoll]"
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = ("site-packages", "dist-packages")
_FAMILIES = {socket.AF_UNIX: "Unix", socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Maker:
    """Who has made a thing: its maker in words, and whether asyncio had a hand in it."""

    words: str
    is_asyncio: bool


class Leftovers:
    """Watches one import; tells afterwards what is left."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.abspath(directory) + os.sep
        #: by id, as what an app makes need not be hashable
        self._makers: dict[int, tuple[weakref.ref[Any], Maker]] = {}
        self._is_watching = False
        self._threads = set(threading.enumerate())
        self._tasks = set(_tasks())
        self._descriptors = set(_descriptors())

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note what is made, in the with block."""
        self._is_watching = True
        with (
            self._noting(threading.Thread, "start"),
            self._noting(socket.socket, "__init__"),
            self._noting(selectors.DefaultSelector, "__init__"),
        ):
            try:
                yield
            finally:
                self._is_watching = False

    @contextmanager
    def _noting(self, kind: Any, name: str) -> Iterator[None]:
        original: Callable[..., object] = getattr(kind, name)

        def noted(made: Any, *args: Any, **kwargs: Any) -> object:
            result = original(made, *args, **kwargs)
            if self._is_watching:  # the app may keep this function for ever
                maker = self._maker(sys._getframe(1))  # noqa: SLF001 - traceback would cost much more
                self._makers[id(made)] = weakref.ref(made), maker
            return result

        setattr(kind, name, noted)
        try:
            yield
        finally:
            if getattr(kind, name) is noted:  # the app may have replaced it, too
                setattr(kind, name, original)

    def _maker(self, frame: FrameType | None) -> Maker:
        """Name the module nearest to the making, and the line of the app's own that led there."""
        others, is_asyncio = [], False
        while frame:
            file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", "?"))
            is_asyncio = is_asyncio or module.partition(".")[0] == "asyncio"
            if not _is_standard(file) and not file.startswith(_HERE):
                others.append((file, module, frame.f_lineno))
            frame = frame.f_back
        if not others:
            return Maker("Python itself", is_asyncio)
        own = next((other for other in others if self._is_own(other[0])), others[-1])
        place = f"{own[1]}, line {own[2]}"
        return Maker(place if own[1] == others[0][1] else f"{others[0][1]}, for {place}", is_asyncio)

    def _is_own(self, file: str) -> bool:
        return file.startswith(self._directory) and not any(folder in file for folder in _INSTALLED)

    def lines(self) -> Iterator[str]:
        """Say what is left, a line for each kind."""
        if threads := [*self._left_threads(), *self._left_tasks()]:
            what = "the app started threads while it was imported, which children will not have"
            yield f"{what}: {'; '.join(threads)}: start them {_REMEDY}"
        new = {fd: target for fd, target in _descriptors().items() if fd not in self._descriptors}
        if loops := [self._loop(fd) for fd, target in new.items() if target == _SELECTOR]:
            what = "the app made event loops while it was imported, which children would share"
            yield f"{what}: {'; '.join(loops)}: make them {_REMEDY}"
        sockets = [fd for fd, target in new.items() if target.startswith("socket:")]
        if opened := [self._socket(fd) for fd in sockets if not self._is_of_a_loop(fd)]:
            what = f"the app opened {len(opened)} sockets while it was imported, which children would share"
            yield f"{what}: {'; '.join(opened)}: open them {_REMEDY}"

    def _left_threads(self) -> Iterator[str]:
        for thread in threading.enumerate():
            if thread not in self._threads:
                yield f"{thread.name} (by {self._words(self._starter(thread))})"

    def _starter(self, thread: threading.Thread) -> Maker | None:
        known, maker = self._makers.get(id(thread), (None, None))
        return maker if known and known() is thread else None

    def _left_tasks(self) -> Iterator[str]:
        """Yield the threads that Python has not started."""
        if self._unknown_tasks():
            threading.Event().wait(
                _ENDING_SECONDS
            )  # one that has ended for Python is there for the kernel a little longer
        for name in self._unknown_tasks():
            yield f"{name} (by {self._words(None)})"

    def _unknown_tasks(self) -> list[str]:
        known = {thread.native_id for thread in threading.enumerate()}
        return [name for task, name in _tasks().items() if task not in known and task not in self._tasks]

    def _maker_of(self, descriptor: int) -> Maker | None:
        for known, maker in list(self._makers.values()):
            if _descriptor_of(known()) == descriptor:
                return maker
        return None

    def _is_of_a_loop(self, descriptor: int) -> bool:
        maker = self._maker_of(descriptor)
        return maker is not None and maker.is_asyncio and _is_pair(descriptor)

    def _loop(self, descriptor: int) -> str:
        maker = self._maker_of(descriptor)
        name = "asyncio" if maker and maker.is_asyncio else "epoll"
        return f"{name} (by {self._words(maker)})"

    def _socket(self, descriptor: int) -> str:
        return f"{_describe(descriptor)} (by {self._words(self._maker_of(descriptor))})"

    @staticmethod
    def _words(maker: Maker | None) -> str:
        return maker.words if maker else "C code"


def _is_standard(file: str) -> bool:
    is_installed = any(folder in file for folder in _INSTALLED)
    return file.startswith("<frozen ") or (file.startswith(_STANDARD) and not is_installed)


def _descriptor_of(made: Any) -> int:
    """Return the descriptor of a socket or selector, -1 if it is closed or gone, or has none."""
    try:
        number: int = made.fileno()
    except (AttributeError, OSError, ValueError):
        return -1
    return number


def _is_pair(descriptor: int) -> bool:
    """Whether it is one end of a pair, as event loops have one to wake themselves up."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.family == socket.AF_UNIX and not copy.getsockname()


def _describe(descriptor: int) -> str:
    """Say of a socket where it leads."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        family = _FAMILIES.get(copy.family, str(copy.family))
        try:
            return f"{family} to {_place(copy.getpeername())}"
        except OSError:
            return f"{family} at {_place(copy.getsockname())}"


def _place(address: Any) -> str:
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return str(address) or "nowhere"


def _tasks() -> dict[int, str]:
    """Return the kernel's threads of this process, with their names."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = (task / "comm").read_text("utf-8", "replace").strip()
        except OSError:  # it has just ended
            continue
    return found


def _descriptors() -> dict[int, str]:
    """Return what this process has open."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[int(link.name)] = os.readlink(link)
        except OSError:  # the descriptor of the listing itself
            continue
    return found
