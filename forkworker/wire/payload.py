"""The JSON of one job, as Sidekiq has it (docs/wire-format.md).  Pure; used in every process.

What must be removed from Redis is removed by its exact bytes: never encode again what is only to be found.
"""

from __future__ import annotations

import json
import math
import os
import re
from json import encoder
from typing import Any

from forkworker.errors import MalformedPayload

Fields = dict[str, Any]

#: Ruby's JSON gives up here
MOST_NESTING = 100
#: integers from here on are milliseconds (Sidekiq 8), below they are seconds
LEAST_MILLISECONDS = 100_000_000_000

_NAME = re.compile(rb'"class"\s*:\s*("(?:[^"\\]|\\.)*")')
_JID = re.compile(rb'"jid"\s*:\s*("(?:[^"\\]|\\.)*")')
#: Sidekiq's Web UI prints the fields it does not know, kwargs among them, without escaping.  In JSON these
#: characters stand in strings only, where they can be written by number.
_MARKUP = re.compile(r"[<>&]")


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON and break other programs."""
    raise ValueError(f"{name} is no JSON")


_scan = json.JSONDecoder(parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]
_plain = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
# What json makes anew for each call, which takes longer than to encode a payload.  It looks for no circles.
_chunks = encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _plain.default, encoder.encode_basestring_ascii, None, ":", ",", False, False, False
)


def _encode(value: Any) -> str:
    try:
        return "".join(_chunks(value, 0))
    except RecursionError:
        raise ValueError("nested too deep for JSON, or in a circle") from None


def new_jid() -> str:
    """Return a job id: 24 lower-case hexadecimal characters."""
    return os.urandom(12).hex()


def new_jids(count: int) -> list[str]:
    """Return so many job ids, by one call of the system."""
    text = os.urandom(12 * count).hex()
    return [text[at : at + 24] for at in range(0, len(text), 24)]


def encode(fields: Fields) -> bytes:
    """Return the payload's bytes; raises TypeError or ValueError for what JSON cannot carry."""
    kwargs = fields.get("kwargs")
    if kwargs and isinstance(kwargs, dict):
        text = _encode(kwargs)
        if _MARKUP.search(text):
            fields = {**fields, "kwargs": _MARKUP.sub(lambda found: f"\\u{ord(found[0]):04x}", text)}
    return _encode(fields).encode()


def decode(payload: bytes) -> Fields:
    """Read a payload; raises MalformedPayload if it is not an object with a class and a list of args."""
    try:
        # twice as fast as json.loads, which first looks for the encoding; UTF-8 is Sidekiq's
        text = payload.decode("utf-8", "surrogatepass").strip()
        fields, end = _scan(text, 0)
        if end != len(text):
            raise MalformedPayload("not JSON: something follows the object")
    except StopIteration as error:
        raise MalformedPayload(f"not JSON: nothing of it at character {error.value}") from None
    except (ValueError, RecursionError) as error:
        raise MalformedPayload(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedPayload(f"a JSON {type(fields).__name__}, not an object")
    if not isinstance(fields.get("class"), str) or not fields["class"]:
        raise MalformedPayload("no field 'class' with the name of a job")
    if not isinstance(fields.get("args", []), list):
        raise MalformedPayload("the field 'args' is not a list")
    if isinstance(fields.get("kwargs"), str):
        fields["kwargs"] = _unfold(fields["kwargs"])
    return fields


def _unfold(text: str) -> Any:
    """Read keyword arguments that stand as a text, because of the markup in them; another text stays as it is."""
    try:
        kwargs = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return kwargs if isinstance(kwargs, dict) else text


def is_common_json(payload: bytes) -> bool:
    """Whether Ruby reads this payload, too: no lone surrogates, and nested no deeper than its parser goes."""
    try:
        fields = decode(payload)
        json.dumps(fields, ensure_ascii=False).encode()
        payload.decode()  # also what is in it twice, of which the fields have the second only
    except (MalformedPayload, ValueError, RecursionError):
        return False
    return payload.count(b"[") + payload.count(b"{") <= MOST_NESTING or _depth(fields) <= MOST_NESTING


def _depth(value: object) -> int:
    """Return how deep lists and objects are nested; without recursion, which whoever pushes could exhaust."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth


def jid_of(fields: Fields) -> str:
    """Return the job's id; '' if it has none that can be shown."""
    jid = fields.get("jid")
    return jid if isinstance(jid, str) else str(jid) if isinstance(jid, int) else ""


def failures_of(fields: Fields) -> int:
    """Return how often a job has failed; the Web UI's "retry now" leaves -1."""
    count = fields.get("retry_count")
    return max(0, count + 1) if isinstance(count, int) else 0


def name_and_jid(head: bytes) -> tuple[str, str]:
    """Return name and jid of a payload of which only the beginning may be there; '?' for what is not."""
    return _text_of(_NAME.search(head)), _text_of(_JID.search(head))


def _text_of(match: re.Match[bytes] | None) -> str:
    try:
        return str(json.loads(match[1], strict=False)) if match else "?"
    except ValueError:
        return "?"


def instant(value: object) -> float | None:
    """Return a time field in seconds: floats are seconds, large integers milliseconds; None if unusable."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = value / 1000 if isinstance(value, int) and value >= LEAST_MILLISECONDS else float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None
