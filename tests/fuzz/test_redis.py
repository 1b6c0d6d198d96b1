"""A Redis in which somebody has written anything: all that reads it goes on, or says in a line why it cannot."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.servers import RedisServer

from forkworker import logs
from forkworker.cli.main import main
from forkworker.clock import SystemClock
from forkworker.doctor import facts
from forkworker.keeper import exposition
from forkworker.keeper.measures import Measures
from forkworker.keeper.sight import Sight
from forkworker.settings import Settings
from fuzz.hostile import encoded, fuzzed, json_values, payloads, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.store

WHO = "host:1:aaaaaaaaaaaa"
NAMES = (
    "queues", "queue:default", "queue:mail", "schedule", "retry", "dead", "processes", "paused", "stat:processed",
    "stat:failed", "working", f"working:{WHO}:default", "origins", WHO, f"{WHO}:work", f"{WHO}:workers", f"taken:{WHO}",
    f"settled:{WHO}", "recovered:x",
)  # fmt: skip
COMMANDS = [
    line.split()
    for line in """status
status --json
queues
queues --json
processes
processes --json
jobs list dead
jobs list retries --json
jobs list scheduled
jobs list queue default --json
jobs list running
jobs list dead --error x
jobs show 000000000000000000000000
jobs retry dead --all
jobs bury retries --all --yes
jobs delete scheduled --name q* --yes
doctor --units /nowhere --json""".splitlines()
]

raw = st.one_of(payloads(), texts.map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=50))
members = st.one_of(
    raw,
    st.sampled_from((b"default", b"mail", WHO.encode(), f"working:{WHO}:default".encode())),
    st.fixed_dictionaries(
        {
            "queue": json_values,
            "payload": st.one_of(json_values, payloads().map(lambda t: t.decode("utf-8", "replace"))),
        },
        optional={"run_at": json_values},
    ).map(encoded),
    st.fixed_dictionaries({"info": json_values, "hostname": json_values, "queues": json_values}).map(encoded),
)
fields = st.one_of(
    st.sampled_from((b"info", b"busy", b"beat", b"quiet", b"rss", b"rtt_us", b"concurrency", WHO.encode())), raw
)
scores = st.one_of(st.floats(allow_nan=False), st.sampled_from((0.0, 1.7e9, 1e300)))
keys = st.one_of(
    st.tuples(st.just("set"), members),
    st.tuples(st.just("rpush"), st.lists(members, min_size=1, max_size=4)),
    st.tuples(st.just("sadd"), st.lists(members, min_size=1, max_size=4)),
    st.tuples(st.just("zadd"), st.dictionaries(members, scores, min_size=1, max_size=4)),
    st.tuples(st.just("hset"), st.dictionaries(fields, members, min_size=1, max_size=8)),
)
FITTING = {"queues": "sadd", "processes": "sadd", "paused": "sadd", "working": "sadd", "origins": "hset", WHO: "hset",
           f"{WHO}:work": "hset", "schedule": "zadd", "retry": "zadd", "dead": "zadd"}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _doctor_in_a_hurry() -> Iterator[None]:
    """Do not wait for another beat of each process that looks silent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "LOOK_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def fill(server: RedisServer, world: dict[str, tuple[str, Any]], *, fits: bool) -> None:
    """Write all; ``fits``: only such keys as are of the type that belongs there."""
    redis = server.client()
    redis.flushall()
    for name, (command, value) in world.items():
        wanted = FITTING.get(name, "rpush" if "queue:" in name or "working:" in name else "set")
        if fits and command != wanted:
            continue
        if command in ("rpush", "sadd"):
            getattr(redis, command)(name, *value)
        elif command == "hset":
            redis.hset(name, mapping=value)
        else:
            getattr(redis, command)(name, value)


@fuzzed(0.1)
@given(st.dictionaries(st.sampled_from(NAMES), keys, min_size=2, max_size=12), st.booleans())
def test_every_command_says_what_it_sees_or_why_it_cannot(
    server: RedisServer, world: dict[str, tuple[str, Any]], fits: bool
) -> None:
    for words in COMMANDS:
        fill(server, world, fits=fits)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*words, "--redis", server.url])
        assert code in (0, 1, 2), (words, err.getvalue())
        for line in (out.getvalue() + err.getvalue()).split("\n"):
            assert line.isprintable() or logs.clean(line) == line, (words, line)
        assert out.getvalue() or err.getvalue()
        assert code in (0, 1) or err.getvalue()


@fuzzed(0.2)
@given(st.dictionaries(st.sampled_from(NAMES), keys, min_size=2, max_size=12), st.booleans())
def test_metrics_are_always_a_page_that_prometheus_reads(
    server: RedisServer, world: dict[str, tuple[str, Any]], fits: bool
) -> None:
    fill(server, world, fits=fits)
    measures = Measures(server.url, SystemClock())
    page = exposition.render(Settings(tag="shop"), Sight(holdings=measures.take()), 1.0, 2.0)
    measures._link.close()
    lines = page.encode("utf-8", "replace").decode().split("\n")
    assert all(logs.clean(line) == line for line in lines)
    series = [line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")]
    assert len(series) == len(set(series))
