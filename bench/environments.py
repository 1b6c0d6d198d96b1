"""The peers' virtual environment, made when it is first needed and again when the list of peers has changed."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import places

if TYPE_CHECKING:
    from pathlib import Path

WANTED = places.HERE / "requirements.txt"


@functools.cache
def python() -> Path:
    """Return the interpreter that has the peers."""
    home = places.ENVIRONMENTS / "peers"
    interpreter, stamp = home / "bin" / "python", home / "made-of.txt"
    if not stamp.exists() or stamp.read_text() != WANTED.read_text():
        print("making the peers' environment", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        install = [interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", WANTED]
        subprocess.run(install, check=True)
        stamp.write_text(WANTED.read_text())
    return interpreter
