"""The forkserver: a fresh interpreter that imports the app once, and forks children on request.

Runs between the master, which it talks to over a channel, and the children, which it hands over by a
double fork: the intermediate process ends at once, and the master adopts its child.  Before the app it
may fork a keeper, which then shares what both import and has no user code.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from forkworker import apploader, child, client, clock, logs
from forkworker.errors import ExitCode
from forkworker.hooks import hooks
from forkworker.keeper import __main__ as keeper
from forkworker.leftovers import Leftovers
from forkworker.settings import Settings
from forkworker.store import connection, working
from forkworker.unix import packets, signals
from forkworker.unix.board import VERSION as BOARD_VERSION
from forkworker.unix.board import Board
from forkworker.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

_ADOPTION_CHECK_SECONDS = 0.0005
_log = logging.getLogger("forkworker.forkserver")


def main(descriptor: int) -> int:
    """Serve the master at the other end of a descriptor until it hangs up."""
    signals.ignore(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP)
    faulthandler.register(signal.SIGTTIN, all_threads=True)  # for an import that hangs
    gc.disable()  # collections before the freeze would leave holes in shared pages
    os.set_inheritable(descriptor, False)
    server = ForkServer(packets.adopt(descriptor), master=os.getppid())
    return server.serve()


class ForkServer:
    """The loaded app, ready to be forked."""

    def __init__(self, channel: packets.Channel, master: int) -> None:
        self._channel = channel
        self._master = master
        self._settings = Settings()

    def serve(self) -> int:
        """Do what the master asks for."""
        while packet := self._channel.wait():
            if packet.kind == "load":
                self._settle_in(Settings.from_dict(packet.fields["settings"]))
                for descriptor in packet.descriptors:
                    self._fork_keeper(descriptor)
                self._load(packet.fields["board"])
            elif packet.kind == "spawn":
                self._spawn(packet.fields["slot"], *packet.descriptors)
        return ExitCode.OK

    def _settle_in(self, settings: Settings) -> None:
        self._settings = settings
        logs.configure(settings.log_level, settings.log_format, "forkserver")
        setproctitle(f"forkworker: forkserver [{settings.tag}]")
        with contextlib.suppress(OSError):  # another folder than the master's, if its name leads elsewhere by now
            os.chdir(settings.directory)
        client.settle_in(connection.real_url(settings.redis_url))
        connection.warm_up(settings.redis_url, working.SCRIPTS)

    def _fork_keeper(self, channel: int) -> None:
        gc.freeze()  # else its first collection would copy all that it shares
        if failure := self._fork(lambda: self._be_keeper(channel), channel):  # the channel's end tells the master
            _log.warning("a keeper could not be forked: %s", failure)

    def _load(self, board: int) -> None:
        settings = self._settings
        if board != BOARD_VERSION:
            reason = f"forkworker {VERSION} cannot serve under a master of another version: restart the whole of it"
            self._channel.send("failed", reason=reason, traceback="")
            return
        leftovers = Leftovers(settings.directory)
        try:
            if settings.preload:
                with leftovers.watch():
                    for app in settings.apps:
                        apploader.load_app(app, settings.directory, settings.apps_source)
        except apploader.AppError as error:
            self._channel.send("failed", reason=str(error)[:2000], traceback=error.traceback[-child.MOST_TOLD :])
            return
        for line in leftovers.lines():
            _log.warning("%s", line)
        gc.freeze()
        self._channel.send("loaded")

    def _spawn(self, slot: int, channel: int, board: int) -> None:
        hooks.fire("before_fork")
        if failure := self._fork(lambda: self._be_child(slot, channel, board), channel, board):
            self._channel.send("unforked", slot=slot, reason=failure)

    def _fork(self, be: Callable[[], int], *descriptors: int) -> str:
        """Fork twice and let go of what the new process has; return why it failed, '' if it did not."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or a pipe nobody reads
                stream.flush()
        signals.block()
        try:
            with logs.held():
                intermediate = os.fork()
                if intermediate == 0:
                    self._be_intermediate(be)
            status = os.waitstatus_to_exitcode(os.waitpid(intermediate, 0)[1])
        except OSError as error:
            return str(error)
        else:
            return "the second fork failed: see the log" if status else ""
        finally:
            signals.unblock()
            for descriptor in descriptors:
                os.close(descriptor)

    def _be_intermediate(self, be: Callable[[], int]) -> None:
        """In the process between: fork once more and end, so that the master adopts who comes of it."""
        code = 1
        try:
            me = os.getpid()
            if os.fork() == 0:
                code = self._be_adopted(me, be)
            else:
                code = 0
        except BaseException:  # noqa: BLE001 - nothing may return into the forkserver's own loop
            traceback.print_exc()
        finally:
            os._exit(code)

    def _be_adopted(self, intermediate: int, be: Callable[[], int]) -> int:
        self._channel.close()
        while os.getppid() == intermediate:  # else the master could not reap us if we died at once
            clock.sleep(_ADOPTION_CHECK_SECONDS)
        if os.getppid() != self._master:
            return ExitCode.OK
        faulthandler.unregister(signal.SIGTTIN)
        gc.enable()
        return be()

    def _be_keeper(self, descriptor: int) -> int:
        os.setpgid(0, 0)
        setproctitle(f"forkworker: keeper in reserve [{self._settings.tag}]")
        channel = packets.adopt(descriptor)
        channel.send("hello", pid=os.getpid())
        return keeper.main(channel)

    def _be_child(self, slot: int, channel: int, board: int) -> int:
        signals.reset()
        view = Board(board)
        os.close(board)
        hooks.fire("after_fork")
        return child.run(self._settings, slot, packets.adopt(channel), view)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
