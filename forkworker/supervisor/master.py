"""The master: fills slots, passes on what operators say, and ends everything in order.

Main and only thread of the master process.  The boot is in ``boot``, the end in ``leave``, both as
lists of calls; in between ``live`` handles one event after the other and carries out `policy.plan`.
"""

from __future__ import annotations

import logging
import math
import random
import select
import signal
from typing import TYPE_CHECKING, Any

from forkworker import config, logs
from forkworker.clock import SystemClock
from forkworker.errors import ConfigurationError, ExitCode
from forkworker.supervisor import policy
from forkworker.supervisor.checkup import Checkup
from forkworker.supervisor.control import ControlServer
from forkworker.supervisor.crew import DEATHS_THAT_END, RELOAD_PAUSE_SECONDS, Crew
from forkworker.supervisor.display import Display, describe
from forkworker.supervisor.fleet import Fleet
from forkworker.supervisor.handle import ChildHandle, descriptors_for
from forkworker.supervisor.helm import Helm
from forkworker.supervisor.nursery import Nursery, describe_status
from forkworker.supervisor.policy import GiveUp
from forkworker.supervisor.rollout import Rollout
from forkworker.supervisor.states import MasterState
from forkworker.unix import process, signals
from forkworker.unix.control import ControlError
from forkworker.unix.notify import Notifier
from forkworker.unix.pidfile import Pidfile
from forkworker.version import VERSION

if TYPE_CHECKING:
    from forkworker.settings import Settings
    from forkworker.supervisor.helpers import Helper
    from forkworker.unix.packets import Packet

#: how long Redis may be away at the boot
REDIS_SECONDS = 30.0
#: how long a keeper is awaited from the forkserver at the boot
FORK_SECONDS = 5.0
#: beyond the deadline of a stop: for children to unwind and the keeper to put back and leave
LEAVE_SECONDS = 1.6
_SIGNALS = (
    signal.SIGUSR1,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTTIN,
    signal.SIGUSR2,
    signal.SIGHUP,
    signal.SIGCHLD,
)
_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Be the master until told to stop; return the exit code."""
    master = Master(settings)
    try:
        master.boot()
    except (ConfigurationError, ControlError) as error:
        for problem in getattr(error, "problems", [str(error)]):
            logs.tell_end(problem)
        master.leave()
        return ExitCode.CONFIGURATION
    master.live()
    master.leave()
    return master.exit_code


class Master:
    """One tree of processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = clock = SystemClock()
        self._fleet = fleet = Fleet(settings.processes, jitter=lambda: random.uniform(0.8, 1.2))
        self._crew = crew = Crew(settings, clock)
        self._nursery = nursery = Nursery(
            settings, fleet, crew, clock, give_up=self._give_up, note_gone=self._note_child_gone
        )
        self._rollout = rollout = Rollout(settings, fleet, crew, nursery, clock)
        self._helm = Helm(settings, fleet, crew, rollout, clock)
        self._checkup = Checkup(settings, fleet, crew, clock, kill=nursery.kill, dump=self._helm.dump)
        self._display = Display(settings, fleet, Notifier(config.notify_socket(), config.watchdog_seconds()), clock)
        self._control = ControlServer(settings, self._helm.answer)
        self._pidfile = Pidfile(settings.pidfile) if settings.pidfile else None
        self._redis_trouble: str | None = "the keeper has not said anything"
        self._redis_by = 0.0
        self.exit_code = ExitCode.OK

    def boot(self) -> None:
        """From a bare process to a tree that boots; raises ConfigurationError or ControlError."""
        logs.configure(self._settings.log_level, self._settings.log_format, "master")
        process.become_subreaper()
        process.allow_descriptors(descriptors_for(self._settings.processes))
        self._inbox = signals.Inbox(_SIGNALS)
        if self._pidfile:
            self._pidfile.write()
        self._control.open()
        self._crew.health.open()
        self._redis_by = self._clock.monotonic() + REDIS_SECONDS
        for start in (self._crew.start_leash, self._start_forkserver):
            self._crew.start_later(start, 0.0)
        self._crew.start_later(self._start_keeper, FORK_SECONDS)
        _log.info("forkworker %s boots: %s, control socket %s", VERSION, describe(self._settings), self._control.path)

    def live(self) -> None:
        """Handle events and carry out the plan until all children have gone and their jobs are back."""
        while not self._is_over():
            self._crew.health.beat()
            self._crew.start_due()
            if self._helm.state is not MasterState.STOPPING:
                self._rollout.step(self._helm.gate)
                self._checkup.look(is_redis_away=self._redis_trouble is not None)
            self._carry_out(self._plan())
            self._helm.dump_next()
            self._display.show(self._helm.state, self._rollout.note)
            self._control.answer_waiting()
            for descriptor in self._wait():
                self._handle(descriptor)
            for number in self._inbox.read():
                self._obey(number)

    def leave(self) -> None:
        """The end, in order: whoever is needed by others goes after them."""
        leave_by = self._leave_by or self._clock.monotonic() + LEAVE_SECONDS
        self._crew.leave(leave_by, redis_by=leave_by + LEAVE_SECONDS)
        if self._crew.keeper:
            self._hear_helper(self._crew.keeper)  # its last words
        self._nursery.tell_unrestored()
        for child in [*self._fleet, *self._fleet.unrestored.values()]:
            child.send(signal.SIGKILL)
        process.reap_strangers(set())
        if self._pidfile:
            self._pidfile.remove()
        if self._helm.state is MasterState.STOPPING:
            _log.info("stopped")
        self._control.close()
        signals.ignore(*_SIGNALS)  # one that comes while the interpreter ends would kill it, as it lets handlers go

    # Deciding, and doing.

    def _is_over(self) -> bool:
        if self._helm.state is not MasterState.STOPPING:
            return False
        if self._leave_by is not None and self._clock.monotonic() >= self._leave_by:
            return True
        return not len(self._fleet) and not self._fleet.unrestored

    @property
    def _kill_at(self) -> float | None:
        return None if self._helm.deadline is None else self._helm.deadline + policy.UNWIND_SECONDS

    @property
    def _leave_by(self) -> float | None:
        return None if self._helm.deadline is None else self._helm.deadline + LEAVE_SECONDS

    def _plan(self) -> list[policy.Action]:
        if self._helm.state is MasterState.BOOTING and self._redis_trouble:
            self._lose_patience(self._redis_trouble)
        return policy.plan(
            self._fleet.views,
            can_spawn=self._crew.app_is_loaded,
            kill_at=self._kill_at,
            was_ready=self._fleet.was_ready,
            now=self._clock.monotonic(),
            beside=self._fleet.beside,
            replace_from=self._rollout.replace_from,
        )

    def _lose_patience(self, trouble: str) -> None:
        if self._clock.monotonic() >= self._redis_by:
            address = config.public_address(self._settings.redis_url)
            why = f"Redis at {address} is not usable ({trouble})"
            self._give_up(ExitCode.REDIS_UNAVAILABLE, f"{why}: mend that, or correct its address")

    def _carry_out(self, actions: list[policy.Action]) -> None:
        for action in actions:
            if isinstance(action, GiveUp):
                why = f"no child became ready, in any slot; the last one {self._nursery.last_failure}"
                self._give_up(ExitCode.CRASH_LOOP, f"{why}: mend what the errors above tell, and start again")
            else:
                self._nursery.carry_out(action, self._helm.gate)

    def _give_up(self, code: ExitCode, why: str) -> None:
        """Stop, as this cannot end well."""
        if self.exit_code == ExitCode.OK:
            logs.tell_end(why)
            self.exit_code = code
        self._helm.stop_now()

    # Events.

    def _wait(self) -> list[int]:
        """Sleep until something is readable, or the plan may have something new."""
        poll = select.poll()
        for descriptor in self._sources():
            poll.register(descriptor, select.POLLIN)
        for descriptor in self._control.writers():
            poll.register(descriptor, select.POLLOUT)
        seconds = max(0.0, min(self._instants()) - self._clock.monotonic())
        return [descriptor for descriptor, _ in poll.poll(seconds * 1000 + 1)]

    def _instants(self) -> list[float]:
        """When something is due by itself."""
        if self._is_over():  # what was carried out a moment ago was the end
            return [0.0]
        instants = [self._clock.monotonic() + self._display.pace_seconds]
        can_spawn = self._crew.app_is_loaded
        planned = policy.next_deadline(
            self._fleet.views,
            can_spawn=can_spawn,
            kill_at=self._kill_at,
            beside=self._fleet.beside,
            replace_from=self._rollout.replace_from,
        )
        others = [planned, self._leave_by, self._crew.next_start]
        if self._helm.state is not MasterState.STOPPING:
            others += [self._rollout.next_instant, self._checkup.next_instant]
        instants += [instant for instant in others if instant is not None]
        if self._helm.state is MasterState.BOOTING and self._redis_trouble:
            instants.append(self._redis_by)
        if self._helm.has_to_dump:
            instants.append(self._helm.dump_at)
        return instants

    def _sources(self) -> list[int]:
        sources = [self._inbox.fileno(), *self._control.descriptors(), *self._crew.cradles]
        for helper in self._crew:
            sources += [helper.pidfd] if helper.hung_up else [helper.pidfd, helper.channel.fileno()]
        for child in self._fleet:
            sources += [] if child.hung_up else [child.channel.fileno()]
            sources += [] if child.pidfd is None else [child.pidfd]
        return sources

    def _handle(self, descriptor: int) -> None:
        for helper in self._crew:
            if descriptor == helper.pidfd:
                self._bury_helper(helper)
            elif not helper.hung_up and descriptor == helper.channel.fileno():
                self._hear_helper(helper)
        for child in list(self._fleet):
            self._handle_child(child, descriptor)
        if descriptor in self._control.descriptors():
            self._control.serve(descriptor)
        elif descriptor in self._crew.cradles:
            self._crew.start_later(self._start_keeper, 0.0)

    def _handle_child(self, child: ChildHandle, descriptor: int) -> None:
        if descriptor == child.pidfd:
            self._nursery.bury(child)
        elif not child.hung_up and descriptor == child.channel.fileno():
            self._nursery.hear(child)
            if self._fleet.was_ready:
                self._helm.note_booted()

    def _note_child_gone(self, child: ChildHandle, status: int) -> None:
        self._rollout.note_child_gone(child, status)

    def _obey(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            process.reap_strangers(self._nursery.hear_newborn() | {helper.pid for helper in self._crew})
        else:
            self._helm.obey(number)

    # Helpers.

    def _hear_helper(self, helper: Helper) -> None:
        for packet in self._crew.hear(helper):
            if helper is self._crew.keeper:
                self._hear_keeper(packet)
            elif helper is self._crew.forkserver:
                self._hear_forkserver(packet)
            elif helper is self._crew.incoming:
                self._rollout.hear(packet)

    def _hear_keeper(self, packet: Packet) -> None:
        fields: Any = packet.fields
        if packet.kind == "reached":
            self._redis_trouble, self._redis_by = None, math.inf
        elif packet.kind == "unreached":
            self._redis_trouble = fields["reason"]
            if fields.get("hopeless"):
                self._redis_by = self._clock.monotonic()
        elif packet.kind == "restored":
            self._nursery.note_restored(fields)
        elif packet.kind == "signal" and (child := self._fleet.find(fields["pid"])):
            self._helm.relay(child, fields["name"])
        elif packet.kind == "still" and (child := self._fleet.find(fields["pid"])):
            child.still = True

    def _hear_forkserver(self, packet: Packet) -> None:
        fields: Any = packet.fields
        if packet.kind == "loaded":
            self._crew.app_is_loaded, self._crew.forkserver_deaths = True, 0
        elif packet.kind == "failed":
            self._app_failed(fields)
        elif packet.kind == "unforked":
            _log.error("a child for slot %d could not be forked: %s", fields["slot"], fields["reason"])

    def _app_failed(self, fields: dict[str, Any]) -> None:
        """At the boot that is the end; later the children there are go on, and another try is made."""
        logs.tell_traceback(fields["traceback"])
        if not self._fleet.was_ready:
            self._give_up(ExitCode.CONFIGURATION, fields["reason"])
        elif self._crew.forkserver:
            _log.error("%s; trying again in %g s", fields["reason"], RELOAD_PAUSE_SECONDS)
            self._crew.start_later(self._crew.end_idle_forkserver, RELOAD_PAUSE_SECONDS)

    def _bury_helper(self, helper: Helper) -> None:
        """A helper has ended: start it again, unless it is not needed any more."""
        self._hear_helper(helper)  # its last words
        crew = self._crew
        is_keeper, is_leash = helper is crew.keeper, helper is crew.leash
        is_incoming, is_known = helper is crew.incoming, is_keeper or is_leash or helper is crew.forkserver
        status = crew.bury(helper)
        if status is None:
            return
        if is_incoming:
            self._rollout.note_forkserver_gone(helper, status)
        elif is_known:
            self._replace_helper(helper, status, is_keeper=is_keeper, is_leash=is_leash)

    def _replace_helper(self, helper: Helper, status: int, *, is_keeper: bool, is_leash: bool) -> None:
        if is_leash and status == ExitCode.CONFIGURATION:
            self._give_up(ExitCode.CONFIGURATION, "the embedded Redis could not be started: see the line above")
            return
        if not (is_keeper or is_leash) and self._helm.state is MasterState.STOPPING:
            return
        if helper.failure and not self._fleet.was_ready:
            self._give_up(ExitCode.CRASH_LOOP, f"{helper.failure}: if its import needs longer, raise it")
            return
        if not helper.is_renewed:
            _log.error("the %s %s; starting another", helper, helper.failure or describe_status(status))
        self._crew.forkserver_deaths += not (is_keeper or is_leash)
        pause = self._crew.pause_after(helper, status, is_stopping=self._helm.state is MasterState.STOPPING)
        start = self._crew.start_leash if is_leash else self._start_keeper if is_keeper else self._start_forkserver
        self._crew.start_later(start, pause)

    def _start_keeper(self) -> None:
        """Start one, unless the forkserver has forked it meanwhile."""
        if self._crew.keeper is None:
            self._crew.start_keeper()
            self._nursery.brief_keeper()

    def _start_forkserver(self) -> None:
        """Start another; an app that ends its process while it is imported will always do so."""
        if self._crew.forkserver_deaths >= DEATHS_THAT_END and not self._fleet.was_ready:
            why = "the app ended its process while it was imported, again and again"
            self._give_up(ExitCode.CRASH_LOOP, f"{why}: run forkworker check to see what ends it")
        elif self._helm.state is not MasterState.STOPPING:
            self._crew.start_forkserver()
