"""In which order one fetch looks at the queues.  Pure but for chance."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forkworker.settings import Queue


def of_fetch(queues: Sequence[Queue], uniform: Callable[[], float] = random.random) -> list[str]:
    """Return the names as given, or, where there are weights, drawn without replacement by weight."""
    names = [queue.name for queue in queues]
    if not any(queue.weight for queue in queues):
        return names
    # Efraimidis and Spirakis: sorting by u ** (1 / weight) draws by weight
    drawn = {queue.name: uniform() ** (1 / max(queue.weight, 1)) for queue in queues}
    return sorted(names, key=drawn.__getitem__, reverse=True)
