"""``forkworker check``: all that ``run`` would stumble over at its start, at once; starts nothing."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from forkworker import config
from forkworker.apploader import AppError, load_app
from forkworker.cli import output
from forkworker.cli.run import NO_APP, add_arguments, flags, load_settings
from forkworker.errors import ConfigurationError, ExitCode
from forkworker.leftovers import Leftovers
from forkworker.unix import leash

if TYPE_CHECKING:
    from argparse import Namespace

    from forkworker.settings import Settings

__all__ = ["add_arguments", "run"]


def run(args: Namespace) -> int:
    """Report all problems, or what was loaded."""
    settings, problems = _load_settings(args)
    threads = set(threading.enumerate())
    leftovers = Leftovers(str(config.working_directory()))
    with leftovers.watch():
        failures = _load_apps(args)
    for failure in failures:
        sys.stderr.write(output.printable_lines(failure.traceback))
    output.complain([*problems, *map(str, failures)])
    if settings and not problems and not failures:
        output.complain(leftovers.lines() if settings.preload else ())
        output.say(_summary(settings))
        return _leave(ExitCode.OK, threads)
    return _leave(ExitCode.CONFIGURATION, threads)


def _load_settings(args: Namespace) -> tuple[Settings | None, list[str]]:
    try:
        settings = load_settings(args)
    except ConfigurationError as error:
        return None, error.problems
    lacks_server = settings.embedded_directory and leash.find_server() is None
    return settings, [f"embedded Redis: {leash.NO_SERVER}"] if lacks_server else []


def _load_apps(args: Namespace) -> list[AppError]:
    """Load the apps, even if other settings are wrong: their problems are to be told, too."""
    try:
        apps, source = config.look_up("apps", flags(args)) or ((), "")
    except ConfigurationError:
        return []
    failures = []
    # What stands behind an unknown flag may be its value, or an app: nobody can tell.
    for app in () if args.unknown else apps:
        try:
            load_app(app, str(config.working_directory()), source)
        except AppError as error:
            failures.append(error)
    return failures


def _summary(settings: Settings) -> str:
    what = f"loaded {', '.join(settings.apps)}" if settings.apps else NO_APP
    return (
        f"ok: {what}; {settings.processes} x {settings.concurrency} threads; "
        f"queues {', '.join(map(str, settings.queues))}; {config.public_address(settings.redis_url)}"
    )


def _leave(code: ExitCode, before: set[threading.Thread]) -> int:
    """Return the code, unless the app's import has left threads that would keep this process from ending."""
    if any(not thread.daemon for thread in set(threading.enumerate()) - before):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
