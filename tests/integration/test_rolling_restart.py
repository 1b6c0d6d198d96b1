"""New code under load: no job is interrupted, and bad code changes nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from itertools import pairwise
from pathlib import Path
from signal import SIGHUP, SIGTERM, SIGUSR2
from typing import TYPE_CHECKING, Any

import pytest
from support.daemon import TESTS
from support.payloads import push, push_many
from support.snapshot import places
from support.waiting import Watch

import forkworker

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

PACKAGE = Path(forkworker.__file__).parent
#: dies soon after it was ready
FADING = """
import os, threading
forkworker.on("startup")(threading.Timer(1, os._exit, (4,)).start)
"""
GOOD = """
import forkworker
from support.jobs import _sleep, note

@forkworker.job(name="work")
def work(seconds):
    note("start", {version!r})
    _sleep(seconds)
    note("end", {version!r})
"""


def write(tree: Daemon, code: str) -> None:
    """Put the app's code down, and take the compiled one away, whose time stamp has whole seconds."""
    for compiled in tree.directory.glob("__pycache__/*"):
        compiled.unlink()
    (tree.directory / "versioned.py").write_text(code)


def old_tree(daemon: MakeDaemon, **options: Any) -> Daemon:
    """Return a tree that is ready, with the old code."""
    tree = daemon(app="versioned", start=False, **options)
    write(tree, GOOD.format(version="old"))
    return tree.start().wait_ready()


@pytest.fixture
def tree(daemon: MakeDaemon) -> Daemon:
    return old_tree(daemon, children=2, concurrency=4)


def roll(tree: Daemon, code: str) -> str:
    """Bring up new code; return why that failed, '' if it did not."""
    write(tree, code)
    answer = tree.control("rolling-restart", "--wait", seconds=40)
    assert (answer.returncode == 0) == (not answer.stderr), answer
    return answer.stderr


def status(tree: Daemon) -> dict[str, Any]:
    """Return what the master tells of itself."""
    (master,) = json.loads(tree.control("status", "--json").stdout)["masters"]
    return dict(master)


def note(tree: Daemon) -> str:
    """Return what the master tells of its rolling restart."""
    return str(status(tree)["note"])


def test_new_code_takes_over_under_load_and_interrupts_no_job(
    tree: Daemon, redis: redispy.Redis, records: Records
) -> None:
    before, master, keeper = tree.children(), tree.master(), tree.pids()["keeper"]
    slow = push_many(redis, "work", [[13.0]] * 3)
    quick = push_many(redis, "work", [[0.05]] * 1000)
    with Watch(lambda: None, every=0.01) as watch:
        assert roll(tree, GOOD.format(version="new")) == ""
    starts = sorted(event.at for event in records.starts())
    gap, later, earlier = max((later - earlier, later, earlier) for earlier, later in pairwise(starts))
    assert gap < 1 + watch.stall(earlier, later), "the queue never stood still"
    after = push_many(redis, "work", [[0.01]] * 40)
    tree.wait_until(lambda: set(records.ended()) == {*slow, *quick, *after}, 25)
    assert set(records.started().values()) == {1}, "none was interrupted, none ran twice"
    ran = {event.jid: event.key for event in records.ends()}
    assert {ran[jid] for jid in after} == {"new"}
    assert {ran[jid] for jid in slow} == {"old"}
    assert tree.master() == master
    tree.wait_until(lambda: len(tree.child_pids()) == 2, 10, "the old ones have left")
    assert not set(before.values()) & set(tree.children().values())
    tree.wait_until(lambda: tree.pids().get("keeper") not in (None, keeper), 5, "a new keeper")
    tree.wait_ready()
    tree.stop()


def test_bad_code_changes_nothing_and_the_next_good_one_takes_over(
    tree: Daemon, redis: redispy.Redis, records: Records
) -> None:
    before = tree.children()
    for code, told in (
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('no database')", "no database"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        (f"{GOOD.format(version='bad')}\n@forkworker.on('startup')\ndef fail(): raise OSError('no mail')", "no mail"),
        (f"{GOOD.format(version='bad')}\n@forkworker.on('startup')\ndef end(): import os; os._exit(3)", "code 3"),
        (f"{GOOD.format(version='bad')}\n{FADING}", "code 4"),
    ):
        assert told in roll(tree, code)
        assert tree.children() == before
        assert told in note(tree)
    jid = push(redis, "work", [0.01])
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    assert records.ends()[-1].key == "old"

    write(tree, "import time; time.sleep(600)")
    tree.signal(SIGUSR2)
    tree.wait_until(lambda: "loading the new code" in note(tree), 10)
    assert roll(tree, GOOD.format(version="good")) == "", "it supersedes one that hangs"
    jid = push(redis, "work", [0.01])
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    assert records.ends()[-1].key == "good"
    tree.wait_until(lambda: places(redis) == {}, 5, "all are settled")
    tree.wait_ready()
    tree.stop(crashed=True)  # the keeper that knew of the bad children was renewed


def test_an_import_that_hangs_is_given_up_and_the_old_code_works_on(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """At a rolling restart, and when the forkserver must be started again."""
    tree = old_tree(daemon, children=1, environment={"FORKWORKER_BOOT_TIMEOUT": "6"})
    before = tree.children()
    hanging = "import time\ndef wait_for_ever(): time.sleep(600)\nwait_for_ever()\n"

    assert "the app was not loaded after 6 s (boot_timeout)" in roll(tree, hanging)
    assert tree.log().count("in wait_for_ever") == 1, "its stack"
    tree.kill("forkserver")
    tree.wait_until(lambda: tree.log().count("in wait_for_ever") == 2, 30, "it is tried again, and given up again")
    jid = push(redis, "work", [0.01])
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    assert tree.children() == before

    write(tree, GOOD.format(version="new"))
    tree.kill_child(0)
    tree.wait_until(lambda: tree.children().get(0) not in (None, before[0]), 30, "the next try has loaded it")
    tree.wait_ready()
    tree.stop()


def test_stop_during_a_rolling_restart_is_one_orderly_end(tree: Daemon, redis: redispy.Redis, records: Records) -> None:
    jids = push_many(redis, "work", [[30.0]] * 8)
    tree.wait_until(lambda: len(records.started()) == 8, 10)
    write(tree, GOOD.format(version="new"))
    tree.signal(SIGHUP)
    tree.wait_until(lambda: "trying the new code" in note(tree), 10)
    tree.wait_until(lambda: len(tree.child_pids()) == 3, 10)
    tree.signal(SIGTERM)
    assert tree.wait_exit(6) == 0
    assert places(redis) == dict.fromkeys(jids, 1)
    assert set(records.started().values()) == {1}
    tree.assert_clean_exit(0)


def test_old_children_have_as_long_as_drain_timeout_says(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """And no longer: what they run then goes back, and runs with the new code."""
    tree = old_tree(daemon, children=1, environment={"FORKWORKER_DRAIN_TIMEOUT": "2"})
    before = tree.child_pids()
    slow, short = push(redis, "work", [120.0]), push(redis, "work", [11.0])
    tree.wait_until(lambda: records.running() == {slow, short}, 10)
    assert roll(tree, GOOD.format(version="new")) == ""
    tree.wait_until(lambda: not tree.child_pids() & before, 2 + 5, "the old one has gone")
    assert records.ended() == {short: 1}
    tree.wait_until(lambda: records.started() == {slow: 2, short: 1}, 10)
    assert [event.key for event in records.starts()] == ["old", "old", "new"]
    tree.wait_ready()
    tree.stop()
    assert places(redis) == {slow: 1}


def test_a_link_that_moves_leads_to_the_new_release(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """As tools that deploy do it: the master was started in ``current``, which is another folder by now."""
    tree = daemon(
        app="versioned",
        children=1,
        start=False,
        prefix=("sh", "-c", 'cd current && export PWD && exec "$@"', "sh"),
    )
    for release in ("one", "two"):
        (tree.directory / release).mkdir()
        (tree.directory / release / "versioned.py").write_text(GOOD.format(version=release))
    link = tree.directory / "current"
    link.symlink_to("one")
    tree.start().wait_ready()
    link.unlink()
    link.symlink_to("two")
    shutil.rmtree(tree.directory / "one")
    answer = tree.control("rolling-restart", "--wait", seconds=40)
    assert answer.returncode == 0, answer
    jid = push(redis, "work", [0.01])
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    assert records.ends()[-1].key == "two"
    tree.wait_ready()
    tree.stop()


REPORTING = """
import forkworker
from forkworker.version import VERSION
from support.jobs import note

@forkworker.job(name="report")
def report():
    note("end", VERSION)
"""


def make_environment(folder: Path, version: str, board: str = "") -> None:
    """Make a virtual environment with a forkworker of a version of its own, or with another layout of boards."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    shutil.copytree(PACKAGE, packages / "forkworker", ignore=shutil.ignore_patterns("__pycache__"))
    (packages / "others.pth").write_text(f"{sysconfig.get_path('platlib')}\n{TESTS}\n", "utf-8")
    (packages / "forkworker/version.py").write_text(f'"""Another version."""\n\nVERSION = "{version}"\n', "utf-8")
    if board:
        text = (packages / "forkworker/unix/board.py").read_text("utf-8")
        (packages / "forkworker/unix/board.py").write_text(
            re.sub(r"^VERSION = .*", board, text, flags=re.MULTILINE), "utf-8"
        )


@pytest.fixture
def installed(daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A tree with an environment of its own, which has forkworker 1.0.0."""
    tree = daemon(app="reporting", children=1, start=False, environment={"PYTHONPATH": ""})
    (tree.directory / "reporting.py").write_text(REPORTING, "utf-8")
    make_environment(tree.directory / "venv", "1.0.0")
    words = [str(tree.directory / "venv/bin/python"), *tree.command()[1:]]
    monkeypatch.setattr(tree, "command", lambda: words)
    return tree.start().wait_ready()


def replace_environment(tree: Daemon, version: str, board: str = "") -> str:
    """Put another one at its place, and restart; return why that failed, '' if it did not."""
    make_environment(tree.directory / "new", version, board)
    shutil.rmtree(tree.directory / "venv")
    (tree.directory / "new").rename(tree.directory / "venv")
    return tree.control("rolling-restart", "--wait", seconds=60).stderr


def version_that_runs(tree: Daemon, redis: redispy.Redis, records: Records) -> object:
    jid = push(redis, "report")
    tree.wait_until(lambda: records.ended()[jid] == 1, 20)
    return records.ends()[-1].key


def test_an_environment_that_was_replaced_brings_a_newer_forkworker(
    installed: Daemon, redis: redispy.Redis, records: Records
) -> None:
    before = installed.pids()
    assert replace_environment(installed, "9.9.9") == ""
    assert version_that_runs(installed, redis, records) == "9.9.9"
    keepers = (None, before["keeper"])
    installed.wait_until(lambda: installed.pids().get("keeper") not in keepers, 20, "a newer keeper, too")
    assert installed.master() == before["master"]
    assert status(installed)["version"] == "1.0.0"
    installed.wait_ready()
    installed.stop()


def test_a_forkworker_that_cannot_serve_under_the_master_says_so_and_changes_nothing(
    installed: Daemon, redis: redispy.Redis, records: Records
) -> None:
    before = installed.pids()
    told = "forkworker 9.9.9 cannot serve under a master of another version: restart the whole of it"
    assert told in replace_environment(installed, "9.9.9", board="VERSION = -1")
    assert version_that_runs(installed, redis, records) == "1.0.0"
    assert installed.pids() == before

    installed.kill("keeper")  # no successor can read the boards
    installed.wait_until(lambda: [line for line in installed.log_lines(told) if "ERROR keeper" in line], 20)
    assert version_that_runs(installed, redis, records) == "1.0.0"
    installed.signal(SIGTERM)
    assert installed.wait_exit(10) == 0
    installed.assert_gone()
    assert installed.log_lines("1 children are still shown in Redis")
