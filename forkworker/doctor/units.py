"""The systemd units on this host that run forkworker, and whether they agree with what it was told.

Reads the files and their drop-ins, so that a unit is judged before it runs, too.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forkworker import config
from forkworker.doctor.finding import Finding
from forkworker.errors import ConfigurationError
from forkworker.settings import STOP_MARGIN_SECONDS, Settings, stop_limit
from forkworker.unix.unit import read_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: where an administrator's units are
DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system")
#: systemd's own, if nothing is said
DEFAULT_STOP_SECONDS = 90.0
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A service that runs forkworker."""

    name: str
    stop_seconds: float
    restart: str
    #: the timeout that its forkworker has
    timeout: float


def find(directories: Iterable[str]) -> Iterator[Unit]:
    """Read the units in these directories; of two with one name the first counts, as with systemd."""
    seen = set()
    for directory in directories:
        for path in sorted(Path(directory).glob("*.service")):
            if path.name not in seen:
                seen.add(path.name)
                if unit := _read(path):
                    yield unit


def examine(units: Iterable[Unit]) -> Iterator[Finding]:
    """Say what does not fit."""
    for unit in units:
        needed = unit.timeout + STOP_MARGIN_SECONDS
        if unit.stop_seconds < needed:
            yield Finding(
                "unit",
                f"{unit.name} gives forkworker {unit.stop_seconds:g} s to stop, which may need {needed:g} "
                f"(its timeout is {unit.timeout:g} s): jobs are cut off, and their end is not recorded",
                f"set TimeoutStopSec={stop_limit(unit.timeout)} in the unit, or a smaller timeout",
            )
        if unit.restart in ("", "no"):
            yield Finding(
                "unit",
                f"{unit.name} does not start a master again that was killed",
                "set Restart=always and RestartPreventExitStatus=78 in the unit",
            )


def _read(path: Path) -> Unit | None:
    try:
        texts = [part.read_text("utf-8", "replace") for part in (path, *sorted(Path(f"{path}.d").glob("*.conf")))]
    except OSError:
        return None  # a link that leads nowhere, or not for us to read
    service = _service("\n".join(texts))
    words = _words(service.get("ExecStart", [""])[-1])
    if not _runs_forkworker(words):
        return None
    stop = service.get("TimeoutStopSec") or service.get("TimeoutSec") or [""]
    return Unit(
        name=path.name,
        stop_seconds=_seconds(stop[-1]),
        restart=service.get("Restart", [""])[-1],
        timeout=_timeout(words, service),
    )


def _service(text: str) -> dict[str, list[str]]:
    """Return the keys of the section [Service] with their values, in order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()  # noqa: PLW2901 - the line, as systemd reads it
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _runs_forkworker(words: Sequence[str]) -> bool:
    return any(word.rpartition("/")[2] == "forkworker" for word in words) and "run" in words


def _seconds(text: str) -> float:
    if not text:
        return DEFAULT_STOP_SECONDS
    if _NUMBER.fullmatch(text):
        return float(text) or math.inf
    seconds = read_span(re.sub(r"(?<=[a-z])(?=\d)", " ", text))
    return DEFAULT_STOP_SECONDS if seconds is None else seconds


def _timeout(words: Sequence[str], service: dict[str, list[str]]) -> float:
    """Find the timeout as ``run`` will: flag, variable, file."""
    environ = dict(
        pair.split("=", 1) for line in service.get("Environment", []) for pair in _words(line) if "=" in pair
    )
    for path in service.get("EnvironmentFile", []):
        environ |= _variables(path.lstrip("-"))
    directory = Path(service.get("WorkingDirectory", ["/"])[-1].lstrip("-"))
    flags = {"timeout": _flag(words, "-t", "--timeout"), "config": _flag(words, "-C", "--config")}
    try:
        found = config.lookup_one("timeout", flags, environ, directory)
    except ConfigurationError:
        found = None  # it will not start at all: forkworker check says why
    return Settings().timeout if found is None else float(found)


def _variables(path: str) -> dict[str, str]:
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and line.strip()[0] not in "#;")
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def _flag(words: Sequence[str], *names: str) -> str | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in names:
            return following
        for name in names:
            if name.startswith("--") and word.startswith(f"{name}="):
                return word.partition("=")[2]
            if not name.startswith("--") and word.startswith(name) and not word.startswith("--"):
                return word[len(name) :]
    return None
