"""``forkworker run``: settings from the flags, and over to the master.

Runs in what becomes the master process, which stays light: no Redis, no threads, no code of the app.
"""

from __future__ import annotations

import faulthandler
import os
from typing import TYPE_CHECKING, Any

from forkworker import config
from forkworker.cli import output, places
from forkworker.errors import ConfigurationError
from forkworker.settings import STOP_MARGIN_SECONDS, stop_limit
from forkworker.unix import unit

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from forkworker.settings import Settings

NO_APP = "no app is named, so every job will be unknown: give one with APP, FORKWORKER_APP or the key app"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``run`` and ``check``; values stay text, for config to judge all at once."""
    add = parser.add_argument
    add("apps", nargs="*", metavar="APP", help="module, module:attribute or .py file with the jobs")
    add("-r", "--require", action="append", default=[], metavar="APP", help="the same as APP; may be repeated")
    add("-P", "--processes", metavar="N", help="number of child processes (default: one for each CPU)")
    add("-c", "--concurrency", metavar="N", help="threads in each child (default: 25)")
    add("-q", "--queue", dest="queues", action="append", metavar="QUEUE",
        help="NAME or NAME,WEIGHT; may be repeated; no weights: strict order (default: default)")  # fmt: skip
    add("-t", "--timeout", metavar="SECONDS", help="what running jobs get at a stop (default: 8)")
    add("-e", "--environment", metavar="NAME", help="adds [environment.NAME] of the file over the rest")
    add("-g", "--tag", help="shown in process titles and dashboards (default: the folder's name)")
    add(
        "-C",
        "--config",
        metavar="FILE",
        help="default: forkworker.toml, else [tool.forkworker] of pyproject.toml",
    )
    add(
        "--redis",
        dest="redis_url",
        metavar="URL",
        help="redis://, rediss://, unix://, redis+sentinel:// or embedded://DIR",
    )
    add("--pidfile", metavar="FILE", help="where to write the master's pid")
    add("--control", metavar="PATH", help="the master's control socket")
    add("--health", metavar="ADDRESS", help="serve health and metrics at HOST:PORT, :PORT or unix:/PATH")
    add("--log-level", metavar="LEVEL", help=f"one of {', '.join(config.LOG_LEVELS)} (default: info)")
    add(
        "-v",
        "--verbose",
        dest="log_level",
        action="store_const",
        const="debug",
        help="the same as --log-level debug",
    )
    add("--log-format", metavar="FORMAT", help=f"one of {', '.join(config.LOG_FORMATS)} (default: text)")
    add(
        "--no-preload",
        dest="preload",
        action="store_false",
        default=None,
        help="import the app in each child",
    )


def flags(args: Namespace) -> dict[str, Any]:
    """Return what was given, by field of Settings."""
    return vars(args) | {"apps": [*args.apps, *args.require]}


def load_settings(args: Namespace) -> Settings:
    """Return the settings; raises ConfigurationError with everything that is wrong, unknown flags too."""
    try:
        settings = config.load(flags(args), inspect=places.problems)
    except ConfigurationError as error:
        raise ConfigurationError([*args.unknown, *error.problems]) from None
    if args.unknown:
        raise ConfigurationError(args.unknown)
    return settings


def run(args: Namespace) -> int:
    """Become the master; returns its exit code when all has ended."""
    settings = load_settings(args)
    if not settings.apps:
        output.complain([NO_APP])
    _open_standard_streams()
    faulthandler.enable(2)  # systemd's watchdog ends a master that hangs by SIGABRT: then its stack is in the log
    _warn_of_short_stop(settings)
    from forkworker.supervisor import master

    return master.run(settings)


def _warn_of_short_stop(settings: Settings) -> None:
    """Say so if systemd means to wait for less than a stop may take."""
    found = unit.stop_seconds() if config.is_service() else None
    needed = settings.timeout + STOP_MARGIN_SECONDS
    if found and found[1] < needed:
        name, seconds = found
        line = (
            f"{name} is given {seconds:g} s to stop, and may need {needed:g} (timeout, and {STOP_MARGIN_SECONDS:g}): "
            f"set TimeoutStopSec={stop_limit(settings.timeout)} in the unit, or a smaller timeout"
        )
        output.complain([line])


def _open_standard_streams() -> None:
    """Put /dev/null where a stream is closed, lest a socket of ours gets its number and takes up what is printed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
