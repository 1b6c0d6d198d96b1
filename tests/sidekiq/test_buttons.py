"""Every button of Sidekiq's Web UI has its effect on forkworker."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.payloads import encode, payload, push_at
from support.snapshot import homes, queue

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records
    from support.ruby import WebUi

    import forkworker

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

SOON = 8
ARGS = ["<b>&'\"", "é€😀", {"a": None}, 1.5]


# The Busy page


def labels(web: WebUi) -> dict[int, bool]:
    """Return for each process that is shown whether it is marked as quiet."""
    rows = [row for row in web.get("/busy").rows if len(row) == 6 and "Queues:" in row[0]]
    return {int(row[0].split(":")[1].split()[0]): " quiet " in row[0] for row in rows}


def test_quiet_one_and_then_all(
    daemon: MakeDaemon, redis: redispy.Redis, web: WebUi, client: forkworker.Client, records: Records
) -> None:
    tree = daemon(children=2, concurrency=1, lease=5)
    first, second = tree.children().values()
    web.press("/busy", "quiet", identity=tree.identity(first))
    tree.wait_until(lambda: labels(web) == {first: True, second: False}, SOON)
    jids = {client.push("record", [n]) for n in range(10)}
    tree.wait_until(lambda: set(records.ended()) == jids, SOON)
    assert {event.pid for event in records.starts()} == {second}
    web.press("/busy", "quiet", identity="")
    tree.wait_until(lambda: labels(web) == {first: True, second: True}, SOON)
    waiting = client.push("record", [11])
    assert set(tree.children().values()) == {first, second}
    assert queue(redis) == [waiting]
    assert tree.control("resume").returncode == 0
    tree.wait_until(lambda: records.ended()[str(waiting)] == 1, 5)
    tree.wait_until(lambda: labels(web) == {first: False, second: False}, SOON)
    tree.control("quiet")
    tree.wait_until(lambda: labels(web) == {first: True, second: True}, SOON, "quieted by hand they are marked, too")
    tree.stop()


def test_stop_one_and_then_all_renews_their_slots(
    daemon: MakeDaemon,
    redis: redispy.Redis,
    web: WebUi,
    client: forkworker.Client,
    records: Records,
) -> None:
    tree = daemon(children=2, concurrency=1, lease=5, timeout=0.5)
    jids = {client.push("record", [n, 30]) for n in range(2)}
    tree.wait_until(lambda: records.running() == jids, 5)
    old = tree.children()
    web.press("/busy", "stop", identity=tree.identity(old[1]))
    tree.wait_until(lambda: tree.children().get(1) not in (None, old[1]), SOON, "child 1 is renewed")
    tree.wait_ready()
    assert tree.children()[0] == old[0]
    tree.wait_until(lambda: sum(records.started().values()) == 3, 5, "its job runs again")
    middle = tree.children()
    web.press("/busy", "stop", identity="")
    tree.wait_until(lambda: not set(tree.children().values()) & set(middle.values()), SOON, "both are renewed")
    tree.wait_ready()
    tree.wait_until(lambda: sum(records.started().values()) >= 5, 5, "their jobs run again")
    tree.wait_until(lambda: labels(web) == dict.fromkeys(tree.children().values(), False), SOON)
    tree.stop()
    assert sorted(queue(redis)) == sorted(jids)
    assert not redis.keys("recovered:*"), "an ordered end is no crash"


# The sets


@pytest.fixture
def tree(daemon: MakeDaemon) -> Daemon:
    """A tree that runs what the buttons put into its queue."""
    return daemon(app="support.crossing", children=1)


def failed(redis: redispy.Redis, name: str = "record", key: str = "retry", **fields: Any) -> str:
    """Put a job where a worker of ours puts one that failed; due in an hour."""
    errors = {"error_class": "E", "error_message": "<i>no</i>", "retry_count": 3, "failed_at": 1.5, "retried_at": 2.5}
    when = time.time() + (3600 if key == "retry" else 0)
    return push_at(redis, when, name, ARGS[: 1 if name == "record" else 0], key=key, **(errors | fields))


def entry(redis: redispy.Redis, key: str, jid: str) -> tuple[dict[str, Any], str]:
    """Return a job of a sorted set, and the last part of its page's address."""
    for member, score in redis.zrange(key, 0, -1, withscores=True):
        if json.loads(member)["jid"] == jid:
            return json.loads(member), f"{score!r}-{jid}"
    raise AssertionError(f"{jid} is not in {key}: {homes(redis)}")


def press(web: WebUi, redis: redispy.Redis, page: str, key: str, jid: str, button: str) -> None:
    """Press a button on the page of one job."""
    path = f"/{page}/{entry(redis, key, jid)[1]}"
    assert web.press(path, button, action=path).status == 200


def test_retry_now_runs_a_failed_job_and_counts_its_next_failure_from_minus_one(
    tree: Daemon, redis: redispy.Redis, web: WebUi, client: forkworker.Client, records: Records
) -> None:
    jid = client.push("fail", ["again"])
    tree.wait_until(lambda: redis.zcard("retry") == 1, 5)
    before = entry(redis, "retry", str(jid))[0]
    press(web, redis, "retries", "retry", str(jid), "retry")
    tree.wait_until(lambda: records.started()[str(jid)] == 2 and redis.zcard("retry") == 1, 5)
    after = entry(redis, "retry", str(jid))[0]
    assert before["retry_count"] == after["retry_count"] == 0
    assert before["failed_at"] == after["failed_at"]
    tree.stop()


def test_buttons_of_one_retry(tree: Daemon, redis: redispy.Redis, web: WebUi, records: Records) -> None:
    retried, deleted = failed(redis), failed(redis)
    press(web, redis, "retries", "retry", retried, "retry")
    press(web, redis, "retries", "retry", deleted, "delete")
    tree.wait_until(lambda: records.ended()[retried] == 1 and homes(redis) == {}, 5)
    assert records.starts()[0].key == ARGS[0]
    tree.stop()


def test_buttons_of_the_list_of_retries(tree: Daemon, redis: redispy.Redis, web: WebUi, records: Records) -> None:
    killed = {failed(redis) for _ in range(3)}
    web.press("/retries", "kill", action="/retries")
    assert homes(redis) == {jid: ["dead"] for jid in killed}
    deleted = failed(redis)
    web.press("/retries", "delete", action="/retries")
    assert deleted not in homes(redis)
    retried = {failed(redis) for _ in range(3)}
    web.press("/retries", "retry", action="/retries")
    tree.wait_until(lambda: set(records.ended()) == retried, 5)
    tree.stop()


def test_all_retries_at_once(tree: Daemon, redis: redispy.Redis, web: WebUi, records: Records) -> None:
    retried = {failed(redis) for _ in range(30)}
    web.press("/retries", "retry", action="/retries/all/retry")
    tree.wait_until(lambda: set(records.ended()) == retried and homes(redis) == {}, 5)
    killed = {failed(redis) for _ in range(30)}
    web.press("/retries", "kill", action="/retries/all/kill")
    assert homes(redis) == {jid: ["dead"] for jid in killed}
    failed(redis)
    web.press("/retries", "delete", action="/retries/all/delete")
    assert homes(redis) == {jid: ["dead"] for jid in killed}
    tree.stop()


def test_buttons_of_the_dead(
    tree: Daemon, redis: redispy.Redis, web: WebUi, client: forkworker.Client, records: Records
) -> None:
    ours = str(client.push("receipt", [1], retry=0, kwargs={"text": "<b>"}))
    tree.wait_until(lambda: redis.zcard("dead") == 1, 5)
    press(web, redis, "morgue", "dead", ours, "retry")
    tree.wait_until(lambda: records.started()[ours] == 2 and redis.zcard("dead") == 1, 5, "it failed again")
    press(web, redis, "morgue", "dead", ours, "delete")
    retried = {failed(redis, key="dead") for _ in range(3)}
    web.press("/morgue", "retry", action="/morgue")
    tree.wait_until(lambda: retried <= set(records.ended()) and homes(redis) == {}, 5)
    failed(redis, key="dead")
    web.press("/morgue", "delete", action="/morgue")
    assert homes(redis) == {}
    retried = {failed(redis, key="dead") for _ in range(30)}
    web.press("/morgue", "retry", action="/morgue/all/retry")
    tree.wait_until(lambda: retried <= set(records.ended()) and homes(redis) == {}, 5)
    failed(redis, key="dead")
    web.press("/morgue", "delete", action="/morgue/all/delete")
    assert homes(redis) == {}
    tree.stop()


def test_buttons_of_the_schedule(
    tree: Daemon, redis: redispy.Redis, web: WebUi, client: forkworker.Client, records: Records
) -> None:
    def later(order: int) -> str:
        return str(client.push("receipt", [order], at=time.time() + 3600, kwargs={"text": ""}, tags=["<b>"]))

    added, deleted = later(1), later(2)
    for jid, button in ((added, "add_to_queue"), (deleted, "delete")):
        path = f"/scheduled/{entry(redis, 'schedule', jid)[1]}"
        web.press("/scheduled", button, action="/scheduled", only=path.rpartition("/")[2])
    tree.wait_until(lambda: records.ended()[added] == 1, 5)
    more = {later(n) for n in range(3)}
    web.press("/scheduled", "add_to_queue", action="/scheduled")
    tree.wait_until(lambda: more <= set(records.ended()) and homes(redis) == {}, 5)
    later(5)
    web.press("/scheduled", "delete", action="/scheduled")
    assert homes(redis) == {}
    assert deleted not in records.started()
    tree.stop()


# Queues


def test_a_job_and_a_queue_are_deleted(web: WebUi, redis: redispy.Redis, client: forkworker.Client) -> None:
    """Whatever is in its arguments: it is found by its bytes."""
    kwargs = {"text": "<b>&\"'é"}
    jids = [str(client.push("receipt", ARGS, queue="mail", tags=["<b>"], kwargs=kwargs)) for _ in range(3)]
    middle = redis.lindex("queue:mail", 1)
    assert isinstance(middle, bytes)
    web.press("/queues/mail", "delete", key_val=middle.decode())
    assert queue(redis, "mail") == [jids[0], jids[2]]
    redis.lpush("queue:mail", encode(payload("other", queue="mail")))
    web.press("/queues", "delete", action="/queues/mail")
    assert homes(redis) == {}
    assert not redis.sismember("queues", "mail")


def test_a_deleted_queue_is_there_again_with_the_next_job(
    tree: Daemon, redis: redispy.Redis, web: WebUi, client: forkworker.Client, records: Records
) -> None:
    first = client.push("record", [1])
    tree.wait_until(lambda: records.ended()[str(first)] == 1, 5)
    web.press("/queues", "delete", action="/queues/default")
    second = client.push("record", [2])
    tree.wait_until(lambda: records.ended()[str(second)] == 1, 5)
    assert redis.smembers("queues") == {b"default"}
    tree.stop()
