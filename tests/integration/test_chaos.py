"""Everything at once, at random: whatever is killed, cut or restarted, each job is done or in one place."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from signal import SIGCONT, SIGTERM, SIGTTIN, SIGUSR1
from typing import TYPE_CHECKING

import pytest
from support.payloads import push_many
from support.snapshot import homes, places

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.proxy import Proxy
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

SECONDS = float(os.environ.get("FORKWORKER_TEST_CHAOS", "8"))
QUEUES = ("high", "default", "low")


def hit(tree: Daemon, proxy: Proxy, server: RedisServer) -> str:
    """Do one bad thing; return what."""

    def restart() -> None:
        server.kill()
        server.start()

    deeds: dict[str, tuple[int, Callable[[], object]]] = {
        "kill child 0": (6, lambda: tree.kill("child 0")),
        "kill child 1": (6, lambda: tree.kill("child 1")),
        "kill keeper": (2, lambda: tree.kill("keeper")),
        "kill forkserver": (2, lambda: tree.kill("forkserver")),
        "TERM child 1": (2, lambda: tree.kill("child 1", SIGTERM)),
        "USR1 child 0": (1, lambda: tree.kill("child 0", SIGUSR1)),
        "quiet": (2, lambda: tree.signal(SIGUSR1)),
        "resume": (6, lambda: tree.signal(SIGCONT)),
        "stacks": (1, lambda: tree.signal(SIGTTIN)),
        "cut all": (4, proxy.cut_all),
        "restart Redis": (1, restart),
    }
    name = random.choices(list(deeds), [weight for weight, _ in deeds.values()])[0]
    with suppress(KeyError, ProcessLookupError):  # it may just be gone
        deeds[name][1]()
    return name


@pytest.mark.timeout(90 + 3 * SECONDS)
def test_chaos_loses_no_job(
    daemon: MakeDaemon, redis: redispy.Redis, redis_server: RedisServer, proxy: Proxy, records: Records
) -> None:
    options = {"url": proxy.url, "children": 2, "concurrency": 4, "queues": QUEUES, "lease": 5, "timeout": 1}
    trees = [daemon(**options) for _ in range(2)]
    jids: set[str] = set()
    deeds: list[str] = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        jids |= set(push_many(redis, "record", [[n, 0.05] for n in range(25)], queue=random.choice(QUEUES)))
        deeds.append(hit(random.choice(trees), proxy, redis_server))
        assert max(places(redis).values(), default=0) <= 1, deeds
        time.sleep(random.uniform(0.05, 0.5))  # the moments are to be random

    def calm() -> bool:
        left = [key for keys in homes(redis).values() for key in keys if key != "dead"]
        return not left

    for tree in trees:
        tree.signal(SIGCONT)
        for pid in tree.children().values():  # one may have been quieted by itself: renew it
            with suppress(ProcessLookupError):
                os.kill(pid, SIGTERM)
    trees[0].wait_until(calm, 40, f"all is done after {deeds}")
    poisonous = set(homes(redis))
    assert set(records.ended()) | poisonous == jids, deeds
    for tree in trees:
        tree.wait_ready(seconds=40)
    trees[0].stop(shared=True, crashed=True)
    trees[1].stop(crashed=True)
    assert int(redis.get("stat:processed") or 0) == len(jids - poisonous)
