"""Working lists of the dead: found, put back, counted where a crash was the cause, forgotten when empty."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from support.waiting import wait_until

from forkworker.errors import IdentityTaken
from forkworker.store import batches, orphans, working
from forkworker.store.connection import Link
from forkworker.store.orphans import Entry, Restored
from store.scene import ALICE, BOB, NOW, expires, job, jobs, left, listed, put, world

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis as redispy
    from support.servers import RedisServer

pytestmark = pytest.mark.store

QUEUES = {"queues": {b"default"}}
GRAVE = b"the payload, with an error"


def counter(payload: bytes) -> str:
    return f"recovered:{hashlib.sha1(payload).hexdigest()}"


def restore(link: Link, *entries: Entry, now: float = NOW) -> Restored:
    return orphans.restore(link, ALICE, "default", entries, now)


def idle(*numbers: int) -> list[Entry]:
    return [Entry(job(number)) for number in numbers]


def crashed(number: int, buried_form: bytes = b"") -> Entry:
    return Entry(job(number), crashed=True, buried_form=buried_form)


# restore


def test_restored_jobs_are_at_the_head_of_their_queue_in_their_old_order(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2, 3))
    put(redis, "queue:default", jobs(4, 5))

    assert restore(link, *idle(3, 2, 1)) == Restored(3, 0, 0)
    assert world(redis) == {**QUEUES, "queue:default": left(jobs(1, 2, 3, 4, 5))}


def test_only_what_is_named_is_restored(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2, 3))
    put(redis, listed(owner=BOB), jobs(2))

    assert restore(link, *idle(2)) == Restored(1, 0, 0)
    assert world(redis) == {
        **QUEUES,
        listed(): left(jobs(1, 3)),
        listed(owner=BOB): jobs(2),
        "queue:default": jobs(2),
    }


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(Entry(job(1)), id="idle"),
        pytest.param(crashed(1), id="crashed"),
        pytest.param(crashed(1, GRAVE), id="crashed, to be buried"),
    ],
)
def test_what_is_no_longer_there_is_not_restored_and_not_counted(
    link: Link, redis: redispy.Redis, entry: Entry
) -> None:
    put(redis, listed(), jobs(2))
    redis.set(counter(job(1)), 2)
    before = world(redis)

    assert restore(link, entry) == Restored(0, 0, 0)
    assert world(redis) == before


def test_a_second_keeper_finds_the_jobs_gone(link: Link, redis: redispy.Redis) -> None:
    """The first one's jobs have been fetched and given back by others meanwhile."""
    put(redis, listed(), jobs(1, 2))
    entries = [crashed(2), crashed(1)]
    restore(link, *entries)
    after = world(redis)

    assert restore(link, *entries) == Restored(0, 0, 0)
    assert world(redis) == after
    assert after == {
        **QUEUES,
        "queue:default": left(jobs(1, 2)),
        counter(job(1)): b"1",
        counter(job(2)): b"1",
    }


def test_one_that_restores_what_is_left_keeps_the_order(link: Link, redis: redispy.Redis) -> None:
    """The first keeper was cut off between two queues, or saw only a part."""
    put(redis, listed(), jobs(1, 2, 3))
    restore(link, *idle(3, 2))

    assert restore(link, *idle(3, 2, 1)) == Restored(1, 0, 0)
    assert world(redis) == {**QUEUES, "queue:default": left(jobs(1, 2, 3))}


@pytest.mark.parametrize("entries", [[Entry(job(1))], [Entry(job(1)), Entry(job(1))]], ids=["one", "both"])
def test_of_identical_payloads_as_many_go_back_as_are_named(
    link: Link, redis: redispy.Redis, entries: Sequence[Entry]
) -> None:
    put(redis, listed(), [job(1), job(2), job(1)])

    assert restore(link, *entries) == Restored(len(entries), 0, 0)
    rest = [job(1), job(2)] if len(entries) == 1 else [job(2)]
    assert world(redis) == {**QUEUES, listed(): left(rest), "queue:default": [job(1)] * len(entries)}


def test_a_job_that_was_running_is_counted_and_others_are_not(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2, 3))

    assert restore(link, Entry(job(3)), crashed(2), Entry(job(1))) == Restored(3, 1, 0)
    assert world(redis) == {**QUEUES, "queue:default": left(jobs(1, 2, 3)), counter(job(2)): b"1"}


def test_crashes_are_remembered_for_72_hours_from_the_first(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1))
    restore(link, crashed(1))
    assert expires(redis, counter(job(1)), 72 * 3600)

    redis.expire(counter(job(1)), 1000)
    put(redis, listed(), jobs(1))
    restore(link, crashed(1))

    assert redis.get(counter(job(1))) == b"2"
    assert expires(redis, counter(job(1)), 1000)


def test_one_that_is_to_run_apart_waits_in_the_schedule(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2))

    assert restore(link, Entry(job(2), crashed=True, later=NOW + 2), crashed(1)) == Restored(2, 2, 0)
    assert world(redis) == {
        **QUEUES,
        "queue:default": jobs(1),
        "schedule": {job(2): NOW + 2},
        counter(job(1)): b"1",
        counter(job(2)): b"1",
    }


def test_of_identical_payloads_one_waits_and_the_others_go_back(link: Link, redis: redispy.Redis) -> None:
    """A sorted set holds them once."""
    put(redis, listed(), [job(1), job(1)])
    twin = Entry(job(1), crashed=True, later=NOW + 2)

    assert restore(link, twin, twin) == Restored(2, 2, 0)
    assert world(redis) == {
        **QUEUES,
        "queue:default": jobs(1),
        "schedule": {job(1): NOW + 2},
        counter(job(1)): b"2",
    }


def test_where_the_schedule_cannot_take_it_the_queue_does(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1))
    redis.set("schedule", "no set")

    assert restore(link, Entry(job(1), crashed=True, later=NOW + 2)) == Restored(1, 1, 0)
    assert world(redis) == {**QUEUES, "queue:default": jobs(1), "schedule": b"no set", counter(job(1)): b"1"}


def test_the_third_crash_buries(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2))
    redis.set(counter(job(1)), 2)

    assert restore(link, Entry(job(2)), crashed(1, GRAVE)) == Restored(2, 1, 1)
    assert world(redis) == {**QUEUES, "queue:default": jobs(2), "dead": {GRAVE: NOW}}


@pytest.mark.parametrize(
    ("before", "form"),
    [
        pytest.param(0, GRAVE, id="the first crash, though a form was given"),
        pytest.param(1, GRAVE, id="the second, though a form was given"),
        pytest.param(2, b"", id="the third, without a form: others have counted since it was looked up"),
        pytest.param(9, b"", id="any later, without a form"),
    ],
)
def test_other_crashes_do_not_bury(link: Link, redis: redispy.Redis, before: int, form: bytes) -> None:
    put(redis, listed(), jobs(1))
    if before:
        redis.set(counter(job(1)), before)

    assert restore(link, crashed(1, form)) == Restored(1, 1, 0)
    assert world(redis) == {**QUEUES, "queue:default": jobs(1), counter(job(1)): str(before + 1).encode()}


def test_an_idle_job_is_not_buried_for_earlier_crashes(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1))
    redis.set(counter(job(1)), 2)

    assert restore(link, Entry(job(1), crashed=False, buried_form=GRAVE)) == Restored(1, 0, 0)
    assert world(redis) == {**QUEUES, "queue:default": jobs(1), counter(job(1)): b"2"}


def test_three_crashes_in_the_keepers_own_steps_bury(link: Link, redis: redispy.Redis) -> None:
    put(redis, "queue:default", jobs(1))
    seen = []
    for _ in range(3):
        redis.lmove("queue:default", listed(), "RIGHT", "LEFT")
        before = orphans.crashes(link, jobs(1))[job(1)]
        last = before + 1 >= orphans.CRASHES_THAT_BURY
        seen.append((before, restore(link, crashed(1, GRAVE if last else b""))))

    assert seen == [(0, Restored(1, 1, 0)), (1, Restored(1, 1, 0)), (2, Restored(1, 1, 1))]
    assert world(redis) == {**QUEUES, "dead": {GRAVE: NOW}}


def test_restorations_add_up() -> None:
    assert sum([Restored(1, 2, 3), Restored(10, 20, 30)], Restored()) == Restored(11, 22, 33)


@pytest.mark.parametrize(
    ("count", "most_bytes"),
    [
        pytest.param(1200, batches.MOST_BYTES, id="more than one script takes"),
        pytest.param(10, 120, id="more bytes than one script takes"),
        pytest.param(3, 1, id="each too large for a script with another"),
    ],
)
def test_many_go_back_in_several_scripts_and_keep_their_order(
    link: Link, redis: redispy.Redis, monkeypatch: pytest.MonkeyPatch, count: int, most_bytes: int
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", most_bytes)
    numbers = range(count)
    put(redis, listed(), jobs(*numbers))

    assert restore(link, *idle(*reversed(numbers))) == Restored(count, 0, 0)
    assert world(redis) == {**QUEUES, "queue:default": left(jobs(*numbers))}


# What keepers read


def test_crashes_tells_how_often_each_payload_was_running(link: Link, redis: redispy.Redis) -> None:
    redis.set(counter(job(1)), 2)
    redis.set(counter(job(3)), "no number")

    assert orphans.crashes(link, jobs(1, 2, 3)) == {job(1): 2, job(2): 0, job(3): 0}
    assert orphans.crashes(link, []) == {}
    assert world(redis) == {counter(job(1)): b"2", counter(job(3)): b"no number"}


def test_contents_are_read_the_newest_first(link: Link, redis: redispy.Redis) -> None:
    put(redis, listed(), jobs(1, 2))

    assert orphans.contents(link, ALICE, "default") == [job(2), job(1)]
    assert orphans.contents(link, BOB, "default") == []


def test_owners_are_read_from_the_names_of_their_lists(link: Link, redis: redispy.Redis) -> None:
    colons = "dyno:web.1:77:0123456789ab"
    names = [listed("high"), listed("low"), listed("a:b:c", BOB), listed("default", colons)]
    redis.sadd("working", *names, "working:", "working:someone:default", "queue:default", b"working:\xff\xfe")

    assert orphans.owners(link) == {ALICE: {"high", "low"}, BOB: {"a:b:c"}, colons: {"default"}}


def test_nobody_owns_anything_at_first(link: Link) -> None:
    assert orphans.owners(link) == {}
    assert orphans.origins(link) == {}


def test_origins_are_what_owners_told(link: Link, redis: redispy.Redis) -> None:
    redis.hset("origins", mapping={ALICE: "boot ns 25", BOB: "elsewhere 5"})

    assert orphans.origins(link) == {ALICE: "boot ns 25", BOB: "elsewhere 5"}


# unregister


def registered(redis: redispy.Redis, *queues: str) -> None:
    redis.sadd("working", *(listed(queue) for queue in queues), listed("default", BOB))
    redis.hset("origins", mapping={ALICE: "here 25", BOB: "there 25"})
    redis.set(f"settled:{ALICE}", "3:1")


BOBS = {"working": {listed("default", BOB).encode()}, "origins": {BOB.encode(): b"there 25"}}


def test_one_whose_lists_are_empty_is_forgotten(link: Link, redis: redispy.Redis) -> None:
    registered(redis, "high", "low")

    assert orphans.unregister(link, ALICE, ["high", "low"]) == 0
    assert world(redis) == BOBS
    assert orphans.unregister(link, ALICE, ["high", "low"]) == 0
    assert world(redis) == BOBS


def test_a_list_that_holds_something_stays_registered_and_so_does_its_origin(link: Link, redis: redispy.Redis) -> None:
    registered(redis, "high", "low")
    put(redis, listed("low"), jobs(1))

    assert orphans.unregister(link, ALICE, ["high", "low"]) == 1
    assert world(redis) == {
        "working": {listed("low").encode()} | BOBS["working"],
        "origins": {ALICE.encode(): b"here 25", **BOBS["origins"]},  # type: ignore[dict-item]
        f"settled:{ALICE}": b"3:1",
        listed("low"): jobs(1),
    }


def test_all_lists_full_are_all_counted(link: Link, redis: redispy.Redis) -> None:
    registered(redis, "high", "low")
    put(redis, listed("high"), jobs(1))
    put(redis, listed("low"), jobs(2))
    before = world(redis)

    assert orphans.unregister(link, ALICE, ["high", "low"]) == 2
    assert world(redis) == before


# cut_off


def test_what_a_crashed_process_had_sent_takes_no_job_any_more(
    link: Link, redis_server: RedisServer, redis: redispy.Redis
) -> None:
    waiting, late = Link(redis_server.url), Link(redis_server.url, preload=working.SCRIPTS)
    number = int(waiting.execute("CLIENT", "ID"))
    waiting.send([("BLMOVE", "queue:default", listed(), "RIGHT", "LEFT", 30)])
    wait_until(lambda: redis.info("clients")["blocked_clients"] == 1, 5, "it waits")

    orphans.cut_off(link, ALICE, [number])

    assert waiting.read() is None
    put(redis, "queue:default", jobs(1))
    with pytest.raises(IdentityTaken):
        late.execute(*working.fetch(ALICE, ["default"], 5))
    assert world(redis) == {"queue:default": jobs(1), f"taken:{ALICE}": b"2"}
    assert 0 < redis.ttl(f"taken:{ALICE}") <= orphans.LATE_SECONDS
    waiting.close()
    late.close()


# unblock


def test_unblocking_ends_a_blocked_command_and_nothing_else(
    link: Link, redis_server: RedisServer, redis: redispy.Redis
) -> None:
    waiting = Link(redis_server.url)
    number = int(waiting.execute("CLIENT", "ID"))
    idle_number = int(redis.client_id())
    waiting.send([("BLMOVE", "queue:default", listed(), "RIGHT", "LEFT", 30)])

    while not waiting.readable(0.01):
        orphans.unblock(link, [number, idle_number, 987_654_321])

    assert waiting.read() is None
    put(redis, "queue:default", jobs(1))
    assert world(redis) == {"queue:default": jobs(1)}
    waiting.close()


def test_unblocking_nobody_sends_nothing(link: Link) -> None:
    orphans.unblock(link, [])

    assert not link.is_open
