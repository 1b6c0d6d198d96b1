"""The jobs.  They use the application by ``current_app`` only, so they do not import it."""

from __future__ import annotations

import os
from pathlib import Path

from flask import current_app

import forkworker


@forkworker.job
def greet(name: str) -> None:
    """Write a greeting; the rename makes it appear whole, and a second run writes the same."""
    path = _path(name)
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(f".{forkworker.current_job().jid}")
    draft.write_text(f"Good day, {name}!\n", "utf-8")
    os.replace(draft, path)


def read(name: str) -> str | None:
    """Return the greeting for somebody, None if it is not written yet."""
    path = _path(name)
    return path.read_text("utf-8") if path.exists() else None


def _path(name: str) -> Path:
    return Path(current_app.config["OUTBOX"]) / f"{name.encode().hex()}.txt"
