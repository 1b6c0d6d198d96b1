"""A child as the keeper sees it: its board, and a pidfd for the case that the master goes first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forkworker.unix import process
from forkworker.unix.board import Board
from forkworker.wire import process_info

if TYPE_CHECKING:
    from forkworker.settings import Settings


class Charge:
    """One child, living or gone, that the keeper looks after."""

    def __init__(self, settings: Settings, slot: int, pid: int, board: int, now: float) -> None:
        self.slot = slot
        self.pid = pid
        self.board = Board(board)
        os.close(board)
        self.pidfd = process.open_pidfd(pid)
        self.origin = process_info.origin(process.origin(pid), settings.concurrency)
        #: whether it has ended; in a crash, which counts for what was running; by its own exit at a stop
        self.gone = self.crashed = self.left_in_order = False
        #: the instant of its last beat in Redis, monotonic
        self.beat_at = 0.0
        self._settings = settings
        self._born_at = now
        self._info = ("", "")

    @property
    def identity(self) -> str:
        """``HOST:PID:NONCE``, '' before the child has chosen a nonce."""
        if not self.board.generation:
            return ""
        return process_info.identity(self._settings.hostname, self.pid, self.board.nonce)

    @property
    def info(self) -> str:
        """The JSON of the Busy page, made once for each identity."""
        identity = self.identity
        if self._info[0] != identity:
            self._info = identity, process_info.info(self._settings, identity, self.pid, self._born_at)
        return self._info[1]

    @property
    def rss_kilobytes(self) -> int:
        """The resident memory of the process; 0 if it has gone."""
        return process.resident_bytes(self.pid) // 1024

    def close(self) -> None:
        """Let the board and the pidfd go."""
        self.board.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
