"""The commands: what they print, what they ask a master, and how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from support.masters import STATUS, CannedMaster

from forkworker import config
from forkworker.cli import output, status
from forkworker.cli.main import main
from forkworker.errors import StoreUnavailable
from forkworker.settings import Queue, Settings
from forkworker.unix import leash
from forkworker.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.unit

SECRET = "hunter2"

OVERVIEW: dict[str, Any] = {
    "queues": [{"name": "default", "size": 12, "latency_seconds": 0.25}],
    "scheduled": 1,
    "retries": 2,
    "dead": 3,
    "processes": 4,
    "processed": 500,
    "failed": 6,
}


@pytest.fixture(autouse=True)
def home(monkeypatch: Patch) -> Iterator[Path]:
    """A folder of our own, to work in and for sockets, and an environment without our variables."""
    folder = Path(tempfile.mkdtemp(prefix="fw-"))
    for name in list(os.environ):
        if name.startswith(("FORKWORKER_", "REDIS_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(Path(config.__file__).parents[1]))
    monkeypatch.chdir(folder)
    path, modules = list(sys.path), set(sys.modules)
    yield folder
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]
    shutil.rmtree(folder)


@pytest.fixture
def started(monkeypatch: Patch) -> list[Settings]:
    """The settings with which masters were started, without starting any."""
    settings: list[Settings] = []
    master = ModuleType("forkworker.supervisor.master")

    def run(given: Settings) -> int:
        settings.append(given)
        return 70

    vars(master)["run"] = run
    package = sys.modules.get("forkworker.supervisor") or ModuleType("forkworker.supervisor")
    monkeypatch.setattr(package, "master", master, raising=False)
    monkeypatch.setitem(sys.modules, "forkworker.supervisor", package)
    monkeypatch.setitem(sys.modules, "forkworker.supervisor.master", master)
    return settings


@pytest.fixture
def redis(monkeypatch: Patch) -> list[str]:
    """The addresses at which an overview was asked for."""
    addresses: list[str] = []

    def read(url: str) -> dict[str, Any]:
        addresses.append(url)
        return OVERVIEW

    monkeypatch.setattr(status, "read_overview", read)
    return addresses


def serving(home: Path, pid: int = 4711, tag: str = "shop", **answers: Any) -> CannedMaster:
    known = {"ok": True, "status": STATUS | {"pid": pid, "tag": tag}}
    return CannedMaster(str(home / f"{pid}.sock"), **({"status": known} | answers))


# Words that are no commands


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["jbos"], "there is no command 'jbos': did you mean jobs? (see forkworker --help)"),
        (["frobnicate"], "there is no command 'frobnicate' (see forkworker --help)"),
        (["jobs", "lst", "dead"], "there is no action 'lst': did you mean list? (see forkworker jobs --help)"),
        (["jobs", "show"], "the following arguments are required: JID (see forkworker jobs show --help)"),
    ],
)
def test_a_word_that_is_no_command_is_told_with_one_that_is_near(
    capsys: Capture, words: list[str], complaint: str
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"forkworker: {complaint}\n"


# run


def test_run_hands_the_settings_to_the_master_and_returns_its_code(started: list[Settings], home: Path) -> None:
    assert main(["run", "jobs.py", "-P", "3"]) == 70

    (settings,) = started
    assert (settings.apps, settings.processes, settings.directory) == (("jobs.py",), 3, str(home))


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("a b", "apps", ("a", "b")),
        ("-r a --require b", "apps", ("a", "b")),
        ("a -c 5 b -r c", "apps", ("a", "b", "c")),
        ("-c 5 a", "apps", ("a",)),
        ("-P 3", "processes", 3),
        ("--processes=3", "processes", 3),
        ("-c5", "concurrency", 5),
        ("--concurrency 5", "concurrency", 5),
        ("-q high,6 -q low", "queues", (Queue("high", 6), Queue("low", 1))),
        ("--queue b --queue a", "queues", (Queue("b"), Queue("a"))),
        ("-t 25", "timeout", 25.0),
        ("--timeout 2.5", "timeout", 2.5),
        ("-e production", "environment", "production"),
        ("--environment staging", "environment", "staging"),
        ("-g shop", "tag", "shop"),
        ("--tag shop", "tag", "shop"),
        ("-C other.toml", "lease", 33.0),
        ("--config other.toml", "lease", 33.0),
        ("--redis unix:///r", "redis_url", "unix:///r"),
        ("--pidfile p", "pidfile", "p"),
        ("--control c", "control", "c"),
        ("--log-level warning", "log_level", "warning"),
        ("-v", "log_level", "debug"),
        ("--verbose", "log_level", "debug"),
        ("--log-format json", "log_format", "json"),
        ("--no-preload", "preload", False),
        ("", "preload", True),
    ],
)
def test_every_flag_reaches_the_settings(
    started: list[Settings], home: Path, words: str, field: str, value: object
) -> None:
    (home / "other.toml").write_text("lease = 33")

    assert main(["run", *words.split()]) == 70
    assert getattr(started[0], field) == value


def test_run_without_an_app_warns_and_goes_on(started: list[Settings], capsys: Capture) -> None:
    assert main(["run"]) == 70

    assert len(started) == 1
    assert capsys.readouterr().err.startswith("forkworker: no app is named, so every job will be unknown")


@pytest.mark.parametrize("command", ["run", "check"])
def test_all_problems_of_the_configuration_are_printed_a_line_each(
    command: str, started: list[Settings], capsys: Capture
) -> None:
    assert main([command, "-P", "0", "-c", "x", "--redis", "redis://:hunter2@h/x", "-q", "a\x1b[2J"]) == 78

    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.partition(": ")[2].partition(":")[0] for line in lines) == [
        "flag --redis",
        "flag -P",
        "flag -c",
        "flag -q",
    ]
    assert all(line.startswith("forkworker: ") for line in lines)
    assert not re.search("hunter2|\x1b", "".join(lines))
    assert not started


def test_the_master_loads_nothing_heavy_on_its_way() -> None:
    """The package itself imports threading for clients; the command line must add neither that nor more."""
    script = """if True:
        import sys, types
        from forkworker.cli.main import main
        master = types.ModuleType("master")
        master.run = lambda settings: 0
        package = types.ModuleType("forkworker.supervisor")
        package.master = master
        sys.modules["forkworker.supervisor"] = package
        assert main(["run", "app.py"]) == 0
        print(*sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert not loaded & {"redis", "psutil", "subprocess", "forkworker.runtime", "forkworker.apploader"}
    assert not loaded & {"forkworker.cli.check", "forkworker.cli.quickstart", "forkworker.store.overview"}


# check


def test_check_says_what_it_loaded(home: Path, capsys: Capture) -> None:
    (home / "fw_good.py").write_text("")

    assert main(["check", "fw_good", "-P", "2", "-q", "a,2", "-q", "b", "--redis", "redis://:hunter2@h/1"]) == 0

    assert capsys.readouterr().out == "forkworker: ok: loaded fw_good; 2 x 25 threads; queues a,2, b,1; redis://h/1\n"


def test_check_without_an_app_is_ok_and_says_so(capsys: Capture) -> None:
    assert main(["check"]) == 0
    assert "forkworker: ok: no app is named" in capsys.readouterr().out


def test_check_reports_configuration_and_every_app_together(home: Path, capsys: Capture) -> None:
    (home / "fw_bad.py").write_text("raise KeyError('a\\x1b[2J')")

    assert main(["check", "fw_bad.py", "fw_missing", "fw_bad.py:x", "-c", "many"]) == 78

    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("forkworker: ")]
    assert len(lines) == 4
    assert "flag -c" in lines[0]
    assert "app 'fw_bad.py' cannot be loaded: KeyError" in lines[1]
    assert "app 'fw_missing' cannot be loaded: there is no module" in lines[2]
    assert f'File "{home}/fw_bad.py", line 1, in <module>' in captured.err
    assert "\x1b" not in captured.err
    assert not captured.out


def test_check_of_wrong_apps_in_the_file_reports_the_file_once(home: Path, capsys: Capture) -> None:
    (home / "forkworker.toml").write_text("app = 5")

    assert main(["check"]) == 78
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_check_ends_although_the_app_has_left_a_thread(home: Path, monkeypatch: Patch, capfd: Any) -> None:
    ended: list[int] = []
    release = threading.Event()
    (home / "fw_threads.py").write_text("import threading\nthread = threading.Thread(target=lambda: wait())\n")
    (home / "fw_start.py").write_text("import fw_threads\nfw_threads.wait = RELEASE.wait\nfw_threads.thread.start()\n")
    monkeypatch.setattr("builtins.RELEASE", release, raising=False)
    monkeypatch.setattr(os, "_exit", ended.append)

    main(["check", "fw_start"])

    release.set()
    sys.modules["fw_threads"].thread.join()
    assert ended == [0]
    assert capfd.readouterr().out.startswith("forkworker: ok: loaded fw_start")


# Wrong command lines


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("--concurency", "--concurrency"),
        ("--pidfil=/x", "--pidfile"),
        ("--queues", "--queue"),
        (f"--rediss=redis://:{SECRET}@h", "--redis"),
    ],
)
def test_an_unknown_flag_is_told_with_its_nearest_neighbour(capsys: Capture, word: str, near: str) -> None:
    assert main(["check", word]) == 78

    (line,) = capsys.readouterr().err.splitlines()
    flag = word.partition("=")[0]
    assert line == f"forkworker: flag {flag}: is not known: did you mean {near}? (see forkworker check --help)"


@pytest.mark.parametrize("command", ["run", "check"])
def test_unknown_flags_are_told_beside_all_else_and_nothing_is_imported(
    home: Path, capsys: Capture, command: str
) -> None:
    """The word behind an unknown flag may be its value: it is not taken for an app."""
    (home / "jobs.py").write_text("raise SystemExit('imported')")

    assert main([command, "--bogus", "jobs.py", "-P", "x", "--other", "-c", "0"]) == 78

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["flag --bogus", "flag --other", "flag -P", "flag -c"]


def test_an_unknown_flag_or_word_of_another_command_is_wrong_usage(capsys: Capture) -> None:
    assert main(["quiet", "--wiat", "now"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "forkworker: flag --wiat: is not known: did you mean --wait? (see forkworker quiet --help)",
        "forkworker: now: is not known (see forkworker quiet --help)",
    ]


def test_a_flag_without_its_value_is_named(capsys: Capture) -> None:
    assert main(["check", "-P"]) == 78
    assert capsys.readouterr().err.startswith("forkworker: flag -P/--processes: expected one argument")


def test_check_looks_at_files_and_folders_as_run_does(started: list[Settings], capsys: Capture) -> None:
    words = ["--pidfile", "missing/p", "--control", "x" * 200]
    complaints = []
    for command in ("run", "check"):
        assert main([command, *words]) == 78
        complaints.append(capsys.readouterr().err)

    assert not started
    assert complaints[0] == complaints[1]
    first, second = complaints[0].splitlines()
    assert first.startswith("forkworker: flag --pidfile: there is no folder ")
    assert second.startswith("forkworker: flag --control: the socket's path has more than 107 bytes")


def test_check_tells_that_there_is_no_server_to_embed(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(leash, "find_server", lambda: None)

    assert main(["check", "--redis", "embedded://data"]) == 78
    assert "embedded Redis: no redis-server or valkey-server on PATH" in capsys.readouterr().err


def test_an_app_that_cannot_be_loaded_is_told_with_its_source(home: Path, capsys: Capture, monkeypatch: Patch) -> None:
    for source in ("flag APP", "variable FORKWORKER_APP", "file forkworker.toml, key app"):
        monkeypatch.setenv("FORKWORKER_APP", "gone_app" if source.startswith("variable") else "")
        (home / "forkworker.toml").write_text('app = "gone_app"' if source.startswith("file") else "")
        assert main(["check", *(["gone_app"] if source.startswith("flag") else [])]) == 78
        assert capsys.readouterr().err.startswith(f"forkworker: {source}: app 'gone_app' cannot be loaded: ")


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("words", [["--bogus"], ["-P"], ["--proc", "3"], ["--redis"]])
def test_a_wrong_flag_of_run_and_check_is_a_wrong_configuration(
    command: str, words: list[str], capsys: Capture
) -> None:
    assert main([command, *words]) == 78

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("forkworker: ")
    assert line.endswith(f"(see forkworker {command} --help)")


@pytest.mark.parametrize(
    "words",
    [
        ["quiet", "--bogus"],
        ["quiet", "--wait", "--wait-idle"],
        ["stop", "--pid", "x"],
        ["stop", "--pid", "1", "--control", "c"],
        ["resume", "extra"],
        ["status", "--wait"],
        ["walk"],
        ["--bogus"],
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("forkworker: ")


def test_a_mistyped_flag_does_not_give_the_password_away(capsys: Capture) -> None:
    assert main(["run", "--reddis=redis://:hunter2@h"]) == 78
    assert "hunter2" not in capsys.readouterr().err


def test_no_command_shows_the_help(capsys: Capture) -> None:
    assert main([]) == 2
    assert "quickstart" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check", "quiet", "resume", "stop", "status"])
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: forkworker {command}")


def test_the_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"forkworker {VERSION}\n"


def test_python_m_forkworker_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "forkworker", "--bogus"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("forkworker: ")


def test_quickstart_is_imported_only_when_it_is_chosen(monkeypatch: Patch, capsys: Capture) -> None:
    module = ModuleType("forkworker.cli.quickstart")
    vars(module)["add_arguments"] = lambda parser: parser.add_argument("--jobs", type=int)
    vars(module)["run"] = lambda args: args.jobs
    monkeypatch.setitem(sys.modules, "forkworker.cli.quickstart", module)

    assert main(["quickstart", "--jobs", "5"]) == 5

    monkeypatch.setitem(sys.modules, "forkworker.cli.quickstart", None)
    assert main(["status", "--help"]) == 0
    capsys.readouterr()


def test_ctrl_c_ends_a_command_quietly(monkeypatch: Patch, capsys: Capture) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("forkworker.unix.control.find", interrupted)

    assert main(["stop"]) == 130
    assert not capsys.readouterr().err


# quiet, resume, stop


@pytest.mark.parametrize(
    ("words", "request_", "said"),
    [
        (["quiet"], {"command": "quiet", "wait": None}, "goes quiet"),
        (["quiet", "--wait"], {"command": "quiet", "wait": "quiet"}, "is quiet"),
        (["quiet", "--wait-idle"], {"command": "quiet", "wait": "idle"}, "is quiet and idle"),
        (["resume"], {"command": "resume"}, "resumes"),
        (["stop"], {"command": "stop"}, "has stopped"),
    ],
)
def test_the_only_master_is_asked(
    home: Path, capsys: Capture, words: list[str], request_: dict[str, Any], said: str
) -> None:
    with serving(home) as master:
        assert main(words) == 0

    assert master.asked[-1] == {"version": 1, **request_}
    assert capsys.readouterr().out == f"forkworker: master 4711 (shop) {said}\n"


@pytest.mark.parametrize("command", ["quiet", "resume", "stop"])
def test_without_a_master_there_is_nothing_to_do(command: str, capsys: Capture) -> None:
    assert main([command]) == 1
    assert capsys.readouterr().err.startswith("forkworker: no master of this user is running here: name one")


def test_of_several_masters_one_must_be_chosen(home: Path, capsys: Capture) -> None:
    with serving(home, 11, "shop") as first, serving(home, 12, "mail\x1b[2J") as second:
        assert main(["stop"]) == 1
        assert not first.commands + second.commands
        assert main(["stop", "--pid", "12"]) == 0
        assert (first.commands, second.commands) == ([], ["stop"])

    error = capsys.readouterr().err
    assert "several masters are running: master 11 (shop), master 12 (mail\\x1b[2J): choose one with --pid" in error


def test_a_pidfile_leads_to_its_master(home: Path) -> None:
    (home / "pid").write_text("12\n")
    with serving(home, 11) as first, serving(home, 12) as second:
        assert main(["quiet", "--pidfile", "pid"]) == 0

    assert (first.commands, second.commands) == ([], ["quiet"])


@pytest.mark.parametrize(
    "words", [["--pidfile", ""], ["--control", ""], ["--pid", ""], ["--pid", "0"], ["--pid", "-1"]]
)
def test_a_shells_empty_variable_does_not_mean_the_only_master(home: Path, capsys: Capture, words: list[str]) -> None:
    with serving(home) as master:
        assert main(["stop", *words]) == 2

    assert not master.commands
    assert capsys.readouterr().err.startswith(f"forkworker: flag {words[0]}: ")


def test_a_pid_leads_to_a_socket_anywhere(home: Path) -> None:
    (home / "pid").write_text(f"{os.getpid()}\n")
    answer = {"ok": True, "status": STATUS | {"pid": os.getpid()}}
    with CannedMaster(str(home / "elsewhere"), status=answer) as master:
        assert main(["quiet", "--pidfile", "pid"]) == 0
        assert main(["quiet", "--pid", str(os.getpid())]) == 0

    assert master.commands == ["quiet", "quiet"]


@pytest.mark.parametrize("words", [["--control", "elsewhere"], []])
def test_a_socket_elsewhere_is_reached_by_flag_or_configuration(home: Path, words: list[str]) -> None:
    if not words:
        (home / "forkworker.toml").write_text('control = "elsewhere"')
    with serving(home, 11) as first, CannedMaster(str(home / "elsewhere")) as second:
        assert main(["quiet", *words]) == 0

    assert (first.commands, second.commands) == ([], ["quiet"])


def test_a_pid_also_finds_its_master_at_the_configured_socket(home: Path) -> None:
    (home / "other.toml").write_text('control = "elsewhere"')
    with CannedMaster(str(home / "elsewhere")) as master:
        assert main(["quiet", "--pid", "4711", "-C", "other.toml"]) == 0
        assert main(["quiet", "--pid", "4712", "-C", "other.toml"]) == 1

    assert master.commands == ["quiet"]


def test_a_stale_pidfile_stops_nobody(home: Path, monkeypatch: Patch, capsys: Capture) -> None:
    """The pid has gone to another program: here to this test."""
    (home / "pid").write_text(f"{os.getpid()}\n")
    killed: list[object] = []
    monkeypatch.setattr(os, "kill", lambda *signal: killed.append(signal))

    assert main(["stop", "--pidfile", "pid"]) == 1

    assert not killed
    assert f"no master with the pid {os.getpid()}, as pid says, answers" in capsys.readouterr().err


def test_a_pidfile_whose_master_has_ended_is_called_stale(home: Path, capsys: Capture) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    (home / "pid").write_text(f"{pid}\n")

    assert main(["stop", "--pidfile", "pid"]) == 1

    assert "runs: it has ended, and the pidfile is stale" in capsys.readouterr().err


def test_a_socket_of_another_pid_is_not_taken_for_the_master(home: Path, capsys: Capture) -> None:
    answer = {"ok": True, "status": STATUS | {"pid": 99}}
    with CannedMaster(str(home / "12.sock"), status=answer) as master:
        assert main(["stop", "--pid", "12"]) == 1

    assert not master.commands
    assert "no master with the pid 12 answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "does not hold a process id"),
        (b"12x", "does not hold a process id"),
        (b"-1", "does not hold a process id"),
        (b"\xff", "does not hold a process id"),
    ],
)
def test_a_wrong_pidfile_is_told(home: Path, capsys: Capture, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (home / "pid").write_bytes(content)

    assert main(["stop", "--pidfile", "pid"]) == 1
    assert f"forkworker: --pidfile pid {complaint}" in capsys.readouterr().err


def test_a_master_that_refuses_is_told(home: Path, capsys: Capture) -> None:
    with serving(home, resume={"ok": False, "error": "it is stopping\x1b"}):
        assert main(["resume"]) == 1

    assert capsys.readouterr().err.endswith("refused: it is stopping\\x1b\n")


def test_an_unusable_file_is_a_wrong_configuration_but_a_named_socket_needs_none(home: Path) -> None:
    (home / "forkworker.toml").write_text("[")
    with serving(home, 12) as master:
        assert main(["stop"]) == 78
        assert main(["stop", "--pid", "12"]) == 0
        assert main(["stop", "--control", "12.sock"]) == 0

    assert master.commands == ["stop", "stop"]


# status


def test_status_shows_masters_children_threads_and_queues(home: Path, redis: list[str], capsys: Capture) -> None:
    with serving(home):
        assert main(["status", "--redis", "redis://:hunter2@h/1"]) == 0

    text = capsys.readouterr().out
    for part in (
        "master 4711 shop: running for",
        "queues high, default",
        "child 0  pid 4712  ready  1 of 25 threads",
    ):
        assert part in text
    assert re.search(r"1\s+1\.2 s app\.resize\s+high\s+0123", text)
    assert re.search(r"default\s+12\s+0\.2 s", text)
    for name, count in (("scheduled", 1), ("retries", 2), ("dead", 3), ("processed", 500), ("failed", 6)):
        assert re.search(rf"{name}\s+{count}\n", text)
    assert redis == ["redis://:hunter2@h/1"]
    assert "hunter2" not in text


@pytest.mark.usefixtures("redis")
def test_the_longest_runs_come_first_and_who_is_stuck_is_told(home: Path, capsys: Capture) -> None:
    (child,) = STATUS["children"]
    threads = [{"thread": n, "name": "n", "jid": "j", "queue": "q", "seconds": 10 * n} for n in range(3)]
    children = [child | {"state": "stuck", "stuck_seconds": 90.0, "threads": threads}]
    children += [child | {"threads": threads}, child | {"state": "quiet", "stuck_seconds": 5.0, "threads": []}]
    with serving(home, status={"ok": True, "status": STATUS | {"children": children}}):
        assert main(["status"]) == 0

    text = capsys.readouterr().out
    assert "child 0  pid 4712  stuck for 2 min  1 of 25" in text
    assert "quiet stuck for 5.0 s" in text
    seconds = re.findall(r"^ +\d+ +([\d.]+ s) n ", text, re.MULTILINE)
    assert seconds == ["0.0 s", "10.0 s", "20.0 s", "20.0 s", "10.0 s", "0.0 s"], (
        "who is stuck: the last to start first"
    )


@pytest.mark.parametrize(("rows", "shown"), [(None, 60), (80, 60), (30, 6), (2, 1)])
def test_a_report_that_is_watched_keeps_room_for_redis(rows: int | None, shown: int) -> None:
    (child,) = STATUS["children"]
    threads = [{"thread": n, "name": "n", "jid": "j", "queue": "q", "seconds": n} for n in range(60)]
    masters = [STATUS | {"children": [child | {"threads": threads}, child | {"threads": threads[:2]}]}]
    redis = {"reachable": True, "address": "x", **OVERVIEW}

    lines = status._fitting(masters, redis, rows)

    assert len([line for line in lines if re.search(r" n +q +j$", line)]) == shown + min(2, shown)
    assert lines[-1].split()[0] == "failed"
    assert rows is None or rows < 30 or len(lines) <= rows
    assert any(line.endswith(" more, for less") for line in lines) == (shown < 60)


def test_a_report_that_is_cut_still_names_orphans() -> None:
    queues = [{"name": f"q{n}", "size": 1, "latency_seconds": 1.0, "paused": False} for n in range(60)]
    orphans = [{"identity": "host:1:a", "queue": "mail", "size": 7}]
    redis = {"reachable": True, "address": "x", **OVERVIEW, "queues": queues, "orphans": orphans}

    lines = status._fitting([], redis, 20)

    assert any("7 of mail, left by host:1:a" in line for line in lines[:20])


def test_a_master_that_does_not_answer_is_not_told_as_none(home: Path, capsys: Capture) -> None:
    with serving(home):
        assert main(["status", "--pid", "1"]) == 1
    told = capsys.readouterr()
    assert "No master" not in told.out
    assert "no master with the pid 1 answers" in told.err


def test_status_for_programs_is_json(home: Path, redis: list[str], capsys: Capture) -> None:
    with serving(home):
        assert main(["status", "--json"]) == 0

    queues = [queue | {"change_per_second": None} for queue in OVERVIEW["queues"]]
    rates = {"processed_per_second": None, "failed_per_second": None}
    assert json.loads(capsys.readouterr().out) == {
        "masters": [STATUS],
        "redis": {"reachable": True, "address": "redis://localhost:6379/0", **OVERVIEW, **rates, "queues": queues},
    }
    assert redis == ["redis://localhost:6379/0"]


HOSTILE = "evil\x1b[2J\r\n\x7f\x9b\u202e" + "x" * 200


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("words", [["status"], ["status", "--json"]])
def test_nothing_in_a_status_can_steer_the_terminal(
    home: Path, capsys: Capture, monkeypatch: Patch, words: list[str]
) -> None:
    thread = {"thread": HOSTILE, "name": HOSTILE, "jid": HOSTILE, "queue": HOSTILE, "seconds": 1e9}
    child = {"slot": 0, "pid": 1, "state": HOSTILE, "busy": 1, "concurrency": 1, "threads": [thread]}
    answer = {"ok": True, "status": STATUS | {"tag": HOSTILE, "queues": [HOSTILE] * 5, "children": [child]}}
    queues = {"queues": [{"name": HOSTILE, "size": 10**12, "latency_seconds": 1e9}]}
    monkeypatch.setattr(status, "read_overview", lambda _: OVERVIEW | queues)

    with serving(home, status=answer):
        assert main(words) == 0

    text = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in text)
    if words == ["status"]:
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_without_redis_the_masters_are_shown_all_the_same(
    home: Path, capsys: Capture, monkeypatch: Patch, words: list[str]
) -> None:
    def away(url: str) -> dict[str, Any]:
        raise StoreUnavailable(f"no answer from {url}")

    monkeypatch.setattr(status, "read_overview", away)
    with serving(home):
        assert main(["status", "--redis", "redis://:hunter2@h", *words]) == 1

    text = capsys.readouterr().out
    assert "4711" in text
    assert "hunter2" not in text
    if words:
        assert json.loads(text)["redis"]["reachable"] is False
    else:
        assert "Redis at redis://h is not reachable: no answer from redis://***@h" in text


@pytest.mark.usefixtures("redis")
def test_without_a_master_redis_is_shown_all_the_same(capsys: Capture) -> None:
    assert main(["status"]) == 0

    text = capsys.readouterr().out
    assert text.startswith("No master of this user is running here.\nRedis at redis://localhost:6379/0\n")


@pytest.mark.usefixtures("redis")
def test_a_broken_file_is_told_beside_redis(home: Path, capsys: Capture) -> None:
    (home / "forkworker.toml").write_text("control = 5")

    assert main(["status", "--redis", "redis://h"]) == 1

    captured = capsys.readouterr()
    assert "key control: must be text in quotes" in captured.err
    assert "Redis at redis://h" in captured.out


@pytest.mark.usefixtures("redis")
def test_a_named_master_that_does_not_answer_is_a_failure(capsys: Capture) -> None:
    assert main(["status", "--pid", "12"]) == 1

    captured = capsys.readouterr()
    assert "no master with the pid 12 answers" in captured.err
    assert "default" in captured.out


def test_a_wrong_redis_address_is_told_beside_the_masters(home: Path, capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setenv("REDIS_PROVIDER", "NOT_SET")
    with serving(home):
        assert main(["status"]) == 1

    text = capsys.readouterr().out
    assert "master 4711" in text
    assert "names the variable NOT_SET, which is not set" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min"),
        (5999, "100 min"),
        (6000, "2 h"),
        (172800, "2 d"),
        (1e9, "11574 d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert status.duration(seconds) == text


def test_printable_text_stays_as_it_is() -> None:
    assert output.printable("Größe 10 µs") == "Größe 10 µs"
    assert output.printable("\ud800\x00") == "\\ud800\\x00"


def test_flags_of_run_and_options_of_config_agree(started: list[Settings]) -> None:
    """A flag that config names in an error line must be one that run takes."""
    for option in config.OPTIONS:
        if option.flag.startswith("-"):
            words = [option.flag] if option.flag == "--no-preload" else [option.flag, "5"]
            main(["run", *words])
            assert main(["run", *words, "--bogus"]) == 78
    assert started
