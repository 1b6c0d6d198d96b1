"""Whether a tree lives, and whether it is ready: what is wrong, in words, or ''.  Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forkworker.keeper.sight import Sight

#: the master's loop turns at least once a second
MOST_STILL_SECONDS = 10.0
#: the keeper asks Redis something every second, and a command gets 5 s
MOST_UNANSWERED_SECONDS = 6.0


def why_not_alive(pulse_at: float, now: float) -> str:
    """Say why the tree is not alive; neither Redis nor what children do is asked about."""
    still = now - pulse_at
    return f"the master has not moved for {still:.0f} s" if still > MOST_STILL_SECONDS else ""


def why_not_ready(sight: Sight, pulse_at: float, now: float) -> str:
    """Say why the tree takes no jobs."""
    if reason := why_not_alive(pulse_at, now):
        return reason
    if sight.redis_trouble:
        return f"Redis is away: {sight.redis_trouble}"
    if not sight.answered_at:
        return "booting: Redis has not answered yet"
    if now - sight.answered_at > MOST_UNANSWERED_SECONDS:
        return f"Redis has not answered for {now - sight.answered_at:.0f} s"
    if any(child.state == "ready" and child.lease_until > now for child in sight.children):
        return ""
    states = Counter(child.state for child in sight.children)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"no child takes jobs: {told or 'there is none yet'}"
