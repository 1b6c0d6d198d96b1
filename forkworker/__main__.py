"""``python -m forkworker``: the same as the command ``forkworker``."""

from __future__ import annotations

import sys

from forkworker.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
