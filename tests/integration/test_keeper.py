"""Where keepers come from: a fresh forkserver forks them, and when there is none they are programs of their own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGUSR2
from typing import TYPE_CHECKING

import pytest
from support import processes
from support.payloads import push

from forkworker.unix.process import private_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.processes import Process
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
#: what a forked keeper has of its own; one that is a program has more than twice as much
OWN_MEGABYTES = 10
HOLDING = 'from support.jobs import *\nheld = open("held-by-the-app", "w")\n'


def image(pid: int) -> str:
    """Return where a program has its C library: another place after each exec, the same after a fork."""
    found = re.search(r"^(\w+)-.*/libc[.-]", Path(f"/proc/{pid}/maps").read_text("utf-8"), re.MULTILINE)
    assert found
    return found[1]


def is_forked(tree: Daemon) -> bool:
    pids = tree.pids()
    return image(pids["keeper"]) == image(pids["forkserver"])


def keepers(tree: Daemon) -> list[Process]:
    """Return all keepers, also those in reserve."""
    return [process for process in tree.processes() if process.title.startswith("forkworker: keeper")]


def is_reserve(keeper: Process) -> bool:
    return "in reserve" in keeper.title


def others_than(tree: Daemon, pid: int) -> int | None:
    """Return the pid of a keeper that works, unless it is the one that is known."""
    found = [k.pid for k in keepers(tree) if k.pid != pid and not is_reserve(k)]
    return found[0] if found else None


def ask_for_new_code(tree: Daemon) -> Process:
    """Begin a rolling restart; return the keeper that waits for its end."""
    tree.signal(SIGUSR2)
    (reserve,) = tree.wait_until(lambda: [k for k in keepers(tree) if is_reserve(k)], 10, "one waits")
    return reserve


def open_files(pid: int) -> list[str]:
    return [path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir()]


def assert_works(tree: Daemon, redis: redispy.Redis, records: Records) -> None:
    """Check that the keeper does what it is there for: it puts back what a child leaves, and beats for the next."""
    jid = push(redis, "record", ["again", 1.0])
    tree.wait_until(lambda: jid in records.running(), 10, "it runs")
    (slot,) = (slot for slot, pid in tree.children().items() if pid == records.starts()[-1].pid)
    tree.kill_child(slot)
    tree.wait_until(lambda: records.ended()[jid] == 1, 10, "it has run again")
    assert records.started()[jid] == 2
    tree.wait_ready()
    assert len(keepers(tree)) == 1


def test_the_keeper_shares_memory_with_the_forkserver_and_has_nothing_of_the_app(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(app="holding", children=2, start=False)
    (tree.directory / "holding.py").write_text(HOLDING, "utf-8")
    pids = tree.start().wait_ready().pids()

    assert is_forked(tree)
    assert private_bytes(pids["keeper"]) < OWN_MEGABYTES * MEGABYTE
    assert "held-by-the-app" in open_files(pids["child 0"])
    assert "held-by-the-app" not in open_files(pids["keeper"])
    assert processes.look(pids["keeper"]).parent == pids["master"]
    assert os.getpgid(pids["keeper"]) == pids["keeper"]
    assert_works(tree, redis, records)
    tree.stop(crashed=True)


def test_killed_keeper_is_followed_by_a_program_and_after_new_code_by_a_fork(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1)
    first = tree.pids()["keeper"]
    tree.kill("keeper")
    second = tree.wait_until(lambda: others_than(tree, first), 10, "another keeper")
    assert not is_forked(tree), "the forkserver has user code by now"
    assert_works(tree, redis, records)

    ask_for_new_code(tree)
    third = tree.wait_until(lambda: others_than(tree, second), 30, "it is at work")
    tree.wait_until(lambda: not processes.is_alive(second), 5)
    tree.wait_until(lambda: is_forked(tree), 15, "the old forkserver has gone")
    assert tree.pids()["keeper"] == third
    assert private_bytes(third) < OWN_MEGABYTES * MEGABYTE
    assert_works(tree, redis, records)
    tree.stop(crashed=True)


def test_keeper_in_reserve_that_is_killed_is_not_missed(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1)
    first = tree.pids()["keeper"]
    reserve = ask_for_new_code(tree)
    os.kill(reserve.pid, SIGKILL)
    tree.wait_until(lambda: processes.look(reserve.pid) is None, 5, "it is reaped")
    assert tree.pids()["keeper"] == first

    tree.wait_until(lambda: others_than(tree, first), 30, "another one in its place")
    assert not is_forked(tree)
    assert_works(tree, redis, records)
    tree.stop(crashed=True)


def test_keeper_of_code_that_is_refused_leaves(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(app="changing", children=1, start=False)
    (tree.directory / "changing.py").write_text("from support.jobs import *\n", "utf-8")
    before = tree.start().wait_ready().pids()
    (tree.directory / "changing.py").write_text("import time\ntime.sleep(1)\nraise RuntimeError('bad')\n", "utf-8")
    tree.signal(SIGUSR2)
    tree.wait_until(lambda: len(keepers(tree)) == 2, 10, "one waits")
    tree.wait_until(lambda: tree.log_lines("the rolling restart failed"), 20)
    tree.wait_until(lambda: len(keepers(tree)) == 1, 5, "it has left")
    assert tree.pids() == before
    assert_works(tree, redis, records)
    tree.stop(crashed=True)


def test_forkserver_that_is_killed_leaves_the_keeper_alone(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1)
    before = tree.pids()
    tree.kill("forkserver")
    tree.wait_until(lambda: tree.pids().get("forkserver") not in (None, before["forkserver"]), 10)
    assert_works(tree, redis, records)
    assert tree.pids()["keeper"] == before["keeper"]
    tree.stop(crashed=True)


def fresh_forkserver(tree: Daemon) -> int | None:
    """Return the pid of a forkserver that has not been told anything yet, as its title shows."""
    found = [process.pid for process in tree.processes() if "-m forkworker.forkserver" in process.title]
    return found[0] if found else None


def test_forkserver_killed_before_it_has_forked_a_keeper(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=1, ready=False)
    os.kill(tree.wait_until(lambda: fresh_forkserver(tree), 10), SIGKILL)
    tree.wait_ready()
    assert not is_forked(tree), "it was not waited for"
    assert_works(tree, redis, records)
    tree.stop(crashed=True)


def test_forkserver_that_hangs_at_its_start_does_not_keep_the_tree_from_a_keeper(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """And the keeper that it forks in the end, which nobody awaits any more, leaves."""
    tree = daemon(children=1, ready=False)
    hanging = tree.wait_until(lambda: fresh_forkserver(tree), 10)
    os.kill(hanging, SIGSTOP)
    tree.wait_until(lambda: keepers(tree), 20, "a keeper that is a program")
    os.kill(hanging, SIGCONT)
    tree.wait_ready()
    tree.wait_until(lambda: len(keepers(tree)) == 1, 5)
    assert not is_forked(tree)
    assert_works(tree, redis, records)
    tree.stop(crashed=True)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import time; time.sleep(600)", "the app was not loaded after 4 s (boot_timeout)"),
        ("import time, os; time.sleep(0.5); os._exit(0)", "the app ended its process while it was imported"),
    ],
    ids=["hangs", "exits"],
)
def test_an_import_that_does_not_end_leaves_the_keeper_to_its_work(daemon: MakeDaemon, code: str, told: str) -> None:
    """It has reached Redis meanwhile, and there is one of it, however often the forkserver is started again."""
    tree = daemon(app="bad", children=1, start=False, environment={"FORKWORKER_BOOT_TIMEOUT": "4"})
    (tree.directory / "bad.py").write_text(code, "utf-8")
    tree.start()
    seen: set[int] = set()

    def has_ended() -> bool:
        seen.update(k.pid for k in keepers(tree))
        assert tree.process
        return tree.process.poll() is not None

    tree.wait_until(has_ended, 40)
    assert len(seen) == 1
    tree.assert_clean_exit(70)
    assert tree.log_lines(told)
