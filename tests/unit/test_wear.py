"""Memory of a child: known from two looks on, looked at more often the nearer its limit is."""

from __future__ import annotations

import pytest

from forkworker.supervisor.checkup import LEAD_SECONDS, REST_SECONDS
from forkworker.supervisor.wear import JITTER, LEAST_LOOK_SECONDS, MOST_LOOK_SECONDS, Wear

pytestmark = pytest.mark.unit

LIMIT = 200.0
NOW = 1000.0


def seen(*sizes: float, every: float = 1.0) -> Wear:
    """Wear after so many looks."""
    wear = Wear(NOW)
    for number, size in enumerate(sizes):
        wear.note(NOW + number * every, size, LIMIT)
    return wear


@pytest.mark.parametrize(
    ("wear", "is_to_be_replaced", "takes_no_more"),
    [
        (seen(10), False, False),
        (seen(10, 120), False, False),
        (seen(50, 172), True, False),
        (seen(80, 190), True, True),
        (seen(150, 200), True, True),
        (seen(150, 199, 199), False, False),
        (seen(190, 60), False, False),
        (seen(70, 120, every=0.1), True, False),
        (seen(80, 160, every=0.1), True, True),
    ],
    ids=[
        *("one look", "far from it", "over when a successor is ready", "over at the next look"),
        *("over", "grows no more", "shrinks", "fast", "faster"),
    ],
)
def test_a_growing_child_is_replaced_in_time_and_takes_no_more_before_it_is_over(
    wear: Wear, is_to_be_replaced: bool, takes_no_more: bool
) -> None:
    assert wear.is_over(LIMIT, LEAD_SECONDS) is is_to_be_replaced
    assert wear.is_over(LIMIT, REST_SECONDS) is takes_no_more


@pytest.mark.parametrize(
    ("sizes", "seconds"),
    [
        ((10,), MOST_LOOK_SECONDS),
        ((10, 10), MOST_LOOK_SECONDS),
        ((0, 100), 0.25),
        ((0, 180), LEAST_LOOK_SECONDS),
        ((0, 300), LEAST_LOOK_SECONDS),
    ],
    ids=["one look", "does not grow", "a quarter of the way", "near", "over"],
)
def test_memory_is_looked_at_more_often_the_sooner_the_limit_is_reached(
    sizes: tuple[float, ...], seconds: float
) -> None:
    assert seen(*sizes).look_at == pytest.approx(NOW + len(sizes) - 1 + seconds)


@pytest.mark.parametrize(("sizes", "is_heavy"), [((200, 10), True), ((199, 300), False)])
def test_only_the_first_look_tells_of_one_that_is_heavy_from_birth(sizes: tuple[float, ...], is_heavy: bool) -> None:
    assert seen(*sizes).is_heavy_from_birth is is_heavy


def test_children_of_one_boot_do_not_come_of_age_together() -> None:
    shares = {Wear(NOW).share for _ in range(100)}

    assert len(shares) > 50
    assert all(1 - JITTER <= share <= 1 for share in shares)
