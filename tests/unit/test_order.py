"""The order in which a fetch looks at the queues."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from forkworker.runtime import order
from forkworker.settings import Queue

pytestmark = pytest.mark.unit


def test_without_weights_the_order_is_the_given_one() -> None:
    queues = [Queue("high"), Queue("default"), Queue("low")]

    assert order.of_fetch(queues) == ["high", "default", "low"]


def test_with_weights_each_queue_comes_first_in_proportion() -> None:
    queues = [Queue("high", 6), Queue("default", 3), Queue("low", 1)]
    chance = random.Random(1)

    first = Counter(order.of_fetch(queues, chance.random)[0] for _ in range(10_000))

    assert {name: round(count / 1000) for name, count in first.items()} == {"high": 6, "default": 3, "low": 1}


def test_with_weights_every_queue_is_looked_at_once() -> None:
    queues = [Queue("high", 6), Queue("low", 1), Queue("default", 3)]

    assert sorted(order.of_fetch(queues)) == ["default", "high", "low"]
