"""Starting: what is wrong is said in one line and an exit code; what is right can be seen."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest
from support import processes
from support.payloads import push, push_at, push_many
from support.servers import connect, embedded_binary, free_port
from support.snapshot import queue

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

CONFIGURATION = 78
CRASH_LOOP = 70
REDIS_UNAVAILABLE = 75
OUR_FRAMES = re.compile(r'File ".*/forkworker/')


def assert_refused(tree: Daemon, code: int, *words: str, seconds: float = 10) -> None:
    """Check that it ended so, said why, and left nothing."""
    assert tree.wait_exit(seconds) == code, tree.describe()
    tree.assert_gone()
    for word in words:
        assert word in tree.log()
    assert not OUR_FRAMES.search(tree.log()), tree.log()
    assert not tree.pidfile.exists()
    assert not tree.socket.exists()


def test_unknown_flag_is_a_configuration_error(daemon: MakeDaemon) -> None:
    tree = daemon(arguments=["--no-such-flag"], ready=False)
    assert_refused(tree, CONFIGURATION, "--no-such-flag")


def test_bad_settings_are_a_configuration_error(daemon: MakeDaemon) -> None:
    tree = daemon(children=0, queues=["sp ace"], environment={"FORKWORKER_LEASE": "soon"}, ready=False)
    assert_refused(tree, CONFIGURATION)


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "no preload"])
def test_missing_app_is_a_configuration_error(daemon: MakeDaemon, preload: bool) -> None:
    arguments = [] if preload else ["--no-preload"]
    tree = daemon(app="no_such_module", arguments=arguments, ready=False)
    assert_refused(tree, CONFIGURATION, "no_such_module")


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "no preload"])
def test_app_that_fails_at_import_is_shown_without_our_frames(daemon: MakeDaemon, preload: bool) -> None:
    arguments = [] if preload else ["--no-preload"]
    tree = daemon(app="broken_app", arguments=arguments, start=False)
    (tree.directory / "broken_app.py").write_text("raise RuntimeError('no database')\n")
    tree.start()
    assert_refused(tree, CONFIGURATION, "no database", "broken_app.py")


def test_redis_that_cannot_be_reached_within_30_s_ends_the_boot(daemon: MakeDaemon) -> None:
    tree = daemon(url=f"redis://127.0.0.1:{free_port()}/0", client=None, ready=False)
    assert_refused(tree, REDIS_UNAVAILABLE, "127.0.0.1", seconds=36)
    assert time.monotonic() - tree.started_at >= 25


def test_term_while_redis_is_awaited_ends_the_boot_at_once(daemon: MakeDaemon) -> None:
    tree = daemon(url=f"redis://127.0.0.1:{free_port()}/0", client=None, ready=False)
    tree.wait_until(lambda: tree.socket.exists() and "master" in tree.pids(), 10)
    tree.signal(SIGTERM)
    tree.assert_clean_exit(0, seconds=5)


def test_app_may_be_a_file_and_take_its_time(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(app="slow_app.py", children=1, start=False)
    (tree.directory / "slow_app.py").write_text("import time; time.sleep(1.5)\nfrom support.jobs import *\n")
    jid = push(redis, "record", [1])
    tree.start()
    tree.wait_until(lambda: "master" in tree.pids(), 5)
    tree.wait_ready()
    tree.wait_until(lambda: records.ended()[jid] == 1, 5)
    tree.stop()


def test_term_during_a_slow_import_ends_the_boot(daemon: MakeDaemon) -> None:
    tree = daemon(app="sleepy_app", children=1, timeout=1, start=False)
    (tree.directory / "sleepy_app.py").write_text("import time; time.sleep(60)\n")
    tree.start()
    tree.wait_until(lambda: "forkserver" in tree.pids(), 10)
    tree.signal(SIGTERM)
    tree.assert_clean_exit(0, seconds=6)


def test_an_import_that_hangs_ends_the_boot_with_its_stack(daemon: MakeDaemon) -> None:
    """Also one that keeps the interpreter in C code, which no exception would reach."""
    tree = daemon(app="hangs", children=1, start=False, environment={"FORKWORKER_BOOT_TIMEOUT": "5"})
    (tree.directory / "hangs.py").write_text(
        "import ctypes\ndef wait_for_ever():\n    while True: ctypes.PyDLL(None).usleep(10_000_000)\nwait_for_ever()\n"
    )
    tree.start()
    tree.assert_clean_exit(70, seconds=30)
    assert tree.log_lines("the app was not loaded after 5 s (boot_timeout): if its import needs longer, raise it")
    assert "in wait_for_ever" in tree.log()


def test_children_may_import_the_app_each_for_itself(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, concurrency=2, arguments=["--no-preload"])
    jids = push_many(redis, "record", [[n, 0.05] for n in range(40)])
    tree.kill_child(1)
    tree.wait_until(lambda: set(records.ended()) == set(jids), 15)
    tree.wait_ready()
    tree.stop()


def test_pidfile_of_a_live_master_stops_a_second_one(daemon: MakeDaemon) -> None:
    first = daemon(children=1)
    second = daemon(children=1, start=False)
    second.pidfile = first.pidfile
    second.start()
    assert second.wait_exit(10) == CONFIGURATION, second.describe()
    second.assert_gone()
    assert first.pidfile.read_text() == f"{first.master()}\n"
    first.stop()


def test_pid_that_now_is_another_masters_does_not_keep_one_from_its_pidfile(daemon: MakeDaemon) -> None:
    other = daemon(children=1)
    tree = daemon(children=1, start=False)
    tree.pidfile.write_text(f"{other.master()}\n")
    tree.start().wait_ready()
    assert tree.pidfile.read_text() == f"{tree.master()}\n"
    tree.stop(shared=True)
    other.stop()


def test_pidfile_leads_to_its_master_and_a_stale_one_to_nobody(daemon: MakeDaemon) -> None:
    """Wherever the socket is, and in any shell; a master that was killed leaves both files behind."""
    tree = daemon(children=1, timeout=1, named_socket=False, arguments=["--control", "elsewhere.sock"])
    asked = tree.control("quiet", "--wait", "--pidfile", str(tree.pidfile))
    assert asked.returncode == 0, asked.stderr
    tree.kill("master")
    tree.assert_gone(6)
    stale = tree.control("stop", "--pidfile", str(tree.pidfile))
    assert stale.returncode == 1
    assert "it has ended, and the pidfile is stale" in stale.stderr
    tree.start().wait_ready()
    stopped = tree.control("stop", "--pidfile", str(tree.pidfile))
    assert stopped.returncode == 0, stopped.stderr
    tree.assert_clean_exit(0)


def test_titles_say_who_is_who_and_how_busy(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    tree = daemon(children=2, concurrency=5, arguments=["-g", "shop"])
    assert set(tree.pids()) == {"master", "keeper", "forkserver", "child 0", "child 1"}
    titles = {role: processes.look(pid).title for role, pid in tree.pids().items()}
    assert titles["master"].startswith("forkworker: master [shop] 2 children")
    assert titles["keeper"].startswith("forkworker: keeper [shop]")
    assert titles["forkserver"].startswith("forkworker: forkserver [shop]")
    assert titles["child 1"].startswith("forkworker: child 1 [shop] 0 of 5 busy")
    push_many(redis, "record", [[n, 3] for n in range(10)])
    tree.wait_until(lambda: len(records.running()) == 10, 5)
    for pid in tree.children().values():
        tree.wait_until(lambda pid=pid: "[shop] 5 of 5 busy" in processes.look(pid).title, 3)
    tree.stop()


def test_master_has_no_threads_and_has_not_loaded_redis(daemon: MakeDaemon) -> None:
    tree = daemon(children=1)
    master = tree.master()
    assert processes.threads(master) == 1
    maps = Path(f"/proc/{master}/maps").read_text()
    for library in ("hiredis", "libcrypto"):
        assert library not in maps, "what it does not need is not even loaded"
    tree.stop()


@pytest.mark.parametrize("with_path", [False, True], ids=["no server on PATH", "server on PATH"])
def test_embedded_server_lives_and_dies_with_the_master(daemon: MakeDaemon, records: Records, with_path: bool) -> None:
    assert embedded_binary()
    environment = {"PATH": os.environ["PATH"] if with_path else "/nonexistent"}
    tree = daemon(url="embedded://store", client=None, children=1, environment=environment, start=False)
    folder = tree.directory / "store"
    for _ in range(2):
        tree.start()
        socket = tree.wait_until(lambda: next(folder.glob("*.sock"), None), 15)
        tree.wait_until(tree.children, 15)
        with connect(unix_socket_path=str(socket)) as client:
            jid = push(client, "record", [1])
            tree.wait_until(lambda jid=jid: records.ended()[jid] == 1, 10)
            later = push_at(client, time.time() + 3600, "record", [2])
            kept = client.zcard("schedule")
        tree.stop()
    assert kept == 2, f"the first of them, and {later}"


def test_embedded_server_that_is_killed_is_started_again(daemon: MakeDaemon, records: Records) -> None:
    tree = daemon(url="embedded://store", client=None, children=1, lease=5, start=False)
    tree.start()
    socket = tree.wait_until(lambda: next((tree.directory / "store").glob("*.sock"), None), 15)
    tree.wait_until(tree.children, 15)
    with connect(unix_socket_path=str(socket)) as client:
        push(client, "record", [1])
        tree.wait_until(lambda: len(records.ended()) == 1, 10)
    (server,) = [p for p in tree.processes() if "redis-server" in p.title or "valkey-server" in p.title]
    os.kill(server.pid, 9)

    def push_again() -> str | None:
        try:
            with connect(unix_socket_path=str(socket)) as client:
                return push(client, "record", [2])
        except OSError:
            return None
        except Exception as error:
            if "onnect" in str(error):
                return None
            raise

    jid = tree.wait_until(push_again, 10, "the server is back")
    tree.wait_until(lambda: records.ended()[jid] == 1, 10)
    tree.stop()


def test_embedded_server_goes_when_the_master_is_killed(daemon: MakeDaemon) -> None:
    tree = daemon(url="embedded://store", client=None, children=1, timeout=1, start=False)
    tree.start()
    tree.wait_until(tree.children, 15)
    tree.kill("master")
    tree.assert_gone(6)
    tree.start()
    tree.wait_until(tree.children, 15)
    tree.stop()


def test_job_pushed_before_the_first_start_is_run(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    jid = push(redis, "about", queue="mail")
    tree = daemon(children=1, queues=["mail"])
    tree.wait_until(records.starts, 5)
    (event,) = records.starts()
    assert event.jid == jid
    assert event.key == {"name": "about", "queue": "mail", "stopping": False}
    tree.stop()
    assert queue(redis, "mail") == []


LIFECYCLE = """
import forkworker
from support.jobs import *

for event in ("startup", "quiet", "resume", "shutdown", "exit", "before_fork", "after_fork"):
    forkworker.on(event)(lambda event=event: note("event", event))

@forkworker.on("quiet")
def broken():
    raise RuntimeError("this callback is broken")
"""


def test_lifecycle_events_come_in_order_in_each_child(daemon: MakeDaemon, records: Records) -> None:
    tree = daemon(app="life.py", children=1, start=False)
    (tree.directory / "life.py").write_text(LIFECYCLE)
    tree.start().wait_ready()
    (child,) = tree.children().values()
    forkserver = tree.pids()["forkserver"]
    assert tree.control("quiet", "--wait").returncode == 0
    tree.wait_until(lambda: "this callback is broken" in tree.log(), 3)
    assert tree.control("resume").returncode == 0
    tree.wait_until(lambda: "resume" in [event.key for event in records.all()], 3)
    tree.stop()
    events = [event.key for event in records.all() if event.pid == child]
    assert events[:4] == ["after_fork", "startup", "quiet", "resume"]
    assert [event for event in events[4:] if event != "quiet"] == ["shutdown", "exit"]
    assert [event.key for event in records.all() if event.pid == forkserver] == ["before_fork"]


@pytest.mark.parametrize(
    "how", ["raise RuntimeError('no licence')", "raise SystemExit('no licence')", "import os; os._exit(9)"]
)
def test_child_that_cannot_start_up_ends_the_boot(daemon: MakeDaemon, how: str) -> None:
    tree = daemon(app="life.py", children=2, start=False)
    (tree.directory / "life.py").write_text(
        f"import forkworker\n@forkworker.on('startup')\ndef startup():\n    {how}\n"
    )
    tree.start()
    assert tree.wait_exit(60) in (CRASH_LOOP, CONFIGURATION), tree.describe()
    tree.assert_gone()
    assert not tree.pidfile.exists()
    if "licence" in how:
        assert "no licence" in tree.log()


def test_everything_below_the_master_has_a_process_group_of_its_own(daemon: MakeDaemon) -> None:
    """A terminal's Ctrl-C, Ctrl-Z and hang-up reach the master alone."""
    tree = daemon()
    groups = {role: os.getpgid(pid) for role, pid in tree.pids().items()}
    master = groups.pop("master")
    assert master not in groups.values()
    tree.stop()


ENQUEUE = """
from support.jobs import record
record.enqueue("now")
record.options(queue="high").enqueue("high", seconds=0.01)
record.enqueue_in(0.5, "soon")
record.enqueue_many([("many", 0), ("more", 0)])
import forkworker, threading
forkworker.Client().push("record", ["by name"])
assert threading.active_count() == 1
"""


def test_jobs_are_enqueued_by_their_functions_and_by_name(daemon: MakeDaemon, records: Records) -> None:
    tree = daemon(children=1, queues=["high", "default"])
    environment = tree.environment() | {"FORKWORKER_REDIS_URL": tree.url}
    subprocess.run([sys.executable, "-W", "error", "-c", ENQUEUE], env=environment, check=True)
    tree.wait_until(lambda: len(records.ends()) == 6, 5)
    assert {event.key for event in records.ends()} == {"now", "high", "soon", "many", "more", "by name"}
    tree.stop()


def test_check_tells_of_all_problems_and_starts_nothing(daemon: MakeDaemon) -> None:
    tree = daemon(start=False)

    def check(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "forkworker", "check", "--redis", tree.url, *words]
        return subprocess.run(
            line, cwd=tree.directory, env=tree.environment(), capture_output=True, text=True, timeout=30, check=False
        )

    good = check("support.jobs")
    assert good.returncode == 0, good.stderr
    bad = check("no_such_module", "-P", "none", "-q", "sp ace")
    assert bad.returncode == CONFIGURATION
    assert all(word in bad.stdout + bad.stderr for word in ("no_such_module", "none", "sp ace"))
    assert "Traceback" not in bad.stdout + bad.stderr
    assert tree.processes() == []


def test_log_may_be_json_a_line_each(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(children=1, arguments=["--log-format", "json"])
    jid = push(redis, "fail")
    tree.wait_until(lambda: redis.zcard("retry") == 1, 5)
    tree.stop()
    lines = [json.loads(line) for line in tree.log().splitlines()]
    assert any(jid in str(line) for line in lines)


def test_log_of_a_boot_that_fails_is_json_a_line_each(daemon: MakeDaemon) -> None:
    tree = daemon(app="no_such_module", start=False, arguments=["--log-format", "json"])
    tree.start()
    assert tree.wait_exit(20) == CONFIGURATION
    lines = [json.loads(line) for line in tree.log().splitlines()]
    assert all(line["message"] for line in lines)
    assert any("no_such_module" in line["message"] for line in lines if line["level"] == "CRITICAL")
    assert not any(line.get("traceback") == "" for line in lines)


def test_a_folder_may_have_any_name(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> None:
    """It gives the tag, which stands in titles, in the log and in Redis."""
    tree = daemon(children=1, start=False)
    odd = os.fsencode(tree.directory) + b"/bad\xff\n\x1b[2J\xe2\x80\xae"
    os.mkdir(odd)
    tree.options = dataclasses.replace(
        tree.options, prefix=["sh", "-c", 'cd "$0"/bad* && exec "$@"', str(tree.directory)]
    )
    tree.start().wait_ready()
    jid = push(redis, "record", [1])
    tree.wait_until(lambda: records.ended()[jid], 10)
    assert "[bad???[2J?]" in "".join(process.title for process in tree.processes())
    tree.stop()
    assert [line for line in tree.log().splitlines() if not line.isprintable()] == []
