"""How a fetch is shared out among the queues."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forkworker.runtime.order import Order, Plan
from forkworker.settings import Queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

pytestmark = pytest.mark.unit

SHOP = {"high": 6, "default": 3, "low": 1}
WEIGHTS = st.lists(st.integers(1, 50), min_size=2, max_size=6).map(lambda ws: {f"q{i}": w for i, w in enumerate(ws)})
COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=80)
SEEDS = st.integers(0, 2**32)
patiently = settings(deadline=None, max_examples=50)


def order(weights: Mapping[str, int], seed: int) -> Order:
    return Order([Queue(name, weight) for name, weight in weights.items()], random.Random(seed).random)


def fetch(plan: Plan, lengths: dict[str, int]) -> list[int]:
    """Do what the script does, to queues of these lengths."""
    taken, left = [], plan.most
    for name, share in zip(plan.queues, plan.shares, strict=True):
        taken.append(min(share, left, lengths[name]))
        left -= taken[-1]
    for i, (name, share) in enumerate(zip(plan.queues, plan.shares, strict=True)):
        if taken[i] == share:
            more = min(left, lengths[name] - taken[i])
            taken[i] += more
            left -= more
    for name, got in zip(plan.queues, taken, strict=True):
        lengths[name] -= got
    return taken


def run(order: Order, counts: Iterable[int], lengths: dict[str, int]) -> list[Counter[str]]:
    """Return what each of these fetches has brought."""
    brought = []
    for count in counts:
        plan = order.plan(count)
        taken = fetch(plan, lengths)
        order.note(plan, taken)
        brought.append(Counter(dict(zip(plan.queues, taken, strict=True))))
    return brought


def slack(weights: Mapping[str, int], name: str) -> float:
    """How far from its exact share a queue may be in any stretch: one for itself, a share of one for each other."""
    return 1 + len(weights) * weights[name] / sum(weights.values()) + 1e-6


def assert_shared(stretch: Sequence[Counter[str]], weights: Mapping[str, int]) -> None:
    total = sum(stretch, Counter[str]())
    for name, weight in weights.items():
        exact = total.total() * weight / sum(weights.values())
        assert abs(total[name] - exact) <= slack(weights, name), (name, total, exact)


# Without weights


@pytest.mark.parametrize("weights", [{"b": 0, "a": 0, "c": 0}, {"only": 5}, {"only": 0}])
def test_without_weights_or_others_there_is_one_order_and_no_shares(weights: dict[str, int]) -> None:
    strict = order(weights, 1)

    plan = strict.plan(7)
    strict.note(plan, [0, 0, 3])

    assert plan == strict.plan(7) == (list(weights), 7, [])


# With weights


@patiently
@given(WEIGHTS, COUNTS, SEEDS)
def test_any_stretch_of_jobs_is_shared_in_proportion(weights: dict[str, int], counts: list[int], seed: int) -> None:
    brought = run(order(weights, seed), counts, dict.fromkeys(weights, 10**6))

    for start, end in itertools.combinations(range(0, len(brought) + 1, 7), 2):
        assert_shared(brought[start:end], weights)


@patiently
@given(WEIGHTS, COUNTS, SEEDS, st.data())
def test_what_empty_queues_leave_is_shared_by_the_others_in_proportion(
    weights: dict[str, int], counts: list[int], seed: int, data: st.DataObject
) -> None:
    empty = set(data.draw(st.sets(st.sampled_from(sorted(weights)), max_size=len(weights) - 1)))
    others = {name: weight for name, weight in weights.items() if name not in empty}
    order_ = order(weights, seed)
    lengths = {name: 0 if name in empty else 10**6 for name in weights}
    run(order_, [2 * sum(weights.values())], lengths)  # in this one they are found empty

    brought = run(order_, counts, lengths)

    assert [sum(each.values()) for each in brought] == counts
    for queue, each in itertools.product(empty, brought):
        assert each[queue] == 0
    # what the first fetch gave somebody beyond their share is still being made up for: judge the rest
    settled = run(order_, [1000] * 20, lengths)
    assert_shared(settled[10:], others)


@patiently
@given(WEIGHTS, COUNTS, SEEDS, st.data())
def test_each_fetch_brings_as_many_as_there_are(
    weights: dict[str, int], counts: list[int], seed: int, data: st.DataObject
) -> None:
    """Whatever comes and goes in the queues: no thread stays without a job while there is one."""
    order_, lengths = order(weights, seed), dict.fromkeys(weights, 0)
    for count in counts:
        for name in weights:
            lengths[name] += data.draw(st.sampled_from((0, 0, 1, 5, 40)))
        wanted = min(count, sum(lengths.values()))

        (brought,) = run(order_, [count], lengths)

        assert brought.total() == wanted


@patiently
@given(WEIGHTS, COUNTS, SEEDS, st.data())
def test_none_starves_whatever_the_others_do(
    weights: dict[str, int], counts: list[int], seed: int, data: st.DataObject
) -> None:
    """The last queue always has work; the others come and go."""
    order_, last, total = order(weights, seed), list(weights)[-1], sum(weights.values())
    assume(total > weights[last])
    lengths = dict.fromkeys(weights, 0)
    waited = 0
    for count in counts * 3:
        for name in weights:
            lengths[name] = 10**6 if name == last else lengths[name] + data.draw(st.sampled_from((0, 0, 1, 30)))
        (brought,) = run(order_, [count], lengths)
        waited = 0 if brought[last] else waited + count
        most_in_advance = max(counts) * total / weights[last]  # it had all of a fetch, as the others had nothing
        assert waited <= most_in_advance + (slack(weights, last) + 1) * total / weights[last]


def test_a_queue_that_was_empty_saves_nothing_up() -> None:
    shop = order(SHOP, 1)
    lengths = {"high": 0, "default": 10**6, "low": 10**6}
    run(shop, [5] * 1000, lengths)
    lengths["high"] = 10**6

    brought = run(shop, [5] * 20, lengths)

    assert_shared(brought, SHOP)


def test_a_queue_that_was_empty_is_asked_first() -> None:
    shop = order(SHOP, 1)
    lengths = {"high": 10**6, "default": 10**6, "low": 0}
    run(shop, [5] * 10, lengths)
    lengths["low"] = 10**6

    (brought,) = run(shop, [5], lengths)

    assert brought["low"] == 1


def test_first_looks_are_spread_by_weight() -> None:
    first = Counter(order(SHOP, seed).plan(1).queues[0] for seed in range(10_000))

    assert {name: round(count / 1000) for name, count in first.items()} == SHOP


def test_among_equals_each_may_be_the_first_and_all_orders_occur() -> None:
    orders = Counter(tuple(order({"a": 1, "b": 1, "c": 1}, seed).plan(3).queues) for seed in range(6000))

    assert len(orders) == 6
    assert min(orders.values()) > 700


def test_when_all_are_empty_chance_decides_anew() -> None:
    equals = order({"a": 1, "b": 1}, 1)
    first = Counter[str]()
    for _ in range(1000):
        run(equals, [5], {"a": 0, "b": 0})
        first[equals.plan(1).queues[0]] += 1

    assert min(first.values()) > 400


def test_weights_far_apart_cost_no_time() -> None:
    """A plan takes as many steps as it has jobs, whatever the weights."""
    lengths = {"all": 0, "hardly": 10**6}
    brought = run(order({"all": 999_999_999, "hardly": 1}, 1), [25] * 10, lengths)

    assert sum(brought, Counter[str]()) == {"hardly": 250}


def test_queues_that_are_left_out_get_nothing_and_the_others_share() -> None:
    all_queues = [Queue(name, weight) for name, weight in SHOP.items()]
    shares = order(SHOP, 1)

    shares.choose([])
    shares.choose(all_queues[1:])
    brought = run(shares, [10] * 40, dict.fromkeys(SHOP, 1000))
    assert sum(brought, Counter())["high"] == 0
    assert_shared(brought, {"default": 3, "low": 1})

    shares.choose(all_queues)
    assert_shared(run(shares, [10] * 40, dict.fromkeys(SHOP, 1000)), SHOP)


def test_a_single_queue_that_is_left_of_weighted_ones_is_asked_for_all() -> None:
    shares = order(SHOP, 1)

    shares.choose([Queue("low", 1)])

    assert shares.plan(7) == Plan(["low"], 7, [])
