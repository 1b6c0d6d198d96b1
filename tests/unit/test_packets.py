"""Messages between processes: whole or not at all, with descriptors, and an end when the peer has gone."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from forkworker.unix import packets
from forkworker.unix.packets import MOST_BYTES, Channel, Packet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = packets.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    fields: dict[str, Any] = {"slot": 3, "text": "é\n\ud800", "nested": {"a": [1.5, None]}}

    assert ours.send("child", **fields) is True

    assert theirs.receive() == Packet("child", fields)


def test_messages_arrive_one_by_one_and_in_order_both_ways(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    for number in range(10):
        ours.send("there", number=number)
        theirs.send("back", number=number)

    assert [theirs.receive() for _ in range(10)] == [Packet("there", {"number": n}) for n in range(10)]
    assert [ours.receive() for _ in range(10)] == [Packet("back", {"number": n}) for n in range(10)]


def test_nothing_there_is_not_the_end(ends: tuple[Channel, Channel]) -> None:
    ours, _ = ends

    with pytest.raises(BlockingIOError):
        ours.receive()
    assert ours.drain() == ([], True)


def test_descriptors_travel_along(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    files = [os.memfd_create(f"file-{n}") for n in range(3)]
    for number, file in enumerate(files):
        os.write(file, f"content {number}".encode())
    ours.send("files", tuple(files))
    for file in files:
        os.close(file)

    packet = theirs.receive()

    assert packet is not None
    assert [os.pread(file, 100, 0) for file in packet.descriptors] == [
        b"content 0",
        b"content 1",
        b"content 2",
    ]
    assert not any(os.get_inheritable(file) for file in packet.descriptors)
    for file in packet.descriptors:
        os.close(file)


def test_when_the_peer_has_gone_what_it_sent_is_read_and_then_the_end(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.send("last")
    theirs.send("words")
    theirs.close()

    assert ours.drain() == ([Packet("last", {}), Packet("words", {})], False)
    assert ours.receive() is None
    assert ours.wait() is None
    assert ours.drain() == ([], False)


def test_a_message_to_a_peer_that_has_gone_is_not_sent(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.close()

    assert ours.send("hello") is False


def test_a_peer_that_has_gone_with_messages_unread_is_at_its_end(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.send("unread")
    theirs.close()

    assert ours.drain() == ([], False)


def test_a_peer_that_reads_nothing_blocks_nobody(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    sent = 0
    while ours.send("look", number=sent):
        sent += 1
        assert sent < 1_000_000

    assert sent > 10
    received, peer_lives = theirs.drain()
    assert ([packet.fields["number"] for packet in received], peer_lives) == (list(range(sent)), True)
    assert ours.send("look", number=sent) is True


@pytest.mark.parametrize("size", [1, 10_000, MOST_BYTES - 100, MOST_BYTES + 1, 3 * MOST_BYTES])
def test_a_message_arrives_whole_or_is_not_sent(ends: tuple[Channel, Channel], size: int) -> None:
    """A reader that gets the beginning of a message cannot read it, and it is the master."""
    ours, theirs = ends

    try:
        sent = ours.send("failed", traceback="x" * size)
    except (OSError, ValueError):
        sent = False

    assert theirs.drain() == ([Packet("failed", {"traceback": "x" * size})] if sent else [], True)
    assert sent or size > MOST_BYTES - 1000


def test_a_child_can_tell_of_a_failure_in_any_script(ends: tuple[Channel, Channel]) -> None:
    """The longest that child.py sends, in characters that JSON spells with twelve."""
    ours, theirs = ends

    ours.send("failed", reason="\U0001f525" * 2000, traceback="\U0001f525" * 20_000)

    assert [packet.kind for packet in theirs.drain()[0]] == ["failed"]


def test_wait_returns_the_next_message(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.send("hello", pid=7)

    assert ours.wait() == Packet("hello", {"pid": 7})


def test_no_program_that_is_started_inherits_an_end(ends: tuple[Channel, Channel]) -> None:
    assert not any(os.get_inheritable(end.fileno()) for end in ends)


def test_a_descriptor_handed_down_is_a_channel() -> None:
    ours, theirs = packets.pair()
    adopted = packets.adopt(os.dup(theirs.fileno()))
    theirs.close()

    ours.send("hello")

    assert adopted.receive() == Packet("hello", {})
    ours.close()
    assert adopted.receive() is None
    adopted.close()


def test_a_message_of_another_version_with_more_fields_is_read() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(theirs)
    ours.send(b'{"kind":"child","version":99,"slot":1,"news":true}')

    assert channel.receive() == Packet("child", {"slot": 1, "news": True})
    ours.close()
    channel.close()


@pytest.mark.parametrize("text", [b"x", b"\xff", b"[]", b"{}", b'{"kind":1,"version":1}', b"[" * 100_000])
def test_what_is_no_message_is_garbled_and_its_descriptors_are_closed(text: bytes) -> None:
    """A job may write to any descriptor of its process, and the master reads it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(theirs)
    before = os.listdir("/proc/self/fd")
    socket.send_fds(ours, [text], [0, 1])
    ours.send(b'{"kind":"look","version":1}')

    assert channel.drain() == ([Packet("garbled", {}), Packet("look", {})], True)
    assert os.listdir("/proc/self/fd") == before
    ours.close()
    channel.close()
