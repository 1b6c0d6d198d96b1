"""What is printed: safe on any terminal, in columns, whatever came from jobs."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from forkworker.cli import listing, output
from forkworker.cli.rates import Rates

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 10 µs", "Größe 10 µs"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        ("\x1b[2J\x07\x9b", "\\x1b[2J\\x07\\x9b"),
        ("a\u202egnp.exe\u2066", "a\\u202egnp.exe\\u2066"),
        ("\ud800\x00\u200b", "\\ud800\\x00\\u200b"),
        ("שלום", "שלום"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_steers_a_terminal_or_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert output.printable(text) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short     "),
        ("just right", 10, "just right"),
        ("a little long", 10, "a littl..."),
        ("日本語", 10, "日本語    "),
        ("日本語の仕事", 10, "日本語..."),
        ("e\u0301" * 4, 10, "e\u0301" * 4 + "      "),
        ("\x1b" * 9, 10, "\\x1b\\x1..."),
        ("", 3, "   "),
    ],
)
def test_a_cell_is_as_wide_as_it_looks(text: str, width: int, shown: str) -> None:
    cell = output.cell(text, width)

    assert cell.rstrip() == shown.rstrip()
    assert output.columns(cell) == width


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "ü日"), ("latin-1", "ü\\u65e5"), ("ascii", "\\xfc\\u65e5")])
def test_a_terminal_that_lacks_a_letter_gets_its_code(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    assert output.printable("ü日") == shown
    assert output.columns(output.cell("ü日" * 20, 30)) == 30


def test_megabytes_are_cut_before_they_are_looked_at() -> None:
    assert output.fit("\u202e" * 10_000_000, 20) == "\\u202e\\u202e\\u202..."


def hostile(**fields: Any) -> dict[str, Any]:
    """Return a job as ``--json`` shows it, with something nasty in all that is text."""
    nasty = "\x1b[31m\u202e<b>日本" + "x" * 3000
    texts = dict.fromkeys(("jid", "name", "queue", "error_class", "error_message", "problem", "payload"), nasty)
    values = {"args": [nasty, {nasty: 1}], "kwargs": {nasty: nasty}, "tags": [nasty, 5], "backtrace": [nasty] * 3}
    times = {"created_at": 1e300, "enqueued_at": None, "due_at": None, "died_at": 5.0, "failed_at": 5.0}
    usual: dict[str, Any] = {"place": "dead", "retry_count": 3, "bytes": 9, **texts, **values, **times}
    return usual | fields


def test_no_job_steers_the_terminal_that_it_is_shown_on() -> None:
    lines = list(listing.details(hostile(), 10.0))

    assert all(line.isprintable() for line in lines)
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    assert max(map(len, lines)) < 6 * listing.MOST_CHARACTERS


def test_json_is_plain_ascii() -> None:
    text = output.as_json(hostile(jid="\x7f\ud800"))

    assert text.replace("\n", "").isprintable()
    assert text.isascii()
    assert json.loads(text)["jid"] == "\x7f\ud800"


class Hands:
    """A clock that is turned by hand."""

    instant = 100.0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.instant


def look(size: int, processed: int, **more: Any) -> dict[str, Any]:
    queues = [{"name": "mail", "size": size}, *more.pop("others", ())]
    return {"reachable": True, "queues": queues, "processed": processed, "failed": 0} | more


def test_rates_are_those_since_the_last_look() -> None:
    clock = Hands()
    rates = Rates(clock)

    first = rates.add(look(10, 100))
    clock.instant += 2
    second = rates.add(look(4, 150, others=[{"name": "new", "size": 3}]))

    assert (first["queues"][0]["change_per_second"], first["processed_per_second"]) == (None, None)
    assert [queue["change_per_second"] for queue in second["queues"]] == [-3.0, None]
    assert (second["processed_per_second"], second["failed_per_second"]) == (25.0, 0.0)


def test_there_are_no_rates_over_a_time_in_which_redis_was_away() -> None:
    rates = Rates(Hands())

    rates.add(look(10, 100))
    away = {"reachable": False, "error": "gone"}
    assert rates.add(away) == away
    assert rates.add(look(10, 100))["processed_per_second"] is None
