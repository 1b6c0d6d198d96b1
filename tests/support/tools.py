"""What a test needs of the machine: programs, root.  Runs in the test process."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import NoReturn


def lack(why: str) -> NoReturn:
    """Say that this machine lacks what the test needs: CI fails, and elsewhere the test is skipped."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def tool(name: str, package: str) -> str:
    """Return a program's path."""
    return shutil.which(name) or lack(f"{name} is not on PATH: apt install {package}")


def container(*options: str) -> tuple[str, ...]:
    """Return what runs a command as the first process of a PID namespace, which ends with it."""
    unshare = tool("unshare", "util-linux")
    if os.getuid() != 0:
        lack("it makes a namespace of processes, which root may do")
    return (unshare, "--pid", "--fork", "--mount-proc", "--kill-child", *options)
