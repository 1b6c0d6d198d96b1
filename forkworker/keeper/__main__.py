"""``python -m forkworker.keeper FD``: how the master starts the keeper."""

import sys

from forkworker.keeper.keeper import main

main(int(sys.argv[1]))
