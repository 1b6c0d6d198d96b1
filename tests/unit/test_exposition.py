"""The page of metrics: what Prometheus' own checker says of it, whatever is named in it; and the alert rules."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.promtool import RULES, promtool

from forkworker.keeper.exposition import SHOWN_BOUNDS, render
from forkworker.keeper.measures import Holdings
from forkworker.keeper.numbers import Figures
from forkworker.keeper.sight import ChildSight, Sight
from forkworker.settings import Settings
from forkworker.store.overview import QueueSize
from forkworker.unix.tally import BOUNDS, COUNTS

pytestmark = pytest.mark.unit

NOW = 1000.0
HOSTILE = 'a"b\\c\nd}\r\0 é # HELP {x="y"} 1'
RAN = (4, 1, 0, 0, 0, 2_500_000, 3, *[0] * (len(BOUNDS) - 1), 1)


def sight(**changes: Any) -> Sight:
    fields: dict[str, Any] = {
        "children": (
            ChildSight(slot=0, state="ready", busy=2, beat_at=NOW - 2, lease_until=NOW + 50),
            ChildSight(slot=1, state="stuck", busy=1, beat_at=NOW - 4, lease_until=NOW + 50),
        ),
        "answered_at": NOW,
        "figures": Figures(
            jobs=((HOSTILE, (0,) * COUNTS), ("send", RAN)),
            crashed=2,
            left_in_order=1,
            put_back=5,
            recovered=3,
            buried=1,
        ),
        "holdings": Holdings(
            queues=(QueueSize("mail", 3, 1.5), QueueSize(HOSTILE, 0, 0.0, paused=True)),
            schedule=1,
            retry=2,
            dead=3,
            orphaned=4,
            round_trip_seconds=0.0002,
        ),
    }
    return Sight(**{**fields, **changes})


def lines_of(page: str) -> dict[str, float]:
    """Read a page as simply as it is written; names with a line's end are escaped."""
    lines = [line.rpartition(" ") for line in page.split("\n") if line and not line.startswith("#")]
    return {name.removesuffix("{}"): float(value) for name, _, value in lines}


def test_everything_is_there() -> None:
    found = lines_of(render(Settings(processes=2, concurrency=5, tag="shop"), sight(), NOW - 0.5, NOW))
    wanted = {
        'forkworker_children{state="stuck"}': 1,
        'forkworker_children{state="booting"}': 0,
        "forkworker_children_wanted": 2,
        "forkworker_threads": 10,
        "forkworker_threads_busy": 3,
        "forkworker_oldest_beat_age_seconds": 4,
        "forkworker_ready": 1,
        "forkworker_redis_up": 1,
        "forkworker_master_pulse_age_seconds": 0.5,
        "forkworker_redis_round_trip_seconds": 0.0002,
        'forkworker_children_ended_total{how="crashed"}': 2,
        "forkworker_jobs_put_back_total": 5,
        "forkworker_jobs_recovered_total": 3,
        "forkworker_jobs_buried_after_crashes_total": 1,
        'forkworker_jobs_total{name="send",outcome="done"}': 4,
        'forkworker_jobs_total{name="send",outcome="retry"}': 1,
        'forkworker_job_seconds_bucket{name="send",le="0.001"}': 3,
        'forkworker_job_seconds_bucket{name="send",le="335"}': 3,
        'forkworker_job_seconds_bucket{name="send",le="+Inf"}': 4,
        'forkworker_job_seconds_sum{name="send"}': 2.5,
        'forkworker_job_seconds_count{name="send"}': 4,
        'forkworker_queue_jobs{queue="mail"}': 3,
        'forkworker_queue_latency_seconds{queue="mail"}': 1.5,
        'forkworker_set_jobs{set="retry"}': 2,
        "forkworker_orphaned_jobs": 4,
    }
    assert {name: found[name] for name in wanted} == wanted


def test_prometheus_finds_nothing_to_say_against_it_whatever_the_names_are() -> None:
    page = render(Settings(tag=HOSTILE), sight(), NOW, NOW)
    assert promtool("check", "metrics", text=page) == ""
    away = render(Settings(), sight(holdings=None, children=(), redis_trouble="gone"), 0.0, NOW)
    assert promtool("check", "metrics", text=away) == ""
    assert lines_of(away)["forkworker_ready"] == lines_of(away)["forkworker_redis_up"] == 0


def test_names_that_look_alike_are_shown_once_and_steer_no_terminal() -> None:
    names = ("\x1b[2J", "\\x1b[2J", "\x9b31m", "\u202e", "\ud800", "?", "\r\n")
    queues = tuple(QueueSize(name, 1, 0.0) for name in names)
    held = Holdings(queues=queues, schedule=0, retry=0, dead=0, orphaned=0, round_trip_seconds=0.0)
    page = render(Settings(), sight(holdings=held), NOW, NOW).encode("utf-8", "replace").decode()
    assert promtool("check", "metrics", text=page) == ""
    assert all(line.isprintable() for line in page.split("\n"))
    assert page.count("forkworker_queue_jobs{") == len(names) - 2


def test_bounds_that_are_shown_are_bounds() -> None:
    assert set(SHOWN_BOUNDS) <= set(BOUNDS)


def test_each_alert_rule_is_sound_and_fires_on_what_it_is_for() -> None:
    promtool("check", "rules", "forkworker.rules.yml")
    promtool("test", "rules", "forkworker.rules.test.yml")
    rules = (RULES / "forkworker.rules.yml").read_text()
    tests = (RULES / "forkworker.rules.test.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert [tests.count(f"alertname: {alert}\n") for alert in alerts] == [1] * len(alerts)
    assert [tests.count(f"alertname: {alert}, ") for alert in alerts] == [1] * len(alerts)


def test_alert_rules_name_metrics_that_are_there() -> None:
    page = render(Settings(), sight(), NOW, NOW)
    named = set(re.findall(r"\bforkworker_\w+", (RULES / "forkworker.rules.yml").read_text()))
    assert named
    assert [name for name in sorted(named) if f"\n{name}" not in page] == []
