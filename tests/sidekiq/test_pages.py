"""Every page of Sidekiq's Web UI while forkworker has jobs of every kind."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from support import ruby
from support.payloads import encode, push, push_at, push_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon
    from support.pages import Page
    from support.records import Records
    from support.ruby import WebUi
    from support.servers import RedisServer

    import forkworker

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

MARKUP = "<script>alert('&')</script>"
TAGS = ["urgent", "<i>tag</i>"]
SHOWN_TAGS = "urgent <i>tag</i>"
#: what stands in the dead set as it is, and does no harm there
RAW = {
    "cut": b'{"class": "record", "args": ["<b>cut</b>',
    "no UTF-8": b'{"class": "record", "args": ["\xff\xfe"]}',
    "no class": b'{"jid": "0123456789abcdef01234567", "args": ["<b>no class</b>"]}',
    "empty": b"",
    "a text": b'"a text"',
    "deep": b"[" * 5000,
}
HISTORY = "puts Sidekiq::Stats::History.new(2).processed.to_json"


class Scene:
    """A tree, and jobs of every kind that it has run, runs, or waits for."""

    def __init__(self, tree: Daemon, redis: redispy.Redis, client: forkworker.Client, url: str) -> None:
        self.tree = tree
        self.redis = redis
        self.client = client
        self.url = url
        self.running: set[str | None] = set()

    def set_up(self) -> None:
        """Bury first, as that takes neighbours along; leave jobs running."""
        self.bury()
        self.fail()
        self.wait()
        self.run()

    def bury(self) -> None:
        """Fill the dead set: a poisonous job, hopeless ones, and what is no job."""
        self.redis.lpush("queue:mail", encode({"class": "die", "args": [], "jid": "f" * 24}))  # the least a job has
        self.tree.wait_until(lambda: self.redis.zcard("dead") == 1, 15)
        self.client.push("fail", [MARKUP], retry=0, tags=TAGS)
        self.client.push("receipt", [7], retry=0, kwargs={"text": MARKUP})
        self.client.push("verdict", ["bury"])
        self.redis.lpush("queue:default", *RAW.values())
        self.tree.wait_until(lambda: self.redis.zcard("dead") == 4 + len(RAW), 10)
        self.tree.wait_ready()

    def fail(self) -> None:
        """Fill the retry set: our jobs, Ruby's, unknown ones, and one that a newer Sidekiq has touched."""
        self.client.push("fail", [MARKUP], tags=TAGS)
        self.client.push("receipt", [8], kwargs={"text": MARKUP})
        self.client.push("shop.nobody_knows", [1])
        ruby.run(self.url, "puts Sidekiq::Client.push('class' => 'NoSuchWorker', 'args' => [{'a' => 1}]).to_json")
        now = int(time.time() * 1000)
        times = {"created_at": now - 9000, "enqueued_at": now, "failed_at": time.time() - 9, "retried_at": now - 5000}
        push(self.redis, "fail", ["of 8"], retry_count=-1, **times)
        self.tree.wait_until(lambda: self.redis.zcard("retry") == 5, 10)
        later = {member: score + 3600 for member, score in self.redis.zrange("retry", 0, -1, withscores=True)}
        self.redis.zadd("retry", later)

    def wait(self) -> None:
        """Fill the schedule and a queue that nobody works on."""
        self.client.push("receipt", [9], at=time.time() + 3600, kwargs={"text": MARKUP}, tags=TAGS)
        push_at(self.redis, time.time() + 7200, "record", [MARKUP])
        self.client.push("receipt", [10], queue="idle", kwargs={"text": MARKUP}, tags=TAGS)
        push_many(self.redis, "record", [[n] for n in range(29)], queue="idle")

    def run(self) -> None:
        """Start jobs that run for a while: small, large, and one that Ruby cannot read."""
        self.running = {
            self.client.push("receipt", [11], kwargs={"seconds": 60}, tags=TAGS),
            self.client.push("record", [MARKUP, 60]),
            push(self.redis, "record", ["\ud800", 60]),
            self.client.push("record", ["x" * 1500, 60]),
            self.client.push("record", ["x" * 1_500_000, 60], queue="mail"),
        }
        self.tree.wait_until(lambda: self.busy() == 5, 10)

    def busy(self) -> int:
        """Return how many jobs are shown as running."""
        return sum(int(self.redis.hget(who, "busy") or 0) for who in self.tree.registered().values())


@pytest.fixture
def scene(
    daemon: MakeDaemon, redis: redispy.Redis, client: forkworker.Client, redis_server: RedisServer
) -> Iterator[Scene]:
    """A tree in the middle of its work."""
    flags: dict[str, Any] = {"queues": ["default", "mail"], "arguments": ["-g", "shop"], "lease": 5, "timeout": 0.5}
    tree = daemon(app="support.crossing", children=2, concurrency=4, **flags)
    made = Scene(tree, redis, client, redis_server.url)
    made.set_up()
    yield made
    tree.stop()


def opened(web: WebUi, path: str) -> Page:
    """Open a page that must be there, and on which nothing of a job may act."""
    page = web.get(path)
    assert page.status == 200, f"{path}\n{web.log[-3000:]}"
    assert page.path == path.partition("?")[0]
    assert MARKUP not in page.text
    assert "<i>tag" not in page.text
    return page


def test_every_page_shows_what_there_is(scene: Scene, web: WebUi, records: Records) -> None:
    assert_numbers(scene, opened(web, "/"))
    assert_stats(scene, web)
    assert_busy(scene, opened(web, "/busy"))
    assert_queues(web)
    assert_retries(web)
    assert_scheduled(web)
    assert_morgue(web)
    assert scene.running <= records.running()
    assert {records.started()[str(jid)] for jid in scene.running} == {1}, "nobody was disturbed"


def assert_numbers(scene: Scene, page: Page) -> None:
    """The header of each page."""
    ids = ("Processed", "Failed", "Busy", "Enqueued", "Retries", "Scheduled", "Dead")
    counts = [int(scene.redis.get(f"stat:{name}") or 0) for name in ("processed", "failed")]
    assert counts == [8, 8]
    assert [int(page.by_id[f"txt{name}"]) for name in ids] == [*counts, 5, 30, 5, 2, 4 + len(RAW)]


def assert_stats(scene: Scene, web: WebUi) -> None:
    """The pages for programs."""
    shown: dict[str, Any] = json.loads(web.get("/stats").text)["sidekiq"]
    assert shown == {
        "processed": 8, "failed": 8, "busy": 5, "processes": 2, "enqueued": 30, "scheduled": 2, "retries": 5,
        "dead": 4 + len(RAW), "default_latency": 0,
    }  # fmt: skip
    lengths = json.loads(web.get("/stats/queues").text)
    assert {name: lengths.get(name, 0) for name in ("default", "idle", "mail")} == {"default": 0, "idle": 30, "mail": 0}
    assert sum(ruby.run(scene.url, HISTORY).values()) == 8


def assert_busy(scene: Scene, page: Page) -> None:
    """Processes with their numbers, and what each runs."""
    identities = scene.tree.registered()
    for pid, identity in identities.items():
        name, _, rss, threads, busy, _ = page.row(f":{pid} shop")
        assert name.endswith("Queues: default, mail")
        assert "quiet" not in name
        assert abs(time.time() - json.loads(scene.redis.hget(identity, "info") or "")["started_at"]) < 120
        assert rss.split()[1] in ("KB", "MB")
        assert (int(threads), int(busy)) == (4, int(scene.redis.hget(identity, "busy") or 0))
    assert ">8<" in page.text
    assert ">63%<" in page.text, "5 of 8"
    jobs = [row for row in page.rows if len(row) == 7 and row[1].startswith("thread")]
    assert {row[0] for row in jobs} <= set(identities.values())
    assert sorted(row[4] for row in jobs) == [f"receipt {SHOWN_TAGS}", *["record"] * 4]
    shown = sorted((row[3], re.sub(r"\d+ bytes", "N bytes", row[5])) for row in jobs)
    small = ["11", f'"{MARKUP}", 60', f'"{"x" * 1500}", 60', '"(N bytes)"']
    assert shown == sorted([*(("default", each) for each in small), ("mail", '"(N bytes)"')])


def assert_queues(web: WebUi) -> None:
    """Queues with their sizes, and one that fills more than a page."""
    rows = {row[0]: row[1] for row in opened(web, "/queues").rows if len(row) == 4}
    assert rows["idle"] == "30"
    first, second = opened(web, "/queues/idle"), opened(web, "/queues/idle?page=2")
    assert len(first.forms) == 25
    assert len(second.forms) == 5
    assert second.row("receipt")[1:3] == [f"receipt {SHOWN_TAGS}", "10"]


def details(web: WebUi, page: Page, count: int) -> list[Page]:
    """Open the page of each job in a list."""
    links = {link for link in page.links if link.startswith(page.path + "/") and not link.endswith("-")}
    assert len(links) == count, links
    return [opened(web, link) for link in links]


def fields(page: Page) -> dict[str, str]:
    """Return what the page of a job says of it."""
    return {row[0]: row[1] for row in page.rows if len(row) == 2}


def assert_retries(web: WebUi) -> None:
    """Failed jobs with their errors, in the list and each on its own page."""
    page = opened(web, "/retries")
    errors = [row[6] for row in page.rows if len(row) == 7 and row[2] == "0"]
    assert len(errors) == 5
    assert sum(MARKUP in error for error in errors) == 2
    assert page.row("fail urgent")[3:6] == ["default", f"fail {SHOWN_TAGS}", f'"{MARKUP}"']
    assert "UnknownJob: no job is named 'shop.nobody_knows'" in page.row("shop.nobody_knows")[6]
    assert page.row("NoSuchWorker")[5] == '{"a"=>1}'
    by_name = {fields(each)["Job"]: fields(each) for each in details(web, page, 5)}
    assert set(by_name) == {f"fail {SHOWN_TAGS}", "fail", "receipt", "shop.nobody_knows", "NoSuchWorker"}
    receipt = by_name["receipt"]
    assert receipt["Error Class"] == "support.crossing.ReceiptError"
    assert receipt["Error Message"] == MARKUP
    assert "crossing.py" in receipt["Error Backtrace"]
    assert "in receipt" in receipt["Error Backtrace"]
    assert "in <genexpr>" in receipt["Error Backtrace"]
    assert r"\u003cscript" in receipt["Extras"]


def assert_scheduled(web: WebUi) -> None:
    """Jobs that wait for their time."""
    page = opened(web, "/scheduled")
    assert page.row("receipt")[2:] == ["default", f"receipt {SHOWN_TAGS}", "9"]
    assert page.row("record")[2:] == ["default", "record", f'"{MARKUP}"']
    assert {fields(each)["Arguments"] for each in details(web, page, 2)} == {"9", f'"{MARKUP}"'}


def assert_morgue(web: WebUi) -> None:
    """The dead, with what is no job among them."""
    page = opened(web, "/morgue")
    assert len([row for row in page.rows if len(row) == 6]) == 1 + 4 + len(RAW)
    assert "it was running in 3 crashes of its process" in page.row("Poisonous")[5]
    assert page.row("museum")[3] == "verdict"
    assert page.row("fail urgent")[5] == f"ValueError: {MARKUP}"
    assert "<b>cut</b>" in page.row("cut")[4]
    by_name = {fields(each)["Job"]: fields(each) for each in details(web, page, 5)}
    assert set(by_name) == {f"fail {SHOWN_TAGS}", "receipt", "verdict", "die", ""}
    assert by_name["die"]["Error Class"] == "forkworker.errors.Poisonous"
    assert by_name["die"]["Queue"] == "mail"


def test_what_is_no_object_breaks_the_page_of_the_dead_until_it_is_removed(web: WebUi, redis: redispy.Redis) -> None:
    """As docs/coming-from-sidekiq.md says; a text that is not JSON is shown, but no button finds it."""
    redis.zadd("dead", {b"[1, 2, 3]": 1.5, RAW["cut"]: 2.5})
    assert web.get("/morgue").status == 500
    redis.zrem("dead", b"[1, 2, 3]")
    assert web.press("/morgue", "delete", action="/morgue").row("cut")
    assert web.press("/morgue", "delete", action="/morgue/all/delete").status == 200
    assert redis.zcard("dead") == 0
