"""A child: from the fork to its end.  Where the supervisor's world and the runtime meet.

The main thread is the control thread: it ticks on the board, obeys signals and the master, and never
touches Redis or a job.  All else happens in the threads of `runtime/service.py`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import random
import select
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from forkworker import apploader, logs
from forkworker.clock import SystemClock
from forkworker.errors import ExitCode
from forkworker.hooks import hooks
from forkworker.jobs import registry
from forkworker.runtime.service import Service
from forkworker.unix import process, signals
from forkworker.unix.board import Board, Gate, Phase, State
from forkworker.wire import payload, process_info

if TYPE_CHECKING:
    from forkworker.settings import Settings
    from forkworker.unix.packets import Channel

TICK_SECONDS = 0.2
_STOP_CHECK_SECONDS = 0.02
#: above the master's: short memory shall cost a child, not the tree.  A tenth of the machine, as the kernel counts
OOM_SCORE = 100
_SIGNALS = (
    signal.SIGUSR1,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGTERM,
    signal.SIGTTIN,
)
#: characters of a traceback that fit into a message in any script
MOST_TOLD = 16_000
_log = logging.getLogger(__name__)


def run(settings: Settings, slot: int, channel: Channel, board: Board) -> ExitCode:
    """Be the child of a slot until told to stop; the exit code is for ``os._exit``."""
    logs.configure(settings.log_level, settings.log_format, f"child={slot}")
    child = Child(settings, slot, channel, board)
    try:
        child.boot()
    except BaseException as error:  # noqa: BLE001 - a startup callback may raise anything
        return _fail(channel, error)
    child.live()
    child.leave()
    return ExitCode.OK


def _fail(channel: Channel, error: BaseException) -> ExitCode:
    is_the_apps = isinstance(error, apploader.AppError)
    trace = error.traceback if isinstance(error, apploader.AppError) else traceback.format_exc()
    channel.send("failed", reason=(str(error) or repr(error))[:2000], traceback=trace[-MOST_TOLD:])
    return ExitCode.CONFIGURATION if is_the_apps else ExitCode.FAILURE


class Child:
    """The control thread's view of its process."""

    def __init__(self, settings: Settings, slot: int, channel: Channel, board: Board) -> None:
        self._settings = settings
        self._slot = slot
        self._channel = channel
        self._board = board
        self._clock = SystemClock()
        self._pid = os.getpid()
        self._inbox = signals.Inbox(_SIGNALS)
        self._gate = Gate.RUN
        self._closings = 0
        #: a stop that nobody may take back: the signal was sent to this child alone, or the master has gone
        self._own_deadline = 0.0
        self._title = ""

    def boot(self) -> None:
        """From a bare process to job threads at work."""
        signals.ignore(signal.SIGINT, signal.SIGHUP)
        faulthandler.enable()
        faulthandler.register(signals.STACKS_AT_ONCE, all_threads=True)
        os.register_at_fork(after_in_child=self._let_go)
        signals.unblock()
        process.volunteer_for_oom(OOM_SCORE)
        random.seed()
        self._show()
        self._channel.send("hello", pid=self._pid)
        self._board.tick = self._clock.monotonic()
        if not self._settings.preload:
            for app in self._settings.apps:
                apploader.load_app(app, self._settings.directory, self._settings.apps_source)
        logs.adopt_root(self._settings.log_level)
        hooks.fire_or_fail("startup")
        self._service = Service(
            self._settings,
            self._board,
            registry,
            self._clock,
            slot=self._slot,
            pid=self._pid,
            origin=process_info.origin(process.origin(self._pid), self._settings.concurrency),
            on_reached=self._tell_ready,
            on_still=self._tell_still,
        )
        self._service.start()

    def _let_go(self) -> None:
        """In a process that a job forks: it is no child of ours, so no signal or channel is, and no title."""
        setproctitle(f"forkworker: forked by child {self._slot} [{self._settings.tag}]")
        signals.let_go()
        self._inbox.close()
        self._channel.close()

    def live(self) -> None:
        """Tick, and obey, until nothing is left to be done at a stop."""
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        while not self._is_over():
            self._board.tick = self._clock.monotonic()
            self._show()
            for descriptor, _ in poll.poll(self._patience() * 1000):
                if descriptor == self._channel.fileno():
                    self._hear(poll)
            for number in self._inbox.read():
                self._obey(number)
            self._follow_gate()
            self._follow_closings()

    def leave(self) -> None:
        """The end, in order: cut off what still runs, settle, say goodbye."""
        self._board.phase = Phase.STOPPING
        self._board.is_answered = self._service.stop()
        hooks.fire("exit")
        _log.debug("child %d leaves", self._slot)
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or a pipe nobody reads
            sys.stdout.flush()
            sys.stderr.flush()

    def _patience(self) -> float:
        is_urgent = self._gate == Gate.STOP and math.isfinite(min(self._deadlines))
        return _STOP_CHECK_SECONDS if is_urgent else TICK_SECONDS

    # Called by the exchange thread: the first job may keep the GIL from everybody else.

    def _tell_ready(self) -> None:
        self._board.phase = Phase.READY
        self._channel.send("ready")

    def _tell_still(self) -> None:
        self._channel.send("still")

    # The control thread's again.

    def _hear(self, poll: select.poll) -> None:
        """The master only ever says: look at the board.  When it is gone, stop by the same rules."""
        _, master_lives = self._channel.drain()
        self._service.look()
        if not master_lives:
            poll.unregister(self._channel)
            _log.warning("the master has gone: stopping")
            self._stop_by_ourselves()

    def _obey(self, number: signal.Signals) -> None:
        if number == signal.SIGTERM:
            self._stop_by_ourselves()
        elif number in (signal.SIGUSR1, signal.SIGTSTP):
            if self._board.gate == Gate.RUN:
                self._board.gate = Gate.QUIET
        elif number == signal.SIGCONT:
            pass  # systemd sends it after TERM; a child is resumed by its master
        elif number == signal.SIGTTIN:
            self._tell_stacks()

    def _stop_by_ourselves(self) -> None:
        self._own_deadline = self._own_deadline or self._clock.monotonic() + self._settings.timeout

    def _follow_gate(self) -> None:
        if self._own_deadline and self._board.gate != Gate.STOP:
            self._board.gate = Gate.STOP
        gate = self._board.gate
        if gate == self._gate:
            return
        before, self._gate = self._gate, gate
        self._service.look()
        if gate == Gate.RUN:
            hooks.fire("resume")
        elif before == Gate.RUN:
            hooks.fire("quiet")
        if gate == Gate.STOP:
            hooks.fire("shutdown")

    def _follow_closings(self) -> None:
        """Queues were paused or opened: the exchange may sleep, and is only woken from outside by what it waits on."""
        if self._board.closings != self._closings:
            self._closings = self._board.closings
            self._service.look()

    def _is_over(self) -> bool:
        if self._gate != Gate.STOP:
            return False
        return self._service.is_drained or self._clock.monotonic() >= min(self._deadlines)

    @property
    def _deadlines(self) -> list[float]:
        """Of a stop; infinite while its master has it finish what it runs."""
        return [deadline for deadline in (self._own_deadline, self._board.deadline) if deadline]

    def _show(self) -> None:
        busy = self._board.busy
        title = f"forkworker: child {self._slot} [{self._settings.tag}] {busy} of {self._settings.concurrency} busy"
        if self._gate != Gate.RUN:
            title += " (quiet)" if self._gate == Gate.QUIET else " (stopping)"
        if title != self._title:
            self._title = title
            setproctitle(title)

    def _tell_stacks(self) -> None:
        """No other thread runs while this one holds the interpreter; then, which job each of them runs."""
        faulthandler.dump_traceback(all_threads=True)
        for record in self._board.records(State.STARTED):
            name, jid = payload.name_and_jid(record.head)
            seconds = self._clock.now() - record.started_at
            ident = self._board.ident(record.thread)
            _log.info("thread 0x%016x runs jid=%s %s for %.1f s", ident, jid, name, seconds)
