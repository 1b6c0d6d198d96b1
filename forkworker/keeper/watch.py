"""Watches the owners of working lists that are not ours, and takes over from those that are dead.

Dead is an owner whose beat has not changed for one full lease of our own monotonic clock, watched
without a gap; or one of this host whose process is provably gone.  Pure but for what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: an owner provably gone has a keeper of its own that knows more; this is what it gets to restore by itself
PROOF_SECONDS = 0.3


@dataclass(slots=True)
class _Sight:
    """What was last seen of an owner, and since when."""

    beat: str
    since: float
    gone_since: float | None = None


class Watch:
    """Remembers what was seen of each owner."""

    def __init__(self, lease: float, interval: float) -> None:
        self._lease = lease
        #: a longer pause between two looks is a gap
        self._longest_pause = max(2 * interval, interval + 2.0)
        self._sights: dict[str, _Sight] = {}
        self._looked_at = 0.0

    def forget(self) -> None:
        """Begin anew: Redis was away, and nobody could show a sign of life."""
        self._sights.clear()

    def look(self, beats: Mapping[str, str], is_gone: Callable[[str], bool], now: float) -> list[str]:
        """Note the beats of all owners; return those that are dead."""
        if now - self._looked_at > self._longest_pause:
            self.forget()
        self._looked_at = now
        self._sights = {identity: self._sight(identity, beat, is_gone, now) for identity, beat in beats.items()}
        return [identity for identity, sight in self._sights.items() if self._is_dead(sight, now)]

    @property
    def is_urgent(self) -> bool:
        """Whether an owner is provably gone and only waits for its time to pass."""
        return any(sight.gone_since is not None for sight in self._sights.values())

    def _sight(self, identity: str, beat: str, is_gone: Callable[[str], bool], now: float) -> _Sight:
        sight = self._sights.get(identity)
        if sight is None or sight.beat != beat:
            sight = _Sight(beat, now, sight.gone_since if sight else None)
        if not is_gone(identity):
            sight.gone_since = None
        elif sight.gone_since is None:
            sight.gone_since = now
        return sight

    def _is_dead(self, sight: _Sight, now: float) -> bool:
        if sight.gone_since is not None and now - sight.gone_since >= PROOF_SECONDS:
            return True
        return now - sight.since >= self._lease
