"""A tour of all that a tree does with Redis, for trials of the way to it.  Runs in the test process."""

from __future__ import annotations

import contextlib
import io
import json
import time
from typing import TYPE_CHECKING

import forkworker
from forkworker.cli.main import main
from support.knocking import ask
from support.payloads import push, push_at, push_many
from support.snapshot import places

if TYPE_CHECKING:
    import redis as redispy

    from support.daemon import Daemon
    from support.records import Records

QUEUES = ("default", "mail")
CHILDREN = 2


class Tour:
    """Of a tree with two children, two queues, jobs of ``support.jobs``, and ``--health unix:health.sock``."""

    def __init__(
        self, tree: Daemon, redis: redispy.Redis, records: Records, *, clients: str = "", operators: str = ""
    ) -> None:
        self.tree = tree
        #: which may do everything
        self.redis = redis
        self.records = records
        #: the addresses that others use, if not the tree's
        self.clients = clients or tree.url
        self.operators = operators or tree.url

    def go(self) -> None:
        """See all of it."""
        self.wake()
        self.run()
        self.restore()
        self.command()
        self.steer()
        self.tree.stop()
        assert set(places(self.redis).values()) <= {1}

    def waits(self) -> int:
        """Count the connections that wait in a BLMOVE."""
        clients: list[dict[str, str]] = self.redis.client_list()
        return sum("b" in client["flags"] and client["cmd"] == "blmove" for client in clients)

    def _end(self, *jids: str | None, seconds: float = 20) -> None:
        self.tree.wait_until(lambda: set(jids) <= set(self.records.ended()), seconds, "these jobs have ended")

    def wake(self) -> None:
        """The push itself wakes a child that waits."""
        self.tree.wait_until(lambda: self.waits() == CHILDREN * len(QUEUES), 10, "all wait")
        began = time.monotonic()
        self._end(push(self.redis, "record", ["woken"], "mail"))
        assert time.monotonic() - began < 2.5

    def run(self) -> None:
        """Jobs now and later, large ones and such that fail, by our client and by others."""
        client = forkworker.Client(self.clients)
        client.push("fail", ["once"], retry=3)
        client.push("fail", ["for good"], retry=0)
        large = client.push("record", ["x" * 900_000])
        later = client.push("record", ["later"], at=time.time() + 1)
        due = push_at(self.redis, time.time() + 1, "record", ["due"], "retry")
        self._end(large, later, due, *push_many(self.redis, "record", [[number] for number in range(200)]))
        self.tree.wait_until(lambda: (self.redis.zcard("retry"), self.redis.zcard("dead")) == (1, 1), 10)

    def restore(self) -> None:
        """What a child that is killed had in hand runs again; so does what a whole tree had."""
        for kill in (self._kill_a_child, self.tree.kill_all):
            jid = push(self.redis, "record", ["long", 1])
            self.tree.wait_until(lambda jid=jid: jid in self.records.running(), 10)
            kill()
            if kill == self.tree.kill_all:
                self.tree.assert_gone(5)
                self.tree.start()
            self.tree.wait_ready()
            self._end(jid)

    def _kill_a_child(self) -> None:
        pid = self.records.starts()[-1].pid
        self.tree.kill_child(next(slot for slot, child in self.tree.children().items() if child == pid))

    def command(self) -> None:
        """What operators ask and order by the shell."""
        told = json.loads(self.say("status", "--json"))["redis"]
        assert (told["retries"], told["dead"], told["processes"]) == (1, 1, CHILDREN)
        assert "once" in self.say("jobs", "list", "retries")
        assert "1 job retried" in self.say("jobs", "retry", "dead", "--all")
        self.tree.wait_until(lambda: self.redis.zcard("dead") == 1, 10, "it has failed for good again")
        assert "1 job buried" in self.say("jobs", "bury", "retries", "--all", "--yes")
        assert "2 jobs deleted" in self.say("jobs", "delete", "dead", "--all", "--yes")
        self.say("pause", "mail")
        self.tree.wait_until(lambda: self.waits() == CHILDREN, 5, "nobody waits on a paused queue")
        push(self.redis, "record", [1], "mail")
        assert "paused" in self.say("queues")
        self.say("queues", "--clear", "mail", "--yes")
        self.say("unpause", "mail")
        assert json.loads(self.say("doctor", "--json", ok=(0, 1)))["checked"]

    def steer(self) -> None:
        """What the Web UI orders, and what it and Prometheus are shown."""
        self.scrape()
        assert self.redis.keys("j|*"), "Sidekiq's metrics"
        (identity, *_) = self.tree.registered().values()
        self.say("processes", "quiet", identity)
        self.tree.wait_until(lambda: self.redis.hget(identity, "quiet") == b"true", 12, "it was told so by its keeper")
        jid = push(self.redis, "record", ["shown", 2])
        key = f"{next(who for who in self.tree.registered().values() if who != identity)}:work"
        self.tree.wait_until(lambda: jid.encode() in b"".join(self.redis.hvals(key)), 12, "it is shown")
        self._end(jid)

    def say(self, *words: str, ok: tuple[int, ...] = (0,)) -> str:
        """Run a command as an operator with this address, in this process; return what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main([*words, "--redis", self.operators])
        assert code in ok, (words, code, printed.getvalue())
        return printed.getvalue()

    def scrape(self) -> None:
        """The metrics tell what jobs have done, and what Redis holds."""
        address = f"unix:{self.tree.directory}/health.sock"
        wanted = ('forkworker_jobs_total{name="record",outcome="done"}', 'forkworker_set_jobs{set="dead"}')
        self.tree.wait_until(lambda: all(line in ask(address, "/metrics")[1] for line in wanted), 10, "metrics")
