"""Flags, environment variables and the TOML file, made into Settings.

Used in the master, and in client programs for the Redis address: it stays light, and is the only module that
reads os.environ.  Everything that is wrong is said at once, each line naming the source.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forkworker import sources, values
from forkworker.errors import ConfigurationError
from forkworker.settings import DEFAULT_REDIS_URL, MOST_PROCESSES, MOST_TAG_LETTERS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from forkworker.sources import ConfigFile, Found
    from forkworker.values import Kind

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

_PREFIX = "FORKWORKER_"
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its field in Settings and in the flags, its kind, and its name in each source."""

    field: str
    kind: Kind
    flag: str = ""
    variable: str = ""
    key: str = ""


CONFIG = Option("config", values.WORDS, "-C", "FORKWORKER_CONFIG")
ENVIRONMENT = Option("environment", values.WORDS, "-e", "FORKWORKER_ENV")
REDIS = Option("redis_url", values.ADDRESS, "--redis", "FORKWORKER_REDIS_URL", "redis.url")
OPTIONS = (
    Option("apps", values.APPS, "APP", "FORKWORKER_APP", "app"),
    Option("processes", values.WHOLE, "-P", "FORKWORKER_PROCESSES", "processes"),
    Option("concurrency", values.WHOLE, "-c", "FORKWORKER_CONCURRENCY", "concurrency"),
    Option("queues", values.QUEUES, "-q", "FORKWORKER_QUEUES", "queues"),
    Option("timeout", values.SECONDS, "-t", "FORKWORKER_TIMEOUT", "timeout"),
    ENVIRONMENT,
    Option("tag", values.WORDS, "-g", "FORKWORKER_TAG", "tag"),
    REDIS,
    Option("pidfile", values.WORDS, "--pidfile", "FORKWORKER_PIDFILE", "pidfile"),
    Option("control", values.WORDS, "--control", "FORKWORKER_CONTROL", "control"),
    Option("health", values.PLACE, "--health", "FORKWORKER_HEALTH", "health"),
    Option("log_level", values.choice(*LOG_LEVELS), "--log-level", "FORKWORKER_LOG_LEVEL", "log.level"),
    Option("log_format", values.choice(*LOG_FORMATS), "--log-format", "FORKWORKER_LOG_FORMAT", "log.format"),
    Option("drain_timeout", values.SECONDS, "", "FORKWORKER_DRAIN_TIMEOUT", "drain_timeout"),
    Option("max_memory", values.SIZE, "", "FORKWORKER_MAX_MEMORY", "max_memory"),
    Option("max_jobs", values.WHOLE, "", "FORKWORKER_MAX_JOBS", "max_jobs"),
    Option("max_age", values.SECONDS, "", "FORKWORKER_MAX_AGE", "max_age"),
    Option("boot_timeout", values.SECONDS, "", "FORKWORKER_BOOT_TIMEOUT", "boot_timeout"),
    Option("hang_timeout", values.SECONDS, "", "FORKWORKER_HANG_TIMEOUT", "hang_timeout"),
    Option("lease", values.SECONDS, "", "FORKWORKER_LEASE", "lease"),
    Option("preload", values.SWITCH, "--no-preload", "FORKWORKER_PRELOAD", "preload"),
)
KEYS = tuple(option.key for option in OPTIONS if option.key)


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    *,
    inspect: Callable[[Settings], Iterable[tuple[str, str]]] | None = None,
) -> Settings:
    """Return the settings, or raise ConfigurationError with everything that is wrong.

    ``flags`` holds what was given, by field of Settings (and ``config``): text, lists, or typed values.  ``inspect``
    may find more that is wrong, as pairs of a field and a line.
    """
    lookup = _Lookup(flags, environ, directory)
    fields, origins = lookup.defaults(), dict[str, str]()
    problems = [*lookup.slips(), *lookup.file.problems()]
    for option in OPTIONS:
        try:
            found = lookup.find(option)
            if found:
                fields[option.field] = _read(option, found)
                origins[option.field] = found.source
        except ConfigurationError as error:
            problems += error.problems
    settings = Settings(**fields, apps_source=origins.get("apps", ""))
    problems += [_attributed(line, origins) for line in settings.problems()]
    if inspect:
        problems += [f"{origins.get(field, 'default')}: {line}" for field, line in inspect(settings)]
    if problems:
        raise _plain(problems)
    return settings


def look_up(
    field: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> tuple[Any, str] | None:
    """Return one setting and its source, None where it is not set; mistakes elsewhere do not matter."""
    option = next(option for option in OPTIONS if option.field == field)
    try:
        found = _Lookup(flags, environ, directory).find(option)
        return (_read(option, found), found.source) if found else None
    except ConfigurationError as error:
        raise _plain(error.problems) from None


def lookup_one(
    field: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Any:
    """Return one setting where it is set, else None."""
    found = look_up(field, flags, environ, directory)
    return found[0] if found else None


def redis_url(environ: Mapping[str, str] | None = None, directory: Path | None = None, flag: str | None = None) -> str:
    """Return the address of Redis, looked up in the same order by workers and clients."""
    url: str | None = lookup_one("redis_url", {"redis_url": flag}, environ, directory)
    return url or DEFAULT_REDIS_URL


def working_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return the working directory by the name that it was entered by, where that can be known.

    A link in it, say ``current``, leads to new code after a deploy; what the kernel calls it does not.
    """
    environ = os.environ if environ is None else environ
    here = Path.cwd()
    names = [Path(environ.get("PWD", "")), *Path(sys.argv[0]).parents]
    return next((name for name in names if name.is_absolute() and _leads_to(name, here)), here)


def _leads_to(name: Path, folder: Path) -> bool:
    try:
        return name.samefile(folder)
    except (OSError, ValueError):
        return False


def control_folder(environ: Mapping[str, str] | None = None) -> str:
    """Return the folder in which masters that were told no path have their control sockets."""
    environ = os.environ if environ is None else environ
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return given
    if environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(environ["XDG_RUNTIME_DIR"], "forkworker")
    temporary = environ.get("TMPDIR") or "/tmp"  # noqa: S108 - the master makes sure that the folder is its own
    return os.path.join(temporary, f"forkworker-{os.getuid()}")


def notify_socket(environ: Mapping[str, str] | None = None) -> str:
    """Return the address at which systemd awaits word of us, '' if it does not."""
    return (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")


def watchdog_seconds(environ: Mapping[str, str] | None = None) -> float | None:
    """Return how often systemd wants to hear of this process, or it ends us; None if it does not watch us."""
    environ = os.environ if environ is None else environ
    microseconds = environ.get("WATCHDOG_USEC", "")
    is_meant = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(microseconds) / 1e6 or None if microseconds.isdecimal() and is_meant else None


def is_service(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether systemd has started us, or somebody above us, as a service."""
    return bool((os.environ if environ is None else environ).get("INVOCATION_ID"))


def wants_colours(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a terminal may be painted on."""
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def without_password(line: str) -> str:
    """Return a line with what may be a password in a URL blotted out."""
    line = re.sub(r"(:/+).*@", r"\1***@", line, flags=re.DOTALL)  # a slash may be missing
    return re.sub(r"(password=)[^&\s]*", r"\1***", line, flags=re.IGNORECASE)


def public_address(url: str) -> str:
    """Return a Redis address that may be shown to anybody: no user, no password, no parameters."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


class _Lookup:
    """One reading of all sources."""

    def __init__(self, flags: Mapping[str, Any], environ: Mapping[str, str] | None, directory: Path | None) -> None:
        self.flags = flags
        self.environ = os.environ if environ is None else environ
        self.directory = directory.absolute() if directory else working_directory(environ)
        self.file = self._open_file()

    def find(self, option: Option) -> Found | None:
        """Look through the sources in order of precedence."""
        if option is REDIS:
            return self._find_redis()
        return self._flag(option) or self._variable(option) or self._from_file(option)

    def defaults(self) -> dict[str, Any]:
        """Return what this machine suggests for settings that nobody made."""
        import socket

        return {
            "directory": str(self.directory),
            "processes": min(len(os.sched_getaffinity(0)), MOST_PROCESSES),
            "tag": "".join(c if c.isprintable() else "?" for c in self.directory.name[:MOST_TAG_LETTERS]),
            "control_folder": control_folder(self.environ),
            "hostname": self.environ.get("DYNO") or socket.gethostname(),
        }

    def slips(self) -> Iterator[str]:
        """Say which variables are nearly ours; others of our prefix may be somebody else's."""
        ours = {option.variable.removeprefix(_PREFIX) for option in (CONFIG, *OPTIONS)}
        given = [name.removeprefix(_PREFIX) for name in self.environ if name.startswith(_PREFIX)]
        unknown = [name for name in given if name not in ours]
        if not unknown:
            return
        from difflib import get_close_matches

        for name in unknown:
            if near := get_close_matches(name, ours, n=1, cutoff=0.8):
                yield f"variable {_PREFIX}{name}: is not known: did you mean {_PREFIX}{near[0]}?"

    def _flag(self, option: Option) -> Found | None:
        return sources.from_flag(self.flags, option.field, option.flag)

    def _variable(self, option: Option) -> Found | None:
        return sources.from_variable(self.environ, option.variable)

    def _from_file(self, option: Option) -> Found | None:
        if option.key and (problems := self.file.problems(option.key)):
            raise ConfigurationError(problems)
        return self.file.values.get(option.key)

    def _open_file(self) -> ConfigFile:
        environment = self._flag(ENVIRONMENT) or self._variable(ENVIRONMENT)
        return sources.from_file(self.directory, self._flag(CONFIG) or self._variable(CONFIG), environment, KEYS)

    def _find_redis(self) -> Found | None:
        return (
            self._flag(REDIS)
            or self._from_file(REDIS)
            or self._provided()
            or self._variable(REDIS)
            or sources.from_variable(self.environ, "REDIS_URL")
        )

    def _provided(self) -> Found | None:
        """Follow REDIS_PROVIDER, the name of a variable; an address in it is a mistake, and not shown."""
        name = self.environ.get("REDIS_PROVIDER", "").strip()
        if not name:
            return None
        if not _VARIABLE_NAME.fullmatch(name):
            raise ConfigurationError(
                ["variable REDIS_PROVIDER: must hold the name of the variable with the address of Redis"]
            )
        found = sources.from_variable(self.environ, name)
        if not found:
            raise ConfigurationError([f"variable REDIS_PROVIDER: names the variable {name}, which is not set"])
        return found


def _read(option: Option, found: Found) -> Any:
    try:
        return option.kind.from_text(str(found.raw)) if found.is_text else option.kind.from_toml(found.raw)
    except ValueError as error:
        raise ConfigurationError([f"{found.source}: {line}" for line in error.args]) from None


def _plain(problems: list[str]) -> ConfigurationError:
    """Say each thing once: a file that cannot be read is met again with every setting."""
    return ConfigurationError([without_password(line) for line in dict.fromkeys(problems)])


def _attributed(line: str, origins: Mapping[str, str]) -> str:
    """Put the source before a line of Settings.problems, which begins with the key or "queue"."""
    word = line.split(maxsplit=1)[0]
    source = origins.get("queues" if word == "queue" else word)
    return f"{source}: {line}" if source else line
