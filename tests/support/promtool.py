"""Prometheus' own checker.  Runs in the test process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.tools import tool

RULES = Path(__file__).resolve().parents[2] / "contrib" / "prometheus"


def promtool(*words: str, text: str = "") -> str:
    """Run it in the folder of the alert rules, and return what it said; fails if it was not content."""
    line = [tool("promtool", "prometheus"), *words]
    done = subprocess.run(line, cwd=RULES, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
