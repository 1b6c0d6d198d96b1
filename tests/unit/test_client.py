"""Pushing by name: what is written to Redis, when, and in how many round trips."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from forkworker import client, config, middleware
from forkworker.client import Client
from forkworker.errors import PushFailed, PushInDoubt
from forkworker.store import batches, connection, queues

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.unit

NOW = 1_764_000_000.5


class FakeClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class Written:
    """What was written, by call of the store: one round trip each."""

    def __init__(self) -> None:
        self.pushes: list[tuple[str, list[dict[str, Any]]]] = []
        self.schedules: list[list[tuple[dict[str, Any], float]]] = []

    def push(self, _redis: object, queue: str, payloads: Sequence[bytes]) -> None:
        self.pushes.append((queue, [json.loads(payload) for payload in payloads]))

    def schedule(self, _redis: object, entries: Sequence[tuple[bytes, float]]) -> None:
        self.schedules.append([(json.loads(payload), at) for payload, at in entries])

    @property
    def one(self) -> dict[str, Any]:
        ((_, (job,)),) = self.pushes
        return job


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """No Redis, the time stands still, and no middleware."""
    new = Written()
    monkeypatch.setattr(queues, "push", new.push)
    monkeypatch.setattr(queues, "schedule", new.schedule)
    monkeypatch.setattr(connection, "make_client", lambda url: f"client of {url}")
    monkeypatch.setattr(client, "_clock", FakeClock())
    monkeypatch.setattr(middleware, "client", middleware.Chain())
    return new


@pytest.fixture
def pusher() -> Client:
    return Client("redis://example.net")


# Payloads


def test_a_new_job_has_the_fields_that_every_sidekiq_needs() -> None:
    job = client.make_job("HardJob", (1, "a"), queue="low", retry=3, tags=["x"])

    jid = job.pop("jid")
    assert re.fullmatch(r"[0-9a-f]{24}", jid)
    assert job == {
        "class": "HardJob",
        "args": [1, "a"],
        "retry": 3,
        "queue": "low",
        "created_at": NOW,
        "tags": ["x"],
    }


@pytest.mark.parametrize("queue", ["", "a b", "a/b", "é", "a\n", "a\x00"], ids=repr)
def test_a_queue_that_no_web_ui_could_open_is_refused(queue: str, pusher: Client, written: Written) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        pusher.push_jobs([client.make_job("x", [], queue=queue, retry=True)])
    with pytest.raises(ValueError, match="letters, digits"):
        pusher.push("x", queue=queue)
    assert (written.pushes, written.schedules) == ([], [])


# Times


UTC = dt.timezone.utc
PLUS_2 = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        (1_764_000_000, 1_764_000_000.0),
        (1_764_000_000.25, 1_764_000_000.25),
        (dt.datetime(2025, 11, 24, 16, 0, 0, 250_000, tzinfo=UTC), 1_764_000_000.25),
        (dt.datetime(2025, 11, 24, 18, 0, tzinfo=PLUS_2), 1_764_000_000.0),
    ],
    ids=["integer", "float", "UTC", "another zone"],
)
def test_an_instant_is_epoch_seconds_or_an_aware_datetime(when: float | dt.datetime, seconds: float) -> None:
    assert client.epoch(when) == seconds


def test_a_datetime_without_a_zone_is_refused_and_the_way_out_told() -> None:
    with pytest.raises(ValueError, match=r"no time zone.*timezone\.utc"):
        client.epoch(dt.datetime(2025, 11, 24, 16, 0))  # noqa: DTZ001 - the case


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(60, 60), (0.25, 0.25), (-5, -5), (dt.timedelta(minutes=1, milliseconds=250), 60.25)],
    ids=["integer", "float", "negative", "timedelta"],
)
def test_a_delay_counts_from_now(delay: float | dt.timedelta, seconds: float) -> None:
    assert client.seconds_from_now(delay) == NOW + seconds


# Pushing


def test_a_push_is_written_with_the_time_of_its_enqueueing(pusher: Client, written: Written) -> None:
    jid = pusher.push("HardJob", [1, {"a": None}], queue="low", retry=False, cattr={"u": 1})

    ((queue, (job,)),) = written.pushes
    assert queue == "low"
    assert job == {
        "class": "HardJob",
        "args": [1, {"a": None}],
        "retry": False,
        "queue": "low",
        "jid": jid,
        "created_at": NOW,
        "cattr": {"u": 1},
        "enqueued_at": NOW,
    }
    assert written.schedules == []


def test_a_push_for_later_goes_to_the_schedule_without_enqueued_at_and_at(pusher: Client, written: Written) -> None:
    jid = pusher.push("HardJob", at=NOW + 60)

    (((job, at),),) = written.schedules
    assert at == NOW + 60
    assert job == {
        "class": "HardJob",
        "args": [],
        "retry": True,
        "queue": "default",
        "jid": jid,
        "created_at": NOW,
    }
    assert written.pushes == []


@pytest.mark.parametrize("at", [NOW, NOW - 1, 0], ids=["now", "past", "1970"])
def test_a_time_that_has_come_is_pushed_at_once(pusher: Client, written: Written, at: float) -> None:
    pusher.push("HardJob", at=at)

    assert written.one["enqueued_at"] == NOW
    assert "at" not in written.one


@pytest.mark.parametrize("value", [b"x", {1}, type, float("nan"), float("inf"), dt.date.min], ids=repr)
def test_what_json_cannot_carry_is_refused_and_nothing_written(pusher: Client, written: Written, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pusher.push("HardJob", ["fine", value])
    assert (written.pushes, written.schedules) == ([], [])


@pytest.mark.parametrize(
    ("count", "trips"), [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])]
)
@pytest.mark.parametrize("at", [None, NOW + 60], ids=["now", "later"])
def test_many_jobs_take_one_round_trip_for_each_thousand(
    pusher: Client, written: Written, count: int, trips: list[int], at: float | None
) -> None:
    jobs = [client.make_job("x", [n], queue="default", retry=True) for n in range(count)]

    jids = pusher.push_jobs(iter(jobs), at)

    assert jids == [job["jid"] for job in jobs]
    sizes = [len(payloads) for _, payloads in written.pushes] + [len(entries) for entries in written.schedules]
    assert sizes == trips
    written_jobs = [job for _, payloads in written.pushes for job in payloads]
    written_jobs += [job for entries in written.schedules for job, _ in entries]
    assert [job["args"] for job in written_jobs] == [[n] for n in range(count)]


def test_one_job_that_cannot_be_written_keeps_the_whole_thousand_back(pusher: Client, written: Written) -> None:
    jobs = [client.make_job("x", [value], queue="default", retry=True) for value in (1, {2}, 3)]

    with pytest.raises(TypeError):
        pusher.push_jobs(jobs)
    assert written.pushes == []


# Middleware


def test_client_middleware_sees_and_changes_what_is_pushed(pusher: Client, written: Written) -> None:
    @middleware.client.add
    def tenant(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        job["tenant"] = job["class"].lower()
        return call_next()

    pusher.push("HardJob")

    assert written.one["tenant"] == "hardjob"


def test_middleware_may_move_a_job_to_another_queue(pusher: Client, written: Written) -> None:
    @middleware.client.add
    def by_tenant(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        job["queue"] = f"tenant{job['args'][0]}"
        return call_next()

    pusher.push_jobs([client.make_job("x", [n % 2], queue="default", retry=True) for n in range(4)])

    assert [(queue, len(payloads)) for queue, payloads in written.pushes] == [("tenant0", 2), ("tenant1", 2)]
    assert {job["queue"] for _, payloads in written.pushes for job in payloads} == {"tenant0", "tenant1"}


def test_a_job_that_middleware_keeps_back_has_no_jid_and_the_others_are_pushed(
    pusher: Client, written: Written
) -> None:
    @middleware.client.add
    def odd_only(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        return call_next() if job["args"][0] % 2 else None

    jids = pusher.push_jobs([client.make_job("x", [n], queue="default", retry=True) for n in range(4)])

    ((_, jobs),) = written.pushes
    assert [job["args"] for job in jobs] == [[1], [3]]
    assert jids == [None, jobs[0]["jid"], None, jobs[1]["jid"]]


def test_middleware_that_calls_the_next_pushes_whatever_it_returns(pusher: Client, written: Written) -> None:
    """Only not calling ``call_next`` keeps a job back: a forgotten ``return`` must not lose it."""

    @middleware.client.add
    def log(_job: dict[str, Any], call_next: Callable[[], Any]) -> None:
        call_next()

    jid = pusher.push("HardJob")

    assert written.one["jid"] == jid


def test_middleware_that_fails_is_the_callers_error_and_nothing_is_pushed(pusher: Client, written: Written) -> None:
    @middleware.client.add
    def refuse(_job: dict[str, Any], _call_next: Callable[[], Any]) -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        pusher.push("HardJob")
    assert written.pushes == []


# Addresses


def test_the_address_is_looked_up_when_the_first_job_is_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[object] = []
    monkeypatch.setattr(config, "redis_url", lambda: "redis://found")
    monkeypatch.setattr(connection, "make_client", addresses.append)

    Client("redis://told").push("x")
    found = Client()
    assert addresses == ["redis://told"]
    found.push("x")
    assert addresses == ["redis://told", "redis://found"]


def test_a_client_connects_once(monkeypatch: pytest.MonkeyPatch, pusher: Client) -> None:
    made: list[object] = []

    def make(url: str) -> object:
        made.append(url)
        return object()

    monkeypatch.setattr(connection, "make_client", make)

    for _ in range(3):
        pusher.push("x")

    assert made == ["redis://example.net"]


def test_configure_sets_the_address_of_all_clients_without_one_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that have pushed already, too."""
    addresses: list[object] = []
    monkeypatch.setattr(connection, "make_client", lambda url: addresses.append(url) or url)
    monkeypatch.setattr(client, "_told", (None,))
    monkeypatch.setenv("REDIS_URL", "redis://environment")
    pushing = {"before": Client(), "default": client.default(), "own": Client("redis://own")}
    for each in pushing.values():
        each._client()
    assert addresses == ["redis://environment", "redis://environment", "redis://own"]

    client.configure(redis_url="redis://other")
    pushing["after"] = Client()

    assert {name: each._client() for name, each in pushing.items()} == {
        "before": "redis://other",
        "default": "redis://other",
        "own": "redis://own",
        "after": "redis://other",
    }

    client.configure()

    assert pushing["before"]._client() == "redis://environment"


def test_an_address_that_is_none_is_refused_at_once() -> None:
    for wrong in ("localhost:6379", "http://localhost", "redis://localhost/zero"):
        with pytest.raises(ValueError, match="Redis address"):
            Client(wrong)
        with pytest.raises(ValueError, match="Redis address"):
            client.configure(redis_url=wrong)


def test_in_a_daemons_child_clients_without_an_address_push_where_the_daemon_takes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses: list[object] = []
    monkeypatch.setattr(connection, "make_client", addresses.append)
    monkeypatch.setattr(client, "_home", None)

    client.settle_in("redis://the-daemons")
    Client().push("x")
    Client("redis://told").push("x")

    assert addresses == ["redis://the-daemons", "redis://told"]


def test_after_a_fork_a_client_connects_anew(monkeypatch: pytest.MonkeyPatch, pusher: Client) -> None:
    made: list[object] = []
    monkeypatch.setattr(connection, "make_client", made.append)
    pusher.push("x")
    monkeypatch.setattr(client.os, "getpid", lambda: -1)

    pusher.push("x")
    pusher.push("x")

    assert made == ["redis://example.net"] * 2


# What is refused


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"name": ""}, "name of a job"),
        ({"name": 7}, "name of a job"),
        ({"args": "abc"}, "args must be a list"),
        ({"args": b"abc"}, "args must be a list"),
        ({"args": {"a": 1}}, "args must be a list"),
        ({"args": {1}}, "args must be a list"),
        ({"args": None}, "args must be a list"),
        ({"args": [1, {"a": {2}}]}, r"x: args.*\[1\]\['a'\]: \{2\} is of the type set"),
        ({"cattr": {1: 2}}, "x: cattr.*the dict key 1 is no string"),
        ({"kwargs": [1]}, "kwargs must be a dict"),
        ({"jid": 7}, "jid must be a string"),
        ({"retry": "often"}, "retry must be"),
        ({"retry": -1}, "retry must be"),
        ({"class": "y"}, "'class' cannot be given"),
        ({"enqueued_at": 1.5}, "'enqueued_at' cannot be given"),
        ({"at": "tomorrow"}, "aware datetime or epoch seconds"),
        ({"at": True}, "aware datetime or epoch seconds"),
        ({"at": float("nan")}, "no time in epoch seconds"),
        ({"at": float("inf")}, "no time in epoch seconds"),
        ({"at": 1_764_000_000_000}, "in milliseconds"),
        ({"at": dt.datetime(2025, 11, 24, 16, 0)}, "no time zone"),  # noqa: DTZ001 - the case
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_is_no_job_is_refused_and_nothing_written(
    pusher: Client, written: Written, call: dict[str, Any], told: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        pusher.push(**{"name": "x", **call})
    assert (written.pushes, written.schedules) == ([], [])


@pytest.mark.parametrize(
    "delay", ["60", None, True, float("nan"), float("inf"), 10**12, 10**400, dt.timedelta.max], ids=repr
)
def test_a_delay_that_is_none_or_never_ends_is_refused(delay: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        client.seconds_from_now(delay)


def test_middleware_cannot_send_a_job_where_nobody_could_see_it(pusher: Client, written: Written) -> None:
    @middleware.client.add
    def lose(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        job["queue"] = "no such queue"
        return call_next()

    with pytest.raises(ValueError, match="letters, digits"):
        pusher.push("x")
    assert written.pushes == []


# Sizes


def test_a_large_payload_is_pushed_and_named_in_a_warning(
    pusher: Client, written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    pusher.push("Small", ["x" * 999_000])
    jid = pusher.push("Large", ["x" * 1_000_000])

    assert len(written.pushes) == 2
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"jid={jid} Large: its payload has 1,000,1" in record.getMessage()


def test_a_payload_that_could_never_be_settled_is_refused(
    pusher: Client, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 2000)

    with pytest.raises(ValueError, match="send a reference"):
        pusher.push("Large", ["x" * 2000])
    assert written.pushes == []


def test_a_round_trip_carries_no_more_than_redis_takes(
    pusher: Client, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 5000)

    pusher.push_jobs(client.make_job("x", ["x" * 1000], queue="default", retry=True) for _ in range(10))

    assert [len(jobs) for _, jobs in written.pushes] == [4, 4, 2]


# What is told of a failure


@pytest.mark.parametrize("kind", [PushFailed, PushInDoubt])
@pytest.mark.parametrize("at", [None, NOW + 60], ids=["now", "later"])
def test_a_failure_tells_what_earlier_round_trips_have_brought_in(
    pusher: Client, monkeypatch: pytest.MonkeyPatch, kind: type[PushFailed | PushInDoubt], at: float | None
) -> None:
    trips: list[int] = []

    def fail_at_the_third(*_: object) -> None:
        trips.append(1)
        if len(trips) == 3:
            raise kind("no")

    monkeypatch.setattr(queues, "push", fail_at_the_third)
    monkeypatch.setattr(queues, "schedule", fail_at_the_third)
    jobs = [client.make_job("x", [n], queue="default", retry=True) for n in range(3500)]

    with pytest.raises(kind) as caught:
        pusher.push_jobs(jobs, at)

    assert caught.value.accepted == [job["jid"] for job in jobs[:2000]]
    assert len(trips) == 3
