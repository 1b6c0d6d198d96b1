"""beat, farewell and take: how a child is seen to live, and how it is declared dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forkworker.errors import IdentityTaken
from forkworker.store import orphans, processes
from forkworker.store.processes import Beat
from store.scene import ALICE, BOB, expires, listed, world

if TYPE_CHECKING:
    import redis as redispy

    from forkworker.store.connection import Link

pytestmark = pytest.mark.store

FIELDS: dict[str, str | int | float] = {
    "info": '{"hostname":"host"}',
    "busy": 1,
    "beat": 1700000000.25,
    "quiet": "false",
    "rss": 4096,
    "rtt_us": 90,
    "concurrency": 25,
}
WORK = {
    "t1": '{"queue":"default","payload":"{}","run_at":1}',
    "t2": '{"queue":"low","payload":"{}","run_at":2}',
}


def make(owner: str = ALICE, **different: Any) -> Beat:
    fields = {"fields": FIELDS, "queues": ("high", "low"), "work": WORK, **different}
    return Beat(identity=owner, origin="boot-1 ns-2 25", **fields)


def shown(owner: str = ALICE) -> dict[str, Any]:
    work = {thread.encode(): text.encode() for thread, text in WORK.items()}
    return {
        "processes": {owner.encode()},
        owner: {name.encode(): str(value).encode() for name, value in FIELDS.items()},
        f"{owner}:work": work,
        f"{owner}:workers": work,
        "working": {listed("high", owner).encode(), listed("low", owner).encode()},
        "origins": {owner.encode(): b"boot-1 ns-2 25"},
    }


def test_a_beat_shows_the_child_to_all_versions_of_the_web_ui(link: Link, redis: redispy.Redis) -> None:
    assert processes.beat(link, make(), 60) == []
    assert world(redis) == shown()


def test_the_next_beat_replaces_what_the_last_has_shown(link: Link, redis: redispy.Redis) -> None:
    processes.beat(link, make(), 60)

    processes.beat(link, make(fields={**FIELDS, "busy": 0, "beat": 1700000005.5}, work={"t9": "x"}), 60)

    assert world(redis) == {
        **shown(),
        ALICE: {**shown()[ALICE], b"busy": b"0", b"beat": b"1700000005.5"},
        f"{ALICE}:work": {b"t9": b"x"},
        f"{ALICE}:workers": {b"t9": b"x"},
    }


def test_an_idle_child_has_no_work_to_show(link: Link, redis: redispy.Redis) -> None:
    processes.beat(link, make(), 60)

    processes.beat(link, make(work={}), 60)

    after = shown()
    del after[f"{ALICE}:work"], after[f"{ALICE}:workers"]
    assert world(redis) == after


@pytest.mark.parametrize(
    ("lease", "seconds"),
    [
        pytest.param(5, 60, id="short lease: as long as Sidekiq's"),
        pytest.param(60, 120, id="twice the lease"),
        pytest.param(600.5, 1201, id="long lease"),
    ],
)
def test_a_beat_is_kept_for_twice_the_lease_and_at_least_a_minute(
    link: Link, redis: redispy.Redis, lease: float, seconds: int
) -> None:
    processes.beat(link, make(), lease)
    for key in (ALICE, f"{ALICE}:work", f"{ALICE}:workers"):
        redis.expire(key, 1)

    processes.beat(link, make(), lease)

    assert {key for key in world(redis) if redis.ttl(key) >= 0} == {
        ALICE,
        f"{ALICE}:work",
        f"{ALICE}:workers",
    }
    assert all(expires(redis, key, seconds) for key in (ALICE, f"{ALICE}:work", f"{ALICE}:workers"))


@pytest.mark.parametrize("names", [["TERM"], ["TSTP", "TTIN", "TERM"]], ids=["one", "three"])
def test_a_beat_brings_all_signals_the_oldest_first_and_once(
    link: Link, redis: redispy.Redis, names: list[str]
) -> None:
    redis.lpush(f"{ALICE}-signals", *names)

    assert processes.beat(link, make(), 60) == names
    assert world(redis) == shown()
    assert processes.beat(link, make(), 60) == []


def test_signals_for_others_stay(link: Link, redis: redispy.Redis) -> None:
    redis.lpush(f"{BOB}-signals", "TERM")

    assert processes.beat(link, make(), 60) == []
    assert world(redis) == {**shown(), f"{BOB}-signals": [b"TERM"]}


def test_one_declared_dead_shows_nothing_and_is_told(link: Link, redis: redispy.Redis) -> None:
    redis.set(f"taken:{ALICE}", 1)
    redis.lpush(f"{ALICE}-signals", "TERM")
    before = world(redis)

    with pytest.raises(IdentityTaken):
        processes.beat(link, make(), 60)

    assert world(redis) == before


def test_a_farewell_leaves_nothing_of_the_child_in_the_registry(link: Link, redis: redispy.Redis) -> None:
    for owner in (ALICE, BOB):
        processes.beat(link, make(owner), 60)
    redis.lpush(f"{ALICE}-signals", "TERM")

    processes.farewell(link, ALICE)

    assert world(redis) == {
        **shown(BOB),
        # its lists are forgotten by unregister, when they are known to be empty
        "working": shown(ALICE)["working"] | shown(BOB)["working"],
        "origins": shown(ALICE)["origins"] | shown(BOB)["origins"],
    }


def test_a_farewell_to_one_who_never_beat_does_nothing(link: Link, redis: redispy.Redis) -> None:
    processes.farewell(link, ALICE)

    assert world(redis) == {}


def test_signs_of_life_are_the_last_beats(link: Link, redis: redispy.Redis) -> None:
    processes.beat(link, make(), 60)
    before = world(redis)

    assert orphans.signs_of_life(link, [ALICE, BOB]) == {ALICE: "1700000000.25", BOB: ""}
    assert world(redis) == before


def test_taking_declares_dead_one_that_has_not_beaten_since(link: Link, redis: redispy.Redis) -> None:
    for owner in (ALICE, BOB):
        processes.beat(link, make(owner), 60)
    redis.lpush(f"{ALICE}-signals", "TERM")

    assert orphans.take(link, ALICE, "1700000000.25")
    assert world(redis) == {
        **shown(BOB),
        "working": shown(ALICE)["working"] | shown(BOB)["working"],
        "origins": shown(ALICE)["origins"] | shown(BOB)["origins"],
        f"taken:{ALICE}": b"1",
    }
    assert expires(redis, f"taken:{ALICE}", orphans.FENCE_SECONDS)


@pytest.mark.parametrize("seen", ["", "1699999999.0"], ids=["never seen", "an earlier beat"])
def test_taking_spares_one_that_has_beaten_since(link: Link, redis: redispy.Redis, seen: str) -> None:
    processes.beat(link, make(), 60)

    assert not orphans.take(link, ALICE, seen)
    assert world(redis) == shown()


def test_one_whose_beat_has_passed_away_is_taken_by_who_has_seen_that(link: Link, redis: redispy.Redis) -> None:
    assert not orphans.take(link, ALICE, "1700000000.25")
    assert world(redis) == {}

    assert orphans.take(link, ALICE, "")
    assert world(redis) == {f"taken:{ALICE}": b"1"}


def test_of_two_keepers_that_saw_the_same_beat_one_takes(link: Link, redis: redispy.Redis) -> None:
    processes.beat(link, make(work={}), 60)

    assert [orphans.take(link, ALICE, "1700000000.25") for _ in range(2)] == [True, False]
    assert world(redis)[f"taken:{ALICE}"] == b"1"


# What whoever can write to Redis may have left


def test_a_flood_of_signals_is_each_kind_once_and_the_rest_is_dropped(link: Link, redis: redispy.Redis) -> None:
    redis.lpush(f"{ALICE}-signals", *(["TTIN"] * 50_000), "TERM")

    assert processes.beat(link, make(), 60) == ["TTIN"]
    assert world(redis) == shown()


@pytest.mark.parametrize("name", [b"KILL", b"term", b"", b"\xff\x00", b"TERM\n", b"x" * 1_000_000, b"__import__('os')"])
def test_a_signal_of_another_name_is_none(link: Link, redis: redispy.Redis, name: bytes) -> None:
    redis.lpush(f"{ALICE}-signals", name, "TERM")

    assert processes.beat(link, make(), 60) == ["TERM"]
    assert world(redis) == shown()


def test_signals_that_are_no_list_are_taken_away(link: Link, redis: redispy.Redis) -> None:
    redis.set(f"{ALICE}-signals", "a text")

    assert processes.beat(link, make(), 60) == []
    assert world(redis) == shown()
