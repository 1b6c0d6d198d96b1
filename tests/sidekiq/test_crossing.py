"""Jobs cross between Sidekiq's worker in Ruby and forkworker, each way, failures included."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support import documents, ruby
from support.snapshot import homes

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records
    from support.ruby import RubyProcess, WebUi
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]
    MakeWorker = Callable[..., RubyProcess]

DOCUMENT = documents.ROOT / "docs/coming-from-sidekiq.md"

pytestmark = pytest.mark.integration

RUN_BY_US = """
numbers = (0...1000).map { |n| ["from Ruby #{n}"] }
jids = Sidekiq::Client.push_bulk("class" => "Crossing", "queue" => "python", "args" => numbers)
at = Time.now.to_f + 1
jids << Sidekiq::Client.push("class" => "Crossing", "queue" => "python", "args" => ["from Ruby, later"], "at" => at)
puts jids.to_json
"""
FAIL_IN_RUBY = """
puts Sidekiq::Client.push("class" => "Crossing", "queue" => "both", "args" => ["key", "ruby"], "backtrace" => 3).to_json
"""


def is_rubys(redis: redispy.Redis, identity: str) -> bool:
    """Whether a process in the registry is a Sidekiq worker."""
    return "version" not in json.loads(redis.hget(identity, "info") or "{}")


def test_a_thousand_jobs_each_way(
    daemon: MakeDaemon,
    ruby_worker: MakeWorker,
    redis: redispy.Redis,
    redis_server: RedisServer,
    records: Records,
    web: WebUi,
) -> None:
    """Each side has a queue of its own, and one is for both; schedule, retry set and registry are shared."""
    tree = daemon(app="support.crossing", children=2, queues=["python", "both"], lease=5)
    worker, client = ruby_worker("ruby", "both"), forkworker.Client(redis_server.url)
    to_us = set(ruby.run(redis_server.url, RUN_BY_US))
    to_ruby = {client.push("Crossing", [f"from Python {n}"], queue="ruby") for n in range(1000)}
    to_ruby.add(client.push("Crossing", ["from Python, later"], queue="ruby", at=time.time() + 1))
    to_both = {client.push("Crossing", [f"for both {n}"], queue="both") for n in range(300)}
    tree.wait_until(lambda: len(records.ended()) == 2302, 60)
    by_us = {event.jid for event in records.ends() if event.note != "Ruby"}
    assert (by_us - to_both, set(records.ended()) - by_us - to_both) == (to_us, to_ruby)
    assert set(records.started().values()) == {1}
    assert_both_are_shown(tree, redis, web)
    worker.stop()
    tree.wait_until(lambda: redis.get("stat:processed") == b"2302", 5, "Ruby counts at its end")
    tree.stop(shared=True)
    assert homes(redis) == {}
    assert not redis.exists("stat:failed") or redis.get("stat:failed") == b"0"


def assert_both_are_shown(tree: Daemon, redis: redispy.Redis, web: WebUi) -> None:
    """Check that processes of both kinds stand side by side, for both tools."""
    rows = [row for row in web.get("/busy").rows if len(row) == 6 and "Queues:" in row[0]]
    assert sorted(row[0].rpartition(" ")[2] for row in rows) == ["both"] * 3
    done = tree.control("status", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)["redis"]
    assert (shown["processes"], {each["name"] for each in shown["queues"]}) == (3, {"python", "ruby", "both"})
    assert redis.scard("processes") == 3


def make_due(redis: redispy.Redis) -> dict[str, Any]:
    """Make the one failed job due now; return it."""
    ((member, _),) = redis.zrange("retry", 0, -1, withscores=True)
    job: dict[str, Any] = json.loads(member)
    redis.zadd("retry", {member: time.time() - 1})
    return job


def test_a_job_that_failed_here_is_retried_by_ruby(
    daemon: MakeDaemon, ruby_worker: MakeWorker, redis: redispy.Redis, client: forkworker.Client, records: Records
) -> None:
    tree = daemon(app="support.crossing", children=1, queues=["both"])
    jid = client.push("Crossing", ["key", "python"], queue="both")
    tree.wait_until(lambda: redis.zcard("retry") == 1, 5)
    tree.stop()
    job = make_due(redis)
    worker = ruby_worker("both")
    assert (job["retry_count"], job["error_class"], job["queue"]) == (0, "ValueError", "both")
    tree.wait_until(lambda: records.ended()[str(jid)] == 1, 30, "Ruby's scheduler has found it")
    worker.stop()
    assert [event.note for event in records.ends()] == ["Ruby"]
    assert homes(redis) == {}


def test_a_job_that_failed_in_ruby_is_retried_here(
    daemon: MakeDaemon, ruby_worker: MakeWorker, redis: redispy.Redis, redis_server: RedisServer, records: Records
) -> None:
    worker = ruby_worker("both")
    jid = ruby.run(redis_server.url, FAIL_IN_RUBY)
    tree = daemon(app="support.crossing", children=1, queues=["both"], start=False)
    tree.wait_until(lambda: redis.zcard("retry") == 1, 30)
    worker.stop()
    job = make_due(redis)
    tree.start().wait_ready()
    assert (job["retry_count"], job["error_class"], job["queue"]) == (0, "ArgumentError", "both")
    tree.wait_until(lambda: records.ended()[jid] == 1, 5)
    assert [event.note for event in records.events("saw")] == ["1"], "what current_job() tells"
    tree.stop()
    assert homes(redis) == {}


def test_failures_alternate_and_are_counted_on(
    daemon: MakeDaemon, ruby_worker: MakeWorker, redis: redispy.Redis, client: forkworker.Client
) -> None:
    """Each side takes the count of the other up; times and backtraces of both kinds can be shown."""
    tree = daemon(app="support.crossing", children=1, queues=["python"])
    worker = ruby_worker("ruby")
    client.push("NoSuchName", ["key"], queue="python", retry=2)
    tree.wait_until(lambda: redis.zcard("retry") == 1, 5)
    first = send_to(redis, "ruby")
    tree.wait_until(lambda: redis.zcard("retry") == 1, 30)
    second = send_to(redis, "python")
    tree.wait_until(lambda: redis.zcard("dead") == 1, 10)
    third = json.loads(redis.zrange("dead", 0, -1)[0])
    failures = [(job["retry_count"], job["error_class"]) for job in (first, second, third)]
    assert failures == [(0, "forkworker.errors.UnknownJob"), (1, "NameError"), (2, "forkworker.errors.UnknownJob")]
    assert first["failed_at"] == second["failed_at"] == third["failed_at"]
    assert second["retried_at"] < third["retried_at"]
    worker.stop()
    tree.stop()


def send_to(redis: redispy.Redis, queue: str) -> dict[str, Any]:
    """Send the one failed job to a queue, as promoting it does; return it."""
    (member,) = redis.zrange("retry", 0, -1)
    job: dict[str, Any] = json.loads(member)
    with redis.pipeline() as pipe:
        pipe.zrem("retry", member).sadd("queues", queue).lpush(f"queue:{queue}", member).execute()
    return job


def test_ruby_prunes_the_dead_and_spares_the_living(
    daemon: MakeDaemon, redis: redispy.Redis, client: forkworker.Client, records: Records, web: WebUi
) -> None:
    """A beat that got lost costs a place on the Busy page until the next, and no job."""
    tree = daemon(children=2, concurrency=1, lease=5)
    jids = {client.push("record", [n, 3]) for n in range(2)}
    tree.wait_until(lambda: records.running() == jids, 5)
    identities = {who.encode() for who in tree.registered().values()}
    redis.sadd("processes", "gone-host:1:0123456789ab")
    assert web.get("/busy").status == 200
    assert redis.smembers("processes") == identities
    with redis.pipeline() as pipe:
        pipe.delete(*identities).execute()
    web.get("/busy")
    tree.wait_until(lambda: redis.smembers("processes") == identities, 10, "they show themselves again")
    tree.wait_until(lambda: set(records.ended()) == jids, 10)
    assert set(records.started().values()) == {1}
    tree.stop()
    assert homes(redis) == {}


def test_the_examples_of_the_document_push_across(
    redis: redispy.Redis, redis_server: RedisServer, tmp_path: Path
) -> None:
    (in_ruby,) = documents.blocks(DOCUMENT, "ruby")
    ruby.run(redis_server.url, f"{in_ruby.text}\nputs 1.to_json")
    documents.run(DOCUMENT, tmp_path, redis_server.url)
    mail, image = (json.loads(redis.lpop(f"queue:{name}") or b"") for name in ("mail", "images"))
    assert (mail["class"], mail["args"], mail["kwargs"]) == ("shop.send_receipt", [4711], {"language": "de"})
    assert (image["class"], image["args"], image["retry"]) == ("HardWorker", ["a.jpg", 200], 5)
