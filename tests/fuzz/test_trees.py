"""A whole tree under fire: payloads, what the Web UI leaves, messages at its sockets."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.daemon import Daemon, Options
from support.knocking import ask, read
from support.servers import RedisServer
from support.snapshot import is_calm

from forkworker import logs
from forkworker.errors import MalformedPayload
from forkworker.unix import control
from forkworker.wire import payload
from fuzz.hostile import encoded, fuzzed, json_values, payloads, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redispy

pytestmark = pytest.mark.integration

LINE = re.compile(r"20\d\d-\d\d-\d\dT[\d:.]{12}Z (INFO|WARNING|ERROR) (master|keeper|forkserver|child=\d) pid=\d+ .+")
#: no retry is due while the test looks
FAR = 1e12


class Target:
    """A tree, its Redis, and where it was; asked after each attack whether it is all still there."""

    def __init__(self, tree: Daemon, redis: redispy.Redis) -> None:
        self.tree = tree
        self.redis = redis
        self.health = f"unix:{tree.directory}/health.sock"
        self.heard = tree.directory / "heard"
        self.pids = tree.pids()
        self._read = 0

    def settle(self) -> None:
        """Wait until nothing waits and nothing runs."""
        self.tree.wait_until(lambda: is_calm(self.redis, "queue:default"), 60, "all has ended")

    def assert_unharmed(self) -> None:
        """The same processes are there, each line of the log is one, and no payload became code."""
        assert self.tree.pids() == self.pids, self.tree.describe()
        with self.tree.log_path.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        whole, _, _ = new.rpartition(b"\n")
        self._read += len(whole) + bool(whole)
        for line in whole.decode().split("\n") if whole else ():
            assert logs.clean(line) == line
            assert LINE.fullmatch(line), line[:300]
            assert len(line.encode()) <= 4096 or "Traceback" in line
        assert not self.heard.exists(), self.heard.read_text()

    def status(self) -> Any:
        return control.status_of(str(self.tree.socket), 10)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with RedisServer() as server:
        options = Options(
            app="fuzz.app",
            children=2,
            concurrency=4,
            lease=5,
            arguments=["--health", "unix:health.sock"],
        )
        tree = Daemon(server.url, server.client(), options)
        options.environment["FORKWORKER_FUZZ_HEARD"] = str(tree.directory / "heard")  # type: ignore[index]
        tree.start()
        try:
            tree.wait_ready()
            target = Target(tree, server.client())
            target.redis.lpush("queue:default", b'{"class":"fail_so","args":["warm"]}')
            target.settle()
            yield target
            tree.stop()
        finally:
            tree.clear()
            tree.remove()


# Payloads


@fuzzed(0.05)
@given(st.lists(payloads(), min_size=1, max_size=40), st.sampled_from(("queue:default", "schedule", "retry")))
def test_every_payload_is_done_dropped_to_be_retried_or_dead(target: Target, batch: list[bytes], place: str) -> None:
    redis = target.redis
    redis.delete("retry", "dead", "schedule", "stat:processed", "stat:failed")
    if place == "queue:default":
        redis.lpush(place, *batch)
    else:
        batch = list(dict.fromkeys(batch))  # a set holds equal ones once
        redis.zadd(place, {text: number for number, text in enumerate(batch)})
        target.tree.wait_until(lambda: not redis.zcount(place, "-inf", 1e9), 30, "the due have been moved")
    target.settle()
    for key in redis.smembers("queues") - {b"default"}:  # where a payload wanted to go when it was due
        for text in redis.lrange(b"queue:" + key, 0, -1):
            redis.lpush("queue:default", text)
        redis.delete(b"queue:" + key)
    redis.delete("queues")
    target.settle()

    no_jobs = [text for text in batch if not is_job(text)]
    dead = set(redis.zrange("dead", 0, -1))
    assert set(no_jobs) <= dead, "as they were"
    processed, failed = (int(redis.get(f"stat:{name}") or 0) for name in ("processed", "failed"))
    assert processed == len(batch) - len(no_jobs)
    kept = redis.zcard("retry") + len(dead) - len(set(no_jobs))
    assert kept <= failed <= processed, (
        "each has one end; those that are alike, or dropped, are kept once or not at all"
    )
    for member in redis.zrange("retry", 0, -1) + list(dead - set(no_jobs)):
        assert isinstance(payload.decode(member)["error_message"], str)
    target.assert_unharmed()


def is_job(text: bytes) -> bool:
    try:
        payload.decode(text)
    except MalformedPayload:
        return False
    return True


# What the Web UI leaves


@fuzzed(0.02)
@given(st.lists(texts.map(lambda text: text.encode("utf-8", "replace")), min_size=1, max_size=200))
def test_what_is_no_signal_is_none(target: Target, names: list[bytes]) -> None:
    identities = list(target.tree.registered().values())
    for identity in identities:
        target.redis.lpush(f"{identity}-signals", *names)
    target.tree.wait_until(lambda: not target.redis.keys("*-signals"), 10, "taken with the next beat")
    target.assert_unharmed()


# The control socket

requests = st.one_of(
    st.binary(max_size=200),
    json_values.map(encoded),
    st.fixed_dictionaries(
        {"command": st.one_of(st.sampled_from(("status", "resume", "stacks?", "")), json_values)},
        optional={"child": json_values, "wait": json_values, "version": json_values},
    ).map(encoded),
    st.sampled_from(
        (b"[" * 60_000, b"x" * 70_000, b'{"command":"' + b"s" * 60_000 + b'"}', b"\xff\xfe{\0", b"9" * 60_000)
    ),
)


@fuzzed(0.5)
@given(st.lists(requests, min_size=1, max_size=5), st.booleans())
def test_a_request_is_answered_or_refused(target: Target, lines: list[bytes], ends: bool) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(10)
        end.connect(str(target.tree.socket))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for line in lines:
                line = line.replace(b"\n", b" ")  # noqa: PLW2901 - one request is one line
                end.sendall(line + b"\n")
                answer = _line(end)
                assert answer is None or json.loads(answer)["ok"] in (True, False)
                if answer is None:
                    assert len(line) > 60_000
                    break
            if ends:
                end.sendall(lines[0][:50])
    assert target.status()["state"] == "running"


def _line(end: socket.socket) -> bytes | None:
    received = b""
    while not received.endswith(b"\n"):
        part = end.recv(65536)
        if not part:
            return None
        received += part
    return received


# The health address

words = st.one_of(texts.map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=100))
questions = st.one_of(
    words,
    st.builds(
        lambda method, path, version, rest: b" ".join((method, path, version)) + b"\r\n" + rest,
        st.one_of(st.sampled_from((b"GET", b"HEAD", b"POST", b"get", b"")), words),
        st.one_of(
            st.sampled_from((b"/live", b"/ready", b"/metrics?x=1", b"//live", b"/../live", b"http://x/live")), words
        ),
        st.one_of(st.sampled_from((b"HTTP/1.1", b"HTTP/9", b"")), words),
        st.one_of(st.just(b"\r\n"), words, st.just(b"X: " + b"y" * 20_000 + b"\r\n\r\n")),
    ),
)


@fuzzed(0.5)
@given(questions)
def test_a_question_at_the_door_is_answered_in_http_or_not_at_all(target: Target, question: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(10)
        end.connect(target.health[5:])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            end.sendall(question + b"\r\n\r\n")
            answer = read(end)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert re.match(rb"HTTP/1\.1 (200|400|404|405|503) [A-Za-z ]+\r\n", head)
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            assert len(body) == (0 if question.startswith(b"HEAD ") else length)
            assert head.count(b"\r\n") == 4, "nothing of the question is among the headers"
    assert ask(target.health, "/live") == (200, "ok\n")


def test_nothing_of_all_this_has_changed_the_tree(target: Target) -> None:
    assert target.redis.ping()
    target.assert_unharmed()
    assert not list(Path(target.tree.directory).rglob("pwned*"))
