"""``forkworker quiet``, ``resume``, ``rolling-restart``, ``stacks`` and ``stop``: finds the master and talks to it.

Only ever through its control socket: a pid alone, from a file that may be years old, is never signalled.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forkworker import config
from forkworker.cli import output
from forkworker.errors import ExitCode
from forkworker.unix import control, pidfile, process
from forkworker.unix.control import ControlError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Master:
    """A master that answers: its socket, and what it says of itself."""

    path: str
    status: dict[str, Any]

    def __str__(self) -> str:
        return f"master {self.status.get('pid')} ({self.status.get('tag')})"


def add_selection(parser: ArgumentParser) -> None:
    """Add the flags that say which master is meant."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--pid", type=_pid, metavar="N", help="the master's process id")
    group.add_argument("--pidfile", type=_path, metavar="FILE", help="a file with the master's process id")
    group.add_argument("--control", type=_path, metavar="PATH", help="the master's control socket")
    parser.add_argument("-C", "--config", metavar="FILE", help="the configuration file, which may name the socket")


def _pid(text: str) -> int:
    if not pidfile.PID.fullmatch(text):
        raise ArgumentTypeError(f"{text[:20]!r} is no process id")
    return int(text)


def _path(text: str) -> str:
    """Refuse what a shell makes of a variable that is not set: it must not mean the only master there is."""
    if not text.strip():
        raise ArgumentTypeError("must not be empty")
    return text


def add_quiet_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``quiet``."""
    add_resume_arguments(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--wait", dest="wait", action="store_const", const="quiet",
                       help="return when no child takes jobs any more")  # fmt: skip
    group.add_argument("--wait-idle", dest="wait", action="store_const", const="idle",
                       help="return when no child runs a job")  # fmt: skip


def add_resume_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``resume``."""
    add_selection(parser)
    parser.add_argument("--child", type=int, metavar="N", help="only this child; status shows its number")


def quiet(args: Namespace) -> int:
    """Let no job be taken any more."""
    master = the_master(args)
    seconds = None if args.wait else ANSWER_SECONDS
    control.ask(master.path, {"command": "quiet", "wait": args.wait, **_one(args)}, seconds)
    done = {"quiet": "is quiet", "idle": "is quiet and idle"}.get(args.wait, "goes quiet")
    output.say(f"{_whom(master, args)} {done}")
    return ExitCode.OK


def resume(args: Namespace) -> int:
    """Let jobs be taken again."""
    master = the_master(args)
    control.ask(master.path, {"command": "resume", **_one(args)}, ANSWER_SECONDS)
    output.say(f"{_whom(master, args)} resumes")
    return ExitCode.OK


def _one(args: Namespace) -> dict[str, int]:
    return {} if args.child is None else {"child": args.child}


def _whom(master: Master, args: Namespace) -> str:
    return str(master) if args.child is None else f"child {args.child} of {master}"


def add_stacks_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``stacks``."""
    add_selection(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def stacks(args: Namespace) -> int:
    """Have every child write the stacks of its threads, with the job each runs, to its master's log."""
    masters = find_masters(args) or [the_master(args)]
    for master in masters:
        control.ask(master.path, {"command": "stacks"}, ANSWER_SECONDS)
        if not args.json:
            output.say(f"{master} has its children write their stacks to its log")
    if args.json:
        print(output.as_json({"masters": [master.status.get("pid") for master in masters]}))
    return ExitCode.OK


def add_rolling_restart_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``rolling-restart``."""
    add_selection(parser)
    parser.add_argument("--wait", action="store_true", help="return when every slot runs the new code, or it failed")


def rolling_restart(args: Namespace) -> int:
    """Bring up the app's code as it is now, in place of that which runs."""
    master = the_master(args)
    control.ask(master.path, {"command": "rolling-restart", "wait": args.wait}, None if args.wait else ANSWER_SECONDS)
    output.say(f"{master} {'runs the new code' if args.wait else 'brings up the new code'}")
    return ExitCode.OK


def stop(args: Namespace) -> int:
    """Stop the whole tree; returns when the master has gone, as the last of it."""
    master = the_master(args)
    with control.Connection(master.path) as connection:
        connection.ask({"command": "stop"}, ANSWER_SECONDS)
        connection.wait_closed()
    output.say(f"{master} has stopped")
    return ExitCode.OK


def the_master(args: Namespace) -> Master:
    """Return the one master that is meant; raises ControlError if there is none, or more than one."""
    masters = find_masters(args)
    if not masters:
        raise ControlError("no master of this user is running here: name one with --control, --pid or --pidfile")
    if len(masters) > 1:
        raise ControlError(f"several masters are running: {', '.join(map(str, masters))}: choose one with --pid")
    return masters[0]


def find_masters(args: Namespace) -> list[Master]:
    """Return the master that was named by a flag or the configuration, else all there are."""
    if args.pid is not None or args.pidfile:
        return [_by_pid(args)]
    path = args.control or _configured(args)
    if path:
        return [_meet(path)]
    found = (_try(path) for path in control.find(config.control_folder()))
    return [master for master in found if master]


def _configured(args: Namespace) -> str | None:
    path: str | None = config.lookup_one("control", {"config": args.config})
    return path


def _meet(path: str) -> Master:
    return Master(path, control.status_of(path, ANSWER_SECONDS))


def _by_pid(args: Namespace) -> Master:
    """Ask wherever a master of this pid may have its socket."""
    pid = _read_pidfile(args.pidfile) if args.pidfile else args.pid
    for path in _places(pid, args):
        if master := _try(path, pid):
            return master
    named = f"{pid}, as {args.pidfile} says," if args.pidfile else f"{pid}"
    if args.pidfile and process.has_ended(pid):
        raise ControlError(f"no master with the pid {named} runs: it has ended, and the pidfile is stale")
    stale = "; the pidfile is stale if none runs" if args.pidfile else ""
    raise ControlError(f"no master with the pid {named} answers: if it has another socket, use --control{stale}")


def _places(pid: int, args: Namespace) -> Iterator[str]:
    """Return where the process listens, as far as we can see, the common folder, and the configuration."""
    yield from control.sockets_of(pid)
    yield control.path_for(pid, config.control_folder())
    if path := _configured(args):
        yield path


def _try(path: str, pid: int | None = None) -> Master | None:
    try:
        master = _meet(path)
    except ControlError:
        return None
    return master if pid in (None, master.status.get("pid")) else None


def _read_pidfile(path: str) -> int:
    try:
        pid = pidfile.read(path)
    except OSError as error:
        raise ControlError(f"--pidfile {path} cannot be read: {error.strerror}") from None
    if not pid:
        raise ControlError(f"--pidfile {path} does not hold a process id")
    return pid
