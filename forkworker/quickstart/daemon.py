"""The quickstart's daemon: a real ``forkworker run`` in a subprocess, with all its files in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from forkworker.clock import SystemClock, sleep
from forkworker.errors import ForkworkerError
from forkworker.store.connection import Link
from forkworker.unix import control, process
from forkworker.wire import keys

SLOTS = 2
THREADS = 5
READY_SECONDS = 20.0
STOP_SECONDS = 15.0
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.02
LOG_LINES = 40


class DaemonTrouble(ForkworkerError):
    """The daemon does not do what the demonstration needs of it."""


@dataclass(frozen=True, slots=True)
class Child:
    """A child as the master sees it."""

    slot: int
    pid: int
    state: str
    busy: int


class Daemon:
    """One ``forkworker run`` with a private Redis server."""

    def __init__(self, folder: str, app: str) -> None:
        self.redis_url = f"embedded://{folder}/redis"
        self._folder = folder
        self._app = app
        self._socket = os.path.join(folder, "control.sock")
        self._log = Path(folder, "log")
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = SystemClock()

    def start(self) -> None:
        """Start the master in a session of its own: a terminal's Ctrl-C is ours, and we stop it in order."""
        process.become_subreaper()  # whatever loses its parent becomes ours, and is found at the end
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=process.die_with_parent,  # noqa: PLW1509 - no threads here; and if we are killed, it stops
            )

    def wait_ready(self) -> None:
        """Return when every child takes jobs."""
        deadline = self._clock.monotonic() + READY_SECONDS
        while not self._is_ready():
            self.check_alive()
            if self._clock.monotonic() > deadline:
                raise DaemonTrouble(f"the daemon is not ready after {READY_SECONDS:g} seconds")
            sleep(POLL_SECONDS)

    def check_alive(self) -> None:
        """Raise DaemonTrouble if the master has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise DaemonTrouble(f"the daemon has ended with status {self._process.returncode}")

    def children(self) -> list[Child]:
        """Return the children as they are now."""
        status = control.ask(self._socket, {"command": "status"}, ANSWER_SECONDS)["status"]
        return [Child(child["slot"], child["pid"], child["state"], child["busy"]) for child in status["children"]]

    def recovered(self) -> int:
        """Return how many jobs were running when their process was killed, as Redis has counted them."""
        link = Link(self.redis_url)
        try:
            counters = link.execute("KEYS", keys.recovered("*"))
            return sum(map(int, link.execute("MGET", *counters))) if counters else 0
        finally:
            link.close()

    def stop(self) -> int:
        """Stop the whole tree in order; return the master's exit status, also when it has ended before."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)  # nothing happens if it has ended
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def clear(self) -> list[str]:
        """Kill whatever is still there; return what it was."""
        left = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
        names = [f"process {one.pid} ({' '.join(one.cmdline())})" for one in left]
        for one in left:
            one.kill()
        psutil.wait_procs(left)
        return names + [self._socket] * os.path.lexists(self._socket)

    def log_tail(self) -> list[str]:
        """Return the last lines that the daemon has logged."""
        text = self._log.read_text("utf-8", "replace") if self._log.exists() else ""
        return text.splitlines()[-LOG_LINES:]

    def _is_ready(self) -> bool:
        try:
            children = self.children()
        except control.ControlError:
            return False
        return len(children) == SLOTS and all(child.state == "ready" for child in children)

    def _command(self) -> list[str]:
        size = ["-P", str(SLOTS), "-c", str(THREADS), "-q", "default", "-t", "8", "-g", "quickstart"]
        places = ["--redis", self.redis_url, "--control", self._socket]
        log = ["--log-level", "info", "--log-format", "text"]
        return [sys.executable, "-m", "forkworker", "run", self._app, *size, *places, *log]

    def _environment(self) -> dict[str, str]:
        """Return ours without settings meant for other masters, and with the parser's remarks turned off."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FORKWORKER_")}
        return {**kept, "PYTHONWARNINGS": "ignore", "TMPDIR": self._folder}
