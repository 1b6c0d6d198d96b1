"""What a job costs Redis when many children settle and fetch at once: at how many jobs a second one Redis is full.

The children are simulated: connections that send the scripts of ``forkworker/store`` as a child does, each with an
identity and working lists of its own, all in one process that runs no job.  ``client_us`` is what sending and reading
costs without anything else: the floor of a child's work.
"""

from __future__ import annotations

import functools
import socket
import time
from typing import TYPE_CHECKING, Any

import hiredis

from bench import stock
from bench.cases import Case
from bench.contestants import OURS
from bench.servers import Server
from bench.tables import number, table
from forkworker.store import scripts, working

if TYPE_CHECKING:
    from bench.cases import Choice
    from bench.results import Row, Rows

#: children, and how many jobs each settles and fetches at a time
SHAPES = ((1, 25), (200, 1), (200, 5), (200, 25), (200, 100))
BACKLOG, SECONDS = 1_000_000, 4.0


class Child:
    """One connection, as a child's exchange has it."""

    def __init__(self, port: int, number: int) -> None:
        self._identity = f"worker{number:03}.example.com:{number}:{number:012x}"
        self._list = f"working:{self._identity}:default"
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._in_hand: list[bytes] = []
        self._batch = 0
        for name in working.SCRIPTS:
            self._socket.sendall(hiredis.pack_command(("SCRIPT", "LOAD", scripts.get(name).source)))
            self._reply()

    def send(self, count: int) -> None:
        """Settle what is in hand and ask for more."""
        commands = []
        if self._in_hand:
            self._batch += 1
            done = [working.Settlement("done", "default", self._list, payload) for payload in self._in_hand]
            commands.append(working.settle(self._identity, self._batch, done, time.time()))
        commands.append(working.fetch(self._identity, ["default"], count))
        self._socket.sendall(b"".join(map(hiredis.pack_command, commands)))

    def read(self) -> int:
        """Return how many were settled."""
        settled = len(self._reply()) if self._in_hand else 0
        (self._in_hand,) = self._reply()
        return settled

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 16))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def cases(choice: Choice) -> list[Case]:
    """Return each shape."""
    if not choice.has(OURS, "simulated"):
        return []
    return [
        Case("full", OURS, f"{children} x {count}", functools.partial(measure, children, count))
        for children, count in SHAPES
    ]


def measure(children: int, count: int) -> Row:
    """Let all of them settle and fetch for some seconds, as fast as they can."""
    with Server() as server:
        stock.jobs(server.client(), "default", BACKLOG)
        crowd = [Child(server.port, number) for number in range(children)]
        _turn(crowd, count)
        began, redis, ours = time.perf_counter(), server.cpu_seconds(), time.process_time()
        settled = 0
        while (seconds := time.perf_counter() - began) < SECONDS:
            settled += _turn(crowd, count)
        redis, ours = server.cpu_seconds() - redis, time.process_time() - ours
        for child in crowd:
            child.close()
    per_job = redis / settled
    return {
        "jobs": settled,
        "rate": round(settled / seconds, 1),
        "redis_us": round(1e6 * per_job, 3),
        "client_us": round(1e6 * ours / settled, 3),
        "full_at": round(1 / per_job),
    }


def _turn(crowd: list[Child], count: int) -> int:
    for child in crowd:
        child.send(count)
    return sum(child.read() for child in crowd)


def report(rows: Rows) -> list[str]:
    """Return the table."""
    heads = ("children x jobs at a time", "Redis CPU, µs/job", "one Redis is full at, jobs/s", "client CPU, µs/job")
    keys = (("redis_us", 2), ("full_at", 0), ("client_us", 2))
    lines = [
        [variant, *(number(group.median(key), digits) for key, digits in keys)]
        for (variant,), group in rows.groups("variant").items()
    ]
    return table(heads, lines)
