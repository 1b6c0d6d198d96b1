"""Redis behind Sentinel: masters that go and come, addresses that name nobody; and a Cluster, which is refused.

The long trial is ``make failovers``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from support import pusher
from support.daemon import TESTS
from support.sentinels import SERVICE, Replica, Sentinel, SentinelGroup
from support.servers import RedisServer, free_port
from support.snapshot import homes, jid_of
from support.tls import Authority, TlsServer
from support.waiting import wait_until

import forkworker
from forkworker.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

PASSWORD, SENTINEL_PASSWORD = "hunter2", "hunter3"
#: from the moment at which the new master takes writes
MOST_SECONDS = 2.0


@pytest.fixture(scope="module")
def whole_group() -> Iterator[SentinelGroup]:
    """Six processes, which all tests here share."""
    safe = ["--appendonly", "yes", "--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]
    with SentinelGroup(config=safe, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD) as group:
        yield group


@pytest.fixture
def group(whole_group: SentinelGroup) -> SentinelGroup:
    """The group, well and empty."""
    for server in whole_group.servers:
        if server.place != whole_group.named():
            whole_group.rejoin(server)
    whole_group.wait_whole()
    whole_group.master.client().flushall()
    return whole_group


def start(daemon: MakeDaemon, group: SentinelGroup, **options: object) -> Daemon:
    tree = daemon(url=group.url, client=group.master.client(), **options)
    assert PASSWORD not in tree.log()
    return tree


def until_writable(group: SentinelGroup, old: Replica) -> float:
    """Return the instant at which another server takes writes."""
    wait_until(lambda: group.writable(old), 20, "there is a new master", poll=0.005)
    return time.monotonic()


def stop(tree: Daemon, group: SentinelGroup) -> None:
    tree.redis = group.master.client()
    tree.wait_ready()
    tree.stop()
    assert "Traceback" not in tree.log()
    assert "hunter" not in tree.log()


class Pushing:
    """A thread that pushes one job after the other, through whatever happens."""

    def __init__(self, url: str) -> None:
        self.client = forkworker.Client(url)
        self.accepted: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Pushing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            with suppress(forkworker.PushFailed, forkworker.PushInDoubt):
                jid = self.client.push("record", [len(self.accepted), 0.02])
                self.accepted.append((time.monotonic(), jid or ""))


def test_a_master_killed_under_load_loses_no_job_and_work_goes_on(
    daemon: MakeDaemon, group: SentinelGroup, records: Records
) -> None:
    tree = start(daemon, group, children=2, concurrency=5, lease=5)
    with Pushing(f"{group.url}&wait_replicas=1") as pushing:
        tree.wait_until(lambda: len(records.ends()) > 50, 20)
        old = group.master
        old.kill()
        writable = until_writable(group, old)
        tree.wait_until(lambda: _next(records, writable) and pushing.accepted[-1][0] > writable, 20)
        tree.wait_until(lambda: {e.pid for e in records.starts() if e.at > writable} >= tree.child_pids(), 20)
    assert _next(records, writable) - writable <= MOST_SECONDS
    assert next(at for at, _ in pushing.accepted if at > writable) - writable <= MOST_SECONDS
    accepted = {jid for _, jid in pushing.accepted}
    tree.wait_until(lambda: accepted <= set(records.ended()), 20, "all that was accepted has run")
    new = group.master.client()
    tree.wait_until(lambda: homes(new) == {}, 10, "all is settled")
    assert len(tree.log_lines("Redis is away")) == len(tree.log_lines("Redis is back")) >= 1
    group.rejoin(old)
    stop(tree, group)


def _next(records: Records, instant: float) -> float:
    return next((event.at for event in records.starts() if event.at > instant), 0.0)


HANDS: dict[str, Callable[[SentinelGroup, Replica], None]] = {
    "frozen": lambda _, old: old.pause(),
    "replaced by hand": lambda group, _: group.fail_over_by_hand(),
}


@pytest.mark.parametrize("how", HANDS)
def test_idle_children_find_a_master_that_has_not_hung_up_on_them(
    daemon: MakeDaemon, group: SentinelGroup, records: Records, how: str
) -> None:
    """All they have are waits at the old one: it is frozen, or well and does not know yet that it is none."""
    tree = start(daemon, group, children=2, concurrency=2, lease=5, queues=["high", "default"])
    client = forkworker.Client(group.url)
    client.push("record", ["before"])
    tree.wait_until(records.ends, 10)
    old = group.master
    HANDS[how](group, old)
    writable = until_writable(group, old)
    pushed = _push_until_accepted(group.url, old)
    tree.wait_until(lambda: any(event.key == "after" for event in records.starts()), 20)
    began = next(event.at for event in records.starts() if event.key == "after")
    assert began - max(writable, pushed) <= MOST_SECONDS
    assert client.push("record", ["by a client that was idle"])
    tree.wait_until(lambda: any(event.key == "by a client that was idle" for event in records.ends()), 10)
    group.rejoin(old)
    stop(tree, group)


def _push_until_accepted(url: str, old: Replica) -> float:
    """Push to the new master, as soon as it is named; return when."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        client = forkworker.Client(url)
        with suppress(forkworker.PushFailed, forkworker.PushInDoubt):
            if client._client().connection_pool.get_connection().port != old.port:
                client.push("record", ["after"])
                return time.monotonic()
        time.sleep(0.01)
    raise AssertionError("no push was accepted by the new master")


def test_pushes_across_forks_and_threads_are_each_accepted_once(group: SentinelGroup) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.pusher", group.url],
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    texts = group.master.client().lrange("queue:default", 0, -1)
    keys = Counter(json.loads(text)["args"][0] for text in texts)
    assert len(keys) == pusher.TOTAL
    assert set(keys.values()) == {1}
    assert done.stdout.split()[0] == "1", "pushing starts no thread"


def test_what_is_accepted_with_wait_replicas_survives_a_kill(group: SentinelGroup) -> None:
    with Pushing(f"{group.url}&wait_replicas=1") as pushing:
        wait_until(lambda: len(pushing.accepted) > 100, 20)
        old = group.master
        old.kill()
        writable = until_writable(group, old)
        wait_until(lambda: pushing.accepted[-1][0] > writable, 20)
    there = {jid_of(text) for text in group.master.client().lrange("queue:default", 0, -1)}
    assert {jid for _, jid in pushing.accepted} <= there


def test_commands_take_the_address_and_show_no_password(
    group: SentinelGroup, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    forkworker.Client(group.url).push("record", [1])
    shown = f"redis+sentinel://{group.url.partition('@')[2].partition('?')[0]}"
    codes = {
        "check": main(["check", "support.jobs", "--redis", group.url]),
        "status": main(["status", "--redis", group.url]),
        "doctor": main(["doctor", "--redis", group.url, "--units", str(tmp_path)]),
        "queues": main(["queues", "--redis", group.url]),
        "jobs": main(["jobs", "list", "queue:default", "--redis", group.url]),
    }
    told = capsys.readouterr()
    assert codes == {"check": 0, "status": 0, "doctor": 1, "queues": 0, "jobs": 0}, told
    assert "nobody: no process takes jobs" in told.out
    assert shown in told.out
    assert "hunter" not in told.out + told.err


WRONG = {
    "service": (lambda url: url.replace(f"/{SERVICE}/", "/other/"), "it knows no master 'other'"),
    "sentinel's password": (lambda url: url.replace(SENTINEL_PASSWORD, "hunter4"), "invalid username-password pair"),
    "server's password": (lambda url: url.replace(f":{PASSWORD}@", ":hunter4@"), "invalid username-password pair"),
    "sentinels": (lambda _: f"redis+sentinel://:{PASSWORD}@127.0.0.1:{free_port()}/{SERVICE}", "Connection refused"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_address_that_leads_nowhere_is_told_by_its_reason_and_without_its_password(
    group: SentinelGroup, capsys: pytest.CaptureFixture[str], tmp_path: Path, wrong: str
) -> None:
    change, reason = WRONG[wrong]
    url = change(group.url)
    assert main(["status", "--redis", url]) == 1
    assert main(["doctor", "--redis", url, "--units", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out.count(reason) == told.err.count(reason) == 1, told
    with pytest.raises(forkworker.PushFailed, match="nothing was accepted") as caught:
        forkworker.Client(url).push("record", [1])
    assert "hunter" not in told.out + told.err + str(caught.value)


def test_sentinels_and_master_may_speak_tls(daemon: MakeDaemon, tmp_path: Path, records: Records) -> None:
    authority = Authority(tmp_path)
    own, port = authority.issue("redis"), free_port()
    with ExitStack() as stack:
        server = stack.enter_context(TlsServer(own, authority))
        files = [f"tls-cert-file {own.file}", f"tls-key-file {own.key}", f"tls-ca-cert-file {authority.file}"]
        secure = [f"tls-port {port}", "tls-auth-clients no", "tls-replication yes", *files]
        sentinel = Sentinel(server.tls_port, config=secure)
        stack.callback(sentinel.close)
        sentinel.start()
        wait_until(lambda: sentinel.details().get(b"flags") == b"master", 10, "the sentinel sees the master")
        url = f"rediss+sentinel://localhost:{port}/{SERVICE}/0?ssl_ca_certs={authority.file}"
        tree = daemon(url=url, client=server.client(), children=1)
        jid = forkworker.Client(url).push("record", ["by TLS"])
        tree.wait_until(lambda: records.ended()[jid or ""], 10)
        tree.stop()
        stranger = f"rediss+sentinel://localhost:{port}/{SERVICE}/0"
        with pytest.raises(forkworker.PushFailed, match="CERTIFICATE_VERIFY_FAILED"):
            forkworker.Client(stranger).push("record", ["by nobody"])


@pytest.fixture
def cluster() -> Iterator[RedisServer]:
    """One of two nodes of a Cluster, each with half of the keys."""
    with ExitStack() as stack:
        buses = [free_port() for _ in range(2)]
        configs = [["--cluster-enabled", "yes", "--cluster-port", str(bus)] for bus in buses]
        nodes = [stack.enter_context(RedisServer(tcp=True, config=config)) for config in configs]
        one, other = (node.client() for node in nodes)
        one.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, buses[1])
        for client, first in ((one, 0), (other, 8192)):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(first, first + 8192))
        wait_until(lambda: _is_well(one) and _is_well(other), 20, "the cluster is well")
        yield nodes[0]


def _is_well(client: object) -> bool:
    return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")  # type: ignore[attr-defined]


def test_a_cluster_is_refused_at_once_in_one_line(
    daemon: MakeDaemon, cluster: RedisServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = "is a Cluster, whose scripts cannot reach all queues"
    tree = daemon(url=cluster.url, client=None, children=1, ready=False)
    assert tree.wait_exit(10) == 75, tree.describe()
    (line,) = tree.log_lines("is not usable")
    assert words in line
    assert "forkworker needs one server, with or without replicas and Sentinel" in line
    assert main(["doctor", "--redis", cluster.url, "--units", str(tmp_path)]) == 1
    assert main(["status", "--redis", cluster.url]) == 1
    assert capsys.readouterr().out.count(words) == 2
    with pytest.raises(forkworker.PushFailed, match=words):
        push_to_many_queues(cluster.url)


def push_to_many_queues(url: str) -> None:
    """Some of them belong to the other node."""
    for number in range(10):
        forkworker.Client(url).push("record", [1], queue=f"queue-{number}")
