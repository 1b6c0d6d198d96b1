"""Any bytes in a queue are a job that runs, a job that fails, or no job; nothing else comes of them.

In the process of the test, with all that touches a payload but Redis: decoding, the run, what becomes of it, log
lines, what other processes read from the board, and what the shell shows of it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.test_executor import NOW, World

from forkworker import logs
from forkworker.cli import listing, output
from forkworker.errors import MalformedPayload
from forkworker.inspect.entry import Entry
from forkworker.inspect.filter import Filter
from forkworker.inspect.places import _promotion, buried_form
from forkworker.keeper.poller import Poller
from forkworker.runtime import retry
from forkworker.runtime.joblog import TELLER
from forkworker.runtime.outcome import Outcome
from forkworker.store.overview import _latency
from forkworker.unix import board
from forkworker.unix.board import Board, State
from forkworker.wire import failure, payload
from fuzz.hostile import fuzzed, jobs, payloads, texts
from fuzz.watch import watched

pytestmark = pytest.mark.unit

#: what a pipe takes as a whole
PIPE = 4096


def quiet(*_: Any, **__: Any) -> None: ...


def strict(one: Any, two: Any = 2, *, three: Any = 3) -> None:
    del one, two, three


def keyword(*, key: Any) -> None:
    del key


def fail(*args: Any, **_: Any) -> None:
    raise ValueError(*args)


def wait(count: int, error: BaseException) -> Any:
    """Be a retry_in that trusts what it gets."""
    return len(error.args[0]) + count


@pytest.fixture(scope="module")
def here() -> World:
    """An executor, warm: what it imports when it is first used is no doing of a payload's."""
    made = World()
    for function in (quiet, strict, keyword, fail):
        made.register(function, function.__name__)
    made.register(fail, "fail_so", backtrace=True, retry_in=wait)
    made.run_bytes(b'{"class":"fail_so","args":["x"]}')
    made.run_bytes(b"[]")
    return made


@fuzzed()
@given(payloads())
@example(b'{"class":"fail","args":["' + b"x" * 20_000_000 + b'"]}')
@example(b'{"class":"' + b"n" * 10_000_000 + b'","args":[]}')
@example(b'{"class":"quiet","args":' + b"[" * 10_000_000)
def test_a_payload_ends_as_one_of_the_few_ends_there_are(here: World, text: bytes) -> None:
    with watched() as heard:
        ended = here.run_bytes(text)
    assert heard == []
    assert isinstance(ended, Outcome)
    assert ended.kind in ("done", "retry", "bury", "failed", "reject")
    if ended.kind in ("retry", "bury"):
        told = payload.decode(ended.new_payload)
        assert isinstance(told["error_message"], str)
        assert isinstance(told["failed_at"], int | float)
        assert 0 <= ended.score <= NOW + 101 * 366 * 86_400
    elif ended.kind == "reject":
        with pytest.raises(MalformedPayload):
            payload.decode(text)
    assert_lines_are_whole(ended)


def assert_lines_are_whole(outcome: Outcome) -> None:
    """Each log line of a job is one line, of characters that do nothing, and fits into a pipe."""
    for form in (logs.TextFormatter("child=0"), logs.JsonFormatter("child=0")):
        (line,) = form.lines("now", "INFO", [outcome], TELLER)
        assert_harmless(line.removesuffix("\n"))
        assert len(line.encode("utf-8", "replace")) <= PIPE
    assert json.loads(line)["outcome"] == outcome.kind


def assert_harmless(line: str) -> None:
    """Check that a terminal or a reader of logs sees one line, and nothing that steers it."""
    assert logs.clean(line) == line
    assert len(line.splitlines()) <= 1


# What others see of it


@fuzzed()
@given(payloads())
def test_what_shows_on_the_board_is_read_by_all(text: bytes) -> None:
    descriptor = board.create(threads=1, waits=1, entries=2)
    shown = Board(descriptor)
    try:
        shown.put(0, 0, text)
        shown.start(0, 0, NOW)
        (record,) = shown.records(State.STARTED)
        name, jid = payload.name_and_jid(record.head)
        assert isinstance(name, str)
        assert isinstance(jid, str)
        assert record.key == board.key(text)
        if payload.is_common_json(text):
            json.dumps({"payload": text.decode()})
    finally:
        shown.close()
        os.close(descriptor)


@fuzzed()
@given(payloads(), st.sampled_from(("queue:default", "schedule", "retry", "dead")), st.floats())
def test_the_shell_shows_any_entry_in_lines_that_do_nothing(text: bytes, place: str, score: float) -> None:
    entry = Entry(place, text, None if place == "queue:default" else score, 3)
    shown = entry.to_dict() | {"payload": entry.payload.decode("utf-8", "replace"), "running": None}
    lines = [listing.line(entry, NOW), *listing.details(shown, NOW), repr(entry)]
    page = {"place": place, "size": 1, "start": 0, "more": False}
    lines += [*listing.table(page, lines[:1])]
    for line in lines:
        assert_harmless(line.replace("\x1b[1m", "").replace("\x1b[0m", ""))
    assert output.columns(lines[0]) <= 80
    told = output.as_json(page | {"jobs": [entry.to_dict()]})
    assert told.isascii()
    assert told.replace("\n", "").isprintable()
    json.loads(told, parse_constant=_no_json)
    for which in (Filter(name="*"), Filter(error="x", queue="d*"), Filter(jid="0"), Filter(since=0.0, before=NOW)):
        which.matches(entry)
    assert _latency(text) >= 0


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@fuzzed()
@given(payloads(), st.sampled_from(("queue:default", "schedule", "retry", "dead")))
def test_what_operators_and_keepers_move_is_a_job_again_or_stays_as_it_is(text: bytes, place: str) -> None:
    entry = Entry(place, text, None if place == "queue:default" else 1.0)
    poller = Poller(None, None)  # type: ignore[arg-type]
    for promotion in (_promotion(entry, NOW), poller._promotion(text, NOW, keep=False)):
        if promotion and promotion.queue:
            assert isinstance(payload.decode(promotion.new_payload)["queue"], str)
            assert promotion.payload == text
    assert isinstance(buried_form(entry, NOW), bytes)


# Parts of it


@fuzzed()
@given(jobs(), texts, st.integers(0, 30))
def test_every_verdict_on_a_job_can_be_written_and_read(job: dict[str, Any], words: str, count: int) -> None:
    try:
        job = payload.decode(payload.encode(job))
    except (MalformedPayload, ValueError, RecursionError):
        return
    error = ValueError(words)
    verdict = retry.decide(job | {"retry_count": count}, error, queue="default", now=NOW)
    assert verdict.kind in ("retry", "bury", "failed")
    if verdict.new_payload:
        told = payload.decode(verdict.new_payload)
        assert told["error_message"] == failure.describe_error(error)[1]
        assert told["error_class"] == "ValueError"


@fuzzed()
@given(st.one_of(st.binary(), st.lists(texts).map(failure.pack_backtrace), texts))
def test_a_backtrace_of_anybody_is_lines_or_none(packed: bytes | str) -> None:
    assert all(isinstance(line, str) for line in failure.unpack_backtrace(packed))


@fuzzed()
@given(jobs())
def test_what_is_encoded_is_decoded_to_the_same(job: dict[str, Any]) -> None:
    try:
        text = payload.encode(job)
        again = payload.decode(text)
    except (MalformedPayload, ValueError, RecursionError):
        return
    kwargs = again.pop("kwargs", None), job.pop("kwargs", None)
    assert kwargs[0] == kwargs[1] or isinstance(kwargs[1], str)
    assert again == json.loads(json.dumps(job))
