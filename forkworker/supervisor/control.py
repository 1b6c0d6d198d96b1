"""Serves the control socket: requests in, answers out when what was asked for has come true.

Runs in the master's loop and never blocks: a client that sends nothing, or reads nothing, harms nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from forkworker.unix import control

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from forkworker.settings import Settings

    #: asked again and again until there is an answer; raises ValueError if it cannot come true any more
    Wish = Callable[[], dict[str, Any] | None]
    Answer = dict[str, Any] | Wish

_MOST_REQUEST_BYTES = 64 * 1024
_MOST_CLIENTS = 100


class Client:
    """One connection: requests come in, for each one answer goes out, at once or when the wish has come true."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.received = b""
        #: what its buffer had no room for yet
        self.to_send = b""
        self.wish: Wish | None = None


class ControlServer:
    """The listening socket and its clients."""

    def __init__(self, settings: Settings, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.path = settings.control or control.path_for(os.getpid(), settings.control_folder)
        self._private_folder = None if settings.control else settings.control_folder
        self._answer = answer
        self._clients: dict[int, Client] = {}
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Begin to listen; raises ControlError."""
        self._listener = control.listen(self.path, self._private_folder)

    def writers(self) -> list[int]:
        """Return what to poll for room to write."""
        return [descriptor for descriptor, client in self._clients.items() if client.to_send]

    def descriptors(self) -> list[int]:
        """Return what to poll."""
        assert self._listener
        return [self._listener.fileno(), *self._clients]

    def serve(self, descriptor: int) -> None:
        """Deal with a descriptor that is readable."""
        if self._listener and descriptor == self._listener.fileno():
            self._accept(self._listener)
        elif client := self._clients.get(descriptor):
            self._write(client) if client.to_send else self._read(client)

    def answer_waiting(self) -> None:
        """Answer those whose wish has come true."""
        for client in list(self._clients.values()):
            if client.wish and (answer := _ask(client.wish)):
                client.wish = None
                self._send(client, answer)
                self._obey_next(client)

    def close(self) -> None:
        """Hang up on everybody, the last thing before the master exits, and remove the socket."""
        if self._listener is None:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener.close()
        for client in self._clients.values():
            client.socket.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # nobody there any more, or no descriptors left
            end, _ = listener.accept()
            if len(self._clients) >= _MOST_CLIENTS:
                end.close()
                return
            self._clients[end.fileno()] = Client(end)

    def _read(self, client: Client) -> None:
        try:
            data = client.socket.recv(4096)
        except (BlockingIOError, ConnectionResetError):
            data = b""
        client.received += data
        if not data or len(client.received) > _MOST_REQUEST_BYTES:
            self._drop(client)
            return
        self._obey_next(client)

    def _obey_next(self, client: Client) -> None:
        """Do what has been asked for, one request after the other: the next when the last one is answered."""
        while client.wish is None and b"\n" in client.received:
            line, _, client.received = client.received.partition(b"\n")
            self._obey(client, line)

    def _obey(self, client: Client, line: bytes) -> None:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")  # noqa: TRY004 - of the client's making
            answer = self._answer(request)
        except (ValueError, RecursionError) as error:
            self._send(client, _refusal(error))
            return
        if callable(answer):
            client.wish = answer
        else:
            self._send(client, answer)

    def _send(self, client: Client, answer: dict[str, Any]) -> None:
        client.to_send += json.dumps(answer).encode() + b"\n"
        self._write(client)

    def _write(self, client: Client) -> None:
        """Write as much as there is room for; the rest when there is more."""
        try:
            client.to_send = client.to_send[client.socket.send(client.to_send) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        client.socket.close()


def _ask(wish: Wish) -> dict[str, Any] | None:
    try:
        return wish()
    except ValueError as error:
        return _refusal(error)


def _refusal(error: Exception) -> dict[str, Any]:
    return {"ok": False, "error": str(error)}
