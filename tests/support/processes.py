"""Looking at processes through /proc, without owning them.  Runs in the test process."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Process:
    """One process at the moment of looking; pid and start time together name it for ever."""

    pid: int
    parent: int
    start: int
    state: str
    title: str

    @property
    def alive(self) -> bool:
        """Whether it can still run anything: a zombie cannot."""
        return self.state not in "ZX"


def look(pid: int) -> Process | None:
    """Return what a process is now; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    title = line.replace(b"\0", b" ").decode(errors="replace").strip()
    return Process(pid, int(fields[1]), int(fields[19]), fields[0].decode(), title)


def start_of(pid: int) -> int | None:
    """Return when a process was started, in clock ticks; None if it cannot run any more.  Raises other OSErrors."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@contextmanager
def no_more_descriptors(pid: int) -> Iterator[None]:
    """Let a process open nothing more.

    The limit is the lowest number that is free: with a lower one its polls would fail, too, and they never do.
    """
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = next(number for number in range(len(taken) + 1) if number not in taken)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    process = look(pid)
    return process is not None and process.alive


def inner_pid(pid: int) -> int:
    """Return the pid that a process sees itself under, in its own namespace."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def zombies(parent: int) -> list[Process]:
    """Return the ended children that a process has not reaped."""
    everyone = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in everyone if process and process.parent == parent and not process.alive]


def marked(mark: str, folder: Path) -> list[Process]:
    """Return every process, zombies aside, with the mark in its first environment or working in the folder.

    Two marks, because a process title may overwrite the environment, and a process may change its folder.
    """
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _bears(int(name), mark.encode(), str(folder)):
            process = look(int(name))
            if process is not None and process.alive:
                found.append(process)
    return found


def _bears(pid: int, mark: bytes, folder: str) -> bool:
    with suppress(OSError):
        here = os.readlink(f"/proc/{pid}/cwd")
        if here == folder or here.startswith(folder + "/"):
            return True
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as environ:
            return mark in environ.read()
    return False
