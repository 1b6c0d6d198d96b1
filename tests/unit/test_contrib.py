"""The files for service managers: valid by the managers' own rules, and in agreement with the daemon's limits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from support.tools import tool

from forkworker import config
from forkworker.cli.main import main
from forkworker.cli.systemd_unit import UNITS as UNITS_OF_THE_PACKAGE
from forkworker.errors import ExitCode
from forkworker.settings import Settings
from forkworker.supervisor.display import SHOW_SECONDS
from forkworker.supervisor.master import LEAVE_SECONDS, REDIS_SECONDS

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
SERVICE = CONTRIB / "systemd/forkworker.service"
TEMPLATE = CONTRIB / "systemd/forkworker@.service"
TARGET = CONTRIB / "systemd/forkworker.target"
UNITS = (SERVICE, TEMPLATE)
WORKERS = CONTRIB / "upstart/workers.conf"
FORKWORKER = CONTRIB / "upstart/forkworker.conf"
CONFS = (WORKERS, FORKWORKER)
PROCFILE = CONTRIB / "heroku/Procfile"
DOCKERFILE = CONTRIB / "docker/Dockerfile"
MANIFEST = CONTRIB / "kubernetes/forkworker.yaml"
ALL = (*UNITS, TARGET, *CONFS, PROCFILE, DOCKERFILE, MANIFEST)

#: what a stop with the default settings takes at the most, as the README says
STOP_SECONDS = Settings().timeout + 2
HEROKU_SECONDS = 30
SCRIPT = re.compile(r"^((?:\S+ )?script)\n(.*?)^end script$", re.MULTILINE | re.DOTALL)
#: init(5) of Upstart 1.12
STANZAS = (
    "apparmor load", "apparmor switch", "author", "cgroup", "chdir", "chroot", "console", "description", "emits",
    "env", "exec", "expect", "export", "import", "instance", "kill signal", "kill timeout", "limit", "manual",
    "nice", "normal exit", "oom score", "post-start", "post-stop", "pre-start", "pre-stop", "reload signal",
    "respawn limit", "respawn", "script", "setgid", "setuid", "start on", "stop on", "task", "umask", "usage",
    "version",
)  # fmt: skip


def name(path: Path) -> str:
    return path.name


def settings(path: Path) -> dict[str, list[str]]:
    """Return what a unit sets; a list for each name, as most may be given more than once."""
    found = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key].append(value)
    return dict(found)


def installed(path: Path, folder: Path) -> Path:
    """Return a copy that names a forkworker that is there, under a name that a service may have."""
    text = path.read_text("utf-8")
    copy = folder / path.name.replace("forkworker", "shop").replace("@.", "@1.")
    copy.write_text(text.replace("/srv/shop/.venv/bin", str(Path(sys.executable).parent)), "utf-8")
    return copy


def stanzas(path: Path) -> list[str]:
    """Return the lines of an Upstart file, but for comments and the insides of scripts."""
    text = re.sub(
        r"^((?:\S+ )?script)\n.*?^end script$", r"\1", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def value(path: Path, stanza: str) -> str:
    lines = [line for line in stanzas(path) if line.startswith(f"{stanza} ")]
    assert len(lines) == 1, stanza
    return lines[0].removeprefix(f"{stanza} ")


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_quarter_at_least_is_comment(path: Path) -> None:
    """They teach; the template leaves most of it to the plain service."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    comments = [line for line in lines if line.lstrip().startswith("#")]

    assert len(comments) >= len(lines) / 4
    assert max(map(len, lines)) <= 120


# systemd


@pytest.mark.parametrize("path", UNITS, ids=name)
def test_systemd_finds_nothing_to_say_of_a_unit(path: Path, tmp_path: Path) -> None:
    """``verify`` succeeds for unknown keys, too, so its silence is what counts."""
    line = [tool("systemd-analyze", "systemd"), "verify", "--man=no", str(installed(path, tmp_path))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("path", UNITS, ids=name)
def test_a_unit_exposes_little(path: Path, tmp_path: Path) -> None:
    command = [tool("systemd-analyze", "systemd"), "security", "--offline=yes", "--no-pager", "--threshold=20"]
    line = [*command, str(installed(path, tmp_path))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", UNITS, ids=name)
def test_systemd_waits_longer_than_a_boot_and_a_stop_take(path: Path) -> None:
    unit = settings(path)

    assert int(unit["TimeoutStopSec"][0]) > STOP_SECONDS >= Settings().timeout + LEAVE_SECONDS
    assert int(unit["TimeoutStartSec"][0]) > REDIS_SECONDS


@pytest.mark.parametrize("path", UNITS, ids=name)
def test_a_unit_says_what_the_master_relies_on(path: Path) -> None:
    unit = settings(path)

    assert unit["Type"] == ["notify"]
    assert unit["KillMode"] == ["mixed"]
    assert unit["Restart"] == ["always"]
    assert unit["RestartPreventExitStatus"] == [str(int(ExitCode.CONFIGURATION))]
    assert unit["OOMPolicy"] == ["continue"]
    assert unit["ExecReload"][0].endswith(" quiet --wait")  # a plain signal would return before quiet is in force
    assert "FORKWORKER_CONTROL=%t/%N/control.sock" in unit["Environment"]
    assert unit["RuntimeDirectory"] == ["%N"]
    assert float(unit["WatchdogSec"][0]) > 5 * SHOW_SECONDS
    assert int(unit["StartLimitIntervalSec"][0]) / int(unit["StartLimitBurst"][0]) < REDIS_SECONDS  # a slow failure


def test_the_template_is_the_service_but_for_what_instances_have_of_their_own() -> None:
    service, template = settings(SERVICE), settings(TEMPLATE)

    assert template.pop("EnvironmentFile") == ["-/etc/default/%p", *service.pop("EnvironmentFile")]
    template["Environment"].remove("FORKWORKER_TAG=%N")
    assert [template.pop(key) for key in ("PartOf", "ReloadPropagatedFrom")] == [["%p.target"]] * 2
    assert (template.pop("WantedBy"), service.pop("WantedBy")) == (["%p.target"], ["multi-user.target"])
    assert template == service


def test_the_package_brings_the_units_along() -> None:
    """What contrib shows are links into the package, so that an installed forkworker can print them."""
    assert sorted(path.name for path in UNITS_OF_THE_PACKAGE.iterdir()) == sorted(
        path.name for path in (*UNITS, TARGET)
    )
    assert all(path.resolve().parent == UNITS_OF_THE_PACKAGE for path in (*UNITS, TARGET))


def test_the_table_of_limits_says_what_the_files_say() -> None:
    table = (ROOT / "docs/operations.md").read_text("utf-8")

    assert f"| {settings(SERVICE)['TimeoutStopSec'][0]} s in `contrib/systemd/forkworker.service` |" in table
    assert f"| {value(FORKWORKER, 'kill timeout')} s in `contrib/upstart/forkworker.conf` |" in table


# Upstart


@pytest.mark.parametrize("path", CONFS, ids=name)
def test_an_upstart_file_has_documented_stanzas_only(path: Path) -> None:
    undocumented = [
        line for line in stanzas(path) if not any(line == known or line.startswith(f"{known} ") for known in STANZAS)
    ]

    assert undocumented == []


@pytest.mark.parametrize("path", CONFS, ids=name)
def test_the_scripts_of_an_upstart_file_are_shell(path: Path) -> None:
    scripts = re.findall(
        r"^(?:\S+ )?script\n(.*?)^end script$", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )

    assert len(scripts) == 1
    for script in scripts:
        subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=10)


def test_upstart_waits_longer_than_a_stop_takes() -> None:
    assert int(value(FORKWORKER, "kill timeout")) > STOP_SECONDS


def test_upstart_stops_by_term_and_reloads_by_what_means_quiet() -> None:
    assert value(FORKWORKER, "kill signal") == "TERM"
    signals = (ROOT / "docs/signals.md").read_text("utf-8")
    assert f"| {value(FORKWORKER, 'reload signal')}, TSTP | **Quiet.**" in signals
    assert value(FORKWORKER, "normal exit") == str(int(ExitCode.CONFIGURATION))
    assert "respawn" in stanzas(FORKWORKER)


def test_the_group_starts_the_instances_and_they_stop_with_it() -> None:
    assert "start forkworker index=$number" in WORKERS.read_text("utf-8")
    assert value(FORKWORKER, "stop on") == "stopping workers"
    assert value(FORKWORKER, "instance") == "$index"


# Heroku


def test_a_procfile_line_is_a_name_and_a_command() -> None:
    lines = [line for line in PROCFILE.read_text("utf-8").splitlines() if not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9_-]+: \S.*", line) for line in lines)
    assert any(line.startswith("worker: forkworker run ") for line in lines)
    assert "REDIS_PROVIDER" in PROCFILE.read_text("utf-8")
    assert STOP_SECONDS < HEROKU_SECONDS


# Containers

INSTRUCTIONS = {"FROM", "COPY", "RUN", "WORKDIR", "USER", "ENV", "CMD", "STOPSIGNAL", "HEALTHCHECK"}
KNOWN_VARIABLES = {option.variable for option in config.OPTIONS}


def test_a_dockerfile_has_instructions_that_there_are() -> None:
    text = DOCKERFILE.read_text("utf-8").replace("\\\n", "")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert {word for word, _ in lines} == INSTRUCTIONS
    assert set(re.findall(r"\b(FORKWORKER_\w+)=", text)) - {"FORKWORKER_REDIS_URL"} <= KNOWN_VARIABLES
    (command,) = [rest for word, rest in lines if word == "CMD"]
    assert json.loads(command) == ["forkworker", "run"], "in brackets, or TERM reaches a shell"
    (limit,) = re.findall(r"--stop-timeout (\d+)", text)
    assert int(limit) > STOP_SECONDS


def test_a_manifest_nests_its_limits_and_asks_what_is_answered() -> None:
    pod = yaml.safe_load(MANIFEST.read_text("utf-8"))["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    variables = {entry["name"]: entry.get("value") for entry in worker["env"]}
    hook = worker["lifecycle"]["preStop"]["exec"]["command"][-1]

    assert set(variables) - {"FORKWORKER_REDIS_URL"} <= KNOWN_VARIABLES
    quieting, timeout = int(re.findall(r"timeout (\d+)", hook)[0]), float(str(variables["FORKWORKER_TIMEOUT"]))
    assert quieting + timeout + 5 <= pod["terminationGracePeriodSeconds"]
    paths = {name: worker[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    (port,) = worker["ports"]
    assert f":{port['containerPort']}" == variables["FORKWORKER_HEALTH"]
    for words in (hook.split("timeout 25 forkworker ")[1].removesuffix(" || true"), " ".join(worker["command"][1:])):
        assert main([*words.split(), "--help"]) == 0
