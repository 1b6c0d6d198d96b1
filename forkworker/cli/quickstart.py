"""``forkworker quickstart``: real jobs on real children, one of which is killed; it needs no Redis.

Runs in the command's own process, which starts the daemon as a subprocess.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(_parser: ArgumentParser) -> None:
    """Add no flags: there is one quickstart."""


def run(_args: Namespace) -> int:
    """Run the demonstration; returns 0 only if nothing was lost, different or left behind."""
    from forkworker.quickstart import demonstration  # brings Redis' client along

    return demonstration.run(sys.stdout)
