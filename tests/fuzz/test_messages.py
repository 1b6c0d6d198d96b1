"""Packets between our processes, and answers on a control socket: what is none is nobody's order."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkworker.cli import status
from forkworker.cli.output import printable
from forkworker.unix import control, packets
from forkworker.unix.control import ControlError
from forkworker.unix.packets import GARBLED, MOST_BYTES, Channel
from fuzz.hostile import encoded, fuzzed, json_values, texts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

messages = st.one_of(
    st.binary(min_size=1),
    json_values.map(encoded),
    st.dictionaries(st.one_of(st.sampled_from(("version", "kind", "pid")), texts), json_values).map(encoded),
    st.sampled_from((b"[" * 100_000, b"{" * 1000, b"9" * 100_000, b"\xff\xfe{}", b'{"kind":"x"}', b'{"version":1}')),
    st.just(b"x" * (MOST_BYTES + 10)),
)


@fuzzed()
@given(st.lists(messages, max_size=3), st.integers(0, 3))
def test_whatever_is_written_to_a_channel_is_read_as_a_message_or_as_none(texts: list[bytes], files: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST_BYTES)
    channel = Channel(theirs)
    before = len(os.listdir("/proc/self/fd"))
    for text in texts:
        socket.send_fds(ours, [text[: 2 * MOST_BYTES]], [0] * files)
        packet = channel.receive()
        assert packet is not None
        assert isinstance(packet.kind, str)
        assert packet.kind != GARBLED or packet.descriptors == ()
        for descriptor in packet.descriptors:
            os.close(descriptor)
    assert channel.drain() == ([], True)
    assert len(os.listdir("/proc/self/fd")) == before
    assert packets.MOST_BYTES == MOST_BYTES
    ours.close()
    assert channel.drain() == ([], False)
    channel.close()


@fuzzed()
@given(st.text(), st.dictionaries(st.text(st.characters()).map(lambda key: f"f{key}"), json_values, max_size=4))
def test_whatever_is_sent_arrives_as_it_was(kind: str, fields: dict[str, Any]) -> None:
    ours, theirs = packets.pair()
    if ours.send(kind, **fields):
        packet = theirs.receive()
        assert packet is not None
        assert (packet.kind, packet.fields) == (kind, fields)
    ours.close()
    theirs.close()


# Who asks a master that is none


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("s")
    return str(folder / "c.sock")


class Liar:
    """Answers one question with given bytes."""

    def __init__(self, path: str, answer: bytes) -> None:
        self._listener = control.listen(path, None)
        self._listener.setblocking(True)
        self._answer = answer
        self._path = path
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()
        os.unlink(self._path)

    def _serve(self) -> None:
        end, _ = self._listener.accept()
        with end:
            end.recv(4096)
            end.sendall(self._answer)


TOLD = ("pid", "tag", "state", "version", "started_at", "hostname", "queues", "note", "children")
answers = st.one_of(
    st.binary(max_size=300),
    json_values.map(encoded),
    st.fixed_dictionaries(
        {"ok": st.one_of(st.just(True), json_values)},
        optional={
            "error": json_values,
            "status": st.one_of(
                json_values,
                st.dictionaries(
                    st.sampled_from(TOLD),
                    json_values,
                ),
                st.lists(st.dictionaries(st.sampled_from(("slot", "threads", "busy")), json_values), max_size=2).map(
                    lambda children: {"pid": 1, "children": children}
                ),
            ),
        },
    ).map(encoded),
    st.sampled_from((b"[" * 60_000, b'{"ok":true,"status":' + b"[" * 5000 + b"]" * 5000 + b"}")),
)


@fuzzed(0.5)
@given(answers.map(lambda text: text.replace(b"\n", b" ")))
def test_an_answer_is_a_status_or_an_error_in_words(path: str, answer: bytes) -> None:
    with Liar(path, answer + b"\n"):
        try:
            lines = [*status._master(control.status_of(path, 10), 3)]
        except ControlError as error:
            lines = [str(error)]
    assert lines
    for line in lines:
        assert printable(line).isprintable()
