"""Keeps a forced stop out of everything but the body of a job.  One for each job thread."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

from forkworker.errors import JobInterrupted

if TYPE_CHECKING:
    from types import TracebackType


class Shield:
    """A context around the body of a job, inside of which the thread can be interrupted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = self._body_of = 0

    def __enter__(self) -> None:
        self._body_of = self._thread or self._learn()

    def _learn(self) -> int:
        self._thread = threading.get_ident()
        return self._thread

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # after this an interruption comes too late, and is not sent
        with self._lock:
            self._body_of = 0

    def interrupt(self) -> bool:
        """Raise JobInterrupted in the job, as soon as it runs Python code again; False if there is none."""
        with self._lock:
            if not self._body_of:
                return False
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
            return bool(raise_in(ctypes.c_ulong(self._body_of), ctypes.py_object(JobInterrupted)))
