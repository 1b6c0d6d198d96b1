"""``forkworker check``: all that ``run`` would stumble over at its start, at once; starts nothing."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from forkworker import config
from forkworker.apploader import AppError, load_app
from forkworker.cli import output
from forkworker.cli.run import NO_APP, add_arguments, flags
from forkworker.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from forkworker.settings import Settings

__all__ = ["add_arguments", "run"]


def run(args: Namespace) -> int:
    """Report all problems, or what was loaded."""
    settings, problems = _load_settings(args)
    failures = _load_apps(_apps(args))
    for failure in failures:
        sys.stderr.write(output.printable_lines(failure.traceback))
    output.complain([*problems, *map(str, failures)])
    if settings and not failures:
        output.say(_summary(settings))
        return _leave(ExitCode.OK)
    return _leave(ExitCode.CONFIGURATION)


def _load_settings(args: Namespace) -> tuple[Settings | None, list[str]]:
    try:
        return config.load(flags(args)), []
    except ConfigurationError as error:
        return None, error.problems


def _apps(args: Namespace) -> Sequence[str]:
    """Return the apps, even if other settings are wrong: their problems are to be told, too."""
    try:
        apps: Sequence[str] | None = config.lookup_one("apps", flags(args))
    except ConfigurationError:
        return ()
    return apps or ()


def _load_apps(apps: Sequence[str]) -> list[AppError]:
    failures = []
    for app in apps:
        try:
            load_app(app, os.getcwd())
        except AppError as error:
            failures.append(error)
    return failures


def _summary(settings: Settings) -> str:
    what = f"loaded {', '.join(settings.apps)}" if settings.apps else NO_APP
    queues = ", ".join(f"{queue.name},{queue.weight}" if queue.weight else queue.name for queue in settings.queues)
    return (
        f"ok: {what}; {settings.processes} x {settings.concurrency} threads; "
        f"queues {queues}; {config.public_address(settings.redis_url)}"
    )


def _leave(code: ExitCode) -> int:
    """Return the code, unless the app's import has left threads that would keep this process from ending."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
