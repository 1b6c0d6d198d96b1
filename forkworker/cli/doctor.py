"""``forkworker doctor``: looks for what is wrong, in Redis and in the units of this host, and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkworker import config
from forkworker.cli import output, reach
from forkworker.clock import SystemClock
from forkworker.doctor import checks, facts, units
from forkworker.errors import ConfigurationError, ExitCode, StoreUnavailable
from forkworker.store.connection import Link

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from forkworker.doctor.finding import Finding


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``doctor``."""
    reach.add_redis(parser)
    parser.add_argument("--units", action="append", metavar="DIR",
                        help="where to look for systemd units, instead of systemd's own folders")  # fmt: skip


def run(args: Namespace) -> int:
    """Print what is wrong: 0 if nothing is, 1 if something is, 2 if Redis could not be asked."""
    try:
        url = reach.address(args)
        findings = _examine(url, args.units or units.DIRECTORIES)
    except ConfigurationError as error:
        return _fail(args, None, "; ".join(error.problems))
    except StoreUnavailable as error:
        return _fail(args, config.public_address(url), config.without_password(str(error)))
    _tell(args, config.public_address(url), findings)
    return ExitCode.FAILURE if findings else ExitCode.OK


def _examine(url: str, directories: list[str] | tuple[str, ...]) -> list[Finding]:
    link = Link(url)
    try:
        found = facts.gather(link, SystemClock())
    finally:
        link.close()
    return [*checks.examine(found), *units.examine(units.find(directories))]


def _tell(args: Namespace, address: str, findings: list[Finding]) -> None:
    checked = [*checks.CHECKS, "unit"]
    if args.json:
        told = [finding._asdict() for finding in findings]
        _print_json({"address": address, "healthy": not findings, "findings": told, "checked": checked})
        return
    for finding in findings:
        print("\n".join(output.paragraph(f"{finding.check}: {finding.what}")))
        print("\n".join(output.paragraph(f"-> {finding.todo}", "  ")))
    output.say(f"{len(findings) or 'nothing'} found wrong by {len(checked)} checks of {address} and this host's units")


def _fail(args: Namespace, address: str | None, why: str) -> int:
    if args.json:
        _print_json({"address": address, "healthy": False, "error": why})
    output.complain([f"Redis at {address} is not reachable: {why}" if address else why])
    return ExitCode.USAGE


def _print_json(value: dict[str, Any]) -> None:
    print(output.as_json(value))
