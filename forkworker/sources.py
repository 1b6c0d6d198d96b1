"""The places a setting may come from: flags, environment variables and the TOML file.

Used by config, in the master and in client programs.  Finds raw values and remembers where they stood; it
does not judge the values, only the file's form and its keys.
"""

from __future__ import annotations

import os.path
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

FILE_NAMES = ("forkworker.toml", "pyproject.toml")
ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Found:
    """A raw value and where it stood; text must still be read, TOML has types of its own."""

    raw: object
    source: str
    is_text: bool


@dataclass(slots=True)
class ConfigFile:
    """What the file holds, by dotted key, the environment's section laid over the rest."""

    values: dict[str, Found] = field(default_factory=dict)
    #: why the file could not be read at all
    failure: str = ""
    #: that it has no section of the chosen environment, so that none of its values are sure
    absence: str = ""
    #: what is wrong with keys, by dotted key
    misplaced: dict[str, str] = field(default_factory=dict)

    def problems(self, key: str = "") -> list[str]:
        """Say what is wrong with the file, or with what concerns one key of it."""
        lines = [line for wrong, line in self.misplaced.items() if not key or _concerns(wrong, key)]
        return [self.failure] if self.failure else [self.absence] * bool(self.absence) + lines


def from_flag(flags: Mapping[str, Any], name: str, flag: str) -> Found | None:
    """Look for a flag's value; None, and nothing in a list, count as not given."""
    raw = flags.get(name)
    if raw is None or raw in ([], ()):
        return None
    return Found(list(raw) if isinstance(raw, tuple) else raw, f"flag {flag}", isinstance(raw, str))


def from_variable(environ: Mapping[str, str], name: str) -> Found | None:
    """Look for an environment variable; an empty one counts as not set."""
    text = environ.get(name, "")
    return Found(text, f"variable {name}", is_text=True) if text.strip() else None


def from_file(directory: Path, chosen: Found | None, environment: Found | None, known: Collection[str]) -> ConfigFile:
    """Read the chosen file, else forkworker.toml, else pyproject.toml, else nothing."""
    file = ConfigFile()
    if chosen and not str(chosen.raw).strip():
        file.failure = f"{chosen.source}: must not be empty"
        return file
    path = _path(directory, chosen)
    if path is None:
        return file
    shown = str(chosen.raw) if chosen else path.name
    try:
        table = _parse(path)
    except OSError as error:
        file.failure = f"{_blame(chosen)}file {shown} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        file.failure = f"{_blame(chosen)}file {shown} is not valid TOML: it is not UTF-8 text"
    except ValueError as error:
        file.failure = f"{_blame(chosen)}file {shown} is not valid TOML: {error}"
    else:
        prefix = "tool.forkworker." if path.name == "pyproject.toml" else ""
        _Reader(file, f"file {shown}, key {prefix}", known).read(_section(table, prefix), environment)
    return file


def _blame(chosen: Found | None) -> str:
    return f"{chosen.source}: " if chosen else ""


def _path(directory: Path, chosen: Found | None) -> Path | None:
    if chosen:
        return directory / str(chosen.raw)
    # lexists: a link that leads nowhere is there, and is then reported as unreadable.
    return next((directory / name for name in FILE_NAMES if os.path.lexists(directory / name)), None)


def _parse(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with path.open("rb") as stream:
        return tomllib.load(stream)


def _section(table: Any, prefix: str) -> Any:
    for name in prefix.split(".")[:-1]:
        table = table.get(name, {}) if isinstance(table, dict) else {}
    return table


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _concerns(wrong: str, key: str) -> bool:
    wrong = wrong.split(".", 2)[-1] if wrong.startswith(f"{ENVIRONMENT}.") else wrong
    return f"{key}.".startswith(f"{wrong}.") or wrong.startswith(f"{key}.")


class _Reader:
    """Fills a ConfigFile from the parsed table."""

    def __init__(self, file: ConfigFile, label: str, known: Collection[str]) -> None:
        self._file = file
        self._label = label
        self._known = known

    def read(self, table: Any, environment: Found | None) -> None:
        if not isinstance(table, dict):
            self._file.failure = f"{self._label.rstrip('.')} must be a table"
            return
        rest = {key: value for key, value in table.items() if key != ENVIRONMENT}
        self._keep(rest)
        self._read_environments(table.get(ENVIRONMENT, {}), environment)

    def _read_environments(self, sections: Any, environment: Found | None) -> None:
        if not isinstance(sections, dict):
            self._misplace(ENVIRONMENT, "write one table [environment.NAME] for each environment")
            return
        chosen = str(environment.raw).strip() if environment else ""
        if environment and chosen and sections and chosen not in sections:
            self._file.absence = f"{environment.source}: {self._absence(chosen, sections)}"
        for name, section in sections.items():
            if isinstance(section, dict):
                self._keep(section, f"{ENVIRONMENT}.{name}.", kept=name == chosen)
            else:
                self._misplace(f"{ENVIRONMENT}.{name}", f"must be a table: [environment.{name}]")

    def _keep(self, table: Mapping[str, Any], prefix: str = "", *, kept: bool = True) -> None:
        """Check every key, also of sections that are not chosen: a typing error there waits for its day."""
        for key, value in _flatten(table):
            if value == {} and self._inside(key):
                continue  # the head of a table alone
            if key not in self._known:
                self._misplace(prefix + key, self._advice(key))
            elif kept:
                self._file.values[key] = Found(value, f"{self._label}{prefix}{key}", is_text=False)

    def _absence(self, chosen: str, sections: Collection[str]) -> str:
        there = ", ".join(sections)
        return f"{self._label.partition(',')[0]} has no section [environment.{chosen}]: there are {there}"

    def _misplace(self, key: str, advice: str) -> None:
        self._file.misplaced[key] = f"{self._label}{key}: {advice}"

    def _advice(self, key: str) -> str:
        from difflib import get_close_matches

        if inside := self._inside(key):
            return f"must be a table, with {' and '.join(inside)}"
        near = get_close_matches(key, self._known, n=1, cutoff=0.6)
        return f"is not known: did you mean {near[0]}?" if near else f"is not known: there are {', '.join(self._known)}"

    def _inside(self, key: str) -> list[str]:
        return sorted(known for known in self._known if known.startswith(f"{key}."))
