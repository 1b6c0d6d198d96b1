"""Every key in Redis: its name, its type, what is in it.  Used in every process that talks to Redis.

The names without a comment on ownership are Sidekiq's; see docs/wire-format.md.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

QUEUES = "queues"  # set: names of queues
SCHEDULE = "schedule"  # sorted set: payloads by the time they are due
RETRY = "retry"  # sorted set: failed payloads by the time they are due
DEAD = "dead"  # sorted set: buried payloads by the time of their death
PROCESSES = "processes"  # set: identities of children
PAUSED = "paused"  # set: names of queues from which nothing is taken
PROCESSED = "stat:processed"  # integer
FAILED = "stat:failed"  # integer
WORKING = "working"  # set, ours: every working list that may hold something
TRIAL = "taken:trial"  # of any type, ours: seen by nobody, as one script makes it and takes it away
ORIGINS = "origins"  # hash, ours: identity -> where its process runs, so that its death can be proved

_WORKING_LIST = re.compile(r"working:(.+?:[0-9]{1,10}:[0-9a-f]{12}):(.+)", re.DOTALL)


def queue(name: str) -> str:
    """List: payloads that wait; pushed on the left, taken from the right."""
    return f"queue:{name}"


def working(identity: str, queue_name: str) -> str:
    """List, ours: payloads a child has taken from a queue and not settled, the newest on the left."""
    return f"working:{identity}:{queue_name}"


def parse_working(key: str) -> tuple[str, str] | None:
    """Split the name of a working list into identity and queue; None if it is no such name."""
    match = _WORKING_LIST.fullmatch(key)
    return (match[1], match[2]) if match else None


def settled(identity: str) -> str:
    """String, ours: number and result of the last batch that a child settled."""
    return f"settled:{identity}"


def taken(identity: str) -> str:
    """String, ours: exists once others have declared this owner dead."""
    return f"taken:{identity}"


def recovered(sha1: str) -> str:
    """Integer, ours: how often the payload of this SHA-1 was running when its process died."""
    return f"recovered:{sha1}"


def work(identity: str) -> str:
    """Hash: what each thread of a child is running (Sidekiq 6.5 and newer)."""
    return f"{identity}:work"


def workers(identity: str) -> str:
    """Hash: the same for Sidekiq up to 6.4."""
    return f"{identity}:workers"


def signals(identity: str) -> str:
    """List: names of signals that the Web UI wants the process to have."""
    return f"{identity}-signals"


def processed_on(day: str) -> str:
    """Integer: jobs finished on a day, ``YYYY-MM-DD`` in UTC."""
    return f"{PROCESSED}:{day}"


def failed_on(day: str) -> str:
    """Integer: jobs failed on a day, ``YYYY-MM-DD`` in UTC."""
    return f"{FAILED}:{day}"


def metrics_of_minute(now: float) -> str:
    """Hash: runs, failures and milliseconds of each job in a minute, in UTC (Sidekiq 8)."""
    when = datetime.fromtimestamp(now, timezone.utc)
    return f"j|{when:%y%m%d}|{when.hour}:{when:%M}"


def metrics_of_ten_minutes(minute: str) -> str:
    """Hash: the same of ten minutes, by the name of one of them (Sidekiq 8)."""
    return minute[:-1]


def metrics_histogram(name: str, now: float) -> str:
    """String: 26 counters of 16 bits, how many runs of a job took how long in a minute (Sidekiq 8)."""
    when = datetime.fromtimestamp(now, timezone.utc)
    return f"h|{name}-{when.day}-{when.hour}:{when.minute}"
