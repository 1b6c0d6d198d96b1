"""One ``forkworker run`` and everything under it: started, watched, cleared up.  Runs in the test process."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING, Any, TypeVar

from support import processes, snapshot
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import redis

    from support.processes import Process

TESTS = Path(__file__).resolve().parents[1]
TITLE = re.compile(r"forkworker: (?:(?P<role>master|keeper|forkserver)|child (?P<slot>\d+))\b")
PASSED_ON = ("PATH", "COVERAGE_PROCESS_START", "FORKWORKER_TEST_REDIS")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Options:
    """How a daemon is started; the defaults make a small, impatient tree."""

    app: str = "support.jobs"
    children: int = 2
    concurrency: int = 5
    queues: Sequence[str] = ()
    timeout: float = 3
    lease: float | None = None
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    #: False: the control socket is where forkworker puts it by itself, below our folder
    named_socket: bool = True
    #: a wrapper's command line
    prefix: Sequence[str] = ()

    def words(self) -> list[str]:
        """Return the flags of ``forkworker run``."""
        words = [
            "-r",
            self.app,
            "-P",
            str(self.children),
            "-c",
            str(self.concurrency),
            "-t",
            f"{self.timeout:g}",
        ]
        return [*words, *self.arguments, *(word for queue in self.queues for word in ("-q", queue))]


class Daemon:
    """A tree of processes in a folder of its own; it can be started again after it has ended."""

    def __init__(self, url: str, client: redis.Redis | None, options: Options) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fw-"))
        self.mark = f"FORKWORKER_TEST_ID={secrets.token_hex(8)}"
        self.redis = client
        self.url = url
        self.options = options
        self.size = options.children
        self.pidfile = self.directory / "forkworker.pid"
        self.socket = self.directory / "control.sock"
        self.log_path = self.directory / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self._seen: dict[int, Process] = {}

    # Starting and ending

    def environment(self) -> dict[str, str]:
        """Return a clean environment with our mark."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        name, _, value = self.mark.partition("=")
        paths = f"{TESTS}:{TESTS.parent}"
        home = str(self.directory)
        ours = {"HOME": home, "TMPDIR": home, "PYTHONPATH": paths, name: value}
        lease = {"FORKWORKER_LEASE": f"{self.options.lease:g}"} if self.options.lease else {}
        return passed | ours | lease | dict(self.options.environment)

    def command(self) -> list[str]:
        """Return the command line of the master."""
        places = ["--redis", self.url, "--pidfile", str(self.pidfile)]
        places += ["--control", str(self.socket)] if self.options.named_socket else []
        run = [sys.executable, "-m", "forkworker", "run"]
        return [*self.options.prefix, *run, *self.options.words(), *places]

    def start(self) -> Daemon:
        """Start the master, without waiting for anything; the log is continued."""
        if self.process is not None:
            self.process.wait(10)  # an earlier master, which must have ended
        self.started_at = time.monotonic()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return self

    def wait_ready(self, children: int | None = None, seconds: float = 15) -> Daemon:
        """Return when each slot has a child that is shown as a live process in Redis."""
        wanted = self.size if children is None else children

        def ready() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before it was ready\n{self.describe()}")
            return self.is_ready(wanted)

        self.wait_until(ready, seconds, f"{wanted} children are ready")
        return self

    def is_ready(self, children: int) -> bool:
        """Whether so many children are shown as live processes in Redis."""
        if self.redis is None or self.redis.scard("processes") < children:
            return False  # without a look at all processes of this machine, which takes ten milliseconds
        here = self.children()
        return len(here) == children and set(here.values()) <= set(self.registered())

    def wait_exit(self, seconds: float) -> int:
        """Wait for the master's end; return its exit code."""
        assert self.process is not None
        self.pids()
        self.wait_until(lambda process=self.process: process.poll() is not None, seconds, "the master has ended")
        return self.process.returncode

    def stop(self, seconds: float = 10, *, shared: bool = False, crashed: bool = False) -> None:
        """End in order, and check that all is clean."""
        self.signal(SIGTERM)
        self.assert_clean_exit(0, seconds, shared=shared, crashed=crashed)

    def clear(self) -> None:
        """Kill whatever is left; the folder stays."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait(10)
        wait_until(self._kill_strays, 10, "strays are gone")

    def _kill_strays(self) -> bool:
        strays = self.processes()
        for stray in strays:
            with suppress(ProcessLookupError):
                os.kill(stray.pid, SIGKILL)
        return not strays

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.directory, ignore_errors=True)

    # Looking

    def processes(self) -> list[Process]:
        """Return every live process of the tree, also those whose parents are gone."""
        found = processes.marked(self.mark, self.directory)
        self._seen.update((process.pid, process) for process in found)
        return found

    def pids(self) -> dict[str, int]:
        """Return role -> pid, by process title: master, keeper, forkserver, ``child N``."""
        roles: dict[str, Process] = {}
        for process in sorted(self.processes(), key=lambda process: process.start):
            match = TITLE.match(process.title)
            if match is not None:
                # A process just forked still bears its parent's title: the older one is meant.
                roles.setdefault(match["role"] or f"child {match['slot']}", process)
        return {role: process.pid for role, process in roles.items()}

    def children(self) -> dict[int, int]:
        """Return slot -> pid."""
        return {int(role[6:]): pid for role, pid in self.pids().items() if role.startswith("child ")}

    def child_pids(self) -> set[int]:
        """Return the pids of all children; while one replaces another a slot has two."""
        found = ((process.pid, TITLE.match(process.title)) for process in self.processes())
        return {pid for pid, match in found if match and match["slot"]}

    def registered(self) -> dict[int, str]:
        """Return pid -> identity of those of our children that Redis shows as processes."""
        assert self.redis is not None
        members: Any = self.redis.smembers("processes")
        inner = {processes.inner_pid(pid): pid for pid in self.children().values()}
        identities = [member.decode() for member in members]
        return {inner[pid]: who for who in identities if (pid := int(who.split(":")[1])) in inner}

    def identity(self, pid: int) -> str:
        """Return the identity under which Redis shows a child."""
        return self.registered()[pid]

    def master(self) -> int:
        """Return the master's pid (inside a wrapper, not the wrapper's)."""
        assert self.process is not None
        return self.pids().get("master", self.process.pid)

    def log(self) -> str:
        """Return all that the tree has written."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_lines(self, text: str) -> list[str]:
        """Return the log's lines that contain a text."""
        return [line for line in self.log().splitlines() if text in line]

    def describe(self) -> str:
        """Return the end of the log and a process listing, for a failure's message."""
        tail = "\n".join(self.log().splitlines()[-60:])
        listing = "\n".join(f"{p.pid:>8} {p.parent:>8} {p.state} {p.title}" for p in self.processes())
        return f"--- log of {self.directory}\n{tail}\n--- processes\n{listing}\n---"

    def wait_until(self, predicate: Callable[[], Value], seconds: float, what: str = "") -> Value:
        """Return the predicate's first true value; on failure show the log and the processes."""
        return wait_until(predicate, seconds, what, self.describe)

    # Doing

    def signal(self, number: Signals) -> float:
        """Send a signal to the master; return the instant before."""
        master = self.master()
        self.pids()  # who is there now must be gone later
        now = time.monotonic()
        os.kill(master, number)
        return now

    def kill(self, role: str, number: Signals = SIGKILL) -> float:
        """Send a signal to one process, by its role; return the instant before."""
        pid = self.pids()[role]
        now = time.monotonic()
        os.kill(pid, number)
        return now

    def kill_child(self, slot: int) -> float:
        """Kill one child; return the instant before."""
        return self.kill(f"child {slot}")

    def kill_all(self, number: Signals = SIGKILL) -> float:
        """Send a signal to every process of the tree, those above first; return the instant before."""
        order = {"master": 0, "keeper": 1, "forkserver": 2}
        roles = sorted(self.pids().items(), key=lambda item: order.get(item[0], 3))
        now = time.monotonic()
        for _, pid in roles:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return now

    def control(self, *words: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
        """Run one of forkworker's commands, against this master unless the words name another."""
        command, *rest = words
        where = ["--control", str(self.socket)] if self.options.named_socket else []
        line = [sys.executable, "-m", "forkworker", command, *where, *rest]
        environment = self.environment() | {"FORKWORKER_REDIS_URL": self.url}
        return subprocess.run(
            line,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    # Judging

    def assert_gone(self, seconds: float = 1) -> None:
        """Check that no process of the tree is left, of those ever seen or found by their mark."""

        def left() -> list[Process]:
            known = (processes.look(pid) for pid in list(self._seen))
            old = [p for p in known if p and p.alive and p.start == self._seen[p.pid].start]
            return old + self.processes()

        self.wait_until(lambda: not left(), seconds, "no process is left")

    def assert_clean_exit(
        self, code: int = 0, seconds: float = 10, *, shared: bool = False, crashed: bool = False
    ) -> None:
        """Check that all ended in order, and that nothing is left behind.

        With ``shared``, other masters use this Redis, and what is theirs may be there.  With ``crashed``,
        keepers were killed: lists they had emptied may still be registered in ``working`` for a while.
        """
        assert self.wait_exit(seconds) == code, self.describe()
        self.assert_gone()
        left = [path.name for path in (self.pidfile, self.socket) if path.exists()]
        assert not left, f"{left}\n{self.describe()}"
        if self.redis is not None:
            self.assert_nothing_held(shared=shared, crashed=crashed)

    def assert_nothing_held(self, *, shared: bool = False, crashed: bool = False) -> None:
        """Check that Redis shows none of our processes, and no job in the hands of one."""
        assert self.redis is not None
        world = snapshot.snapshot(self.redis)
        ours = {str(pid) for pid in self._seen}
        sets = ("processes",) if crashed else ("processes", "working")
        members = {who.decode() for key in sets for who in world.get(key, ())}
        held = members | {key for key in world if key.startswith("working:")}
        if shared:
            held = {name for name in held if name.removeprefix("working:").split(":")[1] in ours}
        assert not held, f"{held}\n{self.describe()}"
