"""The poller: what is due goes to its queue, and between polls Redis is left alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forkworker.keeper.poller import POLL_SECONDS, Poller
from forkworker.store import scripts, sets

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.unit

NOW = 1_764_000_000.5


class FakeClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class FakeLink:
    """Answers ``due`` as told, and notes every ``promote``."""

    def __init__(
        self,
        retries: Sequence[bytes] = (),
        scheduled: Sequence[bytes] = (),
        next_at: float | None = None,
        crashes: bytes | None = None,
    ) -> None:
        self._crashes = crashes
        self._due = [list(retries), list(scheduled), None if next_at is None else repr(next_at).encode()]
        self.commands: list[str] = []
        #: source -> (key of the new home, old payload, queue, new payload)
        self.promoted: dict[str, list[tuple[str, bytes, str, bytes]]] = {}

    def execute(self, *command: Any) -> Any:
        if command[0] == "MGET":
            self.commands.append("crashes")
            return [self._crashes] * len(command[1:])
        evalsha, sha1, count, *rest = command
        assert evalsha == "EVALSHA"
        keys, args = rest[:count], rest[count:]
        if sha1 == scripts.get("due").sha1:
            self.commands.append("due")
            assert keys == ["retry", "schedule"]
            assert args == [repr(NOW), sets.BATCH, 0, 0]
            return self._due
        assert sha1 == scripts.get("promote").sha1
        self.commands.append("promote")
        assert keys[1:3] == ["queues", "dead"]
        assert args[0] == repr(NOW)
        parts = args[1:]
        self.promoted[keys[0]] = [
            (home, *parts[i : i + 3]) for home, i in zip(keys[3:], range(0, len(parts), 3), strict=True)
        ]
        return len(self.promoted[keys[0]])

    def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[int]:
        assert [command[0] for command in commands] == ["ZREMRANGEBYSCORE", "ZREMRANGEBYRANK"]
        self.commands.append("trim")
        return [0, 0]


def poll(link: FakeLink) -> float:
    return Poller(link, FakeClock()).poll()  # type: ignore[arg-type]


def job(**fields: Any) -> bytes:
    return json.dumps({"class": "work", "args": [1], "jid": "0f", **fields}).encode()


def test_nothing_due_is_one_command_and_a_second_of_rest() -> None:
    link = FakeLink()

    assert poll(link) == POLL_SECONDS == 1.0
    assert link.commands == ["due"]


@pytest.mark.parametrize(
    ("next_at", "rest"),
    [(NOW + 0.25, 0.25), (NOW + 1, 1.0), (NOW + 3600, 1.0), (NOW - 5, 0.0)],
    ids=["soon", "in a second", "later", "meanwhile"],
)
def test_what_becomes_due_earlier_is_awaited_to_the_moment(next_at: float, rest: float) -> None:
    assert poll(FakeLink(next_at=next_at)) == pytest.approx(rest, abs=1e-6)


def test_what_is_due_goes_from_its_set_to_its_queue_with_a_new_enqueued_at() -> None:
    retried = job(queue="low", enqueued_at=1.5, retry_count=2, unknown={"a": [1]})
    scheduled = job(queue="high")
    link = FakeLink([retried], [scheduled])

    poll(link)

    ((home, old, queue, new),) = link.promoted["retry"]
    assert (home, old, queue) == ("queue:low", retried, "low")
    assert json.loads(new) == {**json.loads(retried), "enqueued_at": NOW}
    ((home, old, queue, new),) = link.promoted["schedule"]
    assert (home, old, queue) == ("queue:high", scheduled, "high")
    assert json.loads(new) == {**json.loads(scheduled), "enqueued_at": NOW}


@pytest.mark.parametrize(("crashes", "is_kept"), [(b"2", True), (None, False)], ids=["crashed", "never"])
def test_a_job_that_waits_because_of_crashes_keeps_its_bytes(crashes: bytes | None, *, is_kept: bool) -> None:
    """They are counted by them; other clients may write enqueued_at into what they schedule, too."""
    waiting = job(queue="low", enqueued_at=1.5)
    link = FakeLink(scheduled=[waiting], crashes=crashes)

    poll(link)

    ((_, old, _, new),) = link.promoted["schedule"]
    assert old == waiting
    assert (new == waiting) is is_kept
    assert link.commands == ["due", "crashes", "promote"]


@pytest.mark.parametrize("fields", [{}, {"queue": None}, {"queue": ""}, {"queue": 7}, {"queue": ["a"]}], ids=str)
def test_a_due_job_that_names_no_queue_goes_to_the_default_one(fields: dict[str, Any]) -> None:
    link = FakeLink(scheduled=[job(**fields)])

    poll(link)

    ((home, _, queue, new),) = link.promoted["schedule"]
    assert (home, queue, json.loads(new)["queue"]) == ("queue:default", "default", "default")


@pytest.mark.parametrize("text", [b"", b"hello", b"[]", b'{"args":[]}', b"\xff", b'{"class":"a","args":{}}'], ids=repr)
def test_a_due_entry_that_is_no_job_goes_to_the_dead_set_as_it_is(text: bytes) -> None:
    link = FakeLink(retries=[text, job(queue="low")])

    poll(link)

    assert [entry[:3] for entry in link.promoted["retry"]] == [
        ("dead", text, ""),
        ("queue:low", job(queue="low"), "low"),
    ]
    assert link.promoted["retry"][0][3] == text


def test_an_entry_that_fails_in_an_unknown_way_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_at_one(fields: dict[str, Any]) -> dict[str, Any]:
        if fields["args"] == ["odd"]:
            raise OverflowError("int too large to convert to float")
        return fields

    monkeypatch.setattr("forkworker.wire.pages.presentable", fail_at_one)
    odd = job(args=["odd"])
    link = FakeLink(retries=[odd, job(queue="low")])

    poll(link)

    assert [entry[:2] for entry in link.promoted["retry"]] == [("dead", odd), ("queue:low", job(queue="low"))]


def test_a_full_batch_is_followed_by_the_next_at_once() -> None:
    entries = [job(jid=str(n)) for n in range(sets.BATCH)]

    assert poll(FakeLink(scheduled=entries, next_at=NOW + 60)) == 0.0
    assert poll(FakeLink(retries=entries)) == 0.0
    assert poll(FakeLink(scheduled=entries[1:], next_at=NOW + 60)) == 1.0


def test_an_empty_set_is_not_promoted_from() -> None:
    link = FakeLink(scheduled=[job()])

    poll(link)

    assert link.commands == ["due", "promote"]
    assert list(link.promoted) == ["schedule"]
