"""Reading the whole of Redis at one instant, and saying where each job is.  Runs in the test process."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

# One script, so that no job is seen at two places, or at none, because it moved between two reads.
READ_ALL = """
local world = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key)['ok']
  local held
  if kind == 'string' then held = {redis.call('GET', key)}
  elseif kind == 'list' then held = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then held = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'hash' then held = redis.call('HGETALL', key)
  else held = {} end
  world[#world + 1] = {key, kind, held}
end
return world
"""

Snapshot = dict[str, Any]


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _value(kind: bytes, held: list[bytes]) -> Any:
    if kind == b"string":
        return held[0]
    if kind == b"set":
        return set(held)
    if kind == b"zset":
        return {member: float(score) for member, score in _pairs(held)}
    if kind == b"hash":
        return dict(_pairs(held))
    return held


def snapshot(client: redis.Redis) -> Snapshot:
    """Return every key with its contents: bytes, list, set, dict (hash; member -> score of a sorted set)."""
    rows: Any = client.eval(READ_ALL, 0)
    return {key.decode(): _value(kind, held) for key, kind, held in rows}


def jid_of(payload: bytes) -> str:
    """Return the id of the job in this payload; of what is no job, its text."""
    try:
        return str(json.loads(payload)["jid"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return payload.decode(errors="replace")


def _is_home(key: str) -> bool:
    return key.startswith(("queue:", "working:")) or key in ("schedule", "retry", "dead")


def homes(client: redis.Redis) -> dict[str, list[str]]:
    """Return for each job id the keys it stands in, one for each time it stands there."""
    found: dict[str, list[str]] = {}
    for key, value in snapshot(client).items():
        for payload in value if _is_home(key) else ():
            found.setdefault(jid_of(payload), []).append(key)
    return found


def is_calm(client: redis.Redis, *waiting: str) -> bool:
    """Return whether nothing runs and these keys are empty, at one instant: what is given back moves in between."""
    with client.pipeline(transaction=True) as pipe:
        full, running = pipe.exists(*waiting).keys("working:*").execute()
    return not full and not running


def places(client: redis.Redis) -> Counter[str]:
    """Return how many places each job is in; promise one says: never more than one."""
    return Counter({jid: len(keys) for jid, keys in homes(client).items()})


def queue(client: redis.Redis, name: str = "default") -> list[str]:
    """Return the ids in a queue, next to be taken first."""
    payloads: Any = client.lrange(f"queue:{name}", 0, -1)
    return [jid_of(payload) for payload in reversed(payloads)]


def working(client: redis.Redis, pid: int | None = None) -> dict[str, list[str]]:
    """Return the ids in each working list that is not empty, of one process or of all."""
    return {
        key: [jid_of(payload) for payload in value]
        for key, value in snapshot(client).items()
        if key.startswith("working:") and (pid is None or key.split(":")[2] == str(pid))
    }
