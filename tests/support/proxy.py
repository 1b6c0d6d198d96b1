"""A TCP proxy in front of Redis that does to connections what networks do.  Threads of the test process.

It understands the protocol just so far as to know which reply belongs to which command: it can cut a
connection after the server has executed a command and before the client has read the reply.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from support.servers import RedisServer

NOTHING = object()
CHUNK = 65536

Command = list[bytes]


@dataclass
class Cut:
    """An order to cut connections after a command that ``matches`` was executed, so many ``times``."""

    matches: Callable[[Command, Any], bool]
    times: int = 1
    seen: list[tuple[Command, Any]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def applies(self, command: Command, reply: Any) -> bool:
        """Say whether to cut now, and note it."""
        with self._lock:
            if self.done.is_set() or not self.matches(command, reply):
                return False
            self.seen.append((command, reply))
            if len(self.seen) >= self.times:
                self.done.set()
            return True


@dataclass
class Delay:
    """An order to keep the first command that ``matches`` back until it is released; its connection waits with it."""

    matches: Callable[[Command, Any], bool]
    command: Command = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, command: Command) -> None:
        """Hold the command back, if it is the one."""
        with self._lock:
            if self.held.is_set() or self.released.is_set() or not self.matches(command, None):
                return
            self.command = command
            self.held.set()
        self.released.wait()

    def release(self) -> None:
        """Let it go, and hold nothing back any more."""
        self.released.set()


class Proxy:
    """Listens on a local port and forwards to one server; a context manager."""

    def __init__(self, server: RedisServer, address: str = "127.0.0.1") -> None:
        self._server = server
        self._address = address
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_seconds = 0.0
        #: what the server says -> what clients read, of the same length
        self.lies: dict[bytes, bytes] = {}
        self._flow = threading.Event()
        self._flow.set()
        self._open = threading.Event()
        self._open.set()
        self._cuts: list[Cut] = []
        self._early_cuts: list[Cut] = []
        self._delays: list[Delay] = []
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address that clients shall use."""
        return f"redis://{self._address}:{self.port}/0"

    def cut_before(self, matches: Callable[[Command, Any], bool], times: int = 1) -> Cut:
        """Cut the connection of a command that matches, before the server has seen it."""
        cut = Cut(matches, times)
        self._early_cuts.append(cut)
        return cut

    def cut_after(self, matches: Callable[[Command, Any], bool], times: int = 1) -> Cut:
        """Cut the connection of a command that matches, after its execution; its reply is lost.

        ``matches`` is asked with the command (a list of bytes) and the server's reply.
        """
        cut = Cut(matches, times)
        self._cuts.append(cut)
        return cut

    def keep_back(self, matches: Callable[[Command, Any], bool]) -> Delay:
        """Keep the next command that matches from the server, until it is released; its client may be gone by then."""
        delay = Delay(matches)
        self._delays = [*(other for other in self._delays if not other.released.is_set()), delay]
        return delay

    def cut_all(self) -> None:
        """Close every connection there is."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def refuse(self) -> None:
        """Close every connection, and each new one at once, until ``allow``."""
        self._open.clear()
        self.cut_all()

    def allow(self) -> None:
        """Accept connections again."""
        self._open.set()

    def black_hole(self) -> None:
        """Let connections stand, and nothing pass: neither bytes nor the news of an end."""
        self._flow.clear()

    def restore_flow(self) -> None:
        """Let everything pass again, also what was held back."""
        self._flow.set()

    def delay(self, seconds: float) -> None:
        """Hold back each chunk so long, in both directions."""
        self.delay_seconds = seconds

    def close(self) -> None:
        """End everything and wait for the threads."""
        self._closed = True
        self._flow.set()
        for delay in self._delays:
            delay.release()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()
            link.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = self._dial() if self._open.is_set() else None
            if upstream is None:
                client.close()
                continue
            link = Link(self, client, upstream)
            with self._lock:
                self._links.add(link)
            link.start()

    def _dial(self) -> socket.socket | None:
        family = socket.AF_UNIX if self._server.socket else socket.AF_INET
        upstream = socket.socket(family)
        try:
            upstream.connect(self._server.socket or ("127.0.0.1", self._server.port))
        except OSError:
            upstream.close()
            return None
        return upstream

    # For links, in their threads:

    def hold(self) -> None:
        """Wait as long as a chunk has to wait."""
        if self.delay_seconds:
            time.sleep(self.delay_seconds)
        self._flow.wait()

    def drop_cuts(self) -> None:
        """Take back every order to cut."""
        self._cuts, self._early_cuts = [], []

    def keep(self, command: Command) -> None:
        """Wait as long as a command is to be kept back."""
        for delay in self._delays:
            delay.meet(command)

    def shall_withhold(self, command: Command) -> bool:
        """Say whether a connection ends before this command."""
        return any(cut.applies(command, None) for cut in self._early_cuts)

    def shall_cut(self, command: Command, reply: Any) -> bool:
        """Say whether a connection ends with this reply."""
        return any(cut.applies(command, reply) for cut in self._cuts)

    def forget(self, link: Link) -> None:
        """Take a link that has ended off the list."""
        if not self._closed:
            with self._lock:
                self._links.discard(link)


class Link:
    """One client's connection and ours to the server, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, upstream: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream = upstream
        self._waiting: deque[Command] = deque()
        self._threads = [
            threading.Thread(target=self._pump, args=(client, upstream, self._note_commands), daemon=True),
            threading.Thread(target=self._pump, args=(upstream, client, self._note_replies), daemon=True),
        ]
        self._commands = hiredis.Reader(notEnoughData=NOTHING)
        self._replies = hiredis.Reader(notEnoughData=NOTHING)
        self._ends = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to forward."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for both threads."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Close both sides; the threads see it and end."""
        for side in (self._client, self._upstream):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, sink: socket.socket, note: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                self._proxy.hold()
                if not note(chunk):
                    break
                for truth, lie in self._proxy.lies.items():
                    chunk = chunk.replace(truth, lie)
                sink.sendall(chunk)
            self._proxy.hold()
        self.close()
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._ends += 1
            if self._ends == len(self._threads):
                self._client.close()
                self._upstream.close()
                self._proxy.forget(self)

    def _note_commands(self, chunk: bytes) -> bool:
        self._commands.feed(chunk)
        whole = True
        while (command := self._commands.gets()) is not NOTHING:
            self._waiting.append(command)
            self._proxy.keep(command)
            whole = not self._proxy.shall_withhold(command) and whole
        return whole

    def _note_replies(self, chunk: bytes) -> bool:
        self._replies.feed(chunk)
        whole = True
        while (reply := self._replies.gets()) is not NOTHING:
            if isinstance(reply, hiredis.PushNotification) or not self._waiting:
                continue
            whole = not self._proxy.shall_cut(self._waiting.popleft(), reply) and whole
        return whole
