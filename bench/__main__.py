"""``python -m bench``: measure some subjects, or all, and print their tables."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import cases, contestants, places, reports
from bench.results import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

#: for ``quick``: two minutes once environments and snapshots are made
QUICK_SUBJECTS = ("drain", "latency", "enqueue")
QUICK_ONLY = ("forkworker/1x25", "forkworker/2x25", "forkworker/2x25, three queues", "sidekiq/2x10")
QUICK_ONLY += ("celery/prefork", "dramatiq/2x8, prefetch 200", "huey/2x25 threads")
QUICK_SCALE = 0.35


def subject(name: str) -> Any:
    """Return the module of a subject."""
    return importlib.import_module(f"bench.subjects.{name}")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "subjects", nargs="+", help=f"all, quick, prepare, report, document, or some of {', '.join(reports.SUBJECTS)}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn with the others")
    parser.add_argument("--only", default="", help="systems or system/configuration, with semicolons between")
    parser.add_argument("--scale", type=float, default=1.0, help="of the usual number of jobs")
    parser.add_argument("--out", type=Path, help="file of results to go on with, or to report")
    parser.add_argument("--document", type=Path, help="for 'document': fill in the tables of this one")
    return parser.parse_args(words)


def prepare(choice: cases.Choice) -> int:
    """Make environments and snapshots, so that later runs only measure."""
    for variant, kind, count in choice.variants("noop", "sleep10", "compute", "delayed"):
        job = "noop" if kind == "delayed" else kind
        print(contestants.filled(variant, job, count).name, flush=True)
    return 0


def main() -> int:
    """Measure and report."""
    given = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what runs ends with us
    wanted, rounds = list(given.subjects), given.rounds
    choice = cases.Choice(frozenset(filter(None, given.only.split(";"))), given.scale)
    if wanted == ["quick"]:
        wanted, rounds, choice = list(QUICK_SUBJECTS), 1, cases.Choice(frozenset(QUICK_ONLY), QUICK_SCALE)
    if wanted == ["prepare"]:
        return prepare(choice)
    log = Log(given.out or places.MADE / f"results-{time.strftime('%Y%m%d-%H%M%S')}.jsonl")
    if wanted not in (["report"], ["document"]):
        if wanted == ["all"]:
            wanted = list(reports.SUBJECTS)
        cases.run((case for name in wanted for case in subject(name).cases(choice)), rounds, log)
    if wanted == ["document"]:
        given.document.write_text(reports.fill(given.document.read_text("utf-8"), log.read()), "utf-8")
        return 0
    print("\n".join([*reports.document(log.read()), "", *reports.summary(log.read())]))
    reports.draw(log.read(), log.path.with_suffix(""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
