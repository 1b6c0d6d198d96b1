"""What is written for Sidekiq's pages: nothing that makes one of them an error; tests/fuzz asks the pages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forkworker.wire import failure, pages

pytestmark = pytest.mark.unit

FINE: dict[str, Any] = {
    "class": "a",
    "args": [1],
    "jid": "0f" * 12,
    "created_at": 1.7e9,
    "enqueued_at": 1_700_000_000_000,
    "failed_at": None,
    "tags": ["x", 7],
    "error_backtrace": failure.pack_backtrace(["a.py:1:in f"]),
    "other": {"any": ["thing"]},
}


def test_what_pages_can_show_stays_the_very_same() -> None:
    assert pages.presentable(FINE) is FINE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("created_at", "enqueued_at", "failed_at", "retried_at")
          for value in ("x", "1.7e9", True, [], {}, float("inf"), 1e308, -1e16, 10**400)),
        *(("tags", value) for value in ("x", 7, True, {})),
        *(("error_backtrace", value) for value in ("x", "AAAA", 7, True, {"a": 1})),
    ],
)  # fmt: skip
def test_what_would_make_a_page_an_error_is_left_out(field: str, value: Any) -> None:
    job = {**FINE, field: value}

    assert pages.presentable(job) == {name: kept for name, kept in FINE.items() if name != field}
    assert job[field] is value, "the job itself is left alone"


def test_what_runs_is_shown_as_it_is_or_without_what_no_page_shows_or_not_at_all() -> None:
    spaced = b'{ "class": "a", "args": [] }'
    assert pages.running_form(spaced) == spaced.decode()
    assert json.loads(pages.running_form(b'{"class":"a","args":[],"tags":7}') or "") == {"class": "a", "args": []}
    assert pages.running_form(b'{"class":"a","args":["\\ud800"]}') is None
    assert pages.running_form(b"[]") is None
