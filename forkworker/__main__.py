"""``python -m forkworker``, and the command ``forkworker``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command that is named; a probe gets along without loading the others."""
    if sys.argv[1:2] == ["health"]:
        from forkworker.cli import health

        return health.main(sys.argv[2:])
    from forkworker.cli.main import main as run_any

    return run_any()


if __name__ == "__main__":
    sys.exit(main())
