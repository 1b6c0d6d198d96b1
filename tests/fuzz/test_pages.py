"""Sidekiq's own Web UI, with what forkworker makes of hostile jobs: every page is there, and nothing on it acts."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ruby
from support.servers import RedisServer

from forkworker.errors import MalformedPayload
from forkworker.runtime import retry
from forkworker.wire import pages, payload
from fuzz.hostile import fuzzed, jobs, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.pages import Page
    from support.ruby import WebUi

pytestmark = pytest.mark.integration

WHO = "host:1:aaaaaaaaaaaa"
INFO: dict[str, Any] = {"hostname": "host", "pid": 1, "tag": "shop", "concurrency": 1, "queues": ["default"]}
INFO |= {"labels": [], "identity": WHO, "started_at": 1.7e9}
NOW = 1_700_000_000.5
#: what pages have by themselves
TAGS = frozenset((
    "a", "body", "br", "button", "code", "div", "footer", "form", "h1", "h2", "h3", "h4", "head", "header", "html",
    "i", "input", "label", "li", "link", "main", "meta", "nav", "p", "pre", "script", "small", "span", "strong",
    "style", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
))  # fmt: skip


@pytest.fixture(scope="module")
def web() -> Iterator[tuple[RedisServer, WebUi]]:
    ruby.require()
    with RedisServer() as server, ruby.WebUi(server.url) as web:
        yield server, web


def plain(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job without markup where Sidekiq's pages print it as it is: docs/coming-from-sidekiq.md."""
    shown = {"class", "args", "queue", "tags", "error_class", "error_message", "error_backtrace", *TIMES}
    kept = {name: value for name, value in job.items() if name in shown}
    return {**kept, "class": "shop.job", "jid": "0f" * 12, "queue": "default"}


TIMES = ("created_at", "enqueued_at", "failed_at", "retried_at", "retry", "retry_count")


def failed(job: dict[str, Any], error: BaseException) -> bytes | None:
    """Return what goes to the retry or the dead set when a job fails; None if Ruby could not read it, as is told."""
    try:
        taken = payload.decode(payload.encode({**plain(job), "retry": True, "retry_for": 1e9}))
        text = retry.decide(taken, error, queue="default", now=NOW).new_payload
    except (MalformedPayload, ValueError, RecursionError):
        return None
    return text if payload.is_common_json(text) else None


def opened(web: WebUi, path: str, own: frozenset[str] = TAGS) -> Page:
    page = web.get(urllib.parse.quote(path, safe="/%"))
    assert page.status == 200, f"{path}\n{web.log[-2000:]}"
    assert "<script>alert" not in page.text
    assert page.tags <= own, "no element of a job's making"
    return page


def hostile_error(words: str) -> BaseException:
    """Return an error whose class and message are of anybody's making."""
    return type("".join(c for c in words if c != "\0" and not "\ud800" <= c <= "\udfff")[:60] or "E", (Exception,), {})(
        words
    )


@fuzzed(0.1)
@given(st.lists(st.tuples(jobs(), texts), min_size=1, max_size=8))
def test_retries_and_the_dead_are_shown_whatever_they_are(
    web: tuple[RedisServer, WebUi], hostile: list[tuple[dict[str, Any], str]]
) -> None:
    server, ui = web
    redis = server.client()
    redis.flushall()
    ended = [text for job, words in hostile if (text := failed(job, hostile_error(words)))]
    for number, text in enumerate(ended):
        redis.zadd("retry", {text: NOW + number})
        redis.zadd("dead", {text: NOW + number})
    for path in ("/retries", "/morgue"):
        page = opened(ui, path)
        for link in {link for link in page.links if link.startswith(f"{path}/1700000000")}:
            opened(ui, link)
    opened(ui, "/")


@fuzzed(0.1)
@given(st.lists(jobs(), min_size=1, max_size=8), texts)
def test_what_runs_is_shown_whatever_it_is(
    web: tuple[RedisServer, WebUi], hostile: list[dict[str, Any]], tag: str
) -> None:
    server, ui = web
    redis = server.client()
    redis.flushall()
    redis.sadd("processes", WHO)
    told = {"info": json.dumps(INFO | {"tag": tag.encode("utf-8", "replace").decode().replace("<", "")}), "busy": 1,
            "beat": repr(time.time()), "quiet": "false", "rss": 1, "rtt_us": 1}  # fmt: skip
    redis.hset(WHO, mapping=told)
    for number, job in enumerate(hostile):
        form = pages.running_form(json.dumps(plain(job)).encode())
        if form is not None:
            work = json.dumps({"queue": "default", "payload": form, "run_at": 1_700_000_000})
            redis.hset(f"{WHO}:work", f"thread{number}", work)
            redis.hset(f"{WHO}:workers", f"thread{number}", work)
    opened(ui, "/busy", TAGS | {"b"})
