"""``forkworker systemd-unit``: prints a unit filled in for this virtual environment, app and user.

What it fills in are the lines that somebody who copies the file has to edit; the rest of it is printed as it is.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forkworker import config
from forkworker.cli import output
from forkworker.cli.run import add_arguments as add_run_arguments
from forkworker.cli.run import flags
from forkworker.errors import ConfigurationError, ExitCode
from forkworker.settings import stop_limit
from forkworker.version import VERSION

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from forkworker.settings import Settings

UNITS = Path(__file__).with_name("units")
SERVICE, TEMPLATE, TARGET = "forkworker.service", "forkworker@.service", "forkworker.target"
#: what ProtectHome=yes makes empty, and what PrivateTmp=yes does
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - to warn of them
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags: which file, whose processes, and all that ``run`` has."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--template", dest="file", action="store_const", const=TEMPLATE, default=SERVICE,
                       help="the unit for several masters, NAME@.service")  # fmt: skip
    group.add_argument("--target", dest="file", action="store_const", const=TARGET,
                       help="NAME.target, by which several are started and stopped together")  # fmt: skip
    parser.add_argument("--user", metavar="NAME", help="whose processes they are (default: you, or the folder's owner)")
    add_run_arguments(parser)


def run(args: Namespace) -> int:
    """Print the file."""
    text = (UNITS / args.file).read_text("utf-8")
    if args.file != TARGET:
        settings = config.load(flags(args))
        lines = _lines(args, settings)
        _complain_of_temporary_folders(settings)
        _complain_of_password(args)
        text = fill_in(text, lines)
    sys.stdout.write(text)
    return ExitCode.OK


def fill_in(text: str, lines: dict[str, str]) -> str:
    """Return a unit with other values for some of its settings, and a first line of its own."""
    body = "".join(map(_filled(lines), text[text.index("[Unit]") :].splitlines(keepends=True)))
    body = body.replace("EDIT: ", "")
    return f"# Printed by forkworker {VERSION}, by its command systemd-unit.\n\n{body}"


def _filled(lines: dict[str, str]) -> Callable[[str], str]:
    def fill(line: str) -> str:
        name, is_setting, _ = line.partition("=")
        return f"{name}={lines[name]}\n" if is_setting and name in lines else line

    return fill


def _lines(args: Namespace, settings: Settings) -> dict[str, str]:
    folder, program = settings.directory, _program()
    is_in_home = any(_is_below(path, _HOMES) for path in (folder, sys.prefix, sys.base_prefix))
    return {
        "WorkingDirectory": folder.replace("%", "%%"),
        "User": _user(args.user, folder),
        "ExecStart": " ".join(map(quoted, [*program, "run", *_words(args)])),
        "ExecReload": " ".join(map(quoted, [*program, "quiet", "--wait"])),
        "TimeoutStopSec": str(stop_limit(settings.timeout)),
        "ProtectHome": "read-only" if is_in_home else "yes",
    }


def quoted(word: str) -> str:
    """Return a word of a command line as systemd reads it: no specifier, no variable, one word."""
    word = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _program() -> list[str]:
    """Return the forkworker of this environment."""
    script = os.path.join(os.path.dirname(sys.executable), "forkworker")
    return [script] if os.path.exists(script) else [sys.executable, "-m", "forkworker"]


def _words(args: Namespace) -> list[str]:
    """Return the flags that were given here, for ``run`` to get them."""
    words: list[str] = []
    for option in (config.CONFIG, *config.OPTIONS):
        value: Any = getattr(args, option.field, None)
        if value is False:
            words.append(option.flag)
        elif option.flag.startswith("-") and value not in (None, []):
            words += [word for each in (value if isinstance(value, list) else [value]) for word in (option.flag, each)]
    return [*words, *args.apps, *args.require]


def _user(name: str | None, folder: str) -> str:
    """Return whose processes they shall be; root's only if that is said."""
    uid = os.getuid() or os.stat(folder).st_uid
    try:
        found = pwd.getpwnam(name) if name else pwd.getpwuid(uid)
    except KeyError:
        raise ConfigurationError([f"there is no user {name or uid!r}: make one with useradd --system"]) from None
    if not name and found.pw_uid == 0:
        raise ConfigurationError(["name the user whose processes they shall be with --user, if need be root"])
    return found.pw_name


def _complain_of_password(args: Namespace) -> None:
    if args.redis_url and config.without_password(args.redis_url) != args.redis_url:
        what = "everybody on this host can read a unit, and so the password in it"
        output.complain([f"{what}: put FORKWORKER_REDIS_URL=... into the unit's EnvironmentFile instead of --redis"])


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _complain_of_temporary_folders(settings: Settings) -> None:
    for path in (settings.directory, sys.prefix):
        if _is_below(path, _TEMPORARY):
            output.complain([f"the service will not see {path}, as it has a /tmp of its own: move that elsewhere"])
