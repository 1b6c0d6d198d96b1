"""What /proc tells of processes: processor time, memory, descent."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def cpu_seconds(pid: int, *, reaped: bool = False) -> float:
    """Return the processor time of a process, with ``reaped`` that of its ended children, too; 0 if it has gone."""
    with suppress(OSError):
        return sum(map(int, _stat(pid)[11 : 15 if reaped else 13])) / _TICKS
    return 0.0


def kernel_seconds(pid: int) -> float:
    """Return what of a process' processor time was spent in the kernel."""
    return int(_stat(pid)[12]) / _TICKS


def exact_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process to the nanosecond, of the threads that it still has."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            total += int(task.read_text().split()[0])
    return total / 1e9


def wakeups(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep by themselves."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            total += int(status.read_text().split("voluntary_ctxt_switches:")[1].split()[0])
    return total


def tree(roots: list[int]) -> list[int]:
    """Return these processes and all their descendants, zombies aside."""
    children: dict[int, list[int]] = defaultdict(list)
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = _stat(int(name))
            if fields[0] != "Z":
                children[int(fields[1])].append(int(name))
    found, left = [], [pid for pid in roots if Path(f"/proc/{pid}").exists()]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children[pid]
    return found


def pss_megabytes(pid: int) -> float:
    """Return the memory of a process, with its share of what it shares; 0 if it has gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def bearing(mark: str) -> list[int]:
    """Return the processes whose first environment has this mark."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if mark.encode() in Path(f"/proc/{name}/environ").read_bytes():
                found.append(int(name))
    return [pid for pid in found if pid != os.getpid()]
