"""What JSON can carry to every reader, and how the place of what it cannot is told."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from forkworker.wire import portable

pytestmark = pytest.mark.unit


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.IntEnum):
    RED = 1


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = {"a": value} if number % 2 else [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**70),
        10**4000,
        1.5,
        1e300,
        "",
        "é\U0001f600\u2028\x00",
        [],
        {},
        (1, (2, [3])),
        {"": {"ключ": [None]}},
        Point(1, 2),
        OrderedDict(a=1),
        defaultdict(list, a=[1]),
        Colour.RED,
        nested(portable.MOST_DEPTH),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_every_reader_takes_is_fit(value: Any) -> None:
    portable.refuse_misfit(value, "x")
    json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"abc", "x cannot travel as JSON: b'abc' is of the type bytes; send text"),
        ({1, 2}, "type set; send a sorted list"),
        ([1, {"a": (2, float("nan"))}], r"x cannot travel as JSON: \[1\]\['a'\]\[1\]: nan is no JSON"),
        ([-float("inf")], r"\[0\]: -inf is no JSON"),
        ({"a": {1: 2}}, r"\['a'\]: the dict key 1 is no string"),
        ([{None: 2}], r"\[0\]: the dict key None is no string"),
        ({True: 2}, "the dict key True is no string"),
        ({b"a": 2}, "the dict key b'a' is no string"),
        (["a\udcff"], r"\[0\]: half of a surrogate pair in 'a\\udcff'"),
        ({"\ud800": 1}, "half of a surrogate pair in the dict key"),
        ([10**5000], r"\[0\]: a number of more than 4200 digits"),
        (nested(portable.MOST_DEPTH + 1), "nested more than 98 deep"),
        (nested(500), "nested more than 98 deep"),
        (circle(), "in a circle"),
        ([dt.datetime.now(dt.timezone.utc)], r"datetime; send isoformat\(\)"),
        ([decimal.Decimal("1.5")], r"Decimal\('1.5'\) is of the type Decimal; send str\(\)"),
        ([uuid.UUID(int=1)], r"UUID; send str\(\)"),
        ([Path("a")], r"PosixPath; send str\(\)"),
        ([object()], "is of the type object"),
        ([1j], "is of the type complex"),
        ([Mute()], "something is of the type Mute"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_some_reader_does_not_take_is_refused_with_its_place(value: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        portable.refuse_misfit(value, "x")


@pytest.mark.parametrize(
    "value", [b"x" * 10_000_000, "\ud800" * 1_000_000, nested(3000)], ids=["bytes", "text", "deep"]
)
def test_the_message_is_short_however_long_the_value(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        portable.refuse_misfit(value, "x")
    assert len(str(caught.value)) < 300
