"""Sample jobs that misbehave on request.  Runs in the children of the daemons under test.

Each writes a line when it starts and one when it ends into the file named by FORKWORKER_TEST_RECORD.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import forkworker
from forkworker.unix.process import private_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP_SECONDS = 0.02


def note(what: str, key: Any = None, text: str = "") -> None:
    """Append one line; O_APPEND and a single write keep the lines of many processes apart."""
    path = os.environ.get("FORKWORKER_TEST_RECORD")
    if path is None:
        return
    line = {"what": what, "jid": _jid(), "key": key, "pid": os.getpid()}
    line |= {"at": time.monotonic(), "note": text}
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def _jid() -> str:
    """Return the running job's id; lifecycle callbacks have none."""
    try:
        return forkworker.current_job().jid
    except LookupError:
        return ""


@contextmanager
def noted(key: Any = None) -> Iterator[None]:
    """Note the start of a job, and its end if it comes to it."""
    note("start", key)
    yield
    note("end", key)


def _sleep(seconds: float) -> None:
    """Sleep in steps: an exception sent to this thread arrives between two of them."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, STEP_SECONDS))


@forkworker.job(name="noop")
def noop() -> None:
    """Do nothing, and note nothing."""


@forkworker.job(name="record")
def record(key: Any = None, seconds: float = 0) -> None:
    """Note that it ran, for so many seconds."""
    with noted(key):
        _sleep(seconds)


@forkworker.job(name="fail")
def fail(message: str = "it <failed>") -> None:
    """Raise an ordinary error."""
    note("start", message)
    raise ValueError(message)


@forkworker.job(name="fail_late")
def fail_late(seconds: float) -> None:
    """Raise an ordinary error after a while."""
    note("start")
    _sleep(seconds)
    raise ValueError("too late")


@forkworker.job(name="verdict")
def verdict(kind: str) -> None:
    """Raise one of forkworker's own exceptions."""
    note("start", kind)
    raise {
        "drop": forkworker.Drop("not needed any more"),
        "bury": forkworker.Bury("for the museum"),
        "retry_in": forkworker.RetryIn(3600),
    }[kind]


@forkworker.job(name="die")
def die(seconds: float = 0) -> None:
    """End the process after a while, as a bug in C code may."""
    note("start")
    time.sleep(seconds)
    os._exit(17)


@forkworker.job(name="segfault")
def segfault() -> None:
    """Read from address nought."""
    note("start")
    ctypes.string_at(0)


@forkworker.job(name="spin")
def spin(seconds: float, key: Any = None) -> None:
    """Keep a processor busy in pure Python."""
    with noted(key):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass


@forkworker.job(name="hold_gil")
def hold_gil(seconds: float) -> None:
    """Keep the GIL in C code: no other thread of this process can run."""
    sleep_in_c = ctypes.PyDLL(None).usleep
    with noted():
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:  # a signal may wake it early
            sleep_in_c(int(left * 1_000_000) + 1)


_leaked: list[bytes] = []


@forkworker.job(name="leak")
def leak(megabytes: float, seconds: float) -> None:
    """Keep memory for ever, and note how much of its own the process has."""
    with noted():
        _leaked.append(os.urandom(int(megabytes * 1024 * 1024)))
        time.sleep(seconds)
        note("size", text=str(private_bytes(os.getpid())))


@forkworker.job(name="interruptible")
def interruptible(key: Any = None, seconds: float = 30) -> None:
    """Note what a forced stop raises, and that ``except Exception`` does not see it."""
    try:
        with noted(key):
            try:
                _sleep(seconds)
            except Exception as error:
                note("saw exception", key, type(error).__name__)
                raise
    except BaseException as error:
        note("saw", key, type(error).__name__)
        raise


@forkworker.job(name="stubborn")
def stubborn(seconds: float = 30) -> None:
    """Swallow whatever a stop raises, and go on."""
    with noted():
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                _sleep(until - time.monotonic())
            except BaseException as error:  # noqa: BLE001 - the misbehaviour wanted here
                note("swallowed", text=type(error).__name__)


@forkworker.job(name="abandon")
def abandon() -> None:
    """Leave a process behind that nobody waits for."""
    with noted():
        subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)


@forkworker.job(name="leave_threads")
def leave_threads() -> None:
    """Leave threads behind that never end, of the kinds that an interpreter waits for when it ends."""
    with noted():
        threading.Thread(target=threading.Event().wait).start()
        ThreadPoolExecutor(1).submit(threading.Event().wait)


@forkworker.job(name="about")
def about() -> None:
    """Note what the job knows of itself."""
    job = forkworker.current_job()
    note("start", {"name": job.name, "queue": job.queue, "stopping": job.stopping})


@forkworker.job(name="await_stop")
def await_stop(seconds: float = 30) -> None:
    """Run until a stop has begun, then end by itself."""
    with noted():
        until = time.monotonic() + seconds
        while not forkworker.current_job().stopping and time.monotonic() < until:
            time.sleep(STEP_SECONDS)


@forkworker.job(name="await_file")
def await_file(path: str) -> None:
    """Run until a file is there."""
    with noted():
        while not os.path.exists(path):
            time.sleep(STEP_SECONDS)


@forkworker.job(name="push_from_elsewhere")
def push_from_elsewhere(name: str, args: list[Any]) -> None:
    """Push a job from another directory."""
    with noted():
        os.makedirs("elsewhere", exist_ok=True)
        os.chdir("elsewhere")
        forkworker.Client().push(name, args)


@forkworker.job(name="measure")
def measure(text: str) -> None:
    """Say how long a text is, in an error."""
    note("start")
    raise ValueError(f"{len(text)} characters")


@forkworker.job(name="hoard")
def hoard(size: int) -> None:
    """Take so many bytes at once, the first time it runs."""
    with noted():
        if not forkworker.current_job().recoveries:
            b"x" * size
