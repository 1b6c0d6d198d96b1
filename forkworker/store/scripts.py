"""The Lua scripts: one file for each operation in ``lua/``, with its contract in its header."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the digest by which a server that has loaded it knows it."""

    source: str
    sha1: str


@functools.cache
def get(name: str) -> Script:
    """Return the script in ``lua/NAME.lua``."""
    source = resources.files("forkworker.store").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return Script(source, hashlib.sha1(source.encode()).hexdigest())  # noqa: S324 - Redis chose SHA-1


def call(name: str, keys: Sequence[str], args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the command that runs a script; the connection must have loaded it."""
    return ("EVALSHA", get(name).sha1, len(keys), *keys, *args)
