"""contrib/heroku/Procfile as Heroku uses it: a shell, the add-on's variable, and TERM to every process at once."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest
from support.payloads import push
from support.waiting import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

PROCFILE = Path(__file__).parents[2] / "contrib/heroku/Procfile"


def test_worker_finds_redis_by_its_provider_and_stops_in_order_when_all_get_term(
    daemon: MakeDaemon,
    redis_server: RedisServer,
    redis: redispy.Redis,
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (line,) = [line for line in PROCFILE.read_text("utf-8").splitlines() if line.startswith("worker: ")]
    addon = {"REDIS_PROVIDER": "REDISCLOUD_URL", "REDISCLOUD_URL": redis_server.url, "DYNO": "worker.1"}
    tree = daemon(environment={**addon, "FORKWORKER_APP": "support.jobs"}, start=False)
    path = f"PATH={Path(sys.executable).parent}:$PATH"
    monkeypatch.setattr(tree, "command", lambda: ["bash", "-c", f"{path}; {line.removeprefix('worker: ')}"])
    tree.start()
    tree.wait_ready()
    assert {identity.partition(":")[0] for identity in tree.registered().values()} == {"worker.1"}

    jid = push(redis, "await_stop", [30])
    tree.wait_until(lambda: records.running() == {jid}, 10, "the job runs")
    pace = Pace()
    began = tree.kill_all(SIGTERM)
    assert tree.wait_exit(12) == 0
    assert time.monotonic() - began < pace.stretch(10)
    tree.assert_gone()
    assert records.ended() == {jid: 1}
    tree.assert_nothing_held()
