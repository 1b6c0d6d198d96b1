"""How fast things change from one look to the next.  Pure but for the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forkworker.clock import Clock

COUNTERS = ("processed", "failed")


class Rates:
    """Remembers the last look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before: dict[str, Any] | None = None
        self._at = 0.0

    def add(self, redis: dict[str, Any]) -> dict[str, Any]:
        """Return what Redis shows with ``..._per_second`` beside it, None for what was not seen before."""
        if not redis["reachable"]:
            self._before = None
            return redis
        now = self._clock.monotonic()
        before, seconds = self._before or {}, max(now - self._at, 1e-9)
        self._before, self._at = redis, now
        sizes = {queue["name"]: queue["size"] for queue in before.get("queues", ())}
        queues = [
            queue | {"change_per_second": _rate(queue["size"], sizes.get(queue["name"]), seconds)}
            for queue in redis["queues"]
        ]
        counters = {f"{name}_per_second": _rate(redis[name], before.get(name), seconds) for name in COUNTERS}
        return redis | counters | {"queues": queues}


def _rate(now: int, before: int | None, seconds: float) -> float | None:
    return None if before is None else round((now - before) / seconds, 3)
