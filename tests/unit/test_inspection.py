"""What is said of a Redis server: too old, a Cluster, or risky."""

from __future__ import annotations

from typing import Any

import pytest

from forkworker.errors import StoreUnfit
from forkworker.keeper.inspection import advice, refuse_unfit
from forkworker.store.server import Server

pytestmark = pytest.mark.unit


def server(**known: Any) -> Server:
    return Server(**({"version": (7, 0, 15), "eviction": "noeviction", "is_persistent": True} | known))


@pytest.mark.parametrize("version", [(6, 2), (6, 2, 14), (7, 0, 15), (8,), None])
def test_a_server_of_a_good_or_unknown_version_is_accepted(version: tuple[int, ...] | None) -> None:
    refuse_unfit(server(version=version))


@pytest.mark.parametrize("version", [(6, 0, 20), (5,), (3, 2, 1)])
def test_an_older_one_is_refused_by_its_number(version: tuple[int, ...]) -> None:
    with pytest.raises(StoreUnfit, match=f"version {'.'.join(map(str, version))}; forkworker needs 6.2 or newer"):
        refuse_unfit(server(version=version))


def test_a_cluster_is_refused_and_told_what_would_do() -> None:
    with pytest.raises(StoreUnfit, match=r"is a Cluster.* forkworker needs one server"):
        refuse_unfit(server(is_cluster=True))


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, []),
        ({"eviction": None, "is_persistent": None}, []),
        ({"eviction": "allkeys-lru"}, ["maxmemory-policy allkeys-lru"]),
        ({"eviction": "volatile-ttl"}, ["maxmemory-policy volatile-ttl"]),
        ({"is_persistent": False}, ["set appendonly to yes"]),
        ({"eviction": "allkeys-random", "is_persistent": False}, ["allkeys-random", "appendonly"]),
    ],
    ids=str,
)
def test_what_may_cost_jobs_is_said_in_a_line_each(known: dict[str, Any], said: list[str]) -> None:
    lines = list(advice(server(**known)))

    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith("jobs may be lost: ")
        assert words in line
