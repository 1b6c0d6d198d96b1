"""A master as its control socket shows it: canned answers from a thread of the test process."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

from forkworker.unix import control

if TYPE_CHECKING:
    from types import TracebackType

STATUS: dict[str, Any] = {
    "pid": 4711,
    "tag": "shop",
    "state": "running",
    "version": "0.1.0",
    "started_at": 1764000000.0,
    "hostname": "h",
    "queues": ["high", "default"],
    "concurrency": 25,
    "children": [
        {
            "slot": 0,
            "pid": 4712,
            "identity": "h:4712:abc",
            "state": "ready",
            "stuck_seconds": 0.0,
            "busy": 1,
            "concurrency": 25,
            "threads": [{"thread": 1, "name": "app.resize", "jid": "0123", "queue": "high", "seconds": 1.25}],
        }
    ],
}


class CannedMaster:
    """Answers every request until the with-block ends, and notes what it was asked."""

    def __init__(self, path: str, **answers: dict[str, Any] | bytes) -> None:
        self.path = path
        self.asked: list[dict[str, Any]] = []
        self.answers = {"status": {"ok": True, "status": STATUS}, "stop": {"ok": True, "pid": 4711}} | answers
        self._listener = control.listen(path, None)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> CannedMaster:
        self._listener.setblocking(True)
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the accept below
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self._answer(connection, lines.readline())

    def _answer(self, connection: socket.socket, line: bytes) -> None:
        if not line:
            return
        request = json.loads(line)
        self.asked.append(request)
        answer = self.answers.get(request["command"], {"ok": True})
        connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    @property
    def commands(self) -> list[str]:
        """What was asked but for the status, which everybody asks."""
        return [request["command"] for request in self.asked if request["command"] != "status"]
