"""The porter: answers at the door, in a thread of the keeper's process.

A thread, as the keeper's loop waits for Redis, which may take seconds, and a probe may not.  It has nothing
to do with that loop but the frozen value that is shown to it (docs/adr/0012).  Speaks as much HTTP as
probes, Prometheus and browsers need; never waits for anybody.
"""

from __future__ import annotations

import contextlib
import select
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from forkworker.clock import Clock

#: what a visitor gets for asking and for listening, together
VISIT_SECONDS = 5.0
MOST_VISITORS = 50
#: visitors wait so long at first until there is something to tell: a new keeper is no reason to say "not ready"
FIRST_SECONDS = 0.5
_MOST_REQUEST_BYTES = 16 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Answer(NamedTuple):
    """What is answered."""

    status: int
    text: str
    kind: str = "text/plain; charset=utf-8"


@dataclass(slots=True)
class _Visitor:
    socket: socket.socket
    until: float
    asked: bytearray = field(default_factory=bytearray)
    to_say: memoryview | None = None


class Porter:
    """Serves until the master has gone."""

    def __init__(
        self,
        door: socket.socket,
        master: int | None,
        answer: Callable[[str], Answer | None],
        is_informed: threading.Event,
        clock: Clock,
    ) -> None:
        self._door = door
        #: a pidfd: a new master can have the address as soon as this one is dead
        self._master = master
        self._answer = answer
        self._is_informed = is_informed
        self._clock = clock
        self._visitors: dict[int, _Visitor] = {}
        self._thread = threading.Thread(target=self._run, name="porter", daemon=True)

    def start(self) -> None:
        """Open the door to visitors."""
        self._thread.start()

    def _run(self) -> None:
        self._is_informed.wait(FIRST_SECONDS)
        while self._serve():
            pass
        self._door.close()
        for visitor in list(self._visitors.values()):
            self._show_out(visitor)

    def _serve(self) -> bool:
        """Handle what has happened; False once the master has gone."""
        for descriptor in self._wait():
            if descriptor == self._door.fileno():
                self._let_in()
            elif descriptor == self._master:
                return False
            elif visitor := self._visitors.get(descriptor):
                self._attend(visitor)
        now = self._clock.monotonic()
        for visitor in [visitor for visitor in self._visitors.values() if visitor.until <= now]:
            self._show_out(visitor)
        return True

    def _wait(self) -> list[int]:
        poll = select.poll()
        poll.register(self._door, select.POLLIN)
        if self._master is not None:
            poll.register(self._master, select.POLLIN)
        for descriptor, visitor in self._visitors.items():
            poll.register(descriptor, select.POLLIN if visitor.to_say is None else select.POLLOUT)
        instants = [visitor.until for visitor in self._visitors.values()]
        seconds = max(0.0, min(instants) - self._clock.monotonic()) if instants else None
        return [descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000 + 1)]

    def _let_in(self) -> None:
        """Take a visitor in; the one who has been here longest makes room."""
        try:
            end, _ = self._door.accept()
        except OSError:  # nobody there any more, or no descriptors left
            threading.Event().wait(0.01)
            return
        end.setblocking(False)
        while len(self._visitors) >= MOST_VISITORS:
            self._show_out(next(iter(self._visitors.values())))
        self._visitors[end.fileno()] = _Visitor(end, self._clock.monotonic() + VISIT_SECONDS)

    def _show_out(self, visitor: _Visitor) -> None:
        self._visitors.pop(visitor.socket.fileno(), None)
        visitor.socket.close()

    def _attend(self, visitor: _Visitor) -> None:
        try:
            if visitor.to_say is None:
                self._listen(visitor)
            if visitor.to_say is not None:
                visitor.to_say = visitor.to_say[visitor.socket.send(visitor.to_say) :]
        except BlockingIOError:
            return
        except OSError:  # it has gone
            self._show_out(visitor)
            return
        if visitor.to_say is not None and not len(visitor.to_say):
            self._show_out(visitor)

    def _listen(self, visitor: _Visitor) -> None:
        data = visitor.socket.recv(4096)
        if not data:
            raise ConnectionResetError
        visitor.asked += data
        is_complete = b"\r\n\r\n" in visitor.asked or b"\n\n" in visitor.asked
        if is_complete or len(visitor.asked) > _MOST_REQUEST_BYTES:
            with contextlib.suppress(BlockingIOError):  # a reset for what was not read would cut our answer off
                visitor.socket.recv(_MOST_REQUEST_BYTES)
            visitor.to_say = memoryview(self._reply(bytes(visitor.asked)))

    def _reply(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.split(None, 1)[0].partition(b"?")[0].decode("ascii", "replace") if rest.strip() else ""
        answer = self._find(method, path)
        body = answer.text.encode("utf-8", "replace")
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.kind}\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        ).encode()
        return head if method == b"HEAD" else head + body

    def _find(self, method: bytes, path: str) -> Answer:
        if not path.startswith("/"):
            return Answer(400, "this is no request\n")
        if method not in (b"GET", b"HEAD"):
            return Answer(405, "only GET and HEAD are known here\n")
        return self._answer(path) or Answer(404, "there are /live, /ready and /metrics\n")
