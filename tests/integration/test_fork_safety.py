"""What an import leaves behind is named, with who made it; what Python itself keeps is right in every child."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.payloads import push, push_many

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

LIBRARY = """
import socket, threading

def export(address):
    connection = socket.create_connection(address) if isinstance(address, tuple) else socket.socket(socket.AF_UNIX)
    if not isinstance(address, tuple):
        connection.connect(address)
    threading.Thread(target=connection.recv, args=(1,), name="exporter", daemon=True).start()
    return connection
"""
LEAVING = """
import asyncio, os, select, threading
import metrics
kept = metrics.export(os.environ["ADDRESS"])
loop = asyncio.new_event_loop()
epoll = select.epoll()
closed = asyncio.new_event_loop()
closed.close()
short = threading.Thread(target=int)
short.start()
short.join()
"""
CLEAN = """
import json, logging, random, ssl, tempfile, threading, uuid

import forkworker

log = logging.getLogger("shop")
handler = logging.FileHandler("app.log")
log.addHandler(handler)
random.random(), ssl.RAND_bytes(1), uuid.uuid4(), tempfile.mktemp(), ssl.create_default_context()
busy = logging.getLogger("busy")
busy.propagate = False
busy.addHandler(logging.FileHandler("busy.log"))

def chatter():
    while True:
        busy.error("x")

threading.Thread(target=chatter, name="chatter", daemon=True).start()

@forkworker.job
def draw():
    busy.error("also in a child")
    names = [random.random(), ssl.RAND_bytes(8).hex(), str(uuid.uuid4()), tempfile.mktemp()]
    log.warning("%s", json.dumps(names))
"""


def test_what_an_import_leaves_behind_is_named_with_who_made_it(daemon: MakeDaemon, redis_server: object) -> None:
    address = str(redis_server.socket)  # type: ignore[attr-defined]
    tree = daemon(app="shop", children=1, start=False, environment={"ADDRESS": address})
    (tree.directory / "metrics.py").write_text(LIBRARY, "utf-8")
    (tree.directory / "shop.py").write_text(LEAVING, "utf-8")
    told = [
        "started threads while it was imported, which children will not have: exporter (by metrics, line 8): ",
        "made event loops while it was imported, which children would share: asyncio (by shop, line 5); epoll (",
        f"opened 1 sockets while it was imported, which children would share: Unix to {address} (by metrics, line 5): ",
    ]

    tree.start()
    tree.wait_ready()
    lines = tree.log_lines("while it was imported")
    assert [told_line in line for told_line, line in zip(told, lines, strict=True)] == [True] * 3, lines
    tree.stop()

    checked = tree.control("check", "shop")
    assert checked.returncode == 0
    assert checked.stderr.count("while it was imported") == 3, "check says so before"


def test_logging_random_ssl_and_tempfile_are_right_in_children(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    """Though a thread of the import logged all the time, also while children were forked."""
    tree = daemon(app="shop", children=3, concurrency=2, start=False)
    (tree.directory / "shop.py").write_text(CLEAN, "utf-8")
    tree.start()
    tree.wait_ready()
    push_many(redis, "shop.draw", [[] for _ in range(60)])
    tree.wait_until(lambda: redis.get("stat:processed") == b"60", 20, "all have drawn")

    lines = (tree.directory / "app.log").read_text("utf-8").splitlines()
    drawn = [json.loads(line) for line in lines]
    assert [len(set(column)) for column in zip(*drawn, strict=True)] == [60] * 4
    chatter = (tree.directory / "busy.log").read_text("utf-8").splitlines()
    assert chatter.count("also in a child") == 60
    assert "started threads while it was imported, which children will not have: chatter (by shop" in tree.log()
    tree.stop()


def test_process_that_a_job_forks_is_not_shown_as_a_child(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(app="forks", children=1, start=False)
    (tree.directory / "forks.py").write_text(
        "import forkworker, multiprocessing, pathlib, time\n"
        "def wait():\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "@forkworker.job(name='fork')\n"
        "def fork():\n"
        "    process = multiprocessing.get_context('fork').Process(target=wait)\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    tree.start().wait_ready()
    push(redis, "fork", [])
    tree.wait_until(lambda: any("forked by child 0" in process.title for process in tree.processes()), 10)
    assert len(tree.child_pids()) == 1
    (tree.directory / "go").touch()
    tree.wait_until(lambda: redis.get("stat:processed") == b"1", 10)
    tree.stop()
