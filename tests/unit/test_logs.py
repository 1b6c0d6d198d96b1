"""Log lines: one for each record, whatever is in it, and always with its speaker."""

from __future__ import annotations

import json
import logging
import os
import re
import select
from typing import TYPE_CHECKING, Any

import pytest

from forkworker import logs
from forkworker.logs import JsonFormatter, TextFormatter, clean
from forkworker.runtime.hand import Unit
from forkworker.runtime.joblog import JobLog
from forkworker.runtime.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit


class Lines:
    """What was written to standard error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[str]:
        text = self._path.read_text("utf-8")
        assert text == "" or text.endswith("\n")
        return text.split("\n")[:-1]


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("forkworker")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    path = tmp_path / "log"
    with path.open("w") as file:
        monkeypatch.setattr(logs, "_STDERR", file.fileno())
        yield Lines(path)


def record(
    message: str, *args: Any, level: int = logging.INFO, error: BaseException | None = None
) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("forkworker.x", level, __file__, 1, message, args, exc_info)
    made.created, made.msecs = 1_764_000_000.0625, 62.5
    return made


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - whatever the test wants
        return caught


# Control characters


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 \U0001f525", "plain é 漢 \U0001f525"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x00\x07\x1b[31m\x7f", "\\x00\\x07\\x1b[31m\\x7f"),
        ("\x80\x85\x9b\x9f\xa0", "\\x80\\x85\\x9b\\x9f\xa0"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u202e\u202a\u2066\u2069\u200e\u061c", "\\u202e\\u202a\\u2066\\u2069\\u200e\\u061c"),
        ("", ""),
    ],
    ids=["plain", "white space", "C0 and DEL", "C1", "separators", "direction", "empty"],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_no_cleaned_text_has_a_second_line_or_a_control_character() -> None:
    everything = "".join(map(chr, range(0x3000)))

    cleaned = clean(everything)

    assert len(cleaned.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", cleaned)


# Text


def test_a_text_line_is_time_level_speaker_pid_and_message() -> None:
    line = TextFormatter("child=2").format(record("jid=%s done", "0f", level=logging.WARNING))

    assert line == f"2025-11-24T16:00:00.062Z WARNING child=2 pid={os.getpid()} jid=0f done"


def test_a_message_cannot_forge_a_line() -> None:
    line = TextFormatter("keeper").format(record("%s", "x\n2025-11-24T16:00:00.000Z ERROR master pid=1 forged\x1b[2J"))

    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_a_traceback_is_folded_into_its_line() -> None:
    line = TextFormatter("keeper").format(record("it failed", error=raised(ValueError("boom\nx"))))

    assert len(line.splitlines()) == 1
    assert "it failed | Traceback (most recent call last):\\n" in line
    assert line.endswith("ValueError: boom\\nx")


# JSON


def test_a_json_line_has_the_same_as_fields() -> None:
    line = JsonFormatter("child=2").format(record("jid=%s\n", "0f"))

    assert len(line.splitlines()) == 1
    assert json.loads(line) == {
        "time": "2025-11-24T16:00:00.062Z",
        "level": "INFO",
        "speaker": "child=2",
        "pid": os.getpid(),
        "message": "jid=0f\n",
    }


def test_a_json_line_has_no_character_that_does_anything() -> None:
    line = JsonFormatter("child=2").format(record("".join(map(chr, range(0x2100)))))

    assert line.isascii()
    assert line.isprintable()


def test_a_json_line_has_traceback_and_fields() -> None:
    one = record("failed", error=raised(ValueError("boom")))
    one.fields = {"jid": "0f", "seconds": 1.5}

    line = JsonFormatter("child=2").format(one)

    told = json.loads(line)
    assert len(line.splitlines()) == 1
    assert (told["jid"], told["seconds"]) == ("0f", 1.5)
    assert told["traceback"].splitlines()[-1] == "ValueError: boom"


# Writing


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "message",
    ["", "plain", "a\nb", "\x1b[31m", "lone \ud800", "\u2028", "x" * 100_000],
    ids=lambda m: repr(m[:9]),
)
def test_one_record_is_one_line(lines: Lines, form: str, message: str) -> None:
    logs.configure("info", form, "child=2")

    logging.getLogger("forkworker.x").info("%s", message)
    logging.getLogger("forkworker.x").info("next")

    first, second = lines.read()
    assert "child=2" in first
    assert "next" in second


def test_each_line_is_one_system_call(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    writes: list[bytes] = []
    logs.configure("info", "text", "master")

    def write(_descriptor: int, data: bytes) -> int:
        writes.append(data)
        return len(data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        logging.getLogger("forkworker").info("one\ntwo")

    assert len(writes) == 1
    assert writes[0].endswith(b"one\\ntwo\n")
    assert lines.read() == []


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_lines_below_the_level_are_left_out(lines: Lines, level: str, shown: int) -> None:
    logs.configure(level, "text", "master")
    logger = logging.getLogger("forkworker.x")

    logger.debug("1")
    logger.info("2")
    logger.warning("3")
    logger.error("4")

    assert len(lines.read()) == shown


def test_configured_again_the_speaker_is_the_new_one(lines: Lines) -> None:
    logs.configure("info", "text", "forkserver")
    logs.configure("info", "text", "child=2")

    logging.getLogger("forkworker").info("x")

    (line,) = lines.read()
    assert "child=2" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_that_cannot_be_made_harms_nobody(lines: Lines, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Python's own handlers: a wrong format in an app's log call is not the job's failure."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logs.configure("info", form, "child=2")
    logger = logging.getLogger("forkworker.x")

    logger.info("%d jobs", "many")
    logger.info("fine", extra={"fields": {"odd": object()}})
    logger.info("next")

    assert "next" in lines.read()[-1]


def test_a_closed_standard_error_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        monkeypatch.setattr(logs, "_STDERR", broken.fileno())
        logs.configure("info", "text", "child=2")
        logging.getLogger("forkworker").info("x")


# The app's own lines


def test_the_apps_own_lines_come_out_like_ours(lines: Lines) -> None:
    logging.getLogger().handlers[:] = []
    logs.configure("warning", "text", "child=2")

    logs.adopt_root("warning")
    logging.getLogger("shop").warning("sold\nout")
    logging.getLogger("shop").info("left out")
    logging.getLogger("forkworker").warning("ours")

    sold, ours = lines.read()
    assert sold.endswith(f"WARNING child=2 pid={os.getpid()} sold\\nout")
    assert ours.endswith("ours")


def test_an_app_that_has_arranged_for_its_lines_is_left_alone(lines: Lines) -> None:
    own = logging.NullHandler()
    logging.getLogger().handlers[:] = [own]
    logs.configure("info", "text", "child=2")

    logs.adopt_root("info")

    assert logging.getLogger().handlers == [own]
    logging.getLogger("shop").warning("x")
    assert lines.read() == []


# Job lines


def outcome(kind: Any, error: str = "") -> Outcome:
    unit = Unit(payload=b"{}", queue="low", working="w", entry=0, permit=0, taken_at=0.0)
    return Outcome(unit, kind, "shop.jobs.work", "0f" * 12, 1.2345678, error)


@pytest.mark.parametrize(
    ("kind", "level", "words"),
    [
        ("done", "INFO", "done"),
        ("retry", "WARNING", "will be retried, failed"),
        ("failed", "WARNING", "dropped, failed"),
        ("bury", "WARNING", "now in the dead set, failed"),
        ("reject", "WARNING", "now in the dead set, no job"),
    ],
)
def test_each_finished_job_is_one_line(lines: Lines, kind: str, level: str, words: str) -> None:
    logs.configure("info", "text", "child=2")
    error = "" if kind == "done" else "ValueError: boom\nx"

    JobLog().report([outcome(kind, error)])

    (line,) = lines.read()
    tail = "" if kind == "done" else ": ValueError: boom\\nx"
    who = f"{level} child=2 pid={os.getpid()}"
    assert line.partition(" ")[2] == f"{who} jid={'0f' * 12} shop.jobs.work queue=low {words} in 1.235 s{tail}"


def test_what_goes_back_to_its_queue_has_not_finished(lines: Lines) -> None:
    logs.configure("debug", "text", "child=2")

    JobLog().report([outcome("back")])

    assert lines.read() == []


def test_done_jobs_are_not_told_above_info_failed_ones_are(lines: Lines) -> None:
    logs.configure("warning", "text", "child=2")

    JobLog().report([outcome("done"), outcome("retry", "E: x"), outcome("done")])

    (line,) = lines.read()
    assert "will be retried" in line


def test_a_job_line_as_json_has_its_fields_and_a_bounded_error(lines: Lines) -> None:
    logs.configure("info", "json", "child=2")

    JobLog().report([outcome("retry", "E: " + "x" * 5000)])

    (line,) = lines.read()
    told = json.loads(line)
    assert {key: told[key] for key in ("jid", "name", "queue", "outcome", "seconds")} == {
        "jid": "0f" * 12,
        "name": "shop.jobs.work",
        "queue": "low",
        "outcome": "retry",
        "seconds": 1.234568,
    }
    assert told["error"] == ("E: " + "x" * 5000)[:1000]
    assert len(line) < 4000


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("letter", ["x", '"', "\x1b", "\u202e", "\x7f", "ä", "\U0001f525", "\ud800"], ids=ascii)
def test_a_job_line_fits_into_a_pipe_whatever_it_is_made_of(lines: Lines, form: str, letter: str) -> None:
    """A longer one could be mixed with those of other processes."""
    logs.configure("info", form, "child=2")
    told = outcome("retry", letter * 20_000)._replace(jid=letter * 20_000, name=letter * 20_000)

    JobLog().report([told])

    (line,) = lines.read()
    assert 300 < len(line.encode()) <= select.PIPE_BUF - 1
    assert clean(line) == line


def test_a_traceback_of_another_process_is_lines_or_one_object(lines: Lines) -> None:
    trace = 'Traceback:\n\tFile "x"\nValueError: \x1b[2J\u2028\x85\n'
    logs.configure("info", "text", "master")
    logs.tell_traceback(trace)
    logs.configure("info", "json", "master")
    logs.tell_traceback(trace)

    *plain, told = lines.read()
    assert plain == ["Traceback:", '    File "x"', "ValueError: \\x1b[2J\\u2028\\x85"]
    assert json.loads(told)["traceback"] == trace


def test_a_line_that_is_written_in_pieces_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    logs.configure("info", "text", "child=2")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda _descriptor, data: written.append(data[:7]) or len(data[:7]))
        logging.getLogger("forkworker").info("0123456789" * 10)

    assert b"".join(written).endswith(b"0123456789\n")


def outcomes(count: int) -> list[Outcome]:
    return [outcome("done")] * count


def writes_of(monkeypatch: pytest.MonkeyPatch, target: int, count: int) -> list[bytes]:
    """Report so many jobs to a log at this descriptor; return what each system call wrote."""
    writes: list[bytes] = []
    monkeypatch.setattr(logs, "_STDERR", target)
    logs.configure("info", "text", "child=2")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda _descriptor, data: writes.append(data) or len(data))
        JobLog().report(outcomes(count))
    return writes


def test_a_file_takes_many_job_lines_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        writes = writes_of(monkeypatch, file.fileno(), 250)

    assert len(writes) == 1
    assert writes[0].count(b"\n") == 250


def test_a_pipe_takes_whole_lines_only_so_that_processes_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    try:
        writes = writes_of(monkeypatch, writer, 250)
    finally:
        os.close(reader)
        os.close(writer)

    assert all(len(text) <= select.PIPE_BUF and text.endswith(b"\n") for text in writes)
    assert sum(text.count(b"\n") for text in writes) == 250
    assert len(writes) < 10
