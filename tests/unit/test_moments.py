"""Instants as people write and read them."""

from __future__ import annotations

from datetime import datetime

import pytest

from forkworker.cli import moments

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("90s", NOW - 90),
        ("10m", NOW - 600),
        ("1.5h", NOW - 5400),
        ("2d", NOW - 172_800),
        ("+10m", NOW + 600),
        ("1799999999", NOW - 1),
        ("1799999999.5", NOW - 0.5),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T09:00+01:00", NOW),
        (" 2027-01-15 08:00:00+00:00 ", NOW),
    ],
)
def test_a_time_is_read_as_it_is_written(text: str, instant: float) -> None:
    assert moments.read(text, NOW) == instant


def test_a_time_without_a_zone_is_local() -> None:
    today = datetime.fromtimestamp(NOW).astimezone()

    assert moments.read("2027-01-10T02:30", NOW) == datetime(2027, 1, 10, 2, 30).astimezone().timestamp()
    assert moments.read("02:30", NOW) == today.replace(hour=2, minute=30, second=0).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "10", "10x", "-10m", "25:00", "2027-13-01", "1e9"])
def test_what_is_no_time_is_refused_with_the_ways_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: write it as 10m"):
        moments.read(text, NOW)


def test_a_time_is_told_with_its_distance() -> None:
    assert moments.told(None, NOW) == "-"
    assert moments.told(NOW - 90, NOW).endswith("(2 min ago)")
    assert moments.told(NOW + 90, NOW).endswith("(in 2 min)")
    assert moments.told(1e30, NOW) == "1e+30"
