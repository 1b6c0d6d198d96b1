"""An operator's way to Redis: pooled connections for looking, and for moves that are asked for by hand.

Used by ``forkworker.inspect``, in scripts, web applications and the command line; safe to share between
threads and across forks.  Nothing is sent twice: what a lost reply leaves in doubt is for the caller to look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import NoScriptError

from forkworker.config import public_address
from forkworker.store import scripts
from forkworker.store.connection import TIMEOUT_SECONDS, make_pool, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.connection import ConnectionPool

    from forkworker.errors import StoreUnavailable
    from forkworker.store.connection import Command

#: the scripts that an operator's moves need
SCRIPTS = ("clear", "promote", "signal", "withdraw")


class Access:
    """Sends commands and returns the replies as they come; raises StoreUnavailable."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._address = public_address(url)
        self._pool: ConnectionPool = make_pool(url, timeout_seconds)

    def execute(self, *command: Any) -> Any:
        """Send one command, and the scripts first if this server does not know them yet."""
        try:
            return self._send([command])[0]
        except NoScriptError:
            self.pipeline([("SCRIPT", "LOAD", scripts.get(name).source) for name in SCRIPTS])
            return self.pipeline([command])[0]

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and return their replies."""
        return self._send(commands) if commands else []

    def close(self) -> None:
        """Hang up; the next command connects again."""
        self._pool.disconnect()

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        connection: Any = None
        try:
            connection = self._pool.get_connection()
            connection.send_packed_command([part for command in commands for part in connection.pack_command(*command)])
            replies = [connection.read_response() for _ in commands]
        except BaseException as error:
            if connection is not None:
                connection.disconnect()  # replies that were not read must not be the next command's
                self._pool.release(connection)
            if isinstance(error, NoScriptError) or not isinstance(error, redis.RedisError | OSError):
                raise
            raise self._unavailable(error) from error
        self._pool.release(connection)
        return replies

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        is_away = isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError)
        told = f"Redis at {self._address} {'cannot be reached' if is_away else 'refuses'}: {error}"
        return unavailable(error, told)
