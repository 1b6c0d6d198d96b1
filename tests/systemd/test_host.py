"""Several masters on one host, and the host's own end: the target over a template, and a power-off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.payloads import push, push_many
from support.snapshot import places, queue

if TYPE_CHECKING:
    import redis as redispy
    from support.host import Host

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(400)]

#: what a loaded machine may take for anything
PATIENCE_SECONDS = 40


def states(host: Host, *units: str) -> list[str]:
    return [host.status(unit).partition(":")[0] for unit in units]


def push_two(redis: redispy.Redis) -> None:
    push(redis, "record", ["mail"], "mail")
    push(redis, "record", ["other"])


def test_masters_of_a_host_are_started_quieted_and_stopped_together(host: Host, redis: redispy.Redis) -> None:
    both = ("shop-all@mail", "shop-all@2")
    host.install("shop-all", "-P 1", file="--template")
    host.install("shop-all", file="--target")
    host.machine.write("/etc/default/shop-all@mail", "FORKWORKER_QUEUES=mail\n")

    host.systemctl("enable", "--now", "shop-all.target", *both)
    assert states(host, *both) == ["running", "running"]
    assert "[shop-all@mail]" in host.machine.title(str(host.master("shop-all@mail")))
    push_two(redis)
    host.wait_until(
        lambda: redis.get("stat:processed") == b"2", PATIENCE_SECONDS, "each has its queue", "shop-all@mail"
    )
    assert {event.key for event in host.records("shop-all@mail").ends()} == {"mail"}
    assert {event.key for event in host.records("shop-all@2").ends()} == {"other"}

    host.systemctl("reload", "shop-all.target")
    assert states(host, *both) == ["quiet", "quiet"]
    push_two(redis)
    before = [host.master(unit) for unit in both]
    host.systemctl("restart", "shop-all.target")
    assert not set(before) & {host.master(unit) for unit in both}
    host.wait_until(lambda: redis.get("stat:processed") == b"4", PATIENCE_SECONDS, "they work again", "shop-all@mail")

    host.systemctl("stop", "shop-all.target", "shop-all@*")
    assert [host.machine.show(unit, "ActiveState") for unit in both] == ["inactive", "inactive"]
    assert [host.machine.show(unit, "Result") for unit in both] == ["success", "success"]
    assert places(redis) == {}
    host.systemctl("start", "shop-all.target")
    assert [host.machine.show(unit, "ActiveState") for unit in both] == ["active", "active"]
    host.systemctl("disable", "--now", "shop-all.target", *both)


def test_host_that_is_switched_off_and_on_again_loses_nothing(host: Host, redis: redispy.Redis) -> None:
    host.install("shop-off", "-P 2", "-t 1")
    host.systemctl("enable", "--now", "shop-off")
    records = host.records("shop-off")
    jids = push_many(redis, "interruptible", [[number, 3] for number in range(10)])
    host.wait_until(lambda: len(records.running()) == 10, PATIENCE_SECONDS, "ten run", "shop-off")
    waiting = push_many(redis, "record", [[number] for number in range(10)])

    began = time.monotonic()
    host.machine.power_off()
    print(f"power-off: {time.monotonic() - began:.1f} s")
    assert queue(redis)[10:] == waiting
    assert sorted(queue(redis)[:10]) == sorted(jids), "what was running is back, and next"
    assert redis.scard("processes") == 0

    host.machine.boot()
    host.wait_until(lambda: set(records.ended()) == {*jids, *waiting}, PATIENCE_SECONDS, "all have run", "shop-off")
    assert records.ended() == dict.fromkeys([*jids, *waiting], 1)
    host.systemctl("disable", "--now", "shop-off")
    assert places(redis) == {}
