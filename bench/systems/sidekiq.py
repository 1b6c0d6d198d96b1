"""Ruby's Sidekiq: one process of ten threads by default; its guide recommends a process for each core.

Jobs and producer are in Ruby, beside this file; the variants with a job log have it at INFO, its default.
"""

from __future__ import annotations

import subprocess

_RUN = ["sidekiq", "-r", "./systems/sidekiq_app.rb", "-q", "default", "-e", "production"]
_LOG = {"BENCH_JOB_LOG": "1"}
VARIANTS = {
    "1x10": {"commands": [[*_RUN, "-c", "10"]], "noop": 60_000},
    "2x10": {"commands": [[*_RUN, "-c", "10"]] * 2, "noop": 80_000},
    "2x25": {"commands": [[*_RUN, "-c", "25"]] * 2, "noop": 80_000, "sleep10": 20_000, "threads": 50},
    "2x10, job log": {"commands": [[*_RUN, "-c", "10"]] * 2, "environment": _LOG, "noop": 40_000},
    "1x30": {"commands": [[*_RUN, "-c", "30"]], "delayed": 100_000},
}
DEFAULT = "1x10"
ENQUEUE = {"one": 15_000, "bulk": 100_000}
LATENCY = ["1x10", "2x10"]
MEMORY = ["2x10"]
VERSIONS = {
    "sidekiq": subprocess.check_output(["sidekiq", "-V"], text=True).split()[-1],
    "ruby": subprocess.check_output(["ruby", "-v"], text=True).split()[1],
}
