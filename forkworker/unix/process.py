"""Processes as the kernel has them: pidfds, adoption, death, and proof of death.

A pidfd is readable from the moment its process dies, and names exactly that process for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import select
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MOST_OOM_SCORE = 1000
#: states of a process that runs no more: zombie, dead
_ENDED = (b"Z", b"X")


def become_subreaper() -> None:
    """Adopt, from now on, every descendant whose parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send a signal when the parent's *thread* that made this process ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def volunteer_for_oom(score: int) -> None:
    """Let the kernel kill this process, when memory is short, before others that are as large."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):  # where that is not allowed, or not told, nothing depends on it
        path.write_text(str(min(int(path.read_text("ascii")) + score, _MOST_OOM_SCORE)), "ascii")


def allow_descriptors(count: int) -> None:
    """Let this process, and those that it starts, open so many files, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def wait_readable(descriptor: int, seconds: float) -> bool:
    """Whether a descriptor, which may have any number, becomes readable within so many seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd, None if there is no such process."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def send(pidfd: int, number: signal.Signals) -> None:
    """Signal exactly the process of a pidfd; that it has ended already does not matter."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def reap(pidfd: int) -> int | None:
    """Return the exit status of our child that has ended: its code, or minus the signal; None if it lives."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def reap_strangers(ours: set[int]) -> None:
    """Bury adopted processes that ended and are not ours: the grandchildren of jobs, say."""
    while True:
        try:
            peek = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if peek is None or peek.si_pid in ours:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(peek.si_pid, 0)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has, whoever else has it, too; 0 if it has gone."""
    return _statm(pid)[0]


def anonymous_bytes(pid: int) -> int:
    """Return the resident memory that belongs to no file, also what is shared since a fork; 0 if it has gone."""
    resident, of_files = _statm(pid)
    return resident - of_files


def _statm(pid: int) -> tuple[int, int]:
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(resident) * page, int(shared) * page


def private_bytes(pid: int) -> int:
    """Return the memory that is a process's own, which its end would free; 0 if it has gone.

    Resident memory counts what is shared with the forkserver, too, once for each child.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(b"Private_"))


def origin(pid: int) -> str:
    """Return where a process of ours runs: boot, PID namespace, and its start time in clock ticks."""
    return f"{_place()} {start_ticks(pid) or 0}"


def ran_here(told_origin: str) -> bool:
    """Whether a process that told its origin ran in this boot and PID namespace, where its pid can be looked up."""
    return told_origin.rpartition(" ")[0] == _place()


def is_provably_dead(pid: int, told_origin: str) -> bool:
    """Whether a process that told its origin ran where we run, and does no more."""
    ticks = told_origin.rpartition(" ")[2]
    if not ran_here(told_origin) or not re.fullmatch("[0-9]{1,20}", ticks):
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter is no pid at all
        return True
    except PermissionError:
        pass  # another user's, which /proc may hide from us
    state, started = _stat(pid)
    return state in _ENDED or started not in (None, int(ticks))


def has_ended(pid: int) -> bool:
    """Whether no process of this pid runs, as far as /proc shows."""
    state, _ = _stat(pid)
    return not state or state in _ENDED


def start_ticks(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if that cannot be seen."""
    return _stat(pid)[1]


def _stat(pid: int) -> tuple[bytes, int | None]:
    """Return the state of a process and when it was started; nothing where /proc does not show it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b"", None
    state, *rest = stat[stat.rindex(b")") + 2 :].split()
    return state, int(rest[18])


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
