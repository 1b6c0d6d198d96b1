"""The tests' own tools do what the other tests believe of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import redis as redispy
from support import payloads, processes, snapshot
from support.servers import RedisServer, connect
from support.waiting import Watch, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import Proxy

pytestmark = pytest.mark.integration


def test_durable_server_keeps_everything_over_a_kill(redis_server: RedisServer, redis: redispy.Redis) -> None:
    redis.set("key", "value")
    redis_server.kill()
    with pytest.raises(redispy.ConnectionError):
        redis.get("key")
    redis_server.start()
    assert redis.get("key") == b"value"


def test_server_listens_on_tcp_too() -> None:
    with RedisServer(tcp=True) as server:
        with redispy.Redis.from_url(server.url) as client:
            assert client.ping()
        server.restart()
        assert server.client().ping()


def test_paused_server_answers_nothing_and_then_everything(redis_server: RedisServer) -> None:
    redis_server.pause()
    with connect(unix_socket_path=redis_server.socket) as impatient:
        impatient.connection_pool.connection_kwargs["socket_timeout"] = 0.1
        with pytest.raises(redispy.TimeoutError):
            impatient.ping()
    redis_server.resume()
    assert redis_server.client().ping()


def test_cut_comes_after_the_server_has_executed(redis: redispy.Redis, proxy: Proxy) -> None:
    cut = proxy.cut_after(lambda command, _: command[0] == b"LMOVE")
    redis.rpush("from", "one", "two")
    with connect(port=proxy.port) as client:
        with pytest.raises(redispy.ConnectionError):
            client.lmove("from", "to", "LEFT", "RIGHT")
        assert cut.done.is_set()
        assert snapshot.snapshot(redis) == {"from": [b"two"], "to": [b"one"]}
        assert client.lmove("from", "to", "LEFT", "RIGHT") == b"two", "it cuts once"


def test_cut_can_depend_on_the_reply(redis: redispy.Redis, proxy: Proxy) -> None:
    cut = proxy.cut_after(lambda command, reply: command[0] == b"GET" and reply == b"yes")
    with connect(port=proxy.port) as client:
        assert client.get("key") is None
        redis.set("key", "yes")
        with client.pipeline(transaction=False) as pipe, pytest.raises(redispy.ConnectionError):
            pipe.set("other", "1").get("key").execute()
    assert cut.seen == [([b"GET", b"key"], b"yes")]
    assert redis.get("other") == b"1"


def test_proxy_cuts_refuses_and_allows(proxy: Proxy) -> None:
    with connect(port=proxy.port) as client:
        assert client.ping()
        proxy.refuse()
        with pytest.raises(redispy.ConnectionError):
            client.ping()
        proxy.allow()
        assert client.ping()


def test_black_hole_holds_everything_back_until_flow_is_restored(proxy: Proxy) -> None:
    with connect(port=proxy.port) as client:
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.1
        proxy.black_hole()
        with pytest.raises(redispy.TimeoutError):
            client.ping()
        proxy.restore_flow()
        assert client.ping()
        proxy.delay(0.03)
        before = time.monotonic()
        assert client.ping()
        assert time.monotonic() - before >= 0.06


def test_snapshot_shows_every_key_and_each_job_once(redis: redispy.Redis) -> None:
    first, second = payloads.push_many(redis, "noop", [[1], [2]], queue="high")
    later = payloads.push_at(redis, 5.5, "noop", [3])
    redis.lmove("queue:high", "working:host:12:abc:high", "RIGHT", "LEFT")
    redis.zadd("dead", {b"broken": 1})
    redis.hset("hash", mapping={"field": "value"})
    world = snapshot.snapshot(redis)
    assert set(world) == {"queues", "queue:high", "working:host:12:abc:high", "schedule", "dead", "hash"}
    assert world["hash"] == {b"field": b"value"}
    assert list(world["schedule"].values()) == [5.5]
    assert snapshot.places(redis) == {first: 1, second: 1, later: 1, "broken": 1}
    assert snapshot.homes(redis)[first] == ["working:host:12:abc:high"]
    assert snapshot.queue(redis, "high") == [second]
    assert snapshot.working(redis, 12) == snapshot.working(redis) == {"working:host:12:abc:high": [first]}
    redis.rpush("queue:high", payloads.encode({"jid": first}))
    assert snapshot.places(redis)[first] == 2


def test_marked_processes_are_found_by_environment_and_by_folder(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with (
        subprocess.Popen(line, env={"MARK": "here"}, stdout=subprocess.PIPE) as by_mark,
        subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE) as by_folder,
    ):
        for one in (by_mark, by_folder):
            assert one.stdout is not None
            one.stdout.readline()
        found = {process.pid for process in processes.marked("MARK=here", tmp_path)}
        assert found == {by_mark.pid, by_folder.pid}
        by_mark.kill()
        by_folder.kill()
        wait_until(lambda: not processes.is_alive(by_mark.pid), 5)
        assert processes.marked("MARK=here", tmp_path / "elsewhere") == []


def test_watch_sees_a_change_and_knows_its_own_stalls() -> None:
    values = iter(range(10_000))
    with Watch(lambda: next(values)) as watch:
        wait_until(lambda: len(watch.samples) > 3, 5)
        start = time.monotonic()
        time.sleep(0.05)  # the span to be judged
    assert 0 < watch.stall(start, start + 0.05) <= 0.1
    assert all(sample.before >= start for sample in watch.since(start))
    assert processes.threads(os.getpid()) >= 1
