"""What operators want of a master, by signal, by the control socket or by the Web UI, and where it stands.

Used in the master; owns its state.  Shuts and opens gates, and never waits for anybody.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from forkworker.supervisor.states import ChildState, MasterState, move
from forkworker.unix import signals
from forkworker.unix.board import STUCK_SECONDS, Gate
from forkworker.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.control import Answer
    from forkworker.supervisor.crew import Crew
    from forkworker.supervisor.fleet import Fleet
    from forkworker.supervisor.handle import ChildHandle
    from forkworker.supervisor.rollout import Rollout

#: what a child gets to write its stacks, before the next one does
DUMP_SECONDS = 0.2
_OK: dict[str, Any] = {"ok": True}
_log = logging.getLogger(__name__)


class Helm:
    """Quiet, resume, stop, dump, status."""

    def __init__(self, settings: Settings, fleet: Fleet, crew: Crew, rollout: Rollout, clock: Clock) -> None:
        self._settings = settings
        self._fleet = fleet
        self._crew = crew
        self._rollout = rollout
        self._clock = clock
        self._started_at = clock.now()
        self._interrupts = 0
        self._to_dump: list[ChildHandle] = []
        #: who was asked for its stacks, and when
        self._asked: list[tuple[ChildHandle, float]] = []
        self.dump_at = 0.0
        self.state = MasterState.BOOTING
        #: when running jobs are interrupted; None unless stopping
        self.deadline: float | None = None
        self._by_signal = {
            signal.SIGUSR1: self.quiet,
            signal.SIGTSTP: self.quiet,
            signal.SIGCONT: self.resume,
            signal.SIGTERM: self.stop,
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: self.stop_now,
            signal.SIGTTIN: self._dump_all,
            signal.SIGUSR2: rollout.request,
            signal.SIGHUP: rollout.request,
        }

    @property
    def gate(self) -> Gate:
        """The gate for a new child."""
        return Gate.QUIET if self.state is MasterState.QUIET else Gate.RUN

    def obey(self, number: signal.Signals) -> None:
        """Do what a signal asks for."""
        if action := self._by_signal.get(number):
            action()

    def note_booted(self) -> None:
        """Every slot was ready."""
        if self.state is MasterState.BOOTING:
            self.state = move(self.state, MasterState.RUNNING)

    def quiet(self) -> None:
        """Take no job any more."""
        if self.state in (MasterState.BOOTING, MasterState.RUNNING):
            self.state = move(self.state, MasterState.QUIET)
            self._shut(Gate.QUIET)
            _log.info("quiet: no job is taken any more, running ones go on")

    def resume(self) -> None:
        """Take jobs again, also in children that were quieted alone."""
        if self.state is MasterState.QUIET:
            self.state = move(self.state, MasterState.RUNNING)
        if self.state is MasterState.RUNNING and any(child.board.gate == Gate.QUIET for child in self._fleet):
            self._shut(Gate.RUN)
            _log.info("resumed: jobs are taken again")

    def stop(self) -> None:
        """Stop; repeating it changes nothing."""
        self._stop(self._settings.timeout)

    def stop_now(self) -> None:
        """Stop without waiting; brings the deadline of a stop that has begun forward."""
        self._stop(0.0)

    def _interrupt(self) -> None:
        """A second Ctrl-C means now."""
        self._interrupts += 1
        self.stop() if self._interrupts == 1 else self.stop_now()

    def _stop(self, seconds: float) -> None:
        deadline = self._clock.monotonic() + seconds
        if self.state is not MasterState.STOPPING:
            self.state = move(self.state, MasterState.STOPPING)
            _log.info("stopping: running jobs get %g s", seconds)
        elif self.deadline is not None and (deadline >= self.deadline or seconds > 0):
            return
        self.deadline = deadline
        self._shut(Gate.STOP, deadline)

    def _shut(self, gate: Gate, deadline: float = 0.0) -> None:
        for child in self._fleet:
            child.shut(gate, deadline)
        if gate != Gate.RUN:
            self._crew.tell_keeper("shut")

    def relay(self, child: ChildHandle, name: str) -> None:
        """Pass on what the Web UI wants of one child."""
        _log.info("%s: the Web UI sends %s", child, name)
        if name in ("TSTP", "USR1"):
            child.shut(Gate.QUIET)
            self._crew.tell_keeper("shut")
        elif name in ("TERM", "INT"):
            child.shut(Gate.STOP, self._clock.monotonic() + self._settings.timeout)
            self._crew.tell_keeper("shut")
        elif name == "TTIN":
            self._to_dump.append(child)

    # Stacks.

    @property
    def has_to_dump(self) -> bool:
        """Whether stacks are still to be written."""
        return bool(self._to_dump or self._asked)

    def _dump_all(self) -> None:
        self._to_dump = list(self._fleet)

    def dump_next(self) -> None:
        """Have one child write its stacks; the next one later, as they must not mix in the log."""
        now = self._clock.monotonic()
        if not self.has_to_dump or now < self.dump_at:
            return
        self.dump_at = now + DUMP_SECONDS
        if self._to_dump:
            self.dump(self._to_dump.pop(0))
        else:
            self._insist(*self._asked.pop(0), now)

    def _insist(self, child: ChildHandle, asked_at: float, now: float) -> None:
        """A child whose interpreter was not free since it was asked has not heard it."""
        if child.state is ChildState.GONE or child.board.tick > asked_at:
            return
        if now < asked_at + STUCK_SECONDS:
            self._asked.append((child, asked_at))
        else:
            child.send(signals.STACKS_AT_ONCE)

    def dump(self, child: ChildHandle) -> None:
        """Say which jobs run, too: one that keeps the GIL keeps the child from saying it."""
        if child.state is ChildState.GONE:
            return
        for thread in child.running(self._clock.now()):
            where = (child, thread["ident"])
            told = map(thread.get, ("jid", "name", "seconds"))
            _log.info("%s: thread 0x%016x runs jid=%s %s for %.1f s", *where, *told)
        now = self._clock.monotonic()
        if child.state is ChildState.SPAWNED or child.stuck_seconds(now):
            child.send(signals.STACKS_AT_ONCE)
        else:
            child.send(signal.SIGTTIN)
            self._asked.append((child, now))

    # The control socket.

    def answer(self, request: dict[str, Any]) -> Answer:
        """Answer a request; raises ValueError for one there is not."""
        command = request.get("command")
        if command == "status":
            return {"ok": True, "status": self.status()}
        if command == "quiet":
            return self._answer_quiet(request)
        if command == "resume":
            self._resume_one(request["child"]) if "child" in request else self.resume()
            return _OK
        if command == "stacks":
            self._dump_all()
            return _OK
        if command == "rolling-restart":
            number = self._rollout.request()
            return (lambda: self._rollout.result(number)) if request.get("wait") else _OK
        if command == "stop":
            self.stop()
            return {"ok": True, "pid": os.getpid()}
        raise ValueError(f"there is no command {command!r}")

    def _answer_quiet(self, request: dict[str, Any]) -> Answer:
        """Quiet all, or one child; it stays so until it is resumed or replaced."""
        if "child" in request:
            chosen = [self._child(request["child"])]
            chosen[0].shut(Gate.QUIET)
            self._crew.tell_keeper("shut")
        else:
            chosen = []
            self.quiet()
        waits = {"quiet": lambda: self._is_still(chosen), "idle": lambda: self._is_idle(chosen)}
        wait = waits.get(str(request.get("wait")))
        return _when(wait) if wait else _OK

    def _resume_one(self, slot: object) -> None:
        child = self._child(slot)
        if child.board.gate == Gate.QUIET:
            child.shut(Gate.RUN)

    def _child(self, slot: object) -> ChildHandle:
        for child in self._fleet:
            if child.slot == slot:
                return child
        raise ValueError(f"there is no child {slot}")

    def _is_still(self, chosen: list[ChildHandle]) -> bool:
        for child in chosen:
            if child.state is ChildState.GONE:
                raise ValueError(f"{child} has ended; the one that takes its slot takes jobs, too")
        return all(child.still for child in chosen or self._fleet if child.state is ChildState.READY)

    def _is_idle(self, chosen: list[ChildHandle]) -> bool:
        return self._is_still(chosen) and all(child.is_idle for child in chosen or self._fleet)

    def status(self) -> dict[str, Any]:
        """Return what ``forkworker status`` shows of this master."""
        now, instant = self._clock.now(), self._clock.monotonic()
        return {
            "pid": os.getpid(),
            "tag": self._settings.tag,
            "state": self.state.value,
            "version": VERSION,
            "started_at": self._started_at,
            "hostname": self._settings.hostname,
            "queues": list(self._settings.queue_names),
            "concurrency": self._settings.concurrency,
            "pidfile": os.path.abspath(self._settings.pidfile) if self._settings.pidfile else None,
            "note": self._rollout.note,
            "children": [child.status(now, instant) for child in self._fleet],
        }


def _when(is_true: Callable[[], bool]) -> Callable[[], dict[str, Any] | None]:
    return lambda: _OK if is_true() else None
