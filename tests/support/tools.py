"""Programs of the machine that a test needs.  Runs in the test process."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """Return a program's path; where it is missing CI fails, and elsewhere the test is skipped and says why."""
    found = shutil.which(name)
    if found is None:
        why = f"{name} is not on PATH: apt install {package}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found
