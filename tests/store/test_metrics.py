"""Sidekiq's metrics: its keys, its fields, its histogram, and how long they stay."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from support.snapshot import snapshot

from forkworker.keeper.numbers import Numbers
from forkworker.runtime.hand import Unit
from forkworker.runtime.outcome import Outcome
from forkworker.runtime.tallyman import Tallyman
from forkworker.store import metrics
from forkworker.store.metrics import Deed
from forkworker.unix.board import Board, create

if TYPE_CHECKING:
    import redis as redispy

    from forkworker.store.connection import Link

pytestmark = pytest.mark.store

NOW = datetime(2026, 11, 23, 9, 5, 59, tzinfo=timezone.utc).timestamp()
MINUTE, TEN, HISTOGRAM = "j|261123|9:05", "j|261123|9:0", "h|shop.send-23-9:5"
UNIT = Unit(payload=b"{}", queue="default", working="w", entry=0, permit=0, taken_at=0.0)


def deed(name: str = "shop.send", runs: int = 3, failures: int = 1, **slots: int) -> Deed:
    counts = [slots.get(f"s{n}", 0) for n in range(26)]
    return Deed(name=name, runs=runs, failures=failures, milliseconds=250, slots=counts)


def test_a_minute_ten_minutes_and_a_histogram_are_written(link: Link, redis: redispy.Redis) -> None:
    metrics.add(link, [deed(s0=1, s25=2)], NOW)
    metrics.add(link, [deed(runs=1, failures=0, s0=1)], NOW)
    fields = {b"shop.send|p": b"4", b"shop.send|f": b"1", b"shop.send|ms": b"500"}
    histogram = b"\0\2" + bytes(48) + b"\0\2"
    assert snapshot(redis) == {MINUTE: fields, TEN: fields, HISTOGRAM: histogram}
    assert 0 <= 8 * 3600 - redis.ttl(MINUTE) < 60
    assert 0 <= 8 * 3600 - redis.ttl(HISTOGRAM) < 60
    assert 0 <= 3 * 86_400 - redis.ttl(TEN) < 60


def test_a_counter_that_is_full_stays_full(link: Link, redis: redispy.Redis) -> None:
    metrics.add(link, [deed(s3=65_530)], NOW)
    metrics.add(link, [deed(s3=100_000)], NOW)
    assert redis.bitfield_ro(HISTOGRAM, "u16", "#3") == [65_535]


def test_many_names_and_names_that_cannot_be_written(link: Link, redis: redispy.Redis) -> None:
    metrics.add(link, [deed(f"job{n}", s1=1) for n in range(250)] + [deed("a|b", s1=1)], NOW)
    metrics.add(link, [], NOW)
    world = snapshot(redis)
    assert len(world) == 252
    assert len(world[MINUTE]) == 750


def test_keys_of_another_type_are_passed_over(link: Link, redis: redispy.Redis) -> None:
    redis.set(MINUTE, "text")
    redis.sadd(HISTOGRAM, "member")
    metrics.add(link, [deed(s0=1)], NOW)
    assert redis.hgetall(TEN) == {b"shop.send|p": b"3", b"shop.send|f": b"1", b"shop.send|ms": b"250"}
    assert redis.get(MINUTE) == b"text"


@pytest.mark.parametrize(
    ("seconds", "slot"), [(0.0, 0), (0.0199, 0), (0.025, 1), (0.9, 10), (334.0, 24), (336.0, 25), (1e6, 25)]
)
def test_what_a_child_counts_arrives_in_sidekiqs_terms(
    link: Link, redis: redispy.Redis, seconds: float, slot: int
) -> None:
    board = Board(create(threads=1, waits=1, entries=1))
    kinds = ("done", "retry", "failed", "bury", "reject", "back")
    outcomes = [Outcome(UNIT, kind, "shop.send", "", seconds) for kind in kinds]
    Tallyman(board.tally, lambda name: name == "shop.send").report([*outcomes, Outcome(UNIT, "retry", "strange")])
    numbers = Numbers()
    numbers._add(board.tally)
    numbers.publish(link, NOW)
    numbers.publish(link, NOW)
    told = {b"shop.send|p": b"4", b"shop.send|f": b"3"}
    told |= {b"shop.send|ms": b"%d" % (seconds * 1000)} if seconds else {}
    assert redis.hgetall(MINUTE) == told
    assert redis.bitfield_ro(HISTOGRAM, "u16", f"#{slot}") == [1]
    board.close()
