"""One thing that is wrong."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What is wrong, found by which check, and what to do."""

    check: str
    what: str
    todo: str
