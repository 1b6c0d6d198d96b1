"""What a child shows of itself in Redis: identity, origin, and the ``info`` of Sidekiq's Busy page.  Pure."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from forkworker.version import VERSION

if TYPE_CHECKING:
    from forkworker.settings import Settings


def new_nonce() -> str:
    """Return the last part of an identity: 12 lower-case hexadecimal characters."""
    return os.urandom(6).hex()


def identity(hostname: str, pid: int, nonce: str) -> str:
    """Return ``HOST:PID:NONCE``."""
    return f"{hostname}:{pid}:{nonce}"


def split_identity(text: str) -> tuple[str, int]:
    """Return host and pid of an identity."""
    host, pid, _ = text.rsplit(":", 2)
    return host, int(pid)


def origin(place: str, concurrency: int) -> str:
    """Return what a child tells of the place it runs in and of how many jobs it may run at a time."""
    return f"{place} {concurrency}"


def split_origin(text: str) -> tuple[str, int]:
    """Return place and concurrency; ('', 0) for what is no origin."""
    place, _, concurrency = text.rpartition(" ")
    return (place, int(concurrency)) if re.fullmatch("[0-9]{1,10}", concurrency) else ("", 0)


def info(settings: Settings, identity_text: str, pid: int, started_at: float) -> str:
    """Return the JSON that every version of the Web UI can show."""
    weights = {queue.name: queue.weight for queue in settings.queues}
    mode = "strict" if settings.strict else "weighted"
    return json.dumps(
        {
            "hostname": settings.hostname,
            "started_at": started_at,
            "pid": pid,
            "tag": settings.tag,
            "concurrency": settings.concurrency,
            "queues": list(settings.queue_names),
            "weights": [weights],
            "capsules": {"default": {"concurrency": settings.concurrency, "mode": mode, "weights": weights}},
            "labels": [],
            "identity": identity_text,
            "version": f"forkworker-{VERSION}",
            "embedded": False,
        },
        separators=(",", ":"),
    )
