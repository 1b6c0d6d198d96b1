"""What other programs read in Redis: golden names of keys, golden JSON.  A change here breaks somebody."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import pytest

from forkworker.errors import MalformedPayload
from forkworker.settings import Queue, Settings
from forkworker.version import VERSION
from forkworker.wire import failure, keys, payload, process_info

pytestmark = pytest.mark.unit

IDENTITY = "web-1:4711:0123456789ab"


# Keys


@pytest.mark.parametrize(
    ("key", "golden"),
    [
        (keys.QUEUES, "queues"),
        (keys.SCHEDULE, "schedule"),
        (keys.RETRY, "retry"),
        (keys.DEAD, "dead"),
        (keys.PROCESSES, "processes"),
        (keys.PROCESSED, "stat:processed"),
        (keys.FAILED, "stat:failed"),
        (keys.processed_on("2026-11-23"), "stat:processed:2026-11-23"),
        (keys.failed_on("2026-11-23"), "stat:failed:2026-11-23"),
        (keys.queue("high"), "queue:high"),
        (keys.work(IDENTITY), "web-1:4711:0123456789ab:work"),
        (keys.workers(IDENTITY), "web-1:4711:0123456789ab:workers"),
        (keys.signals(IDENTITY), "web-1:4711:0123456789ab-signals"),
        (keys.WORKING, "working"),
        (keys.working(IDENTITY, "high"), "working:web-1:4711:0123456789ab:high"),
        (keys.recovered("ab" * 20), "recovered:" + "ab" * 20),
        (keys.ORIGINS, "origins"),
        (keys.settled(IDENTITY), "settled:web-1:4711:0123456789ab"),
        (keys.taken(IDENTITY), "taken:web-1:4711:0123456789ab"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_key_has_its_published_name(key: str, golden: str) -> None:
    assert key == golden


@pytest.mark.parametrize("queue", ["default", "a:b", "a:1:0123456789ab:b", "-", "x.y_z-1"])
@pytest.mark.parametrize("host", ["web-1", "worker.1", "::1", "a:b"], ids=["plain", "dyno", "ipv6", "colon"])
def test_the_name_of_a_working_list_tells_its_owner_and_its_queue(host: str, queue: str) -> None:
    identity = process_info.identity(host, 4711, "0123456789ab")

    assert keys.parse_working(keys.working(identity, queue)) == (identity, queue)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "working",
        "working:",
        "working:web-1:4711:0123456789ab",
        "working:web-1:4711:0123456789ab:",
        "working:web-1:x:0123456789ab:q",
        "working:web-1:4711:0123456789AB:q",
        "working:web-1:4711:0123:q",
        f"working:web-1:{'9' * 5000}:0123456789ab:q",
        "queue:web-1:4711:0123456789ab:q",
    ],
)
def test_another_name_is_no_working_list(name: str) -> None:
    assert keys.parse_working(name) is None


# Payloads, read and written


def test_a_jid_is_24_lower_case_hexadecimal_characters_and_new_each_time() -> None:
    jids = {payload.new_jid() for _ in range(100)}

    assert len(jids) == 100
    assert all(re.fullmatch(r"[0-9a-f]{24}", jid) for jid in jids)


def test_a_payload_is_compact_ascii_json_in_the_order_of_its_fields() -> None:
    fields = {"class": "résumé", "args": [1, 2.0, None, True], "created_at": 1764000000.0}

    golden = b'{"class":"r\\u00e9sum\\u00e9","args":[1,2.0,null,true],"created_at":1764000000.0}'
    assert payload.encode(fields) == golden


@pytest.mark.parametrize(
    "value",
    [b"bytes", {1, 2}, object()],
    ids=["bytes", "set", "object"],
)
def test_what_json_cannot_carry_is_not_encoded(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        payload.encode({"class": "x", "args": [value]})


# Keyword arguments, which the Web UI prints as they are


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"a": 1}, {"a": "<script>&</script>"}, {"<b>": {"c": ["x > y", None, "\\", '"', "é"]}}],
    ids=["none", "plain", "markup", "markup in a key"],
)
def test_keyword_arguments_come_back_whatever_is_in_them(kwargs: dict[str, Any]) -> None:
    fields = {"class": "a", "args": [], "kwargs": kwargs}

    assert payload.decode(payload.encode(fields)) == fields


def test_keyword_arguments_stand_as_an_object_as_long_as_there_is_no_markup_in_them() -> None:
    plain, marked = {"class": "a", "kwargs": {"b": "c"}}, {"class": "a", "kwargs": {"b": "<c>&"}}

    assert json.loads(payload.encode(plain))["kwargs"] == {"b": "c"}
    assert json.loads(payload.encode(marked))["kwargs"] == r'{"b":"\u003cc\u003e\u0026"}'
    assert marked["kwargs"] == {"b": "<c>&"}, "the caller's fields stay as they are"


@pytest.mark.parametrize("kwargs", ["no JSON", "[1]", "7", "[" * 100_000], ids=["text", "list", "number", "deep"])
def test_a_text_that_holds_no_keyword_arguments_stays_a_text(kwargs: str) -> None:
    assert payload.decode(payload.encode({"class": "a", "kwargs": kwargs}))["kwargs"] == kwargs


# What others can read


@pytest.mark.parametrize(
    ("text", "is_common"),
    [
        (b'{"class":"a","args":[{"b":"\\u00e9"}]}', True),
        (b'{"class":"a","args":["\\ud83d\\ude00"]}', True),
        (b'{"class":"a","args":["\\ud83d"]}', False),
        (b'{"class":"a","args":["\xed\xa0\xbd"]}', False),
        (b'{"class":"a","args":["\xff"]}', False),
        (b'{"class":"a","jid":"\xed\xa0\xbd","jid":"","args":[]}', False),
        (b'{"class":"a","args":' + b"[" * 99 + b"]" * 99 + b"}", True),
        (b'{"class":"a","args":' + b"[" * 100 + b"]" * 100 + b"}", False),
        (b'{"class":"a","args":[' + b"[]," * 200 + b"[]]}", True),
        (b'{"class":"a","args":[1', False),
        (b"", False),
    ],
    ids=[
        "plain",
        "a pair",
        "half of a pair",
        "half in bytes",
        "latin",
        "half in what is not read",
        "deep",
        "too deep",
        "broad",
        "cut",
        "empty",
    ],
)
def test_what_ruby_cannot_read_is_told_apart(text: bytes, is_common: bool) -> None:
    assert payload.is_common_json(text) is is_common


@pytest.mark.parametrize("depth", [98, 99, 400, 500, 900, 5000, 100_000])
def test_a_deep_payload_is_judged_whatever_the_stack_holds(depth: int) -> None:
    """The keeper asks for each job that runs: an error would be the keeper's end."""
    text = b'{"class":"a","args":' + b"[" * depth + b"]" * depth + b"}"

    assert payload.is_common_json(text) is (depth < 100)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b'{"class":"a","args":[],"jid":"x"}', {"class": "a", "args": [], "jid": "x"}),
        (b'{"class":"a"}', {"class": "a"}),
        (b' {"class" : "a" , "args" : [1]}\n', {"class": "a", "args": [1]}),
        (b'{"class":"\\u00e9","args":["\xc3\xa9"]}', {"class": "é", "args": ["é"]}),
        (b'{"class":"a","args":[],"unknown":{"b":1}}', {"class": "a", "args": [], "unknown": {"b": 1}}),
        (b'{"class":"a","args":["\\ud800"]}', {"class": "a", "args": ["\ud800"]}),
    ],
    ids=["plain", "no args", "spaces", "utf-8", "unknown field", "lone surrogate"],
)
def test_a_payload_of_any_client_is_read(text: bytes, fields: dict[str, Any]) -> None:
    assert payload.decode(text) == fields


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"class":"\xff"}', "not JSON"),
        (b" \n", "not JSON"),
        (b'{"class":"a"}{"class":"b"}', "not JSON"),
        (b'{"class":"a"} x', "not JSON"),
        (b'{"class":"a"}\x00', "not JSON"),
        ('{"class":"a"}'.encode("utf-16"), "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"class":"a","args":[' + b"1" * 5000 + b"]}", "not JSON"),
        (b'{"class":"a","args":[NaN]}', "not JSON"),
        (b'{"class":"a","args":[-Infinity]}', "not JSON"),
        (b"null", "not an object"),
        (b"[]", "not an object"),
        (b"1", "not an object"),
        (b'"text"', "not an object"),
        (b"{}", "'class'"),
        (b'{"class":null}', "'class'"),
        (b'{"class":""}', "'class'"),
        (b'{"class":1}', "'class'"),
        (b'{"class":["a"]}', "'class'"),
        (b'{"class":"a","args":null}', "'args'"),
        (b'{"class":"a","args":{}}', "'args'"),
        (b'{"class":"a","args":"text"}', "'args'"),
    ],
    ids=[
        *(
            "empty",
            "cut",
            "words",
            "binary",
            "bad utf-8",
            "blank",
            "two",
            "more",
            "a zero byte",
            "utf-16",
            "too deep",
            "number too long",
            "nan",
            "infinity",
        ),
        *("null", "list", "number", "string"),
        *("no class", "class null", "class empty", "class number", "class list"),
        *("args null", "args object", "args string"),
    ],
)
def test_what_is_no_job_is_malformed_and_says_why(text: bytes, why: str) -> None:
    with pytest.raises(MalformedPayload, match=re.escape(why)):
        payload.decode(text)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b'{"class":"a.b","args":[],"jid":"0f"}', ("a.b", "0f")),
        (b'{"jid" : "0f", "class"\n:\t"a.b"', ("a.b", "0f")),
        (b'{"class":"a.b","args":["lon', ("a.b", "?")),
        (b'{"class":"a.', ("?", "?")),
        (b'{"class":"q\\"uo\\u0074e\\\\","jid":"\xc3\xa9"}', ('q"uote\\', "é")),
        (b'{"class":1,"jid":null}', ("?", "?")),
        (b"\x00\xff{[", ("?", "?")),
        (b"", ("?", "?")),
        (b'{"class":"bad \\q escape","jid":"0f"}', ("?", "0f")),
        (b'{"class":"bad utf-8 \xff","jid":"0f"}', ("?", "0f")),
    ],
    ids=[
        *("plain", "other order and spaces", "cut before the jid", "cut in the name", "escapes"),
        *("not strings", "binary", "empty", "bad escape", "bad utf-8"),
    ],
)
def test_name_and_jid_are_read_from_what_is_there_of_a_payload(head: bytes, found: tuple[str, str]) -> None:
    assert payload.name_and_jid(head) == found


# Times in payloads


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1764000000.25, 1764000000.25),
        (1764000000, 1764000000.0),
        (1764000000250, 1764000000.25),
        (100_000_000_000, 100_000_000.0),
        (99_999_999_999, 99_999_999_999.0),
        (1764000000250.0, 1764000000250.0),
        ("1764000000.25", 1764000000.25),
        (0, 0.0),
        (None, None),
        (True, None),
        ("yesterday", None),
        ([], None),
        ({}, None),
    ],
    ids=repr,
)
def test_a_time_of_any_sidekiq_version_is_read_as_seconds(value: object, seconds: float | None) -> None:
    assert payload.instant(value) == seconds


def test_an_integer_too_large_for_a_time_is_unusable() -> None:
    assert payload.instant(10**400) is None


# Errors in payloads


def test_an_error_is_described_by_its_class_and_message() -> None:
    assert failure.describe_error(KeyError("x")) == ("KeyError", "'x'")
    assert failure.describe_error(MalformedPayload("no")) == ("forkworker.errors.MalformedPayload", "no")


def test_the_class_of_an_error_of_a_function_has_nothing_that_looks_like_a_tag() -> None:
    class OwnError(Exception):
        pass

    name, _ = failure.describe_error(OwnError())
    assert re.fullmatch(r"[\w.]+\.OwnError", name)


def test_the_class_of_an_error_has_no_markup() -> None:
    kind = type("Bad<b>&Co", (Exception,), {"__module__": "shop"})

    assert failure.describe_error(kind("<b>")) == ("shop.Bad(b)+Co", "<b>")


def test_a_message_is_cut_at_10_000_characters() -> None:
    assert failure.describe_error(ValueError("é" * 10_001)) == ("ValueError", "é" * 10_000)


def test_a_backtrace_is_strict_base64_of_zlib_of_a_json_array_with_html_escaped() -> None:
    packed = failure.pack_backtrace(["<frozen x>:1:in <module>", "a & b 'c' \"d\"", "é\ud800" * 100])

    raw = base64.b64decode(packed, validate=True)
    assert "\n" not in packed
    assert raw[:1] == b"\x78"
    assert json.loads(zlib.decompress(raw)) == [
        "&lt;frozen x&gt;:1:in &lt;module&gt;",
        "a &amp; b 'c' \"d\"",
        "é?" * 100,
    ]


# Process info


def test_a_nonce_is_12_lower_case_hexadecimal_characters_and_new_each_time() -> None:
    nonces = {process_info.new_nonce() for _ in range(100)}

    assert len(nonces) == 100
    assert all(re.fullmatch(r"[0-9a-f]{12}", nonce) for nonce in nonces)


@pytest.mark.parametrize("host", ["web-1", "worker.1", "::1"])
def test_an_identity_is_host_pid_and_nonce(host: str) -> None:
    identity = process_info.identity(host, 4711, "0123456789ab")

    assert identity == f"{host}:4711:0123456789ab"
    assert process_info.split_identity(identity) == (host, 4711)


def test_an_origin_is_read_back() -> None:
    assert process_info.split_origin(process_info.origin("boot 4026531836 99", 25)) == (
        "boot 4026531836 99",
        25,
    )


@pytest.mark.parametrize("text", ["", "x", "boot ns ticks x", "boot -1", "boot \u00b2", f"boot {'9' * 5000}"])
def test_what_is_no_origin_tells_nothing(text: str) -> None:
    assert process_info.split_origin(text) == ("", 0)


@pytest.mark.parametrize(
    ("queues", "mode", "weights"),
    [
        ((Queue("high"), Queue("low")), "strict", {"high": 0, "low": 0}),
        ((Queue("high", 6), Queue("low", 1)), "weighted", {"high": 6, "low": 1}),
    ],
    ids=["strict", "weighted"],
)
def test_info_has_every_field_that_any_web_ui_needs(
    queues: tuple[Queue, ...], mode: str, weights: dict[str, int]
) -> None:
    settings = Settings(hostname="web-1", tag="shop", concurrency=7, queues=queues)

    assert json.loads(process_info.info(settings, IDENTITY, 4711, 1764000000.5)) == {
        "hostname": "web-1",
        "started_at": 1764000000.5,
        "pid": 4711,
        "tag": "shop",
        "concurrency": 7,
        "queues": ["high", "low"],
        "weights": [weights],
        "capsules": {"default": {"concurrency": 7, "mode": mode, "weights": weights}},
        "labels": [],
        "identity": IDENTITY,
        "version": f"forkworker-{VERSION}",
        "embedded": False,
    }
