"""The exchange thread: settles what has ended and fetches what can be started, both in one round trip.

The only thread of a child that moves payloads between Redis and its hand; so nothing here needs a
lock, and after a lost reply it alone can compare the working lists with what is in hand.
"""

from __future__ import annotations

import collections
import logging
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from forkworker.errors import ExitCode, IdentityTaken, StoreUnavailable
from forkworker.runtime.ledger import Ledger
from forkworker.runtime.openings import Openings
from forkworker.runtime.order import Order, Plan
from forkworker.runtime.outcome import Ended, Interrupted, NotStarted, Outcome
from forkworker.runtime.pace import Pace
from forkworker.runtime.refusals import Refusals
from forkworker.runtime.waiting import ASK_SECONDS, Alarm, Catch, Waits
from forkworker.store import working
from forkworker.store.connection import Link
from forkworker.store.waits import BLOCK_SECONDS
from forkworker.unix.board import Board, Gate
from forkworker.wire import keys, process_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.clock import Clock
    from forkworker.runtime.hand import Hand, Unit
    from forkworker.settings import Settings

    Known = collections.Counter[tuple[str, bytes]]

#: what no job thread has started after this goes back to its queue
KEEP_UNSTARTED_SECONDS = 0.05
#: a command whose reply was lost, or a wait on a dead connection, may be executed so much later
LATE_SECONDS = BLOCK_SECONDS + 5.0
#: nothing should ever come without our knowing; this often we make sure
LOOK_AGAIN_SECONDS = 30.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.5
_LEASE_CHECK_SECONDS = 0.02
_REFUSED = "WRONGTYPE or NOPERM: a queue, the retry or the dead set takes nothing from this process"
_log = logging.getLogger(__name__)


class Exchange:
    """Trades outcomes for new payloads."""

    def __init__(
        self,
        settings: Settings,
        board: Board,
        hand: Hand,
        clock: Clock,
        *,
        slot: int,
        pid: int,
        origin: str,
        report: Callable[[list[Outcome]], None],
        on_reached: Callable[[], None],
        on_still: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._board = board
        self._hand = hand
        self._clock = clock
        self._pid = pid
        self._origin = origin
        self._report = report
        self._on_reached = on_reached
        self._on_still = on_still
        self._alarm = Alarm()
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._ledger = Ledger()
        self._order = Order(settings.queues)
        self._link = Link(settings.redis_url, preload=working.SCRIPTS)
        self._waits = Waits(settings.redis_url, settings.queue_names, board, clock, self._alarm, slot=slot)
        self._openings = Openings(settings, board, self._order, self._waits)
        self._identity = ""
        #: the working lists may hold payloads that we do not know of
        self._in_doubt = True
        #: when to look once more; and until when a command whose reply was lost may be executed
        self._look_again_at = self._late_until = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._still = self._over = self._is_reached = False
        self._pace, self._refusals = Pace(clock), Refusals(clock)
        self._interrupted: set[Unit] = set()
        #: identities under which a command may still be on its way
        self._left_behind: list[str] = []
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)

    # Called by other threads.

    def start(self) -> None:
        """Start the thread; ``on_reached`` is called once Redis and the keeper have answered."""
        self._thread.start()

    def settle(self, ended: Ended) -> None:
        """Accept the end of a run, from a job thread."""
        self._ended.put(ended)
        self._alarm.ring()

    def wake(self) -> None:
        """Look at the gate at once, and say again whether anything is taken still."""
        self._still = False
        self._alarm.asleep = True  # ring whatever it is doing: the gate may have been read a moment ago
        self._alarm.ring()

    @property
    def is_drained(self) -> bool:
        """Whether nothing is in hand but what was interrupted."""
        return len(self._hand.units) <= len(self._interrupted) and self._ended.empty()

    def finish(self, seconds: float) -> bool:
        """Settle what can be settled and end the thread; False if something is under way after so many seconds."""
        self._over = True
        self.wake()
        self._thread.join(seconds)
        return not (self._thread.is_alive() or self._in_doubt or self._clock.monotonic() < self._late_until)

    # The thread's own.

    def _run(self) -> None:
        try:
            while not (self._over and self.is_drained and not self._waits.armed):
                self._try_turn()
        except BaseException:  # noqa: BLE001 - see below
            # without this thread the child would look healthy and do nothing: better a crash, which heals
            _log.critical("the exchange thread failed", exc_info=True)
            os._exit(ExitCode.FAILURE)
        self._waits.abandon()
        self._link.close()

    def _try_turn(self) -> None:
        try:
            self._turn()
        except IdentityTaken:
            self._lost_touch("")  # the keeper will tell, by the board, when to go on under a new nonce
        except StoreUnavailable as error:
            self._lost_touch(str(error))

    def _turn(self) -> None:
        self._gather()
        self._link.look()
        if self._board.generation == self._board.fenced:
            self._renew_identity()
        if self._in_doubt or self._look_again_at < self._clock.monotonic():
            self._reconcile()
        self._catch(self._openings.follow(self._link))
        self._return_unstarted()
        if not self._trade():
            self._rest()

    def _gather(self) -> None:
        """Take in what the job threads have ended."""
        for _ in range(self._ended.qsize()):
            ended = self._ended.get_nowait()
            if isinstance(ended, Outcome):
                self._ledger.add(ended)
            elif isinstance(ended, Interrupted):
                self._interrupted.add(ended.unit)
            else:
                self._reconsider(ended)

    def _reconsider(self, not_started: NotStarted) -> None:
        """A job thread found that it must not run a unit: give it back, or find out whether it is still ours."""
        unit = not_started.unit
        if self._is_permitted(unit) and self._board.gate != Gate.RUN:
            self._ledger.add(Outcome(unit, "back"))
        else:
            self._hand.forget(unit)
            self._in_doubt = True

    def _is_permitted(self, unit: Unit) -> bool:
        """Whether nobody else can have been given the unit, the gate aside."""
        return unit.permit == self._board.start_permit and self._has_lease()

    def _has_lease(self) -> bool:
        return self._board.lease_until > self._clock.monotonic()

    # Identity, and what is in doubt after an error.

    def _renew_identity(self) -> None:
        """Go on under a new nonce, and so with new working lists: the old ones belong to others now."""
        if self._identity:
            _log.warning("this process was declared dead and its jobs were taken over; it goes on under a new nonce")
            self._waits.abandon()
            self._left_behind.append(self._identity)
            for unit in self._hand.unstarted:
                if self._hand.claim(unit):
                    self._hand.forget(unit)
        self._board.renew_nonce(process_info.new_nonce())
        self._identity = process_info.identity(self._settings.hostname, self._pid, self._board.nonce)
        self._in_doubt = True

    def _reconcile(self) -> None:
        """Compare the working lists with what is in hand, and take up what came without our knowing."""
        permit = self._board.start_permit
        if not self._has_lease() or self._board.epoch % 2:
            return  # the keeper has not answered yet, or is moving unstarted payloads away
        self._catch(self._waits.disarm(self._link))
        self._waits.bury(self._link)
        self._register()
        if self._ledger.command:  # its reply was lost: what it settled is not to be taken up again
            self._confirm(self._link.execute(*self._ledger.command))
        known = collections.Counter((unit.working, unit.payload) for unit in self._hand.units.values())
        contents = self._link.pipeline(working.contents(self._identity, self._settings.queue_names))
        for queue, payloads in zip(self._settings.queue_names, contents, strict=True):
            self._take_unknown(queue, payloads, known, permit)
        self._look_again_at = self._clock.monotonic() + (LATE_SECONDS if self._in_doubt else LOOK_AGAIN_SECONDS)
        self._in_doubt = False
        self._tell_reached()
        self._pause = _FIRST_PAUSE_SECONDS

    def _register(self) -> None:
        """Make the working lists known to all, those of lost identities again: a late wait may fill them."""
        for identity in [*self._left_behind, self._identity]:
            self._link.pipeline(working.register(identity, self._settings.queue_names, self._origin))
        self._left_behind = []

    def _tell_reached(self) -> None:
        if not self._is_reached:
            self._is_reached = True
            self._on_reached()

    def _take_unknown(self, queue: str, newest_first: list[bytes], known: Known, permit: int) -> None:
        name = keys.working(self._identity, queue)
        for payload in reversed(newest_first):
            if known[name, payload] > 0:
                known[name, payload] -= 1
            elif self._hand.room:
                self._hand.take([payload], queue, name, permit)

    def _lost_touch(self, why: str) -> None:
        """Redis is away: jobs go on, outcomes wait here, nothing is fetched."""
        self._refusals.note(why)
        self._link.close()
        self._waits.abandon()
        self._in_doubt = True
        self._late_until = self._clock.monotonic() + LATE_SECONDS
        self._sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    # Trading.

    def _trade(self) -> bool:
        """Settle and fetch in one round trip; False if there is nothing to do."""
        permit = self._board.start_permit  # before the epoch is looked at
        count = self._wanted()
        self._ledger.make_batch(self._identity, self._clock.now())
        plan = self._order.plan(count) if count else None
        commands = [self._ledger.command] if self._ledger.command else []
        if plan:
            commands.append(working.fetch(self._identity, *plan))
        if not commands:
            return False
        replies = self._link.pipeline(commands)
        if self._ledger.command:
            self._confirm(replies[0])
        if plan:
            self._take(plan, replies[-1], permit)
            self._wait_or_not()
        return True

    def _confirm(self, flags: bytes) -> None:
        """Strike out what was settled; tell of what was still ours."""
        over, counted = self._ledger.confirm(flags)
        for outcome in over:
            self._hand.forget(outcome.unit)
        self._pace.note(len(counted))
        self._report(counted)
        self._board.count_settled(len(counted))
        if len(over) < len(flags):
            raise StoreUnavailable(_REFUSED)

    def _take(self, plan: Plan, fetched: list[list[bytes]], permit: int) -> None:
        self._order.note(plan, [len(payloads) for payloads in fetched])
        for queue, payloads in zip(plan.queues, fetched, strict=False):
            self._hand.take(payloads, queue, keys.working(self._identity, queue), permit)

    def _catch(self, catches: list[Catch]) -> None:
        for catch in catches:
            self._hand.take([catch.payload], catch.queue, keys.working(self._identity, catch.queue), catch.permit)

    # How much, and from where.

    def _active(self) -> int:
        """Units that occupy a job thread, or soon will."""
        return len(self._hand.units) - len(self._ledger) - len(self._interrupted)

    def _hand_is_short(self) -> bool:
        return self._active() < self._settings.concurrency

    def _may_take(self) -> bool:
        board = self._board
        return board.gate == Gate.RUN and not self._over and not board.epoch % 2 and self._has_lease()

    def _wanted(self) -> int:
        """How many payloads to fetch now: none while the waits bring what there is."""
        if self._in_doubt or self._waits.suffice or not self._may_take():
            return 0
        wanted = self._settings.concurrency + self._pace.ahead - self._active()
        return max(0, min(wanted, self._hand.room - len(self._settings.queues)))

    def _wait_or_not(self) -> None:
        """After a fetch: with threads still free all queues were empty, so wait on them; else do not."""
        permit = self._board.start_permit
        if self._may_take() and self._hand_is_short():
            self._waits.arm(self._identity, permit)
        else:
            self._catch(self._waits.disarm(self._link))

    # Resting.

    def _return_unstarted(self) -> None:
        """Give back what nobody will start soon: all at a shut gate, else what no thread is free for."""
        unstarted = self._hand.unstarted
        if not unstarted:
            return
        if self._board.gate == Gate.RUN and not self._over:
            late = self._clock.monotonic() - KEEP_UNSTARTED_SECONDS
            excess = self._active() - self._settings.concurrency
            unstarted = [unit for unit in unstarted if unit.taken_at < late][-excess:] if excess > 0 else []
        for unit in reversed(unstarted):
            if self._is_permitted(unit) and self._hand.claim(unit):
                self._ledger.add(Outcome(unit, "back"))
                self._pace.forget()

    def _rest(self) -> None:
        """Nothing to settle and nothing to fetch: sleep until that changes."""
        if self._waits.armed and not (self._may_take() and self._hand_is_short()):
            self._catch(self._waits.disarm(self._link))
            return
        self._tell_if_still()
        self._sleep(self._patience())

    def _tell_if_still(self) -> None:
        """Say once that nothing is taken any more, when the gate was shut."""
        still = self._board.gate != Gate.RUN and not self._hand.unstarted
        if still and not self._still:
            self._on_still()
        self._still = still

    def _patience(self) -> float:
        if self._hand.unstarted:
            return KEEP_UNSTARTED_SECONDS
        waiting_for_keeper = self._board.gate == Gate.RUN and not self._waits.armed and not self._may_take()
        return _LEASE_CHECK_SECONDS if waiting_for_keeper or self._in_doubt else ASK_SECONDS

    def _sleep(self, seconds: float) -> None:
        with self._alarm:  # only then we ask, so that no ring is missed
            catches = self._waits.sleep(min(seconds, self._link.look_seconds)) if self._ended.empty() else []
        if catches:
            self._catch(catches)
            self._alarm.give_way(self._ended.empty)
