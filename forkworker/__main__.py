"""``python -m forkworker``, and the command ``forkworker``."""

from __future__ import annotations

import io
import sys


def main() -> int:
    """Run the command that is named; a probe gets along without loading the others."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not have every letter
    try:
        return _run()
    except KeyboardInterrupt:  # while modules were loaded
        return 130


def _run() -> int:
    if sys.argv[1:2] == ["health"]:
        from forkworker.cli import health

        return health.main(sys.argv[2:])
    from forkworker.cli.main import main as run_any

    return run_any()


if __name__ == "__main__":
    sys.exit(main())
