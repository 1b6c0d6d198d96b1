"""Reaches Redis for the commands that look into it.  Imports its client only when one is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker import config
from forkworker.settings import DEFAULT_REDIS_URL

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from forkworker.inspect import Inspector


def add_redis(parser: ArgumentParser) -> None:
    """Add the flags that say which Redis is meant, and the one for programs."""
    parser.add_argument("--redis", metavar="URL", help="the address of Redis, if not the configured one")
    parser.add_argument("-C", "--config", metavar="FILE", help="the configuration file, which may name the address")
    parser.add_argument("--json", action="store_true", help="for programs")


def address(args: Namespace) -> str:
    """Return the address of Redis; raises ConfigurationError."""
    url: str | None = config.lookup_one("redis_url", {"redis_url": args.redis, "config": args.config})
    return url or DEFAULT_REDIS_URL


def inspector(args: Namespace) -> Inspector:
    """Return the door to what stands in Redis."""
    from forkworker.inspect import Inspector

    return Inspector(address(args))
