"""Pushing jobs: into a queue, or into the schedule for later.  Used by clients, in any process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import hiredis
import redis

from forkworker.errors import PushFailed, PushInDoubt
from forkworker.store.connection import unavailable
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forkworker.store.connection import Command

#: what replicas get to confirm a push, where the address asks for it
WAIT_MILLISECONDS = 1000
_log = logging.getLogger(__name__)


def push(client: redis.Redis, queue: str, payloads: Sequence[bytes]) -> None:
    """Append payloads to a queue, all or none; once.  Raises PushFailed, or PushInDoubt if that is not known."""
    _send(client, [("SADD", keys.QUEUES, queue), ("LPUSH", keys.queue(queue), *payloads)])


def schedule(client: redis.Redis, entries: Sequence[tuple[bytes, float]]) -> None:
    """Put payloads into the schedule, each with the time it is due; as ``push`` does."""
    scored = [part for payload, at in entries for part in (repr(at), payload)]
    _send(client, [("ZADD", keys.SCHEDULE, *scored)])


def _send(client: redis.Redis, commands: Sequence[Command]) -> None:
    """Execute commands, the last of which is the push, on a connection of our own: what was never sent is not in doubt.

    No transaction: the last one alone decides, and a queue's name without a job does no harm.
    """
    pool: Any = client.connection_pool
    asked = [("WAIT", pool.replicas, WAIT_MILLISECONDS)] if pool.replicas else []
    try:
        connection = pool.lend()
    except (redis.RedisError, OSError) as error:
        raise PushFailed(f"Redis cannot be reached, nothing was accepted: {_told(error)}") from error
    try:
        replies = _exchange(connection, [*commands, *asked])
        if isinstance(replies[len(commands) - 1], Exception):
            connection.disconnect()  # it may be no master any more: the next push looks for one
    except redis.BusyLoadingError as error:  # a ConnectionError to redis-py, and yet an answer
        raise PushFailed(f"Redis refused the push, nothing was accepted: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise PushInDoubt(
            f"the connection to Redis failed during a push ({_told(error)}): "
            "the job may or may not have been accepted; push again only if running twice is harmless"
        ) from error
    finally:
        pool.take_back(connection)
    _judge(replies[: len(commands)])
    if asked:
        _raise_doubt(replies[-1], pool.replicas)


def _judge(replies: Sequence[Any]) -> None:
    """Raise PushFailed if the push was refused; tell of the rest."""
    *others, last = replies
    if isinstance(last, Exception):
        refused = unavailable(last, str(last))
        raise PushFailed(f"Redis refused the push, nothing was accepted: {refused}") from last
    for refusal in others:
        if isinstance(refusal, Exception):
            _log.warning(
                "a job was pushed, but Web UIs will not show its queue, as Redis refused its name: %s", refusal
            )


def _exchange(connection: Any, commands: Sequence[Command]) -> list[Any]:
    try:
        connection.send_packed_command([b"".join(map(hiredis.pack_command, commands))], check_health=False)
        return [_reply(connection) for _ in commands]
    except BaseException:
        # also what a signal or another thread raises here: replies that come in later are nobody's
        connection.disconnect()
        raise


def _reply(connection: Any) -> Any:
    """Return the next reply; a refusal is one, too."""
    try:
        return connection.read_response()
    except redis.ResponseError as refusal:
        return refusal


def _raise_doubt(confirmed: Any, wanted: int) -> None:
    """Raise PushInDoubt for what a failover might lose: too few replicas have it, or they could not be asked for."""
    if isinstance(confirmed, Exception):
        told = f"no replica could be asked about it ({confirmed})"
    elif confirmed < wanted:
        told = f"{confirmed} of {wanted} replicas confirmed it within {WAIT_MILLISECONDS / 1000:g} s"
    else:
        return
    raise PushInDoubt(
        f"Redis accepted a push, but {told}: the job will run, unless one without it becomes the master; "
        "push again only if running twice is harmless"
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
