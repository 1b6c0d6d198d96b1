"""``forkworker health``: asks a tree at its health address, for probes that run a command.

Loads next to nothing: a probe runs every few seconds and gets little time.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from forkworker.cli import output
from forkworker.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from argparse import Namespace

SUMMARY = "ask whether a tree is ready (or alive), as a probe does; needs --health at run"
ANSWER_SECONDS = 5.0
_MOST_BYTES = 65536


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``health``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--ready", dest="path", action="store_const", const="/ready", default="/ready",
                       help="does it take jobs? (the default)")  # fmt: skip
    group.add_argument("--live", dest="path", action="store_const", const="/live",
                       help="does it live, whatever Redis does?")  # fmt: skip
    parser.add_argument("--health", metavar="ADDRESS", help="HOST:PORT, :PORT or unix:/PATH, if not the configured one")
    parser.add_argument("-C", "--config", metavar="FILE", help="the configuration file, which may name the address")


def main(argv: list[str]) -> int:
    """Run the command without those that are not meant."""
    parser = ArgumentParser(prog="forkworker health", description=f"{SUMMARY.capitalize()}.", allow_abbrev=False)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except SystemExit as end:  # argparse's way to end
        return int(end.code or 0)
    except ConfigurationError as error:
        output.complain(error.problems)
        return ExitCode.CONFIGURATION


def run(args: Namespace) -> int:
    """Ask, print the answer, and say it by the exit code: 0 or 1."""
    from forkworker import config

    address = config.lookup_one("health", {"health": args.health, "config": args.config})
    if not address:
        raise ConfigurationError(["no health address is set: use --health, FORKWORKER_HEALTH or the key health"])
    is_well, text = ask(address, args.path)
    output.say(text) if is_well else output.complain([text])
    return ExitCode.OK if is_well else ExitCode.FAILURE


def ask(address: str, path: str) -> tuple[bool, str]:
    """Return whether the answer is yes, and what it says."""
    from forkworker.unix import door

    try:
        with door.knock(address, ANSWER_SECONDS) as knocker:
            knocker.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode("ascii"))
            answer = b""
            while len(answer) < _MOST_BYTES and (part := knocker.recv(_MOST_BYTES)):
                answer += part
    except OSError as error:
        return False, f"nobody answers at {address}: {error.strerror or error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):  # noqa: PLR2004 - version and status
        return False, f"what {address} answers is not understood"
    return words[1] == b"200", body.decode("utf-8", "replace").strip()
