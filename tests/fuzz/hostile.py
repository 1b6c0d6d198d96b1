"""What somebody writes who wants to break us: texts, JSON, payloads, as strategies of hypothesis."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    Test = Callable[..., Any]

#: examples of each test; the suite's short part repeats the same ones
EXAMPLES = int(os.environ.get("FORKWORKER_FUZZ", "100"))
IS_SHORT = "FORKWORKER_FUZZ" not in os.environ


def fuzzed(share: float = 1.0) -> Callable[[Test], Test]:
    """Return a decorator: so many examples, a share of the number asked for, of any size and as slow as they are."""
    every_check = list(HealthCheck)
    ours = settings(
        max_examples=max(5, round(EXAMPLES * share)),
        deadline=None,
        derandomize=IS_SHORT,
        suppress_health_check=every_check,
        print_blob=True,
    )
    quietly = pytest.mark.filterwarnings("ignore:Generating overly large repr")
    return lambda test: quietly(ours(test))


# Texts

#: each would do harm where it is taken for more than a text
TEXTS = (
    "",
    " ",
    "\0",
    "\n2026-01-01T00:00:00.000Z ERROR master pid=1 forged",
    "\r\x1b[2K\x1b[1Aforged",
    "\x1b]0;title\x07\x1b[31m\x1b[2J\x1b[?1049h",
    "\x9b31m\x9d0;title\x9c\x85",
    "\u2028\u2029\x0b\x0c\x1c\x1d\x1e",
    "\u202egpj.exe\u2066\u2069\u200f\u061c",
    "\x7f\x08\x08\x08",
    "\ud800",
    "\udfff\ud800",
    "\ufeff\ufffe\U000e0041",
    "<script>alert('&')</script>",
    "\"><img src=x onerror=alert(1)>'",
    "<locals>.<b>",
    "{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "%s%n%(name)s{0.__class__}",
    "__import__('os').system('touch pwned')",
    "os.system",
    "builtins.eval",
    "forkworker.cli.main:main",
    "../../../../etc/passwd",
    "file:///etc/passwd",
    "$(touch pwned)`touch pwned`;touch pwned",
    "csubprocess\ncall\n(S'touch pwned'\ntR.",
    "!!python/object/apply:os.system ['touch pwned']",
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "') redis.call('FLUSHALL') --",
    "j|p|f|ms",
    "queue:default",
    "working:h:1:aaaaaaaaaaaa:default",
    "true",
    "null",
    "1e999",
    "٣",  # a digit, to Python
    "a" * 300,
    "ä" * 3000,
    "\x1b" * 2000,
    "\U0001f525" * 2000,
)
texts = st.one_of(
    st.sampled_from(TEXTS),
    st.text(),
    st.text(st.characters()),
    st.lists(st.sampled_from(TEXTS), max_size=4).map("".join),
)
names = st.one_of(st.sampled_from(("quiet", "fail", "fail_so", "strict", "keyword", "quiet", "fail")), texts)

# JSON

numbers = st.one_of(
    st.sampled_from((0, -1, 1, 25, 2**31, -(2**63), 2**64, 10**25, 10**400, 0.0, -0.5, 1e308, 5e-324, 1.7e9, 1.7e12)),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
plain = st.one_of(st.none(), st.booleans(), numbers, texts)


def nested(depth: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = "inside"
    for level in range(depth):
        value = [value] if level % 3 else {"k": value}
    return value


json_values = st.one_of(
    plain,
    st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
    ),
    st.sampled_from((30, 99, 101, 300)).map(nested),
)

#: those that somebody reads: Sidekiq, its Web UI, or we
FIELDS = (
    "class", "args", "kwargs", "jid", "queue", "retry", "retry_count", "retry_for", "retry_in", "retry_queue",
    "created_at", "enqueued_at", "failed_at", "retried_at", "error_class", "error_message", "error_backtrace",
    "backtrace", "dead", "tags", "at", "wrapped", "display_class", "locale", "bid", "cattr", "apartment", "encrypt",
)  # fmt: skip
fields = st.dictionaries(st.one_of(st.sampled_from(FIELDS), texts), json_values, max_size=6)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a job: an ordinary one, with some of its fields replaced, and others beside them."""
    job: dict[str, Any] = {
        "class": draw(names),
        "args": draw(st.lists(json_values, max_size=3)),
        "jid": draw(st.one_of(st.text("0123456789abcdef", min_size=24, max_size=24), texts)),
        "queue": "default",
        "retry": draw(st.sampled_from((True, False, 0, 1, 5, None))),
    }
    return job | draw(fields)


def encoded(job: Any, *, is_ascii: bool = True, separators: tuple[str, str] | None = None) -> bytes:
    """Return JSON's bytes, also of what UTF-8 has no bytes for."""
    return json.dumps(job, ensure_ascii=is_ascii, separators=separators).encode("utf-8", "surrogatepass")


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a job, of other JSON, of a job that was spoilt on its way, or any at all."""
    kind = draw(st.sampled_from(("job", "job", "job", "json", "spoilt", "bytes", "deep", "twice")))
    if kind == "bytes":
        return draw(st.one_of(st.binary(), texts.map(lambda text: text.encode("utf-8", "surrogatepass"))))
    if kind == "json":
        return encoded(draw(json_values))
    if kind == "deep":
        depth = draw(st.sampled_from((400, 5000, 100_000)))  # near 1,000 it depends on the stack below
        return b'{"class":"quiet","args":' + b"[" * depth + b"]" * draw(st.sampled_from((0, depth))) + b"}"
    text = encoded(draw(jobs()), is_ascii=draw(st.booleans()), separators=draw(st.sampled_from((None, (",", ":")))))
    if kind == "twice":
        return text[:-1] + b"," + encoded(draw(jobs()))[1:]
    return _spoilt(draw, text) if kind == "spoilt" else text


def _spoilt(draw: st.DrawFn, text: bytes) -> bytes:
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    what = draw(st.sampled_from(("cut", "put", "take", "swap")))
    more = draw(
        st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from((b"\xff", b"\0", b'"', b"{", b"NaN", b"}{")))
    )
    return {"cut": text[:at], "put": text[:at] + more + text[at:], "take": text[:at] + text[at + 1 :]}.get(
        what, text[:at] + more + text[at + len(more) :]
    )
