"""Settings: what is out of range is said, and a process of another version reads what it knows."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from forkworker.settings import Queue, Settings

pytestmark = pytest.mark.unit

FULL = Settings(
    apps=("a.jobs", "b.py"),
    apps_source="flag APP",
    directory="/srv",
    processes=3,
    concurrency=7,
    queues=(Queue("high", 6), Queue("low", 1)),
    timeout=2.5,
    environment="production",
    tag="shop",
    redis_url="unix:///run/redis.sock",
    pidfile="/run/fw.pid",
    control="/run/fw.sock",
    control_folder="/run/fw",
    health=":9100",
    log_level="debug",
    log_format="json",
    lease=30.0,
    drain_timeout=90.0,
    max_memory=200,
    max_jobs=1000,
    max_age=3600.0,
    boot_timeout=30.0,
    hang_timeout=120.0,
    preload=False,
    hostname="web-1",
)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings()

    assert (settings.concurrency, settings.timeout, settings.lease, settings.preload) == (25, 8.0, 60.0, True)
    assert settings.queues == (Queue("default", 0),)
    assert settings.redis_url == "redis://localhost:6379/0"
    assert (settings.log_level, settings.log_format) == ("info", "text")
    assert settings.problems() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"processes": 0}, ["processes is 0: it must be from 1 to 500"]),
        ({"processes": -1}, ["processes is -1"]),
        ({"concurrency": 0}, ["concurrency is 0"]),
        ({"concurrency": 1001}, ["concurrency is 1001"]),
        ({"processes": 99_999_999}, ["processes is 99999999"]),
        ({"timeout": -0.5}, ["timeout is -0.5: it must be from 0 to 31622400"]),
        ({"timeout": 1e300}, ["timeout is 1e+300"]),
        ({"timeout": float("nan")}, ["timeout is nan"]),
        ({"drain_timeout": 1e9}, ["drain_timeout is 1000000000: it must be from 0 to 31622400"]),
        ({"lease": float("inf")}, ["lease is inf"]),
        ({"tag": "x" * 101}, ["tag has 101 letters: at most 100"]),
        ({"tag": "a\u202eb"}, ["tag has a character that cannot be shown"]),
        ({"tag": "\udcff"}, ["tag has a character that cannot be shown"]),
        ({"queues": (Queue("a b"), Queue("a b"))}, ["queue 'a b': a name may have"]),
        ({"lease": 4.9}, ["lease is 4.9: it must be from 5 to 31622400"]),
        ({"queues": ()}, ["queues is empty"]),
        ({"queues": (Queue("a b"),)}, ["queue 'a b': a name may have"]),
        ({"queues": (Queue(""),)}, ["queue '': a name may have"]),
        ({"queues": (Queue("a\n"),)}, ["queue 'a\\n': a name may have"]),
        ({"queues": (Queue("a"), Queue("a"), Queue("a"))}, ["queue 'a' is named twice"]),
        ({"queues": (Queue("a", -1),)}, ["queue 'a' has the weight -1"]),
        (
            {
                "processes": 0,
                "concurrency": 0,
                "timeout": -1,
                "lease": 0,
                "queues": (Queue("ü"), Queue("a", -2)),
            },
            ["processes", "concurrency", "timeout", "lease", "queue 'ü'", "queue 'a'"],
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_each_problem_is_one_line_that_names_the_setting(changes: dict[str, Any], words: list[str]) -> None:
    problems = Settings(**changes).problems()

    assert len(problems) == len(words)
    for problem, beginning in zip(problems, words, strict=True):
        assert problem.startswith(beginning)
        assert "\n" not in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"processes": 1},
        {"concurrency": 1},
        {"concurrency": 1000},
        {"processes": 500},
        {"timeout": 31_622_400},
        {"tag": "x" * 100},
        {"timeout": 0},
        {"lease": 5},
        {"queues": (Queue("A-z_0:9.x"),)},
        {"queues": (Queue("a", 0), Queue("b", 1))},
    ],
    ids=str,
)
def test_the_limits_themselves_are_no_problem(changes: dict[str, Any]) -> None:
    assert Settings(**changes).problems() == []


def test_settings_survive_the_way_through_json() -> None:
    assert Settings.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL


def test_the_sample_differs_from_the_defaults_in_every_field() -> None:
    default = Settings()

    same = [f.name for f in dataclasses.fields(Settings) if getattr(FULL, f.name) == getattr(default, f.name)]
    assert same == []


def test_fields_of_a_newer_version_are_left_out() -> None:
    told = FULL.to_dict() | {"memory_limit": 512, "grace": {"a": 1}}
    told["queues"] = [{**queue, "limit": 3} for queue in told["queues"]]

    assert Settings.from_dict(told) == FULL


@pytest.mark.parametrize("missing", ["apps", "lease", "hostname", "preload"])
def test_a_field_that_an_older_version_did_not_tell_has_its_default(missing: str) -> None:
    told = FULL.to_dict()
    del told[missing]

    assert getattr(Settings.from_dict(told), missing) == getattr(Settings(), missing)


@pytest.mark.parametrize(
    ("queues", "strict"),
    [
        ((Queue("a"), Queue("b")), True),
        ((Queue("a", 2), Queue("b", 1)), False),
    ],
    ids=["no weights", "weights"],
)
def test_queues_without_weights_are_served_in_strict_order(queues: tuple[Queue, ...], strict: bool) -> None:
    settings = Settings(queues=queues)

    assert settings.strict is strict
    assert settings.queue_names == ("a", "b")


@pytest.mark.parametrize(("lease", "beat"), [(5, 1), (20, 4), (25, 5), (60, 5), (3600, 5)])
def test_the_beat_is_a_fifth_of_the_lease_and_at_most_5_seconds(lease: float, beat: float) -> None:
    assert Settings(lease=lease).beat_seconds == beat


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("embedded:///var/lib/fw", "/var/lib/fw"),
        ("embedded:///var/lib/../fw/", "/var/fw"),
        ("redis://localhost", None),
        ("unix:///embedded://", None),
    ],
)
def test_only_an_embedded_address_has_a_folder(url: str, directory: str | None) -> None:
    assert Settings(redis_url=url).embedded_directory == directory


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.processes = 4  # type: ignore[misc]
