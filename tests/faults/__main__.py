"""``python -m faults``: attack by hand; ``make faults`` calls it.  Exits 1 if a promise was broken."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from faults import harness, nemesis, report


def main() -> int:
    """Run rounds, tell, judge."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="of storm; the calms come on top")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--round", type=float, default=harness.ROUND_SECONDS, help="seconds of storm in each round")
    parser.add_argument("--only", action="append", default=[], help="this kind of fault; repeatable")
    parser.add_argument("--package", type=Path, help="a folder with another copy of forkworker")
    parser.add_argument("--report", type=Path, help="keep the figures in this file, for faults.report")
    parser.add_argument("--show", type=int, metavar="N", help="show N steps of each front's schedule, and do nothing")
    given = parser.parse_args()
    harness.end_in_order()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    if given.show:
        print(nemesis.show(seed * nemesis.ROUNDS, given.show))
        return 0
    done = harness.run(
        seed,
        given.seconds,
        package=given.package,
        only=given.only,
        round_seconds=given.round,
        keep=lambda figures: figures.write(given.report) if given.report else None,
        tell=lambda line: print(line, flush=True),
    )
    print(report.table(done))
    return 1 if done.verdict.violations else 0


sys.exit(main())
