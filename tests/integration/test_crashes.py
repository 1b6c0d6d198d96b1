"""What is killed below the master costs milliseconds and no job."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import encode, payload, push, push_many
from support.processes import zombies
from support.snapshot import places, queue, snapshot
from support.waiting import Watch, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis as redispy
    from support.daemon import Daemon
    from support.proxy import Proxy
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

PROMISED_SECONDS = 0.1


def held(redis: redispy.Redis, pid: int) -> Any:
    """Return the working lists of a process that hold something."""
    return redis.keys(f"working:*:{pid}:*")


def kill_and_measure(tree: Daemon, redis: redispy.Redis) -> tuple[int, float]:
    """Kill a random child; return its pid, and by how much its jobs came back too late."""
    children = tree.wait_until(lambda: len(here := tree.children()) == tree.size and here, 5)
    slot, pid = random.choice(sorted(children.items()))
    with Watch(lambda: held(redis, pid), every=0.001) as watch:
        killed = tree.kill_child(slot)
        wait_until(lambda: not held(redis, pid), 5, "its jobs are back", tree.describe, poll=0.005)
        wait_until(lambda: any(not sample.value for sample in watch.since(killed)), 1)
    back = next(sample.after for sample in watch.since(killed) if not sample.value)
    return pid, back - killed - PROMISED_SECONDS - watch.stall(killed, back)


def test_killed_child_loses_no_job(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Row 2: 500 jobs, 2 children of 5 threads, ten times kill -9."""
    tree = daemon(children=2, concurrency=5)
    jids = push_many(redis, "record", [[number, 0.1] for number in range(500)])
    born, killed, late = set(tree.children().values()), [], []
    for _ in range(10):
        time.sleep(0.5)  # the rhythm of the trial
        born |= set(tree.children().values())
        pid, excess = kill_and_measure(tree, redis)
        killed.append(pid)
        late.append(excess)
        assert max(places(redis).values(), default=0) <= 1
    tree.wait_until(lambda: set(records.ended()) == set(jids), 30, "all jobs have ended")
    born |= set(tree.wait_ready().children().values())

    assert max(late) <= 0, late
    assert len(born) == 2 + 10
    starts, ends = Counter(e.pid for e in records.starts()), Counter(e.pid for e in records.ends())
    assert all(starts[pid] - ends[pid] <= 5 for pid in killed)
    tree.stop()
    assert places(redis) == {}
    assert redis.get("stat:processed") == b"500"
    assert not redis.exists("stat:failed")


def test_restored_jobs_are_next_and_in_their_old_order(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=60)
    jids = push_many(redis, "record", [[number, 30] for number in range(80)])
    tree.wait_until(lambda: len(records.running()) == 60, 5)
    assert tree.control("quiet", "--wait").returncode == 0
    tree.kill_child(0)
    tree.wait_until(lambda: len(queue(redis)) == 80, 5)
    assert queue(redis) == jids
    tree.stop()
    assert queue(redis) == jids, "its replacement was quiet, too"


def test_only_what_had_started_counts_as_recovered(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1, concurrency=2)
    push_many(redis, "record", [[number, 30] for number in range(6)])
    tree.wait_until(lambda: len(records.running()) == 2, 5)
    tree.kill_child(0)
    tree.wait_until(lambda: len(records.starts()) == 4, 5, "the same two run again")
    counters = {key: value for key, value in snapshot(redis).items() if key.startswith("recovered:")}
    assert list(counters.values()) == [b"1", b"1"]
    assert all(0 < redis.ttl(key) <= 72 * 3600 for key in counters)
    assert max(records.started().values()) == 2


def test_large_and_identical_payloads_survive_a_crash_each(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, concurrency=3)
    twin = encode(payload("record", ["twin", 2]))
    large = encode(payload("record", ["x" * 2_000_000, 2]))
    redis.lpush("queue:default", twin, twin, large)
    tree.wait_until(lambda: len(records.starts()) == 3, 10)
    tree.kill_child(0)
    tree.wait_until(lambda: len(records.starts()) == 6, 10, "all three run again")
    tree.wait_until(lambda: len(records.ends()) == 3, 10)
    tree.wait_until(lambda: places(redis) == {}, 5)
    assert sorted(records.started().values()) == [2, 4]
    tree.wait_ready()
    tree.stop()
    assert redis.get("stat:processed") == b"3"


def test_processes_that_jobs_leave_behind_are_reaped(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """The master adopts them, as PID 1 of a container would: no zombies, and no mistaking them for children."""
    tree = daemon(children=1, concurrency=2)
    master, children = tree.master(), tree.children()
    jids = push_many(redis, "abandon", [[]] * 6)
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    tree.wait_until(lambda: not any("sleep" in p.title for p in tree.processes()), 5)
    tree.wait_until(lambda: not zombies(master), 3, "no zombies")
    assert tree.children() == children
    tree.stop()


def test_killed_keeper_is_replaced_and_nothing_is_lost(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=5, lease=5)
    jids = push_many(redis, "record", [[number, 0.05] for number in range(400)])
    tree.wait_until(lambda: len(records.ended()) > 20, 10)
    first = tree.pids()["keeper"]
    killed = tree.kill("keeper")
    with Watch(lambda: tree.pids().get("keeper"), every=0.01) as watch:
        tree.wait_until(lambda: any(s.value not in (None, first) for s in watch.samples), 5, "a new keeper")
    came = next(s.after for s in watch.samples if s.value not in (None, first))
    assert came - killed <= 1 + watch.stall(killed, came)
    tree.kill_child(0)  # the new one knows how to restore
    tree.wait_until(lambda: set(records.ended()) == set(jids), 15)
    # what it ran, and what had ended and was not settled yet
    assert sum(records.started().values()) <= 400 + 5 + 5, "only the killed child's jobs ran again"
    tree.wait_ready()
    tree.stop()


def test_keeper_and_child_killed_together_lose_nothing(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=3, lease=5)
    jids = push_many(redis, "record", [[number, 0.1] for number in range(100)])
    tree.wait_until(lambda: len(records.ended()) > 10, 10)
    tree.kill("keeper")
    tree.kill_child(1)
    tree.wait_until(lambda: set(records.ended()) == set(jids), 20)
    tree.wait_ready()
    tree.stop()


def test_child_is_replaced_after_the_forkserver_was_killed(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=2)
    old = tree.children()
    jids = push_many(redis, "record", [[number, 0.2] for number in range(30)])
    tree.kill("forkserver")
    tree.kill_child(0)
    tree.wait_until(lambda: tree.children().get(0) not in (None, old[0]), 10, "slot 0 is filled again")
    assert tree.wait_ready().children()[1] == old[1], "the other child was let alone"
    tree.wait_until(lambda: set(records.ended()) == set(jids), 15)
    tree.stop()


def test_forkserver_killed_alone_disturbs_no_job(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=1, concurrency=2)
    (child,) = tree.children().values()
    old = tree.pids()["forkserver"]
    jids = push_many(redis, "record", [[number, 0.2] for number in range(10)])
    tree.kill("forkserver")
    tree.wait_until(lambda: set(records.ended()) == set(jids), 10)
    assert set(records.started().values()) == {1}
    assert tree.children() == {0: child}
    tree.wait_until(lambda: tree.pids().get("forkserver") not in (None, old), 10, "a new forkserver")
    tree.stop()


@pytest.mark.parametrize("job", ["die", "segfault"])
def test_job_that_kills_its_process_three_times_is_buried(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, job: str
) -> None:
    tree = daemon(children=2, concurrency=2)
    master = tree.master()
    poison = push(redis, job)
    tree.wait_until(lambda: redis.zcard("dead"), 15, "the job is in the dead set")
    ((member, score),) = redis.zrange("dead", 0, -1, withscores=True)
    dead = json.loads(member)
    assert dead["jid"] == poison
    assert dead["error_class"]
    assert "3" in dead["error_message"] or "three" in dead["error_message"]
    assert abs(score - time.time()) < 60
    assert records.started() == {poison: 3}
    good = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[good] == 1, 10)
    tree.wait_ready()
    assert tree.master() == master, "the daemon lives"
    tree.wait_until(lambda: places(redis) == {poison: 1}, 5, "the others are settled")
    tree.stop()


def test_neighbours_of_a_poisonous_job_end_well(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """Jobs that merely shared a process with it may be run again, and are neither lost nor buried with it."""
    tree = daemon(children=2, concurrency=3)
    poison = push(redis, "die")
    jids = push_many(redis, "record", [[number, 0.02] for number in range(60)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 45)
    tree.wait_until(lambda: redis.zcard("dead") == 1, 45)
    tree.wait_until(lambda: places(redis) == {poison: 1}, 5, "the others are settled")
    tree.wait_ready()
    tree.stop()


def test_jobs_that_crash_together_run_apart_before_one_is_buried(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Always in the same company: without the pause between them all six would have been in three crashes."""
    tree = daemon(children=1, concurrency=6, queues=("high", "low"))
    good = push_many(redis, "record", [[number, 0.5] for number in range(2)], queue="high")
    poison = push(redis, "die", [0.2], queue="low")
    good += push_many(redis, "record", [[number, 0.5] for number in range(3)], queue="low")
    tree.wait_until(lambda: set(records.ended()) == set(good), 60)
    tree.wait_until(lambda: redis.zcard("dead") == 1, 45)
    tree.wait_until(lambda: places(redis) == {poison: 1}, 5, "the others are settled")
    assert records.started()[poison] == 3
    tree.wait_ready()
    tree.stop()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_fetch_that_arrives_after_its_child_has_ended_takes_no_job(
    daemon: MakeDaemon, redis: redispy.Redis, proxy: Proxy, records: Records, end: signal.Signals
) -> None:
    """However late: what stands between a host and Redis may hold it back for longer than anybody looks for it."""
    tree = daemon(url=proxy.url, children=1, concurrency=2)
    late = proxy.keep_back(lambda command, _: command[0] == b"EVALSHA" and command[3].startswith(b"taken:"))
    push_many(redis, "record", [[number] for number in range(3)])
    tree.wait_until(late.held.is_set, 10, "a fetch is under way")
    identity = late.command[3].decode().removeprefix("taken:")
    os.kill(tree.children()[0], end)
    tree.wait_until(lambda: not redis.sismember("processes", identity), 10, "its jobs are back")

    tree.wait_until(lambda: places(redis) == {}, 10, "the first ones have run")

    redis.sadd("paused", "default")  # so that nobody else takes them before it arrives
    time.sleep(1.1)  # by when the child knows of the pause
    jids = push_many(redis, "record", [[number] for number in range(20)])
    late.release()

    tree.wait_until(lambda: "errorstat_TAKEN" in redis.info("errorstats"), 5, "it was refused")
    assert redis.llen("queue:default") == 20
    assert not redis.exists(f"working:{identity}:default")
    redis.srem("paused", "default")
    tree.wait_until(lambda: set(records.ended()) >= set(jids) and places(redis) == {}, 10, "all others run")
    tree.stop(crashed=True)


def test_queue_that_takes_nothing_back_costs_no_other_child_its_lease(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, tmp_path: Path
) -> None:
    """Incident: what was tried again and again came before the beat."""
    lease = 5
    tree = daemon(children=2, concurrency=2, queues=("default", "mail"), lease=lease)
    end = tmp_path / "end"
    jid = push(redis, "await_file", [str(end)], queue="mail")
    tree.wait_until(lambda: jid in records.running(), 5)
    (slot,) = (slot for slot, pid in tree.children().items() if held(redis, pid))
    other = tree.identity(tree.children()[1 - slot])
    redis.set("queue:mail", "no list")
    killed = time.time()
    tree.kill_child(slot)

    tree.wait_until(lambda: float(redis.hget(other, "beat") or 0) > killed + lease + 1, 20, "it beats for longer")
    assert redis.sismember("processes", other)
    assert not redis.exists(f"taken:{other}")
    redis.delete("queue:mail")
    end.touch()
    tree.wait_until(lambda: records.ended()[jid], 10, "its job is back, and has run")
    tree.stop()
    assert places(redis) == {}
