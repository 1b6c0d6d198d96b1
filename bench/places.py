"""Where the benchmarks keep what they make: below ``.bench/``, which git does not see."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
SYSTEMS = HERE / "systems"
MADE = HERE.parent / ".bench"
ENVIRONMENTS = MADE / "environments"
SNAPSHOTS = MADE / "snapshots"
LOG = MADE / "worker.log"
