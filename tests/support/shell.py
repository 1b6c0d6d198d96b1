"""forkworker's commands, run as an operator would, in an environment of their own.  Runs in the test process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from support.daemon import PASSED_ON, TESTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def shell(
    folder: Path, *words: str, environment: Mapping[str, str] | None = None, seconds: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run ``forkworker WORDS`` in a folder, which is its home, too."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    ours = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    return subprocess.run(
        [sys.executable, "-m", "forkworker", *words],
        cwd=folder,
        env=passed | ours | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
