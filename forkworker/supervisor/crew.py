"""The master's helpers as a crew: who is there, what they say, and their end.

Used in the master.  Decides nothing: a helper that ends is reported, and started again by the master.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from forkworker.errors import ExitCode
from forkworker.supervisor import helpers
from forkworker.supervisor.cradle import Cradle
from forkworker.supervisor.health import Health
from forkworker.unix import board, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forkworker.clock import Clock
    from forkworker.settings import Settings
    from forkworker.supervisor.helpers import Helper
    from forkworker.unix.packets import Packet

#: a helper that dies is started again at once; one that died so young, after a pause
YOUNG_SECONDS, YOUNG_PAUSE_SECONDS = 1.0, 0.3
#: when processes, descriptors or memory have run out
NO_RESOURCES_PAUSE_SECONDS = 1.0
#: after the app could not be loaded again, or a helper has said that it cannot work
RELOAD_PAUSE_SECONDS = 5.0
#: when the forkserver has died so often before any child was ever ready, it is no use
DEATHS_THAT_END = 5
#: what a helper gets to die of SIGKILL
_KILL_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Crew:
    """Keeper, forkserver, and the leash of an embedded Redis."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.keeper: Helper | None = None
        self.forkserver: Helper | None = None
        self.leash: Helper | None = None
        self.health = Health(settings.health, clock)
        #: a forkserver that loads new code
        self.incoming: Helper | None = None
        #: where the next keeper is, or will be
        self._cradle: Cradle | None = None
        #: helpers that are not needed any more, and about to end
        self._retired: list[Helper] = []
        #: whether the forkserver can fork
        self.app_is_loaded = False
        #: how often the forkserver died since it last had loaded the app
        self.forkserver_deaths = 0
        self._starts: list[tuple[float, Callable[[], None]]] = []

    def __iter__(self) -> Iterator[Helper]:
        """Yield those that are there."""
        helpers = (self.keeper, self.forkserver, self.leash, self.incoming, *self._retired)
        return iter([helper for helper in helpers if helper])

    def start_leash(self) -> None:
        """Start an embedded Redis, if one is wanted; the keeper holds its leash, too."""
        if self._settings.embedded_directory:
            self.leash = helpers.start_leash(self._settings.embedded_directory, self._clock.monotonic())
            self.tell_keeper("leash", (self.leash.channel.fileno(),))

    def start_keeper(self) -> None:
        """Take the keeper that a forkserver has forked, else start one; it has to be told of the children then."""
        self.keeper = self._lift() or helpers.start_keeper(self._clock.monotonic())
        leash = (self.leash.channel.fileno(),) if self.leash else ()
        self.tell_keeper("settings", leash, settings=self._settings.to_dict(), board=board.VERSION)
        if self.health.descriptors:
            self.tell_keeper("health", self.health.descriptors)

    def _lift(self) -> Helper | None:
        cradle, self._cradle = self._cradle, None
        return cradle.lift(self._clock.monotonic()) if cradle else None

    @property
    def cradles(self) -> tuple[int, ...]:
        """The descriptor that tells when ``start_keeper`` should be called, while there is no keeper."""
        return (self._cradle.fileno(),) if self._cradle and not self.keeper else ()

    def start_forkserver(self) -> None:
        """Start a forkserver, which forks a keeper if there is none, and begins to load the app."""
        self.app_is_loaded = False
        cradle = None if self.keeper or self._cradle else Cradle()
        self.forkserver = helpers.start_forkserver(self._settings, cradle, self._clock.monotonic())
        self._cradle = cradle or self._cradle

    def start_incoming(self) -> None:
        """Start a forkserver that loads the app as it is now, beside the one there is; it forks the next keeper."""
        cradle = Cradle()
        self.incoming = helpers.start_forkserver(self._settings, cradle, self._clock.monotonic())
        self._cradle = cradle

    def take_incoming(self) -> None:
        """Fork by the incoming forkserver from now on; the old one ends."""
        self._retire(self.forkserver)
        self.forkserver, self.incoming = self.incoming, None
        self.app_is_loaded, self.forkserver_deaths = True, 0

    def drop_incoming(self) -> None:
        """End the incoming forkserver, if there is one, and the keeper that it has forked."""
        self._retire(self.incoming)
        self._retire(self._lift())
        self.incoming = None

    def _retire(self, helper: Helper | None) -> None:
        if helper:
            helper.kill()  # it has nothing to lose, and may be in the middle of a long import
            self._retired.append(helper)

    @property
    def is_renewing_keeper(self) -> bool:
        """Whether the keeper has gone, or is about to, so that another one takes its place."""
        return self.keeper is None or self.keeper.is_renewed

    def renew_keeper(self) -> None:
        """End the keeper, which may be killed at any moment: its successor runs the code that is there now.

        Without a cradle it is such a successor itself, started since the new code was asked for.
        """
        if self.keeper and self._cradle:
            self.keeper.is_renewed = True
            self.keeper.kill()

    def start_later(self, start: Callable[[], None], pause: float) -> None:
        """Have ``start_due`` call a function after a pause."""
        self._starts.append((self._clock.monotonic() + pause, start))

    def pause_after(self, helper: Helper, status: int, *, is_stopping: bool) -> float:
        """Return the pause before another one takes the place of a helper that has ended."""
        if helper.is_renewed or is_stopping:  # at a stop there is no time to lose
            return 0.0
        if status == ExitCode.CONFIGURATION:
            return RELOAD_PAUSE_SECONDS
        is_young = self._clock.monotonic() - helper.born_at < YOUNG_SECONDS
        return YOUNG_PAUSE_SECONDS if is_young else 0.0

    @property
    def next_start(self) -> float | None:
        """When the next start is due."""
        return min((instant for instant, _ in self._starts), default=None)

    def start_due(self) -> None:
        """Start what is due."""
        now = self._clock.monotonic()
        due = [start for instant, start in self._starts if instant <= now]
        self._starts = [entry for entry in self._starts if entry[0] > now]
        for start in due:
            try:
                start()
            except OSError as error:  # no processes, descriptors or memory left: the children there are work on
                _log.error("a process cannot be started now: %s; trying again", error.strerror)
                self.start_later(start, NO_RESOURCES_PAUSE_SECONDS)

    def tell_keeper(self, kind: str, descriptors: tuple[int, ...] = (), **fields: Any) -> None:
        """Send a message; a keeper that cannot hear it is about to be replaced, and its successor is told all."""
        if self.keeper and not self.keeper.channel.send(kind, descriptors, **fields):
            self.keeper.kill()  # it is gone, or has not listened for so long that it never will

    def ask_for_child(self, slot: int, descriptors: tuple[int, int], *, is_new_code: bool = False) -> bool:
        """Have a child forked; False if the forkserver is gone, which its end will tell."""
        forkserver = self.incoming if is_new_code else self.forkserver
        if forkserver and forkserver.channel.send("spawn", descriptors, slot=slot):
            return True
        self.app_is_loaded = self.app_is_loaded and is_new_code
        return False

    def end_idle_forkserver(self) -> None:
        """End a forkserver that could not load the app: the next one may."""
        if self.forkserver and not self.app_is_loaded:
            self.forkserver.kill()

    def hear(self, helper: Helper) -> list[Packet]:
        """Return what a helper has said."""
        packets, lives = helper.channel.drain()
        helper.hung_up = not lives
        if any(packet.kind in ("loaded", "failed") for packet in packets):
            helper.load_by = None
        return packets

    def bury(self, helper: Helper) -> int | None:
        """Return the exit status of a helper that has ended, and forget it; None if it has not."""
        status = helper.reap()
        if status is not None:
            helper.close()
            self.keeper = None if helper is self.keeper else self.keeper
            self.leash = None if helper is self.leash else self.leash
            self.incoming = None if helper is self.incoming else self.incoming
            self._retired = [retired for retired in self._retired if retired is not helper]
            if helper is self.forkserver:
                self.forkserver, self.app_is_loaded = None, False
        return status

    def leave(self, leave_by: float, redis_by: float) -> None:
        """See them off in order: whoever is needed by others goes after them."""
        self.drop_incoming()
        self._retire(self.forkserver)
        for helper in self._retired:
            self._see_off(helper, leave_by)
        self.tell_keeper("leave", deadline=leave_by)
        self._see_off(self.keeper, leave_by, hang_up=False)
        self._see_off(self.leash, redis_by)
        self.health.close()

    def _see_off(self, helper: Helper | None, leave_by: float, *, hang_up: bool = True) -> None:
        """Wait for a helper to leave by itself; kill it when the time is over."""
        if helper is None:
            return
        if hang_up:
            helper.channel.close()
        seconds = leave_by - self._clock.monotonic()
        if not process.wait_readable(helper.pidfd, seconds):
            _log.warning("the %s does not leave and is killed", helper)
            helper.kill()
            process.wait_readable(helper.pidfd, _KILL_SECONDS)
        helper.reap()
