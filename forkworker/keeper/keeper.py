"""The keeper: one loop with a handful of duties, each due at its own time.

Main thread of the keeper process.  Redis away is a state in which the duties are repeated until they
succeed, told once in the log of the whole tree; the children say nothing of it.
"""

from __future__ import annotations

import logging
import select
import signal
from typing import TYPE_CHECKING, Any

from setproctitle import setproctitle

from forkworker import logs
from forkworker.clock import SystemClock
from forkworker.errors import StoreUnavailable, StoreUnfit
from forkworker.keeper.beats import Beats
from forkworker.keeper.charge import Charge
from forkworker.keeper.health import Health
from forkworker.keeper.inspection import Inspection
from forkworker.keeper.numbers import Numbers
from forkworker.keeper.pauses import LOOK_SECONDS as PAUSES_SECONDS
from forkworker.keeper.pauses import Pauses
from forkworker.keeper.poller import POLL_SECONDS, Poller
from forkworker.keeper.restorer import Restorer
from forkworker.keeper.watch import Watch
from forkworker.store import orphans, processes
from forkworker.store.connection import Link
from forkworker.unix import process
from forkworker.unix.board import STUCK_SECONDS, Gate, Phase
from forkworker.wire import process_info

if TYPE_CHECKING:
    from forkworker.settings import Settings
    from forkworker.unix.packets import Channel, Packet

#: how often boards are looked at
LOOK_SECONDS = 0.2
#: how often while a child boots: it is ready only after its first beat
BOOTING_LOOK_SECONDS = 0.01
#: how often a stuck child is freed of what it has taken meanwhile
RESCUE_SECONDS = 0.5
#: commands of a dead process may arrive so much later; its lists are known, and swept again, until then
LINGER_SECONDS = 15.0
#: the same at an ordered end, where all processes were on this host
LAST_LINGER_SECONDS = 0.05
#: waits are ended again and again for so long after the gate was shut, as a child may have been arming one
SHUT_SECONDS, SHUT_AGAIN_SECONDS = 0.4, 0.05
#: when the master is gone: what children get beyond their own deadline
ORPHAN_GRACE_SECONDS = 0.7
_RETRY_SECONDS = 0.1
_FAILURE_PAUSE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Keeper:
    """Looks after the children of one master."""

    def __init__(self, channel: Channel, settings: Settings, leash: tuple[int, ...]) -> None:
        self._channel = channel
        #: held open, not used: an embedded Redis stays for as long as somebody holds it
        self._leash = leash
        self._settings = settings
        self._clock = SystemClock()
        self._link = Link(settings.redis_url, preload=orphans.SCRIPTS)
        self._charges: dict[int, Charge] = {}
        self._beats = Beats(settings, self._link, self._clock)
        self._restorer = Restorer(settings, self._link, self._clock)
        self._poller = Poller(self._link, self._clock)
        self._numbers = Numbers()
        self._health = Health(settings, self._numbers, self._clock)
        self._pauses = Pauses(settings, self._link)
        self._watch = Watch(settings.lease, settings.beat_seconds)
        self._inspection = Inspection()
        #: identity -> (its queues, when its lists are swept for the last time)
        self._lingering: dict[str, tuple[tuple[str, ...], float]] = {}
        self._due = dict.fromkeys(("pauses", "beat", "poll", "watch", "rescue"), 0.0)
        self._away_since: float | None = None
        #: why Redis is away, as the master knows it
        self._reason = ""
        self._is_reached = False
        self._shut_until = 0.0
        self._kill_at: float | None = None
        self._leave_by: float | None = None

    def run(self) -> None:
        """Do all duties until told to leave, or until the master has gone and all is put back."""
        setproctitle(f"forkworker: keeper [{self._settings.tag}]")
        while not self._is_over():
            self._hear()
            try:
                self._reach()
                pause = self._do_duties()
                self._tell_reached()
                self._health.note_answer()
            except StoreUnavailable as error:
                self._note_away(error)
                pause = _RETRY_SECONDS
            except Exception:  # noqa: BLE001 - one strange key in Redis must not cost all children their leases
                _log.exception("a duty of the keeper failed; it goes on with the others")
                pause = _FAILURE_PAUSE_SECONDS
            self._health.show(self._charges.values(), self._reason)
            self._kill_stragglers()
            self._sleep(pause)

    # What the master says.

    def _hear(self) -> None:
        if self._kill_at is not None:
            return
        packets, master_lives = self._channel.drain()
        for packet in packets:
            self._obey(packet)
        if not master_lives:
            _log.warning("the master has gone: putting back what its children leave")
            self._kill_at = self._clock.monotonic() + self._settings.timeout + ORPHAN_GRACE_SECONDS

    def _obey(self, packet: Packet) -> None:
        fields: Any = packet.fields
        if packet.kind == "child":
            charge = Charge(self._settings, fields["slot"], fields["pid"], packet.descriptors[0], self._clock.now())
            self._charges[charge.pid] = charge
            self._due["pauses"] = self._due["beat"] = 0.0
        elif packet.kind == "gone":
            if known := self._charges.get(fields["pid"]):
                known.gone, known.crashed, known.left_in_order = True, fields["crashed"], fields["in_order"]
            else:
                self._channel.send("restored", pid=fields["pid"], moved=0, recovered=0, buried=0)
        elif packet.kind == "leash":
            self._leash = packet.descriptors
        elif packet.kind == "health":
            self._health.open(*packet.descriptors)
        elif packet.kind == "shut":
            self._shut_until = self._clock.monotonic() + SHUT_SECONDS
        elif packet.kind == "leave":
            self._leave_by = fields["deadline"]

    # Duties.

    def _do_duties(self) -> float:
        """Do what is due and return the seconds until more is."""
        now = self._clock.monotonic()
        if now >= self._due["pauses"]:  # before the first beat, without which a child takes nothing
            self._due["pauses"] = now + PAUSES_SECONDS
            self._pauses.look(self._living())
        if now >= self._due["beat"] or self._has_new():
            self._due["beat"] = now + self._settings.beat_seconds
            self._beat_all()
        self._restore_gone()  # after the beat, which must not wait for a list that nothing can take
        if self._leave_by is not None:
            return self._leave()
        self._shut()
        if now >= self._due["rescue"]:
            self._due["rescue"] = now + LOOK_SECONDS
            self._rescue_stuck()
        if now >= self._due["watch"]:
            self._due["watch"] = now + self._settings.beat_seconds
            self._look_after_others()
            if self._watch.is_urgent:
                self._due["watch"] = now + LOOK_SECONDS
        if now >= self._due["poll"] and self._kill_at is None:
            self._due["poll"] = now + POLL_SECONDS
            self._due["poll"] = now + self._poller.poll()
        self._sweep_lingering(self._clock.monotonic())
        return self._patience()

    def _patience(self) -> float:
        now = self._clock.monotonic()
        if self._has_booting():
            return BOOTING_LOOK_SECONDS
        if now < self._shut_until:
            return SHUT_AGAIN_SECONDS
        return max(0.0, min(LOOK_SECONDS, min(self._due.values()) - now))

    def _restore_gone(self) -> None:
        for charge in [charge for charge in self._charges.values() if charge.gone]:
            restored = orphans.Restored()
            if charge.identity:
                if not charge.left_in_order:  # else it has had an answer to all that it sent
                    orphans.cut_off(self._link, charge.identity, charge.board.waits)
                restored = self._restorer.restore_gone(charge)
                processes.farewell(self._link, charge.identity)
                self._linger(charge)
            self._channel.send(
                "restored",
                pid=charge.pid,
                moved=restored.moved,
                recovered=restored.recovered,
                buried=restored.buried,
            )
            self._numbers.note_gone(charge)
            self._numbers.note_restored(restored)
            del self._charges[charge.pid]
            charge.close()

    def _linger(self, charge: Charge) -> None:
        """After an ordered end nothing is under way any more; after any other it may be."""
        pause = 0.0 if charge.left_in_order else LINGER_SECONDS
        self._lingering[charge.identity] = self._settings.queue_names, self._clock.monotonic() + pause

    def _sweep_lingering(self, now: float) -> None:
        for identity, (queues, until) in list(self._lingering.items()):
            if now >= until:
                self._sweep(identity, queues)

    def _sweep(self, identity: str, queues: tuple[str, ...]) -> None:
        """Put back what came late, uncounted as it never started, and forget the lists."""
        self._restorer.return_late(identity, queues)
        orphans.unregister(self._link, identity, queues)
        del self._lingering[identity]

    def _shut(self) -> None:
        """The gate was shut: end all waits from outside, as a child may be slow to do it."""
        if self._clock.monotonic() >= self._shut_until:
            return
        for charge in self._charges.values():
            if charge.board.gate != Gate.RUN:
                orphans.unblock(self._link, charge.board.waits)

    def _has_new(self) -> bool:
        """Whether a child has an identity that was not shown yet."""
        return any(c.board.generation != c.board.fenced and not c.board.lease_until for c in self._living())

    def _has_booting(self) -> bool:
        return any(c.board.phase == Phase.BOOTING or c.board.generation == c.board.fenced for c in self._living())

    def _living(self) -> list[Charge]:
        return [charge for charge in self._charges.values() if not charge.gone]

    def _beat_all(self) -> None:
        for charge in self._living():
            for name in self._beats.beat(charge):
                self._channel.send("signal", pid=charge.pid, name=name)
        self._numbers.collect(self._living())
        self._numbers.publish(self._link, self._clock.now())
        self._health.measure()

    def _rescue_stuck(self) -> None:
        for charge in self._living():
            board = charge.board
            silent = self._clock.monotonic() - board.tick
            is_stuck = board.phase == Phase.READY and silent > STUCK_SECONDS
            if (is_stuck and charge.identity) or board.epoch % 2:
                self._rescue(charge)

    def _rescue(self, charge: Charge) -> None:
        """Give back what a stuck child has not started.

        Should Redis fail meanwhile, the epoch stays odd and this is repeated: a command under way could
        still move a payload, so that must not be started.
        """
        board = charge.board
        if board.epoch % 2 == 0:
            board.epoch += 1
        orphans.unblock(self._link, board.waits)
        returned = self._restorer.return_unstarted(charge)
        board.epoch += 1
        if returned.moved:
            _log.warning(
                "child %d (pid %d) is stuck, as a job keeps the GIL: %d jobs that it had not started went back",
                charge.slot,
                charge.pid,
                returned.moved,
            )
        if board.gate != Gate.RUN:
            self._channel.send("still", pid=charge.pid)

    def _look_after_others(self) -> None:
        """Find owners that are not ours, and take over from the dead."""
        mine = {charge.identity for charge in self._charges.values()} | set(self._lingering)
        owners = {identity: queues for identity, queues in orphans.owners(self._link).items() if identity not in mine}
        beats = orphans.signs_of_life(self._link, list(owners)) if owners else {}
        origins = orphans.origins(self._link) if owners else {}

        def is_gone(identity: str) -> bool:
            host, pid = process_info.split_identity(identity)
            place, _ = process_info.split_origin(origins.get(identity, ""))
            return host == self._settings.hostname and process.is_provably_dead(pid, place)

        for identity in self._watch.look(beats, is_gone, self._clock.monotonic()):
            if orphans.take(self._link, identity, beats[identity]):
                _, concurrency = process_info.split_origin(origins.get(identity, ""))
                self._take_over(identity, tuple(owners[identity]), concurrency)

    def _take_over(self, identity: str, queues: tuple[str, ...], concurrency: int) -> None:
        restored = self._restorer.restore_orphans(identity, queues, concurrency)
        self._numbers.note_restored(restored)
        self._lingering[identity] = queues, self._clock.monotonic() + LINGER_SECONDS
        _log.warning("%s is dead: %d jobs went back to their queues", identity, restored.moved)

    # Redis away and back.

    def _reach(self) -> None:
        if not self._link.is_open:
            self._link.open()
            self._inspection.look(self._link)

    def _tell_reached(self) -> None:
        if self._away_since is not None:
            seconds = self._clock.monotonic() - self._away_since
            _log.warning("Redis is back after %.1f s", seconds)
            self._away_since = None
            self._is_reached = False
        if not self._is_reached:
            self._is_reached, self._reason = True, ""
            self._channel.send("reached")

    def _note_away(self, why: StoreUnavailable) -> None:
        self._link.close()
        self._watch.forget()
        self._due["beat"] = 0.0  # the first thing to do when it is back
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            _log.warning("Redis is away: %s; running jobs go on, nothing is fetched, retrying", why)
        if (reason := logs.clean(str(why))) != self._reason:
            self._reason = reason
            self._channel.send("unreached", reason=self._reason[:500], hopeless=isinstance(why, StoreUnfit))

    # The end.

    def _leave(self) -> float:
        """The last sweep, when all children have gone in order."""
        if self._lingering:
            select.select([], [], [], LAST_LINGER_SECONDS)
        for identity, (queues, _) in list(self._lingering.items()):
            self._sweep(identity, queues)
        self._numbers.publish(self._link, self._clock.now())
        return 0.0

    def _is_over(self) -> bool:
        now = self._clock.monotonic()
        if self._leave_by is not None:
            return (not self._lingering and not self._charges) or now >= self._leave_by
        if self._kill_at is None:
            return False
        if not self._charges:
            self._leave_by = self._kill_at + self._settings.timeout
        return now >= self._kill_at + self._settings.lease

    def _kill_stragglers(self) -> None:
        """Without a master: note whose process has ended, and end those that outstay their time."""
        if self._kill_at is None:
            return
        for charge in self._living():
            if charge.pidfd is None or process.wait_readable(charge.pidfd, 0.0):
                charge.gone = True
            elif self._clock.monotonic() >= self._kill_at:
                process.send(charge.pidfd, signal.SIGKILL)

    def _sleep(self, seconds: float) -> None:
        if self._kill_at is not None:
            select.select([], [], [], min(seconds, _RETRY_SECONDS))
        elif seconds > 0:
            process.wait_readable(self._channel.fileno(), seconds)
