"""The scripts as a whole: all there, all loaded by somebody, all known to Redis by the digest we compute."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from forkworker.store import access, orphans, scripts, working

if TYPE_CHECKING:
    import redis as redispy

    from forkworker.store.connection import Link

pytestmark = pytest.mark.store

NAMES = sorted(
    file.name.removesuffix(".lua")
    for file in resources.files("forkworker.store").joinpath("lua").iterdir()
    if file.name.endswith(".lua")
)


def test_every_script_is_loaded_by_a_child_by_a_keeper_or_by_operators() -> None:
    assert sorted({*working.SCRIPTS, *orphans.SCRIPTS, *access.SCRIPTS, "rights"}) == NAMES
    assert set(working.SCRIPTS).isdisjoint({*orphans.SCRIPTS, *access.SCRIPTS})
    assert {*orphans.SCRIPTS} & {*access.SCRIPTS} == {"promote"}


@pytest.mark.parametrize("name", sorted({*NAMES} - {"rights"}))  # which is sent once for each connection
def test_redis_knows_a_script_by_our_digest(link: Link, redis: redispy.Redis, name: str) -> None:
    link.open()

    assert redis.script_exists(scripts.get(name).sha1) == [True]


@pytest.mark.parametrize("name", NAMES)
def test_a_script_names_no_key_by_itself(name: str) -> None:
    """Every key comes from wire/keys.py: the first argument of a call is a variable, never a string."""
    calls = re.findall(r"(?:redis\.p?call|try)\('[A-Z]+', *(.)", scripts.get(name).source)

    assert calls
    assert "'" not in calls


@pytest.mark.parametrize("name", NAMES)
def test_a_script_states_its_keys_arguments_and_result(name: str) -> None:
    header = [line for line in scripts.get(name).source.splitlines() if line.startswith("-- ")]

    assert [word for word in ("KEYS", "ARGV", "Returns") if not any(word in line for line in header)] == []


def test_a_call_names_the_script_by_its_digest_and_counts_its_keys() -> None:
    assert scripts.call("take", ["a", "b"], [1, "x"]) == (
        "EVALSHA",
        scripts.get("take").sha1,
        2,
        "a",
        "b",
        1,
        "x",
    )
