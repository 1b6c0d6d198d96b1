"""Jobs that break in every way that leaves the machine alone.  Runs in the children of the daemons under test.

Each is named after what it does; each notes its start, so that runs can be counted.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import forkworker
from support.jobs import note, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Mute(Exception):
    """An error whose message cannot be had."""

    def __str__(self) -> str:
        raise SystemExit("from __str__")


class Unborn(Exception):
    """An error that cannot be made."""

    def __init__(self) -> None:
        raise LookupError("from __init__")


class OddMeta(type):
    """Not even the module of its classes can be had."""

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise KeyboardInterrupt


class Odd(BaseException, metaclass=OddMeta):
    """An error of such a class."""


def _recurse() -> None:
    _recurse()


def _raise(error: BaseException | type[BaseException]) -> Callable[[], None]:
    def raiser() -> None:
        raise error

    return raiser


def _close_files() -> None:
    sys.stdout.close()
    sys.stderr.close()
    raise ValueError("all closed")


def _leave_thread() -> None:
    threading.Thread(target=threading.Event().wait, args=(3600,), daemon=True).start()


def _move() -> None:
    os.makedirs("elsewhere", exist_ok=True)
    os.chdir("elsewhere")


def _fork_and_return() -> None:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)


def _fork_and_raise() -> None:
    pid = os.fork()
    if pid == 0:
        raise ValueError("in the copy")
    os.waitpid(pid, 0)


async def _coroutine() -> None: ...


def _generator() -> Iterator[int]:
    yield 1


def _circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


#: what raises: each is one failure
RAISES: dict[str, Callable[[], Any]] = {
    "raise ValueError": _raise(ValueError("it <failed>")),
    "raise with __str__ that exits": _raise(Mute()),
    "raise with __init__ that raises": Unborn,
    "raise of an odd class": _raise(Odd()),
    "raise no exception": _raise(7),  # type: ignore[arg-type]
    "raise BaseException": _raise(BaseException("bare")),
    "raise StopIteration": _raise(StopIteration(1)),
    "raise GeneratorExit": _raise(GeneratorExit),
    "raise CancelledError": _raise(asyncio.CancelledError()),
    "raise KeyboardInterrupt": _raise(KeyboardInterrupt),
    "raise JobInterrupted": _raise(forkworker.JobInterrupted),
    "raise 10 MB": _raise(ValueError("x" * 10_000_000)),
    "raise control characters": _raise(ValueError("a\nERROR forged\x1b[2J\x00\u2028\u202eb\ud800")),
    "memory": lambda: bytearray(1 << 62),
    "recursion": _recurse,
    "exit": lambda: sys.exit(0),
    "exit with words": lambda: sys.exit("words"),
    "return a coroutine": _coroutine,
    "close stdout and stderr": _close_files,
}

#: what ends well, whatever it does
ENDS: dict[str, Callable[[], Any]] = {
    "return an object": object,
    "return a circle": _circle,
    "return a generator": _generator,
    "leave a thread": _leave_thread,
    "move": _move,
    "interrupt itself": lambda: os.kill(os.getpid(), signal.SIGINT),
    "fork and return": _fork_and_return,
    "fork and raise": _fork_and_raise,
}

#: what ends the process
KILLS: dict[str, Callable[[], Any]] = {
    "os._exit": lambda: os._exit(0),
    "os.abort": os.abort,
    "a segfault": lambda: ctypes.string_at(0),
    "kill -9": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def _register(name: str, deed: Callable[[], Any]) -> None:
    def run() -> Any:
        with noted(name):
            return deed()

    forkworker.job(name=name)(run)


for _name, _deed in {**RAISES, **ENDS, **KILLS}.items():
    _register(_name, _deed)


@forkworker.job(name="anything")
def anything(*args: Any, **kwargs: Any) -> None:
    """Take all that comes."""
    with noted(len(args) + len(kwargs)):
        pass


@forkworker.job(name="strict")
def strict(one: int, *, two: int = 2) -> None:
    """Want one argument."""
    note("start", one + two)


@forkworker.job(name="boom")
def boom() -> None:
    """Fail."""
    note("start")
    raise ValueError("boom")


@forkworker.on("exhausted")
def tell(job: dict[str, Any], error: BaseException) -> None:
    """Note a last failure."""
    note("exhausted", job["jid"], str(error))
