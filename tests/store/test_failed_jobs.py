"""contrib/failed_jobs.py, as an operator uses it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.payloads import encode, payload
from support.snapshot import snapshot

from forkworker.wire import payload as wire

if TYPE_CHECKING:
    import redis as redispy
    from support.servers import RedisServer

pytestmark = pytest.mark.store

SCRIPT = Path(__file__).parents[2] / "contrib/failed_jobs.py"


def failed_jobs(server: RedisServer, *words: str) -> tuple[int, str]:
    environment = {**os.environ, "FORKWORKER_REDIS_URL": server.url}
    line = [sys.executable, str(SCRIPT), *words]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


def test_a_buried_job_is_listed_and_made_due_and_the_others_stay(
    redis_server: RedisServer, redis: redispy.Redis
) -> None:
    wanted = payload("shop.ship", ["a", 1], kwargs={"by": "air"}, error_class="OSError", error_message="no plane")
    late, other = encode(payload("shop.ship", ["b"])), encode(payload("shop.bill"))
    redis.zadd("dead", {encode(wanted): 1000, b"{broken": 2000, other: 3000})
    redis.zadd("dead", {b"[1, 2]": 2500, wire.encode(payload("shop.ship", kwargs={"by": "<air>"})): 3500})
    redis.zadd("retry", {late: 4_000_000_000})

    code, listed = failed_jobs(redis_server)

    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()] == ["retry", "dead", "dead", "dead", "dead", "dead"]
    assert 'shop.ship(by="<air>") None: None' in listed
    assert "None b'[1, 2]'()" in listed
    assert f'{wanted["jid"]} shop.ship("a", 1, by="air") OSError: no plane' in listed

    before = time.time()
    assert failed_jobs(redis_server, wanted["jid"]) == (0, f"{wanted['jid']} is due now\n")

    world = snapshot(redis)
    assert set(world) == {"dead", "retry"}
    assert len(world["dead"]) == 4
    assert world["dead"].items() >= {b"{broken": 2000.0, other: 3000.0}.items()
    assert set(world["retry"]) == {late, encode(wanted)}
    assert before <= world["retry"][encode(wanted)] <= time.time()


def test_a_job_that_is_in_neither_set_changes_nothing(redis_server: RedisServer, redis: redispy.Redis) -> None:
    assert failed_jobs(redis_server, "0" * 24) == (1, f"{'0' * 24} is in neither set\n")
    assert snapshot(redis) == {}
