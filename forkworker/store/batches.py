"""How much goes into one script: bounded by bytes, as Redis refuses a request above its own limit for ever."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: of payloads; the default client-query-buffer-limit is 1 GB
MOST_BYTES = 32 * 1024 * 1024


def how_many(sizes: Iterable[int], most: int) -> int:
    """Return how many of the first items, of these sizes in bytes, go into one batch: at least one."""
    total = count = 0
    for size in itertools.islice(sizes, most):
        total += size
        if count and total > MOST_BYTES:
            break
        count += 1
    return count
