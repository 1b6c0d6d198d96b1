"""Asks before something is destroyed; in scripts ``--yes`` says so beforehand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from forkworker.cli.output import printable
from forkworker.errors import ForkworkerError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Refused(ForkworkerError):
    """Nobody has said yes."""


def add_yes(parser: ArgumentParser) -> None:
    """Add the flag that answers beforehand."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask, as in scripts")


def sure(args: Namespace, question: str) -> None:
    """Return if the user says yes, now or beforehand; else raise Refused."""
    if args.yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(f"nothing was done, as there is nobody to ask ({question}): say --yes")
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was done")
