"""``forkworker``: reads the command line and hands over to the command that was named."""

from __future__ import annotations

import importlib
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, Any, NoReturn

from forkworker.cli import control, health, output, run
from forkworker.config import without_password
from forkworker.errors import ConfigurationError, ExitCode, ForkworkerError, StoreUnavailable
from forkworker.version import VERSION

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Callable, Sequence

    _Commands = _SubParsersAction["Parser"]

#: name -> summary, module, function; imported only when they are meant
RARE = {
    "queues": ("show queues, or delete one", "queues", "run"),
    "pause": ("let nobody take from a queue", "pausing", "pause"),
    "unpause": ("let a queue be taken from again", "pausing", "unpause"),
    "jobs": ("list, count, show, retry, bury and delete jobs", "jobs", "run"),
    "processes": ("show processes of all hosts; quiet or stop one", "processes", "run"),
    "doctor": ("look for what is wrong, and say what to do", "doctor", "run"),
    "quickstart": ("see it work: real jobs, children and a private Redis", "quickstart", "run"),
}

EPILOG = """\
exit codes: 0 done, or an ordered stop; 1 failed; 2 wrong flags; 70 crash loop;
75 Redis not usable; 78 configuration or app cannot be loaded; 130 Ctrl-C
"""
_CHOICE = re.compile(r"argument (?P<what>\w+): invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)")


class Parser(ArgumentParser):
    """A parser that complains in one plain line, without passwords, and ends with the command's own code."""

    usage_code = ExitCode.USAGE

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Complain and end."""
        if choice := _CHOICE.fullmatch(message):
            message = self._wrong_choice(**choice.groupdict())
        self.refuse([self.complaint(message.replace("argument -", "flag -", 1))])

    def _wrong_choice(self, what: str, word: str, known: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(word, re.findall(r"[\w-]+", known), n=1)
        return f"there is no {what.lower()} {word!r}" + (f": did you mean {near[0]}?" if near else "")

    def refuse(self, lines: list[str]) -> NoReturn:
        """Print lines and end."""
        output.complain(lines)
        self.exit(self.usage_code)

    def unknown(self, word: str) -> str:
        """Say that there is no such flag, and which is near; its value may be a password."""
        from difflib import get_close_matches

        name = word.partition("=")[0]
        near = get_close_matches(name, self._option_string_actions, n=1, cutoff=0.7)
        what = f"flag {name}" if name.startswith("-") else name
        return self.complaint(f"{what}: is not known{f': did you mean {near[0]}?' if near else ''}")

    def complaint(self, message: str) -> str:
        """Return a line."""
        return f"{without_password(message)} (see {self.prog} --help)"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        args = _parse(words)
    except SystemExit as end:  # argparse's way to end, after --help too
        return int(end.code or 0)
    _hide_passwords(words)
    try:
        code = int(args.command(args))
        sys.stdout.flush()
        return code  # noqa: TRY300 - what was printed must have come through
    except ConfigurationError as error:
        output.complain(error.problems)
        return ExitCode.CONFIGURATION
    except ForkworkerError as error:
        hint = " (--redis names another)" if isinstance(error, StoreUnavailable) and "redis" in args else ""
        output.complain([f"{error}{hint}"])
        return ExitCode.FAILURE
    except BrokenPipeError:
        if not output.is_cut_off():
            raise
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _hide_passwords(words: Sequence[str]) -> None:
    """Take the command line out of everybody's sight, if there is a password in it."""
    if any(without_password(word) != word for word in words):
        from setproctitle import setproctitle

        setproctitle("forkworker: master" if words[0] == "run" else f"forkworker {words[0]}")


def _parse(argv: Sequence[str]) -> Namespace:
    parser = _parser(argv)
    args, rest = parser.parse_known_args(argv)
    if "apps" in args:  # argparse takes all APPs from one place; people also put flags between them
        args.apps += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    args.unknown = [args.parser.unknown(word) for word in rest]
    if args.unknown and "apps" not in args:
        args.parser.refuse(args.unknown)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(ExitCode.USAGE)
    return args


def _parser(argv: Sequence[str]) -> Parser:
    parser = Parser(
        prog="forkworker",
        description="Background jobs for Python on Redis.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"forkworker {VERSION}")
    parser.set_defaults(command=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_loading(commands, "run", "start a master and its children, and stay until they are stopped")
    _add_loading(commands, "check", "load configuration and app as run would, and report all problems")
    control.add_quiet_arguments(_add(commands, "quiet", "let running jobs finish, and take no others", control.quiet))
    control.add_resume_arguments(_add(commands, "resume", "take jobs again", control.resume))
    control.add_rolling_restart_arguments(
        _add(
            commands,
            "rolling-restart",
            "bring up new code, child by child; no job is interrupted",
            control.rolling_restart,
        )
    )
    control.add_selection(_add(commands, "stop", "stop a master and all below it, and wait for the end", control.stop))
    _add_rarely(commands, argv, "status", "show masters, children, running jobs, queues", "status", "run")
    control.add_stacks_arguments(
        _add(commands, "stacks", "have every child write what its threads do to the log", control.stacks)
    )
    health.add_arguments(_add(commands, "health", health.SUMMARY, health.run))
    for name, (summary, module, function) in RARE.items():
        _add_rarely(commands, argv, name, summary, module, function)
    _add_systemd_unit(commands, argv)
    return parser


def _add(commands: _Commands, name: str, summary: str, command: Callable[[Namespace], int], **options: Any) -> Parser:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", **options)
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_loading(commands: _Commands, name: str, summary: str) -> None:
    # The usage is given, as argparse would fill ten lines with all the flags.
    parser = _add(commands, name, summary, _later(name), usage=f"forkworker {name} [flags] [APP ...]")
    parser.usage_code = ExitCode.CONFIGURATION
    run.add_arguments(parser)


def _add_systemd_unit(commands: _Commands, argv: Sequence[str]) -> None:
    summary = "print a systemd unit for this virtual environment, app and user"
    parser = _add(
        commands, "systemd-unit", summary, _later("systemd_unit"), usage="forkworker systemd-unit [flags] [APP ...]"
    )
    parser.usage_code = ExitCode.CONFIGURATION
    if "systemd-unit" in argv:
        importlib.import_module("forkworker.cli.systemd_unit").add_arguments(parser)


def _add_rarely(commands: _Commands, argv: Sequence[str], name: str, summary: str, module: str, function: str) -> None:
    """Add a command whose module is imported only when it is meant, also for its flags."""
    parser = _add(commands, name, summary, _later(module, function))
    if name in argv:
        importlib.import_module(f"forkworker.cli.{module}").add_arguments(parser)


def _later(module: str, function: str = "run") -> Callable[[Namespace], int]:
    """Return a command whose module is imported only when it is run: the master must not carry it along."""

    def command(args: Namespace) -> int:
        return int(getattr(importlib.import_module(f"forkworker.cli.{module}"), function)(args))

    return command
