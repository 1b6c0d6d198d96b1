"""Whether Redis allows what the scripts do, asked on each new connection before one of them moves a job.

Redis does not undo what a script did before it was refused something: a job would be in two places, again and again.
"""

from __future__ import annotations

from typing import Any

from forkworker.errors import StoreUnavailable
from forkworker.store import scripts
from forkworker.wire import keys

#: what all kinds of processes use; Redis looks at a script's keys before it begins
KEYS = (
    keys.QUEUES,
    keys.SCHEDULE,
    keys.RETRY,
    keys.DEAD,
    keys.PROCESSES,
    keys.PAUSED,
    keys.PROCESSED,
    keys.FAILED,
    keys.WORKING,
    keys.ORIGINS,
)


def check(connection: Any) -> None:
    """Try all on a connection of redis-py's; raises StoreUnavailable with the names of what is refused."""
    _, _, *rest = scripts.call("rights", [keys.TRIAL, *KEYS], [])
    connection.send_command("EVAL", scripts.get("rights").source, *rest)
    if refused := connection.read_response():
        names = ", ".join(dict.fromkeys(name.decode() for name in refused))
        raise StoreUnavailable(f"NOPERM this user may not run {names}: see docs/access.md")
