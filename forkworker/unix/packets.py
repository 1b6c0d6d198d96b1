"""Messages between the processes of one tree: JSON objects over a SOCK_SEQPACKET pair, with descriptors.

One message is one packet, so there is nothing to frame, and a send is all or nothing.  The version
lets a tree hold processes of two versions of forkworker.  End-of-file means that the peer has gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from dataclasses import dataclass
from typing import Any

VERSION = 1
MOST_BYTES = 128 * 1024
#: of what is no message; nobody obeys it
GARBLED = "garbled"
_MOST_DESCRIPTORS = 8


@dataclass(frozen=True, slots=True)
class Packet:
    """A message: what it is, its fields, and the descriptors that came with it."""

    kind: str
    fields: dict[str, Any]
    descriptors: tuple[int, ...] = ()


def _read(data: bytes) -> dict[str, Any] | None:
    """Return the fields of a message; None if it is none: a job may write to any descriptor of its process."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str) or not fields.pop("version", None):
        return None
    return fields


class Channel:
    """One end of a pair."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor, for poll and for handing it down."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end: the peer reads end-of-file."""
        self._socket.close()

    def send(self, kind: str, descriptors: tuple[int, ...] = (), **fields: Any) -> bool:
        """Send a message; False if the peer has gone, has left so many unread that it must be stuck, or at too much."""
        data = json.dumps({"version": VERSION, "kind": kind, **fields}, ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
        if len(data) > MOST_BYTES:
            return False
        try:
            socket.send_fds(self._socket, [data], list(descriptors))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> Packet | None:
        """Return the next message; raises BlockingIOError if there is none now, returns None at end-of-file."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, MOST_BYTES, _MOST_DESCRIPTORS)
        except ConnectionResetError:
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if not data:
            return None
        fields = _read(data)
        if fields is None:
            for descriptor in descriptors:
                os.close(descriptor)
            return Packet(GARBLED, {})
        return Packet(fields.pop("kind"), fields, tuple(descriptors))

    def wait(self) -> Packet | None:
        """Return the next message, however long it takes; None at end-of-file."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll()
        return self.receive()

    def drain(self) -> tuple[list[Packet], bool]:
        """Return all messages that are there, and whether the peer is still there."""
        packets: list[Packet] = []
        with contextlib.suppress(BlockingIOError):
            while packet := self.receive():
                packets.append(packet)
            return packets, False
        return packets, True


def pair() -> tuple[Channel, Channel]:
    """Return two connected ends; neither is inherited by programs that are started."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
    return Channel(ours), Channel(theirs)


def adopt(descriptor: int) -> Channel:
    """Return the channel of a descriptor that was handed down."""
    return Channel(socket.socket(fileno=descriptor))
