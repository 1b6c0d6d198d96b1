"""Job functions: names, binding, and what may travel."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

from forkworker import client, jobs
from forkworker.client import Client
from forkworker.jobs import Job, Registry, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

pytestmark = pytest.mark.unit

NOW = 1_764_000_000.5


class FakeClient(Client):
    """Keeps what it shall push; what JSON cannot carry it does not take."""

    def __init__(self) -> None:
        super().__init__("redis://nowhere")
        self.calls: list[tuple[list[dict[str, Any]], float | None]] = []

    def push_jobs(self, jobs: Iterable[dict[str, Any]], at: float | None = None) -> list[str | None]:
        told = [json.loads(json.dumps(job, allow_nan=False)) for job in jobs]
        self.calls.append((told, at))
        return [job["jid"] for job in told]

    @property
    def one(self) -> dict[str, Any]:
        (((payload,), _),) = self.calls
        return payload

    @property
    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        return self.one["args"], self.one.get("kwargs", {})


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty registry."""
    new = Registry()
    monkeypatch.setattr(jobs, "registry", new)
    return new


@pytest.fixture(autouse=True)
def pushed(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """No Redis."""
    new = FakeClient()
    monkeypatch.setattr(client, "_default", new)
    monkeypatch.setattr(client, "seconds_from_now", lambda delay: NOW + client.epoch(delay))
    return new


def resize(path: str, width: int = 100) -> str:
    """Make smaller."""
    return f"{path} {width}"


# Names


def test_a_job_is_named_after_module_and_function(registry: Registry) -> None:
    made = job(resize)

    assert made.name == "test_jobs.resize"
    assert registry.find("test_jobs.resize") is made
    assert repr(made) == "<job test_jobs.resize>"


def test_a_job_may_have_any_name_and_older_ones(registry: Registry) -> None:
    made = job(name="HardJob", aliases=["OldJob", "shop.old"])(resize)

    assert [registry.find(name) for name in ("HardJob", "OldJob", "shop.old")] == [made] * 3
    assert registry.names() == ["HardJob", "OldJob", "shop.old"]
    assert registry.find("test_jobs.resize") is None


def test_a_function_of_main_needs_a_name(registry: Registry) -> None:
    def main() -> None: ...

    main.__module__ = "__main__"
    with pytest.raises(ValueError, match=r"__main__.*give it a name"):
        job(main)
    assert registry.names() == []
    assert job(name="main")(main).name == "main"


@pytest.mark.parametrize(
    ("name", "aliases"),
    [("taken", []), ("other", ["taken"]), ("old", [])],
    ids=["name", "alias", "name is an alias"],
)
def test_a_name_belongs_to_one_function(registry: Registry, name: str, aliases: list[str]) -> None:
    def other() -> None: ...

    made = job(name="taken", aliases=["old"])(resize)

    with pytest.raises(ValueError, match="two jobs are named") as caught:
        job(name=name, aliases=aliases)(other)

    assert "test_jobs.resize" in str(caught.value)
    assert "other" in str(caught.value)
    assert registry.find("taken") is made


def test_a_function_may_be_registered_again_as_a_reload_does(registry: Registry) -> None:
    first = job(resize)
    second = job(resize)

    assert registry.find("test_jobs.resize") is second is not first


# A job is still its function


def test_a_job_can_be_called_and_looks_like_its_function() -> None:
    made = job(queue="high")(resize)

    assert made("a.jpg", width=200) == "a.jpg 200"
    assert made.__name__ == "resize"  # type: ignore[attr-defined]
    assert made.__doc__ == "Make smaller."
    assert inspect.signature(made) == inspect.signature(resize)
    assert made.function is resize


def test_what_a_function_carries_cannot_change_the_job() -> None:
    def odd() -> None: ...

    odd.name = "another"  # type: ignore[attr-defined]
    odd.signature = None  # type: ignore[attr-defined]

    made = job(name="odd")(odd)

    assert made.name == "odd"
    assert made.enqueue()


# Options


def test_a_plain_job_tells_only_what_every_payload_has(pushed: FakeClient) -> None:
    jid = job(resize).enqueue("a.jpg")

    payload = dict(pushed.one)
    assert payload.pop("created_at") > 1_700_000_000
    assert payload == {
        "class": "test_jobs.resize",
        "args": ["a.jpg"],
        "retry": True,
        "queue": "default",
        "jid": jid,
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"queue": "high"}, {"queue": "high"}),
        ({"retry": 0}, {"retry": 0}),
        ({"retry": False}, {"retry": False}),
        ({"retry": 7}, {"retry": 7}),
        ({"dead": False}, {"dead": False}),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}),
        ({"backtrace": 5}, {"backtrace": 5}),
        ({"backtrace": True}, {"backtrace": True}),
        ({"retry_in": max}, {}),
    ],
    ids=str,
)
def test_options_that_other_workers_need_travel(
    pushed: FakeClient, options: dict[str, Any], told: dict[str, Any]
) -> None:
    job(**options)(resize).enqueue("a.jpg")

    assert {key: pushed.one.get(key) for key in told} == told
    assert set(pushed.one) == {"class", "args", "retry", "queue", "jid", "created_at"} | set(told)


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="retires"):
        job(retires=3)(resize)  # type: ignore[call-overload]


def test_options_for_one_push_leave_the_job_as_it_is(pushed: FakeClient, registry: Registry) -> None:
    made = job(queue="low", retry=5, tags=["a"])(resize)

    changed = made.options(queue="high", retry=0, dead=False, tags=[])

    changed.enqueue("a.jpg")
    payload = pushed.one
    assert (payload["queue"], payload["retry"], payload["dead"], "tags" in payload) == (
        "high",
        0,
        False,
        False,
    )
    assert registry.find(made.name) is made
    assert (made.default_options.queue, made.default_options.retry, made.default_options.dead) == (
        "low",
        5,
        True,
    )
    assert changed.name == made.name
    assert changed("a.jpg") == "a.jpg 100"


def test_options_that_are_not_given_stay(pushed: FakeClient) -> None:
    job(queue="low", retry=5, tags=["a"])(resize).options(retry=False).enqueue("a.jpg")

    assert (pushed.one["queue"], pushed.one["retry"], pushed.one["tags"]) == ("low", False, ["a"])


@pytest.mark.parametrize(
    ("registered", "stated", "told"),
    [
        ({}, {"backtrace": 5}, {"backtrace": 5}),
        ({}, {"backtrace": False}, {"backtrace": False}),
        ({"backtrace": 5}, {"backtrace": 20}, {"backtrace": 20}),
        ({"dead": False}, {"dead": True}, {"dead": True}),
        ({}, {"retry_in": 60}, {"retry_in": 60}),
        ({}, {"retry_in": dt.timedelta(minutes=2)}, {"retry_in": 120}),
        ({"retry_in": 7}, {}, {"retry_in": None}),
        ({"backtrace": 5}, {"queue": "low"}, {"backtrace": 5}),
    ],
    ids=str,
)
def test_what_is_stated_for_one_push_travels_with_it(
    pushed: FakeClient, registered: dict[str, Any], stated: dict[str, Any], told: dict[str, Any]
) -> None:
    """The worker looks into the registered options only for what the payload leaves out."""
    job(**registered)(resize).options(**stated).options(queue="low").enqueue("a.jpg")

    assert {name: pushed.one.get(name) for name in told} == told


def test_a_function_cannot_travel_with_one_push() -> None:
    with pytest.raises(TypeError, match="the decorator"):
        job(resize).options(retry_in=lambda _count, _error: 1.0)  # type: ignore[arg-type]


WRONG_OPTIONS: list[dict[str, Any]] = [
    {"queue": ""},
    {"queue": "two words"},
    {"queue": 7},
    {"retry": "often"},
    {"retry": -1},
    {"retry": 2.5},
    {"retry": None},
    {"backtrace": "all"},
    {"backtrace": -3},
    {"dead": "no"},
    {"dead": None},
    {"retry_in": "soon"},
    {"retry_in": -1},
    {"retry_in": float("nan")},
    {"on_exhausted": "call me"},
    {"tags": "urgent"},
    {"tags": [1]},
    {"aliases": "old"},
    {"aliases": [None]},
    {"name": ""},
    {"name": 7},
]


@pytest.mark.parametrize("wrong", WRONG_OPTIONS, ids=str)
def test_a_wrong_option_is_refused_at_the_decoration(registry: Registry, wrong: dict[str, Any]) -> None:
    (name,) = wrong

    with pytest.raises((TypeError, ValueError), match=f"{name}|delay"):
        job(**wrong)(resize)
    assert registry.names() == []


@pytest.mark.parametrize("wrong", [each for each in WRONG_OPTIONS if None not in each.values()], ids=str)
def test_a_wrong_option_for_one_push_is_refused_too(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        job(resize).options(**wrong)


def test_a_callable_without_a_name_of_its_own_is_given_one(pushed: FakeClient) -> None:
    small = functools.partial(resize, width=10)

    with pytest.raises(TypeError, match="give it one"):
        job(small)
    job(name="small")(small).enqueue("a.jpg")

    assert pushed.one["class"] == "small"


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (coroutine, "coroutine function"),
        (functools.partial(coroutine), "coroutine function"),
        (generator, "generator function"),
        (asynchronous_generator, "asynchronous generator function"),
        (Registry, "a job is a function"),
        ("HardJob", "options come by keyword"),
        (job(name="a job")(resize), "a job already"),
    ],
    ids=["async def", "partial of one", "generator", "asynchronous generator", "class", "name", "job"],
)
def test_what_a_call_would_not_run_is_refused(function: Any, why: str) -> None:
    """It would end as done, without having run."""
    with pytest.raises(TypeError, match=why):
        job(function)


# Binding to the signature


def positional(a: int, b: int = 2, c: int = 3) -> None: ...
def only_positional(a: int, b: int = 2, /) -> None: ...
def keyword_only(a: int, b: int = 2, *, key: int = 4, other: int = 5) -> None: ...
def star(a: int, *rest: int) -> None: ...
def stars(a: int, *rest: int, key: int = 4, **more: int) -> None: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "told"),
    [
        (nothing, (), {}, ([], {})),
        (positional, (1,), {}, ([1], {})),
        (positional, (), {"a": 1}, ([1], {})),
        (positional, (1,), {"b": 7}, ([1, 7], {})),
        (positional, (), {"c": 9, "a": 1, "b": 7}, ([1, 7, 9], {})),
        (positional, (1,), {"c": 9}, ([1, 2, 9], {})),
        (only_positional, (1, 5), {}, ([1, 5], {})),
        (keyword_only, (1,), {}, ([1], {})),
        (keyword_only, (1, 7), {"key": 9}, ([1, 7], {"key": 9})),
        (keyword_only, (1,), {"key": 9}, ([1], {"key": 9})),
        (keyword_only, (), {"b": 7, "a": 1, "other": 9}, ([1, 7], {"other": 9})),
        (star, (1, 2, 3), {}, ([1, 2, 3], {})),
        (stars, (1, 2), {"key": 9, "x": 10}, ([1, 2], {"key": 9, "x": 10})),
    ],
    ids=[
        *("no parameters", "positional", "by name", "partly by name", "by name in any order", "gap filled"),
        *("positional-only", "keyword-only left out", "keyword-only", "keyword-only, default before it"),
        *("all by name", "star", "both stars"),
    ],
)
def test_arguments_travel_by_position_and_only_keyword_only_ones_by_name(
    pushed: FakeClient,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    told: tuple[list[Any], dict[str, Any]],
) -> None:
    made = job(function)

    made.enqueue(*args, **kwargs)

    assert pushed.arguments == told
    assert ("kwargs" in pushed.one) is bool(told[1])
    made(*told[0], **told[1])


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (positional, (), {}),
        (positional, (1, 2, 3, 4), {}),
        (positional, (1,), {"a": 1}),
        (positional, (1,), {"d": 1}),
        (only_positional, (), {"a": 1}),
        (keyword_only, (1, 2, 3), {}),
        (nothing, (1,), {}),
    ],
    ids=[
        "missing",
        "too many",
        "twice",
        "unknown name",
        "positional-only by name",
        "keyword-only by position",
        "none",
    ],
)
def test_a_wrong_call_fails_at_the_enqueue(
    pushed: FakeClient, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=f"test_jobs.{function.__name__}: "):
        job(function).enqueue(*args, **kwargs)
    assert pushed.calls == []


def test_a_default_that_cannot_travel_stays_at_home_unless_it_fills_a_gap(pushed: FakeClient) -> None:
    def function(a: int, b: object = object(), c: int = 3, *, key: object = object()) -> None: ...

    made = job(name="function")(function)

    made.enqueue(1)
    with pytest.raises(TypeError, match="'b'"):
        made.enqueue(1, c=3)
    assert [payload["args"] for ((payload,), _) in pushed.calls] == [[1]]


def test_filling_a_gap_sends_no_keyword_only_default(pushed: FakeClient) -> None:
    def function(a: int, b: int = 2, c: int = 3, *, key: object = object()) -> None: ...

    job(name="function")(function).enqueue(1, c=9)

    assert pushed.arguments == ([1, 2, 9], {})


# What may travel


def anything(first: Any, second: Any = None, *rest: Any, key: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        (2**63, 2**63),
        (1.5, 1.5),
        ("é\n\U0001f600", "é\n\U0001f600"),
        ([1, [2]], [1, [2]]),
        ((1, (2,)), [1, [2]]),
        ({"a": {"b": (1,)}}, {"a": {"b": [1]}}),
        ([], []),
        ({}, {}),
    ],
    ids=repr,
)
def test_json_travels_and_tuples_become_lists(pushed: FakeClient, value: Any, told: Any) -> None:
    job(anything).enqueue(value, key=value)

    assert pushed.arguments == ([told], {"key": told})


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        {1, 2},
        object(),
        dt.datetime.now(dt.timezone.utc),
        float("nan"),
        float("inf"),
        -float("inf"),
        [1, {"a": float("nan")}],
        {1: "a"},
        {None: "a"},
        {True: "a"},
        {"a": [{2.5: "b"}]},
        ({("a", "b"): 1},),
        nested(100_000),
        circle(),
        1j,
        len,
        "\ud800",
        {"\udcff": 1},
        10**5000,
    ],
    ids=[
        *("bytes", "set", "object", "datetime", "nan", "inf", "-inf", "nan within", "int key", "None key"),
        *("bool key", "float key within", "tuple key", "too deep", "circle", "complex", "function"),
        *("half a pair", "half a pair in a key", "too many digits"),
    ],
)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("first", lambda value: ((value,), {})),
        ("second", lambda value: ((1,), {"second": value})),
        ("rest", lambda value: ((1, 2, 3, value), {})),
        ("key", lambda value: ((1,), {"key": value})),
    ],
    ids=["positional", "by name", "star", "keyword-only"],
)
def test_what_json_cannot_carry_is_refused_by_the_name_of_its_argument(
    pushed: FakeClient, value: Any, name: str, place: Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]
) -> None:
    args, kwargs = place(value)

    with pytest.raises(TypeError, match=rf"test_jobs\.anything.*'{name}'"):
        job(anything).enqueue(*args, **kwargs)
    assert pushed.calls == []


def test_what_was_enqueued_does_not_change_with_the_callers_objects(pushed: FakeClient) -> None:
    value = [1]
    job(anything).enqueue(value)
    value.append(2)

    assert pushed.arguments == ([[1]], {})


# Later, and many


def test_enqueue_in_and_enqueue_at_tell_the_instant(pushed: FakeClient) -> None:
    made = job(resize)
    when = dt.datetime(2025, 11, 24, 16, 0, tzinfo=dt.timezone.utc)

    made.enqueue_in(60, "a.jpg", width=200)
    made.enqueue_at(when, "b.jpg")
    made.enqueue_at(17.5, "c.jpg", 5)

    assert [(payload["args"], at) for ((payload,), at) in pushed.calls] == [
        (["a.jpg", 200], NOW + 60),
        (["b.jpg"], 1_764_000_000.0),
        (["c.jpg", 5], 17.5),
    ]


def test_a_parameter_named_self_delay_or_when_is_the_jobs_own(pushed: FakeClient) -> None:
    def function(self: int, delay: int, when: int) -> int:
        return self + delay + when

    made = job(name="function")(function)

    made.enqueue(self=0, delay=1, when=2)
    made.enqueue_in(60, self=0, delay=1, when=2)
    made.enqueue_at(17.5, self=0, delay=1, when=2)

    assert [(payload["args"], at) for ((payload,), at) in pushed.calls] == [
        ([0, 1, 2], None),
        ([0, 1, 2], NOW + 60),
        ([0, 1, 2], 17.5),
    ]
    assert made(self=3, delay=1, when=2) == 6


def test_enqueue_many_is_one_push_of_all_rows_in_order(pushed: FakeClient) -> None:
    jids = job(queue="high")(resize).enqueue_many((path, n) for n, path in enumerate(["a", "b", "c"]))

    ((payloads, at),) = pushed.calls
    assert [payload["args"] for payload in payloads] == [["a", 0], ["b", 1], ["c", 2]]
    assert jids == [payload["jid"] for payload in payloads]
    assert len(set(jids)) == 3
    assert at is None
    assert {payload["queue"] for payload in payloads} == {"high"}


@pytest.mark.parametrize(
    "row",
    [[], ["a", 1, 2], [{1}], ["a", b"x"], "a.jpg", b"ab", {"path": "a"}, 7, {"a", 1}],
    ids=["missing", "too many", "set", "bytes", "text for a row", "bytes for a row", "dict for a row", "7", "a set"],
)
def test_one_wrong_row_of_many_pushes_nothing_and_its_number_is_told(pushed: FakeClient, row: Any) -> None:
    with pytest.raises(TypeError, match="run 1"):
        job(resize).enqueue_many([["a"], row, ["b"]])
    assert pushed.calls == []


def test_no_rows_are_no_jobs() -> None:
    assert job(resize).enqueue_many([]) == []


def test_what_was_enqueued_is_what_the_function_gets(pushed: FakeClient, registry: Registry) -> None:
    calls: list[Any] = []

    def function(a: int, b: int = 2, *rest: int, key: int = 3, **more: int) -> None:
        calls.append((a, b, rest, key, more))

    job(name="function")(function).enqueue(1, 5, 6, 7, key=8, x=9)
    args, kwargs = pushed.arguments
    found = registry.find("function")
    assert isinstance(found, Job)
    found.function(*args, **kwargs)

    assert calls == [(1, 5, (6, 7), 8, {"x": 9})]
